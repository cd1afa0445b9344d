//! 152 to 165: the order of what a write sends to the device.

use super::{
    ID, PATH, Write,
    face::Face,
    stage::{Crashed, Stage, file},
};
use ext4_blockdev::{BlockDevice, Event, Recorder};
use ext4_dio::{DirectWrite, Offset, Request, Step, Sync};
use ext4_ondisk::jbd2::{BlockHeader, BlockKind, Commit, JournalSuperblock, revokes, tags};
use ext4_testkit::{
    explore::{Budget, Violation},
    image::{Image, Recipe},
    model::pattern,
    oracle,
    recovery::{Recovery, record},
    rng::Rng,
    view::View,
};
use ext4_units::BlockSize;
use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Range,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    time::Duration,
};

/// One transaction as it was written.
#[derive(Debug, Default)]
struct Logged {
    tid: u32,
    homes: BTreeSet<u64>,
    revoked: BTreeSet<u64>,
    /// Seconds and nanoseconds of its commit block, once that was written.
    time: Option<(u64, u32)>,
    is_durable: bool,
}

/// Follows a recorded run, and asserts at every event that the order is right.
struct Follower {
    /// Where the log's blocks are on the device, to their numbers in the log.
    log: BTreeMap<u64, u64>,
    size: u64,
    /// The journal superblock as it is now; its first sector alone may be written.
    jsb: Vec<u8>,
    logged: Vec<Logged>,
    /// Writes that no flush has covered, by their place among the events.
    unflushed: BTreeSet<usize>,
    is_marked: bool,
    is_mark_durable: bool,
    start: u32,
    sequence: u32,
}

impl Follower {
    fn new(image: &Image) -> Self {
        let view = View::new(image).unwrap();
        let runs = view.runs(&view.inode(8).unwrap()).unwrap();
        let log: BTreeMap<u64, u64> = runs
            .iter()
            .flat_map(|run| (0..run.len).map(|i| (run.start + i, run.lblk + i)))
            .collect();
        let size = view.block_size as u64;
        let first = runs.iter().find(|it| it.lblk == 0).unwrap().start;
        let mut it = Self {
            log,
            size,
            jsb: view.block(first).unwrap(),
            logged: Vec::new(),
            unflushed: BTreeSet::new(),
            is_marked: false,
            is_mark_durable: false,
            start: 0,
            sequence: 0,
        };
        it.journal_superblock(&[]);
        it
    }

    /// What the journal superblock says of the blocks.
    fn decoded(&self) -> JournalSuperblock {
        let size = BlockSize::from_bytes(u32::try_from(self.size).unwrap()).unwrap();
        JournalSuperblock::decode(&self.jsb, size, self.log.len() as u64).unwrap()
    }

    fn follow(mut self, events: &[Event]) -> Vec<Logged> {
        for (i, event) in events.iter().enumerate() {
            match event {
                Event::Write { offset, data, .. } => {
                    self.write(*offset, data);
                    self.unflushed.insert(i);
                }
                Event::Flush { covers } => {
                    self.unflushed = self.unflushed.split_off(covers);
                    if self.unflushed.is_empty() {
                        self.is_mark_durable = self.is_marked;
                        for it in self.logged.iter_mut().filter(|it| it.time.is_some()) {
                            it.is_durable = true;
                        }
                    }
                }
                _ => {}
            }
        }
        self.logged
    }

    fn write(&mut self, offset: u64, data: &[u8]) {
        let mut at = offset;
        for block in data.chunks(usize::try_from(self.size).unwrap()) {
            let blk = at / self.size;
            match self.log.get(&blk).copied() {
                Some(0) => self.journal_superblock(block),
                Some(_) => self.log_block(block),
                None => self.home(blk, at, block),
            }
            at += block.len() as u64;
        }
    }

