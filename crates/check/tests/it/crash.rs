//! A repair that is cut while it is written. As a transaction of the journal it is there wholly or not
//! at all, whoever replays; in order, a second run completes it, and no file is lost that the uncut
//! repair keeps. An undo file takes back either.

use crate::{
    damage::CASES,
    kit::{Except, NOW},
};
use ext4_blockdev::{BlockDevice, Event, MemoryDevice, Overlay, Recorder};
use ext4_check::{
    Changes, Options, Outcome, Way, check,
    undo::{self, Rehearsal},
};
use ext4_fs::{RecoverOptions, Scope, recover_into};
use ext4_jbd2::Clock;
use ext4_ondisk::superblock::RawSuperblock;
use ext4_testkit::{
    crash::{self, CrashState},
    explore::{Budget, Explorer, Report, Violation},
    image::{Image, assert_clean},
    mount::Mount,
    oracle::{self, FsckMode, Need, skip_without},
    trace::{Step, Trace},
    view::View,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

const OPTIONS: Options = Options::new(NOW);

/// Of how many states another judge is asked about one.
const OTHERS_EVERY: u64 = 5;

/// How many cuts were looked at, and what they left.
#[derive(Default)]
struct Tally {
    images: AtomicU64,
    transactions: AtomicU64,
    states: AtomicU64,
    /// A file came to lost+found that the uncut repair leaves in its place.
    moved: AtomicU64,
    /// As before, once the journal was replayed; and repaired.
    old: AtomicU64,
    new: AtomicU64,
    e2fsck: AtomicU64,
    kernel: AtomicU64,
    taken_back: AtomicU64,
}

fn count(counter: &AtomicU64) -> u64 {
    counter.fetch_add(1, Ordering::Relaxed)
}

/// What is in each regular file.
fn files(device: &dyn BlockDevice) -> Result<BTreeMap<String, Vec<u8>>, String> {
    let read = || {
        let view = View::new(device)?;
        let mut files = BTreeMap::new();
        for (path, ino) in view.paths()? {
            let node = view.inode(ino)?;
            if node.file_type() == 0x8000 {
                let len = usize::try_from(node.size())?.min(1 << 22);
                files.insert(path, view.read(&node, 0, len)?);
            }
        }
        Ok(files)
    };
    read().map_err(|it: Box<dyn std::error::Error>| it.to_string())
}

/// A repair, and how it was written.
struct Repair {
    image: Image,
    way: Way,
    trace: Trace,
    undo: Vec<u8>,
    /// What is in the files when nothing is cut.
    uncut: BTreeMap<String, Vec<u8>>,
    /// The sectors that are changed, by byte, with what they become: without the superblock, and what
    /// is written before the first flush, which nobody uses yet.
    changed: BTreeMap<u64, Vec<u8>>,
}

impl Repair {
    fn of(image: &Image, is_in_order: bool) -> Option<Self> {
        let mut image = image.clone();
        let recovered = recovered(image.overlay());
        if let Some(recovered) = recovered {
            image = copy(&recovered);
        }
        let overlay = image.overlay();
        let mut outcome = Outcome::default();
        check(&overlay, &OPTIONS, &mut Except(&[]), &mut outcome).ok()?;
        let changes = Changes::new(&overlay, &image, &outcome).unwrap();
        if changes.is_empty() || outcome.left > 0 {
            return None;
        }
        let rehearsal = Arc::new(Rehearsal::new(image.device()));
        let write = |device: Arc<dyn BlockDevice>| {
            let way = if is_in_order {
                changes.write_in_order(&*device, "wanted so")
            } else {
                changes.write(&device, NOW)
            };
            way.unwrap()
        };
        let way = write(Arc::clone(&rehearsal) as _);
        let mut undo = Vec::new();
        rehearsal.save(&mut undo).unwrap();
        let recorder = Arc::new(Recorder::new(Arc::new(MemoryDevice::new(image.bytes().to_vec()))));
        write(Arc::clone(&recorder) as _);
        let events = recorder.take_events();
        let first = events.iter().take_while(|it| !matches!(it, Event::Flush { .. }));
        let first: BTreeSet<u64> = first.flat_map(sectors).collect();
        let changed = overlay.written_sectors().into_iter().filter(|at| !first.contains(at));
        let changed = changed.map(|at| (at, sector(&*overlay, at)));
        let changed = changed.filter(|(at, new)| *new != sector(&image, *at)).collect();
        let uncut = files(&*overlay).ok()?;
        Some(Self { way, trace: Trace::of_events(&events), undo, uncut, changed, image })
    }

    /// Whether all is as before, or all repaired.
    fn is_old_or_new(&self, device: &dyn BlockDevice) -> [bool; 2] {
        let is_all =
            |like: &dyn Fn(u64, &[u8]) -> bool| self.changed.iter().all(|(at, new)| like(*at, new));
        [
            is_all(&|at, _new| sector(device, at) == sector(&self.image, at)),
            is_all(&|at, new| sector(device, at) == new),
        ]
    }

    fn judge(&self, state: &CrashState, tally: &Tally) -> Vec<Violation> {
        let mut violations = Vec::new();
        let nr = count(&tally.states);
        if let Err(err) = self.take_back(state) {
            violations.push(Violation::new("undo", err));
        }
        count(&tally.taken_back);
        let device = state.device();
        let device = recovered(Arc::clone(&device)).unwrap_or(device);
        let [is_old, is_new] = self.is_old_or_new(&*device);
        if self.way == Way::Transaction {
            if !is_old && !is_new {
                violations.push(Violation::new("between", "neither as before nor repaired"));
            }
            tally.old.fetch_add(u64::from(is_old), Ordering::Relaxed);
            tally.new.fetch_add(u64::from(is_new), Ordering::Relaxed);
            // A superblock of which half was written is made whole by us alone.
            if is_new && nr.is_multiple_of(OTHERS_EVERY) && has_whole_superblock(state) {
                violations.extend(self.ask_others(state, tally));
            }
        }
        violations.extend(self.run_again(&device, tally));
        violations
    }

    /// Takes the cut repair back.
    fn take_back(&self, state: &CrashState) -> Result<(), String> {
        let device = state.device();
        undo::restore(&mut self.undo.as_slice(), &*device).map_err(|it| it.to_string())?;
        let is_same = copy(&device).bytes() == self.image.bytes();
        if is_same { Ok(()) } else { Err("other bytes than before the repair".to_owned()) }
    }

    /// What e2fsck and the kernel make of the log of a repair that is there. (What they make of one that
    /// is not says how they repair, not how they replay.)
    fn ask_others(&self, state: &CrashState, tally: &Tally) -> Vec<Violation> {
        let mut violations = Vec::new();
        let scratch = oracle::scratch().unwrap();
        let file = scratch.path().join("image");
        state.image().save(&file).unwrap();
        oracle::e2fsck(&file, FsckMode::Repair).unwrap();
        count(&tally.e2fsck);
        if !oracle::e2fsck(&file, FsckMode::Check).unwrap().is_clean() {
            violations.push(Violation::new("e2fsck -fy", "not clean after it"));
        }
        let after = Image::load(&file).unwrap();
        if files(&after).as_ref() != Ok(&self.uncut) {
            violations.push(Violation::new("e2fsck -fy", "other files than after the repair"));
        }
        if Need::Kernel.is_here() {
            state.image().save(&file).unwrap();
            // Read-only the loop device would be too, and nothing replayed.
            let replayed = Mount::new(&file, "noinit_itable").and_then(Mount::unmount);
            count(&tally.kernel);
            if let Err(err) = replayed {
                violations.push(Violation::new("kernel", err.to_string()));
            } else if !self.is_old_or_new(&Image::load(&file).unwrap())[1] {
                violations.push(Violation::new("kernel", "it replays otherwise"));
            }
        }
        violations
    }

    /// What a second run comes to.
    fn run_again(&self, device: &Arc<Overlay>, tally: &Tally) -> Vec<Violation> {
        let mut outcome = Outcome::default();
        if let Err(err) = check(device, &OPTIONS, &mut Except(&[]), &mut outcome) {
            return vec![Violation::new("check", err.to_string())];
        }
        let mut violations = Vec::new();
        if outcome.left > 0 {
            violations.push(Violation::new("left", format!("{:?}", outcome.findings.last())));
        }
        if let Err(err) = assert_clean(&**device) {
            violations.push(Violation::new("e2fsck", err.to_string()));
        }
        let found = match files(&**device) {
            Ok(found) => found,
            Err(err) => {
                violations.push(Violation::new("unreadable", err));
                return violations;
            }
        };
        let mut is_moved = false;
        for (path, contents) in self.uncut.iter().filter(|(path, it)| found.get(*path) != Some(it))
        {
            // A file that is given a copy of the superblock has it with the mark or without.
            if contents.is_empty() || contents.get(56..58) == Some(&[0x53, 0xEF]) {
                continue;
            }
            let is_there = |(at, it): (&String, &Vec<u8>)| {
                at.trim_start_matches('/').starts_with("lost+found") && it == contents
            };
            if self.way != Way::Transaction && found.iter().any(is_there) {
                is_moved = true;
            } else {
                let what = format!("{path} is gone; there are {:?}", found.keys());
                violations.push(Violation::new("lost", what));
            }
        }
        tally.moved.fetch_add(u64::from(is_moved), Ordering::Relaxed);
        violations
    }
}

/// The device as recovery leaves it, as the program does it; `None` where it changes nothing.
fn recovered(mut device: Arc<Overlay>) -> Option<Arc<Overlay>> {
    let mut is_changed = false;
    for scope in [Scope::Replay, Scope::Possible] {
        let next = Arc::new(device.fork());
        let mut options = RecoverOptions::new(Clock::fixed(Duration::from_secs(NOW)));
        options.scope = scope;
        let mut report = ext4_fs::Report::default();
        let as_device: Arc<dyn BlockDevice> = Arc::clone(&next) as _;
        let result =
            recover_into(&as_device, &options, &mut report).and_then(ext4_fs::Filesystem::close);
        if result.is_err() {
            break;
        }
        if !report.is_clean() {
            (device, is_changed) = (next, true);
        }
    }
    is_changed.then_some(device)
}

fn has_whole_superblock(state: &CrashState) -> bool {
    let image = state.image();
    let raw = RawSuperblock::of(&image.bytes()[1024..]);
    raw.is_some_and(|raw| !raw.has_checksum() || raw.s_checksum.get() == raw.checksum())
}

fn copy(device: &Overlay) -> Image {
    let mut bytes = vec![0; usize::try_from(device.len()).unwrap()];
    device.read_at(0, &mut bytes).unwrap();
    Image::new(bytes)
}

/// The bytes of a sector.
fn sector(device: &dyn BlockDevice, at: u64) -> Vec<u8> {
    let len = device.len().saturating_sub(at).min(512);
    let mut bytes = vec![0; usize::try_from(len).unwrap()];
    device.read_at(at, &mut bytes).unwrap();
    bytes
}

/// Where the sectors of a write begin, and those of the superblock.
fn sectors(event: &Event) -> Vec<u64> {
    let Event::Write { offset, data, .. } = event else { return Vec::new() };
    let end = offset + data.len() as u64;
    (offset / 512 * 512..end).step_by(512).collect()
}

/// Cuts the repair of `image` at the states of a plan, written as it is or in order in any case.
fn cut(image: &Image, is_in_order: bool, budget: Budget, tally: &Tally) -> Option<Report> {
    let repair = Repair::of(image, is_in_order)?;
    count(&tally.images);
    tally.transactions.fetch_add(u64::from(repair.way == Way::Transaction), Ordering::Relaxed);
    let mut explorer = Explorer::new(repair.image.clone(), repair.trace.clone());
    explorer.budget = budget;
    let epochs =
        1 + repair.trace.steps.iter().filter(|it| matches!(it, Step::Flush { .. })).count();
    explorer.plan = crash::Plan {
        subsets_up_to: 5,
        pairs: 10,
        singles: 20,
        random: 10,
        torn_writes: 6,
        sector_masks: 8,
        states_per_epoch: (budget.states / epochs as u64).max(2),
        ..crash::Plan::default()
    };
    Some(explorer.run(&|state| repair.judge(state, tally)))
}

/// States that are looked at of each image, for `EXT4_CUTS` to be made more.
fn budget() -> Budget {
    let states = std::env::var("EXT4_CUTS").ok().and_then(|it| it.parse().ok()).unwrap_or(12);
    Budget { states, time: Duration::from_mins(2) }
}

#[expect(clippy::print_stdout, reason = "figures for who runs it by hand")]
fn judge_all(images: impl Iterator<Item = (String, Image)>) {
    let (tally, mut complaints) = (Tally::default(), Vec::new());
    for (name, image) in images {
        for is_in_order in [false, true] {
            let report = cut(&image, is_in_order, budget(), &tally);
            if let Some(report) = report.filter(|it| it.n_failures > 0) {
                let way = if is_in_order { "in order" } else { "as it is" };
                complaints.push(format!("{name}, {way}: {report}"));
            }
        }
    }
    let Tally { images, transactions, states, moved, old, new, e2fsck, kernel, taken_back } = tally;
    println!(
        "{images:?} repairs, {transactions:?} of them as a transaction; {states:?} cuts: after the \
         replay of a transaction {old:?} as before, {new:?} repaired (e2fsck asked about {e2fsck:?}, \
         the kernel about {kernel:?}); {moved:?} with a file in lost+found; {taken_back:?} taken back"
    );
    let states = states.into_inner();
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
    assert!(states > 0, "nothing was looked at");
}

#[test]
fn a_cut_repair_is_mended_by_the_next_run_and_loses_no_file() {
    if skip_without(&[Need::E2fsck, Need::Debugfs, Need::Mke2fs]) {
        return;
    }
    judge_all(CASES.iter().filter_map(|it| Some((it.name.to_owned(), it.image()?))));
}

/// The images in the folder that `EXT4_DAMAGED` names, each unpacked, with `.img` in the end.
#[test]
fn cut_repairs_of_other_peoples_damage_lose_no_file() {
    let Some(folder) = std::env::var_os("EXT4_DAMAGED").map(PathBuf::from) else {
        println!("skipped: EXT4_DAMAGED names no folder of damaged images");
        return;
    };
    if skip_without(&[Need::E2fsck]) {
        return;
    }
    let mut paths: Vec<_> =
        std::fs::read_dir(folder).unwrap().map(|it| it.unwrap().path()).collect();
    paths.retain(|it| it.extension().is_some_and(|it| it == "img"));
    paths.sort();
    judge_all(paths.iter().map(|it| (it.display().to_string(), Image::load(it).unwrap())));
}