    fn log_block(&mut self, block: &[u8]) {
        assert!(self.is_mark_durable, "155: the log is written, needs_recovery is not durable");
        let Some(header) = BlockHeader::decode(block) else { return };
        if self.logged.last().is_none_or(|it| it.tid != header.tid.0) {
            let last = self.logged.last().map(|it| it.tid);
            assert!(last.is_none_or(|last| header.tid.0 == last + 1), "159: {last:?}, {header:?}");
            self.logged.push(Logged { tid: header.tid.0, ..Logged::default() });
        }
        let format = self.decoded().format();
        let running = self.logged.last_mut().unwrap();
        match header.kind {
            BlockKind::Descriptor => {
                running.homes.extend(tags(&format, block).map(|tag| tag.block.0));
            }
            BlockKind::Revoke => {
                running.revoked.extend(revokes(&format, block).unwrap().map(|it| it.0));
            }
            BlockKind::Commit => {
                assert!(self.unflushed.is_empty(), "153: a commit block before a flush");
                let commit = Commit::decode(block).unwrap();
                running.time = Some((commit.sec, commit.nsec));
                let times: Vec<_> = self.logged.iter().filter_map(|it| it.time).collect();
                assert!(times.is_sorted(), "159: {times:?}");
            }
            other => panic!("{other:?} in the log"),
        }
    }

    fn journal_superblock(&mut self, block: &[u8]) {
        self.jsb[..block.len()].copy_from_slice(block);
        let jsb = self.decoded();
        let (sequence, start) = (jsb.sequence.0, jsb.start);
        // The start of an empty log may be told ahead; moving the tail of a full one may not.
        if self.start != 0 && (sequence, start) != (self.sequence, self.start) {
            assert!(self.unflushed.is_empty(), "154: the tail moves before a flush");
        }
        (self.sequence, self.start) = (sequence, start);
    }

    fn home(&mut self, blk: u64, at: u64, block: &[u8]) {
        let within = 1024_u64.checked_sub(blk * self.size).filter(|it| *it < self.size);
        if let Some(superblock) = within {
            // A part of the block may be written.
            let field = superblock + 0x60 + blk * self.size - at;
            let field = usize::try_from(field).unwrap();
            let incompat = u32::from_le_bytes(*block[field..].first_chunk().unwrap());
            let is_marked = incompat & 4 != 0;
            if self.is_marked && !is_marked {
                assert_eq!(self.start, 0, "155: the log is not empty");
                assert!(self.unflushed.is_empty(), "155: the log is not durably empty");
            }
            self.is_marked = is_marked;
            return;
        }
        let is_durable = self.logged.iter().any(|it| it.is_durable && it.homes.contains(&blk));
        let waits = self.logged.iter().any(|it| !it.is_durable && it.homes.contains(&blk));
        assert!(is_durable || !waits, "152: block {blk} goes home before its commit is durable");
    }
}

/// Does something on a recorded device, from open to close, and follows it.
fn followed(recipe: &Recipe, work: impl FnOnce(&Stage)) -> Option<Vec<Logged>> {
    let image = recipe.image()?;
    let recorder = Arc::new(Recorder::new(image.overlay()));
    let stage = Stage::on(recorder.clone());
    work(&stage);
    stage.close();
    Some(Follower::new(&image).follow(&recorder.events()))
}

/// Some dozen writes and truncations, from open to close: the image before, and what the device saw.
fn busy(profile: &str) -> Option<(Image, Vec<Event>)> {
    let image = file(profile, 20_000).image()?;
    let recorder = Arc::new(Recorder::new(image.overlay()));
    let stage = Stage::on(recorder.clone());
    let mut rng = Rng::new(7);
    for generation in 1..=60 {
        let at = 512 * rng.below(1000) as u64;
        let sync = *rng.pick(&[Sync::None, Sync::Data, Sync::Full]);
        let len = 512 * (1 + rng.below(100));
        stage.write(Write { sync, generation, ..Write::new(at, len) }).unwrap();
        if rng.below(6) == 0 {
            stage.fs.truncate(stage.ino, at).unwrap();
        }
        if generation % 20 == 0 {
            stage.fs.journal().checkpoint().unwrap();
        }
    }
    stage.close();
    Some((image, recorder.events()))
}

/// Follows a busy time on every kind of log: whatever is in the wrong order, it says so.
fn in_order(look: impl Fn(&str, &Image, &[Event], &[Logged])) {
    for profile in ["ext4-4k", "journal-1m", "ext3-1k", "ext4-nocsum", "orphan-1k", "fc-4k"] {
        let Some((image, events)) = busy(profile) else { return };
        let logged = Follower::new(&image).follow(&events);
        assert!(logged.len() > 10, "{profile}: {} transactions", logged.len());
        assert!(logged.iter().all(|it| it.is_durable), "{profile}");
        look(profile, &image, &events, &logged);
    }
}

/// The follower notices when these events are in this order.
#[track_caller]
fn assert_noticed(image: &Image, events: &[Event], rule: &str) {
    let followed = catch_unwind(AssertUnwindSafe(|| Follower::new(image).follow(events)));
    let panic = followed.map(|logged| logged.len()).expect_err("nothing was noticed");
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text.or(panic.downcast_ref::<&str>().copied()).unwrap_or_default();
    assert!(text.contains(rule), "{text}");
}

/// What a write is for: a block of the log by its header, or `None` for all else.
fn kind_of(image: &Image, event: &Event) -> Option<BlockKind> {
    let Event::Write { offset, data, .. } = event else { return None };
    let follower = Follower::new(image);
    follower.log.get(&(offset / follower.size)).filter(|&&nr| nr > 0)?;
    BlockHeader::decode(data).map(|it| it.kind)
}

fn is_commit(image: &Image, event: &Event) -> bool {
    kind_of(image, event) == Some(BlockKind::Commit)
}

fn is_flush(event: &Event) -> bool {
    matches!(event, Event::Flush { .. })
}

/// Other events than were recorded: each flush is of all before it.
fn renumbered(mut events: Vec<Event>) -> Vec<Event> {
    for (i, event) in events.iter_mut().enumerate() {
        if let Event::Flush { covers } = event {
            *covers = i;
        }
    }
    events
}

/// As if nothing had been flushed between these two.
fn without_flushes(events: &[Event], range: Range<usize>) -> Vec<Event> {
    let each = events.iter().enumerate();
    let kept = each.filter(|(i, it)| !(range.contains(i) && is_flush(it)));
    renumbered(kept.map(|it| it.1.clone()).collect())
}

#[test]
fn s152_no_block_goes_home_before_its_commit_is_durable() {
    in_order(|profile, image, events, logged| {
        assert!(logged.iter().map(|it| it.homes.len()).sum::<usize>() > 30, "{profile}");
        // A block of the first transaction, as if it had been written home before the commit block.
        let commit = events.iter().position(|it| is_commit(image, it)).unwrap();
        let is_home = |event: &&Event| match event {
            Event::Write { offset, .. } => {
                let blk = offset / Follower::new(image).size;
                *offset > 2048 && logged[0].homes.contains(&blk)
            }
            _ => false,
        };
        let home = events[commit..].iter().find(is_home).unwrap().clone();
        let mut early = events.to_vec();
        early.insert(commit, home);
        assert_noticed(image, &renumbered(early), "152");
    });
}

#[test]
fn s153_a_commit_block_is_written_when_all_before_it_is_flushed() {
    in_order(|_, image, events, _| {
        let commit = events.iter().position(|it| is_commit(image, it)).unwrap();
        let flush = events[..commit].iter().rposition(is_flush).unwrap();
        assert_noticed(image, &without_flushes(events, flush..commit), "153");
    });
}

#[test]
fn s154_the_tail_moves_when_what_is_home_is_flushed() {
    in_order(|profile, image, events, _| {
        let follower = Follower::new(image);
        let jsb = |event: &Event| match event {
            Event::Write { offset, data, .. }
                if follower.log.get(&(offset / follower.size)) == Some(&0) =>
            {
                Some(u32::from_be_bytes(*data[0x1C..].first_chunk().unwrap()))
            }
            _ => None,
        };
        // The log is emptied: everything it held is at home.
        let starts: Vec<_> = events.iter().map(jsb).collect();
        let emptied = starts.iter().rposition(|it| *it == Some(0)).unwrap();
        let flush = events[..emptied].iter().rposition(is_flush).unwrap();
        assert!(emptied > flush, "{profile}");
        assert_noticed(image, &without_flushes(events, flush..emptied), "154");
    });
}

#[test]
fn s155_needs_recovery_is_durable_before_the_log_is_written_and_goes_when_it_is_empty() {
    in_order(|_, image, events, _| {
        // The first write of all marks the filesystem; without it, and without the flush behind it.
        let mark = events.iter().position(|it| !is_flush(it)).unwrap();
        assert_noticed(image, &renumbered(events[mark + 1..].to_vec()), "155");
        let flush = mark + events[mark..].iter().position(is_flush).unwrap();
        assert_noticed(image, &without_flushes(events, flush..flush + 1), "155");
        // The last one takes the mark away; so early the log was not empty.
        let last = events.iter().rposition(|it| !is_flush(it)).unwrap();
        let mut early = events.to_vec();
        let unmarked = early.remove(last);
        let commit = events.iter().rposition(|it| is_commit(image, it)).unwrap();
        early.insert(commit + 2, unmarked);
        assert_noticed(image, &renumbered(early), "155");
    });
}

#[test]
fn s159_numbers_go_up_by_one_and_times_never_back() {
    in_order(|profile, image, events, logged| {
        let tids: Vec<_> = logged.iter().map(|it| it.tid).collect();
        assert!(tids.windows(2).all(|it| it[1] == it[0] + 1), "{profile}: {tids:?}");
        let times: Vec<_> = logged.iter().map(|it| it.time.unwrap()).collect();
        assert!(times.is_sorted(), "{profile}: {times:?}");
        // A transaction left out.
        let commits: Vec<usize> =
            (0..events.len()).filter(|&i| is_commit(image, &events[i])).collect();
        let some = without_log_between(image, events, commits[1] + 1, commits[2]);
        assert_noticed(image, &some, "159");
    });
}

/// As if nothing had been written to the log from one event to another.
fn without_log_between(image: &Image, events: &[Event], from: usize, to: usize) -> Vec<Event> {
    let each = events.iter().enumerate();
    let is_kept =
        |(i, it): &(usize, &Event)| !((from..=to).contains(i) && kind_of(image, it).is_some());
    renumbered(each.filter(is_kept).map(|it| it.1.clone()).collect())
}

#[test]
fn s164_no_block_is_converted_before_its_data_is_on_the_device() {
    for profile in ["ext4-4k", "ext4-1k", "bigalloc-4k"] {
        let Some(image) = file(profile, 0).image() else { return };
        let device = image.device();
        let stage = Stage::on(device.clone());
        stage.fs.fallocate(stage.ino, 0, 256 << 10, false).unwrap();
        stage.fs.close().unwrap();
        let base = Image::new(device.contents());
        let explorer = record(&base, |recorder| {
            let stage = Stage::on(recorder);
            for (i, sync) in [Sync::Data, Sync::None, Sync::Full, Sync::None].iter().enumerate() {
                let at = 65536 * i as u64 + 512;
                stage.write(Write { sync: *sync, ..Write::new(at, 20 << 10) }).unwrap();
            }
            stage.fs.close()
        });
        let mut explorer = explorer.unwrap();
        explorer.budget = Budget { states: 600, time: Duration::from_secs(30) };
        let recover = |device: Arc<dyn BlockDevice>| {
            super::stage::recover_at(&device).map_err(|err| err.to_string())
        };
        // A written block holds what was written there, and zeros around it: never what lay there.
        let check = |_: &_, device: &Arc<dyn BlockDevice>| {
            let face = Face::of(&**device).unwrap();
            let is_ours = |at: u64, sector: &[u8]| {
                sector == pattern(ID, 1, at, sector.len()) || sector.iter().all(|&it| it == 0)
            };
            let sectors = face.content.iter().flat_map(|(at, bytes)| {
                bytes.chunks(512).enumerate().map(move |(i, it)| (at + 512 * i as u64, it))
            });
            let wrong = sectors.filter(|(at, it)| !is_ours(*at, it)).map(|it| it.0);
            wrong.map(|at| Violation::new("stale", format!("byte {at}"))).take(3).collect()
        };
        let mut recovery = Recovery::new(&recover, &check);
        (recovery.e2fsck_every, recovery.kernel_every) = (50, 100);
        let report = recovery.explore(&explorer);
        report.expect_no_failure();
        assert!(report.distinct > 20, "{report}");
    }
}

#[test]
fn s156_freed_blocks_hold_nobodys_data_before_the_commit() {
    let recipe = file("ext4-4k", 40_960).write("/g", []);
    let Some(image) = recipe.image() else { return };
    let stage = Stage::new(&image);
    let runs = |ino| {
        let inode = stage.fs.inode(stage.fs.meta(), ino).unwrap();
        let mut blocks = BTreeSet::new();
        let (from, to) = (ext4_units::LogicalBlock(0), ext4_units::LogicalBlock(100));
        let each = |it: ext4_fs::Mapping| {
            blocks.extend(it.blocks().into_iter().flat_map(|run| run.iter().map(|blk| blk.0)));
            Ok(())
        };
        stage.fs.mappings(stage.fs.meta(), &inode, from, to, each).unwrap();
        blocks
    };
    let g = stage.fs.resolve(stage.fs.meta(), b"/g", ext4_fs::Last::Stay).unwrap().ino;
    let freed = runs(stage.ino);
    stage.fs.truncate(stage.ino, 0).unwrap();
    let request = Request::new(Offset::At(0), Some(40_960));
    let bytes = pattern(0x6, 1, 0, 40_960);
    DirectWrite::new(&stage.fs, g, request, &mut &bytes[..]).run().unwrap();
    assert!(runs(g).is_disjoint(&freed));
    // The old contents are whole if the truncation never happened.
    let face = stage.crash().recover();
    assert_eq!((face.size, face.bytes(0, 40_960)), (40_960, pattern(ID, 0, 0, 40_960)));
}

#[test]
fn s157_freed_tree_blocks_are_revoked() {
    let mut leaf = 0;
    let work = |stage: &Stage| {
        for i in 0..10 {
            stage.write(Write::new(i * 4096, 1024)).unwrap();
        }
        stage.fs.journal().checkpoint().unwrap();
        let view = View::new(&*stage.device).unwrap();
        let node = view.inode(view.paths().unwrap()[&PATH[1..]]).unwrap();
        leaf = view.map_blocks(&node).unwrap()[0];
        stage.write(Write { sync: Sync::Full, ..Write::new(100 * 4096, 1024) }).unwrap();
        stage.fs.truncate(stage.ino, 0).unwrap();
        stage.fs.commit().unwrap();
    };
    let Some(logged) = followed(&file("ext4-1k", 0), work) else { return };
    let holding = logged.iter().rposition(|it| it.homes.contains(&leaf)).unwrap();
    let revoking = logged.iter().position(|it| it.revoked.contains(&leaf)).unwrap();
    assert!(holding < revoking, "block {leaf}: {logged:?}");
}

#[test]
fn s158_a_small_log_takes_thousands_of_changes() {
    let work = |stage: &Stage| {
        for i in 0..1500_u32 {
            let at = u64::from(i % 300) * 2048;
            let sync = if i % 3 == 0 { Sync::Full } else { Sync::None };
            stage.write(Write { sync, generation: i, ..Write::new(at, 1024) }).unwrap();
        }
    };
    let Some(logged) = followed(&file("journal-1m", 0), work) else { return };
    // Round the log, and on.
    let blocks: usize = logged.iter().map(|it| it.homes.len() + 2).sum();
    assert!(blocks > 1500, "{blocks} log blocks");
}

#[test]
fn s162_two_extensions_in_one_transaction_are_one() {
    let recipe = file("ext4-4k", 4096).write("/g", pattern(0x6, 0, 0, 4096));
    let Some(image) = recipe.image() else { return };
    let explorer = record(&image, |recorder| {
        let stage = Stage::on(recorder);
        let g = stage.fs.resolve(stage.fs.meta(), b"/g", ext4_fs::Last::Stay)?.ino;
        stage.write(Write::new(4096, 8192)).unwrap();
        let bytes = pattern(0x6, 1, 4096, 8192);
        let request = Request::new(Offset::At(4096), Some(8192));
        DirectWrite::new(&stage.fs, g, request, &mut &bytes[..]).run().unwrap();
        stage.fs.close()
    });
    let mut explorer = explorer.unwrap();
    explorer.budget = Budget { states: 400, time: Duration::from_secs(30) };
    let recover = |device: Arc<dyn BlockDevice>| {
        super::stage::recover_at(&device).map_err(|err| err.to_string())
    };
    let check = |_: &_, device: &Arc<dyn BlockDevice>| {
        let view = View::new(&**device).unwrap();
        let paths = view.paths().unwrap();
        let size = |path: &str| view.inode(paths[path]).unwrap().size();
        match (size("f"), size("g")) {
            (4096, 4096) | (12288, 12288) => Vec::new(),
            sizes => vec![Violation::new("torn", format!("{sizes:?}"))],
        }
    };
    let mut recovery = Recovery::new(&recover, &check);
    recovery.e2fsck_every = 50;
    let report = recovery.explore(&explorer);
    report.expect_no_failure();
    assert!(report.distinct > 20, "{report}");
}

#[test]
fn s163_no_block_lies_behind_the_end_without_an_orphan_record() {
    if oracle::skip_without(&[oracle::Need::Debugfs]) {
        return;
    }
    for profile in ["ext4-4k", "orphan-4k", "ext3-4k"] {
        let Some(image) = file(profile, 8192).image() else { return };
        let device = image.overlay();
        let stage = Stage::on(device.clone());
        let mut seen = BTreeSet::new();
        stage.write_until(Write::new(8192, 65536), |step| {
            stage.fs.commit().unwrap();
            let raw = Crashed { device: Arc::new(device.fork()) }.replayed().unwrap();
            let view = View::new(&raw).unwrap();
            let node = view.inode(view.paths().unwrap()[&PATH[1..]]).unwrap();
            let runs = view.runs(&node).unwrap();
            let end = runs.last().map_or(0, |run| (run.lblk + run.len) * 4096);
            let orphans = format!("{:?}", ext4_testkit::judge::at_rest(&view));
            let is_orphan = view.sb.s_last_orphan.get() == node.ino || orphans.contains("slot");
            assert!(end <= node.size() || is_orphan, "{profile}, after {step:?}");
            // The record goes with the size.
            assert!(node.size() == 8192 || !is_orphan, "{profile}, after {step:?}");
            seen.insert((node.size(), end > node.size(), is_orphan));
            matches!(step, Step::Done(_))
        });
        let expected = [(8192, false, false), (8192, false, true), (8192, true, true)];
        let done = (8192 + 65536, false, false);
        assert_eq!(seen, expected.into_iter().chain([done]).collect(), "{profile}");
    }
}

#[test]
fn s165_a_synchronous_write_is_one_commit_at_most() {
    // By then the filesystem is marked as in use, and the times are of this second.
    let commits = |sync, at, len| {
        let image = file("ext4-4k", 16384).image()?;
        let recorder = Arc::new(Recorder::new(image.overlay()));
        let stage = Stage::on(recorder.clone());
        stage.write(Write { sync: Sync::Full, ..Write::new(0, 512) }).unwrap();
        let follower = Follower::new(&image);
        let before = recorder.n_events();
        stage.write(Write { sync, ..Write::new(at, len) }).unwrap();
        let events = recorder.events();
        let logged = follower.follow(&events).len();
        let old = Follower::new(&image).follow(&events[..before]).len();
        assert_eq!(
            Face::of(&*stage.crash().recovered().0).unwrap().size,
            16384.max(at + len as u64)
        );
        Some(logged - old)
    };
    let Some(n) = commits(Sync::Full, 4096, 4096) else { return };
    assert_eq!(n, 1, "an overwrite, with its times");
    assert_eq!(commits(Sync::Data, 4096, 4096), Some(0), "an overwrite's data");
    assert_eq!(commits(Sync::Data, 16384, 8192), Some(1), "an extension");
    assert_eq!(commits(Sync::Full, 16384, 8192), Some(1));
    assert_eq!(commits(Sync::Data, 32768, 512), Some(1), "a hole in front");
}
