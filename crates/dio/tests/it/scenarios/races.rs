//! 83 to 95, and their like: several writers on one file, a step of one between two of another. The
//! thread of review in which the write path was made is about these.

use super::{
    ID, PATH, Write, errno,
    face::Face,
    kernel,
    stage::{Stage, file},
};
use ext4_blockdev::{AlignedBuf, BlockDevice, Fault, FaultDevice, Op as DeviceOp};
use ext4_dio::{
    Blocked, BufferedWrite, DirectWrite, LockMode, Offset, Outcome, Plan, Request, Step, Submitter,
    Sync,
};
use ext4_fs::{MapState, NewFile, OrphanFate, Writeback};
use ext4_testkit::{image::Recipe, judge, model::pattern};
use ext4_units::{InodeNr, LogicalBlock};
use std::{sync::Arc, thread};

/// Where delayed data lies in the thread's examples, and its end.
const DELAYED: u64 = 16384;
const DELAYED_END: u64 = 20480;

/// Goes on until a step is like that.
#[track_caller]
fn until(write: &mut DirectWrite<'_>, is_it: impl Fn(&Step) -> bool) -> Step {
    loop {
        let step = write.step().expect("a step");
        if is_it(&step) {
            return step;
        }
        assert!(!matches!(step, Step::Done(_) | Step::Blocked(_)), "{step:?}");
    }
}

/// Goes on to the end; returns the steps on the way.
#[track_caller]
fn finish(write: &mut DirectWrite<'_>) -> (Vec<Step>, Outcome) {
    let mut steps = Vec::new();
    loop {
        match write.step().expect("a step") {
            Step::Done(outcome) => return (steps, outcome),
            step => {
                assert!(!matches!(step, Step::Blocked(_)), "{step:?}");
                steps.push(step);
            }
        }
    }
}

fn is_submitted(step: &Step) -> bool {
    matches!(step, Step::Submitted { .. })
}

fn is_unlocked(step: &Step) -> bool {
    matches!(step, Step::Unlocked)
}

#[track_caller]
fn checked(write: &mut DirectWrite<'_>) -> Plan {
    match until(write, |it| matches!(it, Step::Checked(Some(_)))) {
        Step::Checked(Some(plan)) => plan,
        step => panic!("{step:?}"),
    }
}

impl Stage {
    /// A write into pages.
    #[track_caller]
    fn buffered(&self, write: Write) {
        let (request, bytes) = self.request(&write);
        let done = BufferedWrite::new(&self.fs, self.ino, request, &mut &bytes[..]).run();
        assert_eq!(done.expect("a buffered write").written, write.len as u64);
    }

    /// What a flusher thread does to the delayed data.
    fn write_back(&self) -> ext4_fs::Result<()> {
        Writeback::new(&self.fs, self.ino, 0..u64::MAX).run()
    }

    fn sizes(&self) -> (u64, u64) {
        let inode = self.fs.inode(self.fs.meta(), self.ino).unwrap();
        (inode.i_size, inode.i_disksize())
    }

    #[track_caller]
    fn assert_invariants(&self) {
        assert_eq!(self.fs.check_incore(self.ino).unwrap(), Vec::<String>::new());
    }

    fn read(&self, at: u64, len: usize) -> Vec<u8> {
        let inode = self.fs.inode(self.fs.meta(), self.ino).unwrap();
        let mut bytes = vec![0; len];
        let n = self.fs.read_at(self.fs.meta(), &inode, at, &mut bytes).unwrap();
        bytes.truncate(n);
        bytes
    }
}

/// A new file, and another one for the kernel's commits.
fn two_files() -> Recipe {
    file("ext4-4k", 0).write("/g", pattern(ID, 9, 0, 4096))
}

/// The direct write of the thread's examples: below the delayed data, beyond the size on disk.
const BELOW: Write = Write::new(4096, 4096);

/// Guan's case by the kernel, and by us: both crash with the delayed data in memory only.
#[track_caller]
fn guan(commits: bool) -> Option<(Face, Option<Face>)> {
    let image = two_files().image()?;
    let stage = Stage::new(&image);
    stage.buffered(Write::new(DELAYED, 4096));
    assert_eq!(stage.sizes(), (DELAYED_END, 0));
    stage.write(BELOW).unwrap();
    assert_eq!(stage.sizes(), (DELAYED_END, 8192));
    assert!(!stage.fs.is_orphan(stage.ino));
    let crashed = if commits { stage.crash_committed() } else { stage.crash() };
    let ours = crashed.recover();
    let theirs = kernel::is_here().then(|| {
        let image = kernel::crash(&image, commits, |path| {
            use std::os::unix::fs::FileExt as _;
            let file = std::fs::OpenOptions::new().write(true).open(path)?;
            file.write_all_at(&pattern(ID, 1, DELAYED, 4096), DELAYED)?;
            kernel::write_directly(path, &BELOW)
        });
        Face::of(&kernel::recover(&image.unwrap()).unwrap()).unwrap()
    });
    Some((ours, theirs))
}

#[test]
fn s83_delayed_data_that_is_never_written_back_leaves_the_size_of_the_direct_write() {
    // Eryu Guan's case (45d8ec4d9fd54): the blocks of the direct write were in the log, the size on
    // disk still 0.
    let Some((ours, theirs)) = guan(true) else { return };
    assert_eq!((ours.size, &*ours.shape), (8192, "W1"));
    assert_eq!(ours.bytes(4096, 4096), pattern(ID, 1, 4096, 4096));
    if let Some(theirs) = theirs {
        assert_eq!((theirs.size, theirs.shape, theirs.content), (8192, ours.shape, ours.content));
    }
}

#[test]
fn s83_a_writeback_that_fails_loses_no_more_than_its_own_data() {
    let Some(image) = two_files().image() else { return };
    let device = Arc::new(FaultDevice::new(image.overlay(), []));
    let stage = Stage::on(device.clone());
    stage.buffered(Write::new(DELAYED, 4096));
    stage.write(BELOW).unwrap();
    stage.fs.commit().unwrap();
    device.add(Fault::from(DeviceOp::Write, device.counts().writes + 1));
    assert_eq!(stage.write_back().unwrap_err().errno(), errno::EIO);
    assert_eq!(stage.fs.fsync(stage.ino, false).unwrap_err().errno(), errno::EIO);
    let face = stage.crash().recover();
    assert_eq!((face.size, &*face.shape), (8192, "W1"));
}

#[test]
fn s84_without_a_commit_nothing_of_both_writes_is_left() {
    let Some((ours, theirs)) = guan(false) else { return };
    assert_eq!((ours.size, &*ours.shape), (0, ""));
    if let Some(theirs) = theirs {
        assert_eq!((theirs.size, &*theirs.shape), (0, ""));
    }
}

#[test]
fn s85_a_writeback_afterwards_brings_the_whole_size() {
    let Some(image) = two_files().image() else { return };
    let stage = Stage::new(&image);
    stage.buffered(Write::new(DELAYED, 4096));
    stage.write(BELOW).unwrap();
    stage.write_back().unwrap();
    assert_eq!(stage.sizes(), (DELAYED_END, DELAYED_END));
    stage.assert_invariants();
    let face = stage.crash_committed().recover();
    assert_eq!((face.size, &*face.shape), (DELAYED_END, "W1 W4"));
    assert_eq!(face.bytes(DELAYED, 4096), pattern(ID, 1, DELAYED, 4096));
}

/// Kara's race up to the writeback, which passes the direct write's end between its submission and
/// its completion.
fn kara(stage: &Stage, act: impl FnOnce(&mut DirectWrite<'_>, Plan)) {
    stage.buffered(Write::new(DELAYED, 4096));
    let (request, bytes) = stage.request(&BELOW);
    let mut source = &bytes[..];
    let mut write = DirectWrite::new(&stage.fs, stage.ino, request, &mut source);
    let plan = checked(&mut write);
    until(&mut write, is_submitted);
    assert!(stage.fs.is_orphan(stage.ino));
    stage.write_back().unwrap();
    assert_eq!(stage.sizes(), (DELAYED_END, DELAYED_END));
    act(&mut write, plan);
}

#[test]
fn s86_a_writeback_in_the_middle_leaves_no_orphan_record() {
    for profile in ["ext4-4k", "orphan-4k"] {
        let Some(image) = file(profile, 0).image() else { return };
        let stage = Stage::new(&image);
        kara(&stage, |write, _| {
            let (steps, outcome) = finish(write);
            assert_eq!(outcome.written, 4096);
            assert!(!steps.iter().any(|it| matches!(it, Step::Sized { .. })), "{steps:?}");
            assert!(steps.contains(&Step::OrphanRemoved), "{steps:?}");
        });
        assert!(!stage.fs.is_orphan(stage.ino), "{profile}");
        assert_eq!(stage.sizes(), (DELAYED_END, DELAYED_END));
        let (face, report) = stage.crash_committed().recover_with_report();
        assert!(report.orphans.is_empty(), "{profile}: {report:?}");
        assert_eq!((face.size, &*face.shape), (DELAYED_END, "W1 W4"), "{profile}");
    }
}

#[test]
fn s87_a_crash_before_the_record_goes_keeps_all_that_was_written_back() {
    let Some(image) = file("ext4-4k", 0).image() else { return };
    let stage = Stage::new(&image);
    kara(&stage, |_, _| stage.fs.commit().unwrap());
    let (face, report) = stage.crash().recover_with_report();
    assert_eq!(report.orphans.len(), 1, "{report:?}");
    assert_eq!((face.size, &*face.shape), (DELAYED_END, "U1 W4"));
    assert_eq!(face.bytes(DELAYED, 4096), pattern(ID, 1, DELAYED, 4096));
}

#[test]
fn s88_a_crash_with_nothing_but_the_record_leaves_nothing() {
    let Some(image) = file("ext4-4k", 0).image() else { return };
    let stage = Stage::new(&image);
    stage.buffered(Write::new(DELAYED, 4096));
    stage.write_until(BELOW, |it| matches!(it, Step::OrphanAdded));
    let (face, report) = stage.crash_committed().recover_with_report();
    assert_eq!(report.orphans.len(), 1, "{report:?}");
    assert_eq!((face.size, &*face.shape), (0, ""));
}

#[test]
fn s89_the_size_on_disk_decides_what_extends() {
    // A test of i_size alone would say no, and then 83 ends with blocks beyond the size on disk.
    let Some(image) = file("ext4-4k", 0).image() else { return };
    let stage = Stage::new(&image);
    stage.buffered(Write::new(DELAYED, 4096));
    let (request, bytes) = stage.request(&BELOW);
    let mut source = &bytes[..];
    let mut write = DirectWrite::new(&stage.fs, stage.ino, request, &mut source);
    let plan = checked(&mut write);
    let (i_size, i_disksize) = stage.sizes();
    let end = plan.pos + plan.len.unwrap();
    assert!(plan.extends && end <= i_size && end > i_disksize, "{plan:?}");
    // What would be on disk without: this write's blocks, committed, and the size as it is.
    until(&mut write, |it| matches!(it, Step::Converted { .. }));
    drop(write);
    stage.fs.commit().unwrap();
    let mapped = {
        let inode = stage.fs.inode(stage.fs.meta(), stage.ino).unwrap();
        stage.fs.lookup(stage.fs.meta(), &inode, LogicalBlock(1)).unwrap()
    };
    assert!(matches!(mapped.state, MapState::Written(_)) && stage.sizes().1 == 0);
    assert!(stage.fs.is_orphan(stage.ino), "the record is all that saves it");
    let face = stage.crash().recover();
    assert_eq!((face.size, &*face.shape), (0, ""));
}

#[test]
fn s90_who_added_the_record_removes_it_even_if_nothing_extends_any_more() {
    // If it went only with a size that is raised, it would stay here for ever.
    let Some(image) = file("ext4-4k", 0).image() else { return };
    let stage = Stage::new(&image);
    kara(&stage, |write, plan| {
        until(write, |it| matches!(it, Step::Converted { .. }));
        let (i_size, i_disksize) = stage.sizes();
        let end = plan.pos + plan.len.unwrap();
        assert!(end <= i_size && end <= i_disksize, "nothing extends at the end");
        assert!(stage.fs.is_orphan(stage.ino));
        assert_eq!(write.step().unwrap(), Step::OrphanRemoved);
        assert!(!stage.fs.is_orphan(stage.ino));
    });
}

#[test]
fn s91_a_write_below_both_sizes_does_not_mind_what_is_delayed_beyond() {
    let Some(image) = file("ext4-4k", 8192).image() else { return };
    let stage = Stage::new(&image);
    stage.buffered(Write { generation: 2, ..Write::new(DELAYED, 4096) });
    let (request, bytes) = stage.request(&Write { generation: 3, ..Write::new(0, 8192) });
    let mut source = &bytes[..];
    let mut write = DirectWrite::new(&stage.fs, stage.ino, request, &mut source);
    let (steps, _) = finish(&mut write);
    let no =
        |it: &Step| matches!(it, Step::OrphanAdded | Step::Sized { .. } | Step::Flushed { .. });
    assert!(!steps.iter().any(no), "{steps:?}");
    assert_eq!(stage.sizes(), (DELAYED_END, 8192));
    drop(write);
    let face = stage.crash_committed().recover();
    assert_eq!((face.size, face.bytes(0, 8192)), (8192, pattern(ID, 3, 0, 8192)));
}

#[test]
fn s92_nothing_truncates_between_the_data_and_the_size() {
    let Some(image) = file("ext4-4k", 8192).image() else { return };
    let stage = Stage::new(&image);
    let (request, bytes) = stage.request(&Write::new(8192, 8192));
    let mut source = &bytes[..];
    let mut write = DirectWrite::new(&stage.fs, stage.ino, request, &mut source);
    until(&mut write, |it| matches!(it, Step::Drained));
    assert!(stage.fs.incore(stage.ino).try_lock(LockMode::Exclusive).is_none());
    thread::scope(|scope| {
        let truncate = scope.spawn(|| stage.fs.truncate(stage.ino, 1000));
        let (steps, _) = finish(&mut write);
        assert!(steps.contains(&Step::Sized { size: 16384 }), "{steps:?}");
        truncate.join().unwrap().unwrap();
    });
    drop(write);
    let face = stage.close();
    assert_eq!((face.size, &*face.shape), (1000, "W0"));
}

#[test]
fn s92_truncate_waits_for_transfers_whose_lock_is_free() {
    let Some(image) = file("ext4-4k", 16384).image() else { return };
    let stage = Stage::new(&image);
    let (request, bytes) = stage.request(&Write::new(8192, 4096));
    let mut source = &bytes[..];
    let request = Request { is_async: true, ..request };
    let mut write = DirectWrite::new(&stage.fs, stage.ino, request, &mut source);
    until(&mut write, is_unlocked);
    let incore = stage.fs.incore(stage.ino);
    assert!(incore.try_lock(LockMode::Exclusive).is_some());
    assert_eq!(incore.dio_in_flight(), 1);
    thread::scope(|scope| {
        let truncate = scope.spawn(|| stage.fs.truncate(stage.ino, 4096));
        while incore.try_lock(LockMode::Shared).is_some() {
            thread::yield_now();
        }
        assert!(!truncate.is_finished(), "it has the lock, and waits");
        assert_eq!(stage.sizes(), (16384, 16384));
        finish(&mut write);
        truncate.join().unwrap().unwrap();
    });
    drop(write);
    let face = stage.close();
    assert_eq!((face.size, &*face.shape), (4096, "W0"));
}

/// While a write waits for the lock its file is deleted, and another gets the number.
#[test]
fn a_write_that_waits_does_not_go_into_another_file_of_the_same_number() {
    const ESTALE: i32 = 116;
    for is_buffered in [false, true] {
        let Some(image) = file("ext4-4k", 8192).image() else { return };
        let stage = Stage::new(&image);
        let (request, bytes) = stage.request(&Write::new(0, 4096));
        let mut source = &bytes[..];
        let mut twin = &bytes[..];
        let mut direct = DirectWrite::new(&stage.fs, stage.ino, request, &mut source);
        let mut buffered = BufferedWrite::new(&stage.fs, stage.ino, request, &mut twin);
        let mut step = || if is_buffered { buffered.step() } else { direct.step() };
        let held = stage.fs.incore(stage.ino).lock(LockMode::Exclusive);
        assert!(matches!(step().unwrap(), Step::Blocked(Blocked::Lock(_))));
        drop(held);
        stage.fs.unlink(InodeNr::ROOT, &PATH.as_bytes()[1..]).unwrap();
        let new = NewFile::of_root(0o644);
        assert_eq!(stage.fs.create(InodeNr::ROOT, b"other", &new).unwrap(), stage.ino);
        let err = loop {
            match step() {
                Ok(Step::Locked(_)) => {}
                Ok(step) => panic!("{step:?}"),
                Err(err) => break err,
            }
        };
        assert_eq!(err.errno(), ESTALE, "{err}");
        assert_eq!(stage.size(), 0);
    }
}

#[test]
fn s93_an_overwrite_that_ends_leaves_the_record_of_another() {
    let Some(image) = file("ext4-4k", 8192).image() else { return };
    let stage = Stage::new(&image);
    let (request, bytes) = stage.request(&Write::new(0, 4096));
    let mut source = &bytes[..];
    let request = Request { is_async: true, ..request };
    let mut overwrite = DirectWrite::new(&stage.fs, stage.ino, request, &mut source);
    until(&mut overwrite, is_unlocked);

    let (request, bytes) = stage.request(&Write::new(8192, 8192));
    let mut source = &bytes[..];
    let mut extension = DirectWrite::new(&stage.fs, stage.ino, request, &mut source);
    until(&mut extension, |it| matches!(it, Step::OrphanAdded));
    let (steps, _) = finish(&mut overwrite);
    assert!(!steps.contains(&Step::OrphanRemoved), "{steps:?}");
    assert!(stage.fs.is_orphan(stage.ino), "it is not the overwrite's");
    let (steps, _) = finish(&mut extension);
    assert!(steps.contains(&Step::Sized { size: 16384 }), "{steps:?}");
    assert!(!stage.fs.is_orphan(stage.ino));
    drop((overwrite, extension));
    let face = stage.close();
    assert_eq!((face.size, face.bytes(0, 4096)), (16384, pattern(ID, 1, 0, 4096)));
}

#[test]
fn s94_delayed_data_in_the_range_is_flushed_and_then_overwritten() {
    let Some(image) = file("ext4-4k", 0).image() else { return };
    let stage = Stage::new(&image);
    stage.buffered(Write::new(4096, 4096));
    stage.buffered(Write::new(65536, 4096));
    let (request, bytes) = stage.request(&Write { generation: 2, ..Write::new(0, 16384) });
    let mut source = &bytes[..];
    let mut write = DirectWrite::new(&stage.fs, stage.ino, request, &mut source);
    assert_eq!(stage.sizes(), (69632, 0));
    until(&mut write, |it| matches!(it, Step::Flushed { .. }));
    assert_eq!(stage.sizes(), (69632, 8192), "as far as the range, and no further");
    assert!(!stage.fs.has_pages(stage.ino, 0..16384) && stage.fs.has_pages(stage.ino, 0..69632));
    finish(&mut write);
    assert_eq!(stage.read(0, 16384), bytes);
    assert_eq!(stage.sizes(), (69632, 16384));
    drop(write);
    let face = stage.crash_committed().recover();
    assert_eq!((face.size, face.bytes(0, 16384)), (16384, pattern(ID, 2, 0, 16384)));
}

#[test]
fn s95_a_page_that_cannot_be_dropped_sends_the_whole_write_the_buffered_way() {
    let Some(image) = file("ext4-4k", 0).image() else { return };
    let stage = Stage::new(&image);
    stage.buffered(Write::new(4096, 4096));
    assert!(stage.fs.pin_page(stage.ino, LogicalBlock(1), true));
    let (request, bytes) = stage.request(&Write { generation: 2, ..Write::new(0, 16384) });
    let mut source = &bytes[..];
    let mut write = DirectWrite::new(&stage.fs, stage.ino, request, &mut source);
    let (steps, outcome) = finish(&mut write);
    assert!(steps.contains(&Step::Flushed { is_clear: false }), "{steps:?}");
    assert_eq!((outcome.written, outcome.buffered), (16384, 16384));
    assert!(!stage.fs.is_orphan(stage.ino));
    assert_eq!(stage.read(0, 16384), bytes);
    stage.fs.pin_page(stage.ino, LogicalBlock(1), false);
    drop(write);
    // It was flushed to the device, whatever stays in memory.
    let face = stage.crash_committed().recover();
    assert_eq!((face.size, face.bytes(0, 16384)), (16384, bytes));
}

#[test]
fn s29_what_may_not_wait_does_not_wait_for_a_lock_nor_for_pages() {
    let Some(image) = file("ext4-4k", 16384).image() else { return };
    let stage = Stage::new(&image);
    let nowait = Write { nowait: true, ..Write::new(0, 4096) };
    let held = stage.fs.incore(stage.ino).lock(LockMode::Exclusive);
    assert_eq!(stage.write(nowait).unwrap_err().errno(), errno::EAGAIN);
    drop(held);
    stage.buffered(Write { generation: 3, ..Write::new(0, 4096) });
    assert_eq!(stage.write(nowait).unwrap_err().errno(), errno::EAGAIN);
    stage.write_back().unwrap();
    assert_eq!(stage.write(nowait).unwrap_err().errno(), errno::EAGAIN, "clean ones as well");
    stage.write(Write { nowait: true, ..Write::new(4096, 4096) }).unwrap();
    assert!(stage.fs.invalidate_pages(stage.ino, 0..4096));
    stage.write(nowait).unwrap();
    assert_eq!(stage.close().bytes(0, 4096), pattern(ID, 1, 0, 4096));
}

#[test]
fn two_unaligned_writers_fill_one_unwritten_block_one_after_the_other() {
    // Together, each would zero what the other writes (xfstests generic/538).
    let Some(image) = file("ext4-4k", 0).image() else { return };
    let stage = Stage::new(&image);
    stage.fs.fallocate(stage.ino, 0, 65536, false).unwrap();
    let (first, second) = (Write::new(8192, 512), Write::new(8192 + 2048, 1024));
    let (request, bytes) = stage.request(&first);
    let mut source = &bytes[..];
    let request = Request { is_async: true, ..request };
    let mut one = DirectWrite::new(&stage.fs, stage.ino, request, &mut source);
    until(&mut one, is_submitted);
    let (request, bytes) = stage.request(&second);
    let mut source = &bytes[..];
    let mut two = DirectWrite::new(&stage.fs, stage.ino, request, &mut source);
    assert!(matches!(two.step().unwrap(), Step::Blocked(Blocked::Lock(_))));
    // Synchronous whatever was asked for: the lock is kept up to the end.
    let (steps, _) = finish(&mut one);
    assert!(matches!(steps.last(), Some(Step::Unlocked)), "{steps:?}");
    finish(&mut two);
    drop((one, two));
    let face = stage.close();
    assert_eq!(face.bytes(8192, 512), pattern(ID, 1, 8192, 512));
    assert_eq!(face.bytes(8192 + 512, 1536), [0; 1536]);
    assert_eq!(face.bytes(8192 + 2048, 1024), pattern(ID, 1, 8192 + 2048, 1024));
}

#[test]
fn an_unaligned_writer_waits_for_aligned_ones_in_flight_to_the_same_unwritten_block() {
    let Some(image) = file("ext4-4k", 0).image() else { return };
    let stage = Stage::new(&image);
    stage.fs.fallocate(stage.ino, 0, 65536, false).unwrap();
    let (request, bytes) = stage.request(&Write::new(8192, 4096));
    let mut source = &bytes[..];
    let request = Request { is_async: true, ..request };
    let mut one = DirectWrite::new(&stage.fs, stage.ino, request, &mut source);
    until(&mut one, is_unlocked);
    let (request, bytes) = stage.request(&Write { generation: 2, ..Write::new(8704, 512) });
    let mut source = &bytes[..];
    let mut two = DirectWrite::new(&stage.fs, stage.ino, request, &mut source);
    until(&mut two, |it| matches!(it, Step::Checked(_)));
    assert_eq!(two.step().unwrap(), Step::Blocked(Blocked::Dio));
    finish(&mut one);
    finish(&mut two);
    drop((one, two));
    let face = stage.close();
    assert_eq!(face.bytes(8192, 512), pattern(ID, 1, 8192, 512));
    assert_eq!(face.bytes(8704, 512), pattern(ID, 2, 8704, 512));
    assert_eq!(face.bytes(9216, 3072), pattern(ID, 1, 9216, 3072));
}

#[test]
fn two_writers_of_one_written_block_write_their_own_sectors_and_nothing_else() {
    let Some(image) = file("ext4-4k", 8192).image() else { return };
    let stage = Stage::new(&image);
    let places = [
        Write { generation: 1, ..Write::new(512, 512) },
        Write { generation: 2, ..Write::new(2048, 1024) },
    ];
    let made: Vec<_> = places.iter().map(|it| stage.request(it)).collect();
    let mut sources: Vec<&[u8]> = made.iter().map(|it| &it.1[..]).collect();
    let mut writes: Vec<_> = sources
        .iter_mut()
        .zip(&made)
        .map(|(source, (request, _))| {
            let request = Request { is_async: true, ..*request };
            DirectWrite::new(&stage.fs, stage.ino, request, source)
        })
        .collect();
    for write in &mut writes {
        let plan = checked(write);
        assert_eq!(plan.lock, LockMode::Shared);
    }
    for write in &mut writes {
        until(write, is_unlocked);
    }
    for write in writes.iter_mut().rev() {
        finish(write);
    }
    drop(writes);
    let face = stage.close();
    assert_eq!(face.bytes(0, 512), pattern(ID, 0, 0, 512));
    assert_eq!(face.bytes(512, 512), pattern(ID, 1, 512, 512));
    assert_eq!(face.bytes(2048, 1024), pattern(ID, 2, 2048, 1024));
    assert_eq!(face.bytes(3072, 1024), pattern(ID, 0, 3072, 1024));
}

#[test]
fn after_an_upgrade_of_the_lock_every_check_is_made_again() {
    let Some(image) = file("ext4-4k", 8192).image() else { return };
    let stage = Stage::new(&image);
    stage.fs.truncate(stage.ino, 65536).unwrap();
    let (request, bytes) = stage.request(&Write::new(16384, 4096));
    let mut source = &bytes[..];
    let mut write = DirectWrite::new(&stage.fs, stage.ino, request, &mut source);
    assert_eq!(write.step().unwrap(), Step::Locked(LockMode::Shared));
    assert_eq!(write.step().unwrap(), Step::Upgraded, "a hole");
    // The moment without a lock.
    stage.fs.truncate(stage.ino, 4096).unwrap();
    let plan = checked(&mut write);
    assert!(plan.extends, "{plan:?}");
    finish(&mut write);
    drop(write);
    assert_eq!(stage.close().size, 20480);
}

#[test]
fn s16_two_appends_get_places_one_after_the_other() {
    let Some(image) = file("ext4-4k", 4096).image() else { return };
    let stage = Stage::new(&image);
    let append = |generation| Write { at: None, generation, ..Write::new(0, 4096) };
    let (request, bytes) = stage.request(&append(1));
    let mut source = &bytes[..];
    let mut one = DirectWrite::new(&stage.fs, stage.ino, request, &mut source);
    checked(&mut one);
    let (request, _) = stage.request(&append(2));
    let bytes = pattern(ID, 2, 8192, 4096);
    let mut source = &bytes[..];
    let mut two = DirectWrite::new(&stage.fs, stage.ino, request, &mut source);
    assert!(matches!(two.step().unwrap(), Step::Blocked(_)));
    finish(&mut one);
    assert_eq!(checked(&mut two).pos, 8192, "the end under the lock, not the one at the call");
    finish(&mut two);
    drop((one, two));
    assert_eq!(stage.close().size, 12288);
}

#[test]
fn an_extension_that_fails_at_any_write_leaves_the_old_file_or_the_new_one() {
    for profile in ["ext4-4k", "orphan-4k", "ext3-4k"] {
        let Some(image) = file(profile, 6000).image() else { return };
        let at = Write { sync: Sync::Full, ..Write::new(4096, 40960) };
        let mut nth = 1;
        loop {
            let device =
                Arc::new(FaultDevice::new(image.overlay(), [Fault::from(DeviceOp::Write, nth)]));
            let stage = Stage::on(device.clone());
            let done = stage.write(at);
            let crashed = stage.crash();
            let face = crashed.recover();
            let found = judge::judge(&*crashed.recovered().0);
            assert!(found.is_empty(), "{profile}, write {nth}: {found:?}");
            match done {
                Ok(_) => {
                    assert_eq!(face.size, 45056, "{profile}, write {nth}");
                    break;
                }
                Err(err) => {
                    assert_eq!(err.errno(), errno::EIO, "{profile}, write {nth}: {err}");
                    assert!([6000, 45056].contains(&face.size), "{profile}, write {nth}: {face:?}");
                }
            }
            nth += 1;
        }
        assert!(nth > 5, "{profile}: {nth} writes");
    }
}

#[test]
fn b3_an_fsync_beside_an_extending_write_leaves_no_block_beyond_the_end_without_a_record() {
    // The kernel's fast commit (6.18) logs the file's new blocks and knows no orphan records: after
    // a crash it replays blocks beyond the end that nobody cleans up.
    let Some(image) = file("fc-4k", 8192).image() else { return };
    let stage = Stage::new(&image);
    let (request, bytes) = stage.request(&Write::new(8192, 1 << 20));
    let mut source = &bytes[..];
    let mut write = DirectWrite::new(&stage.fs, stage.ino, request, &mut source);
    until(&mut write, is_submitted);
    thread::scope(|scope| {
        scope.spawn(|| stage.fs.fsync(stage.ino, false).unwrap());
    });
    drop(write);
    // In the log: the blocks, and the record that frees them.
    let (face, report) = stage.crash().recover_with_report();
    assert_eq!((face.size, &*face.shape), (8192, "W0-1"));
    assert_eq!(face.free, Face::of(&image).unwrap().free);
    let [orphan] = &report.orphans[..] else { panic!("{report:?}") };
    assert!(matches!(orphan.fate, OrphanFate::Truncated { .. }), "{report:?}");
    assert!(report.replayed.is_some(), "{report:?}");
}

#[test]
fn a_submitter_does_every_kind_of_write_and_gives_each_buffer_back_once() {
    let Some(image) = file("ext4-4k", 16384).image() else { return };
    let stage = Stage::new(&image);
    stage.fs.truncate(stage.ino, 1 << 20).unwrap();
    stage.fs.fallocate(stage.ino, 65536, 65536, false).unwrap();
    let mut it = Submitter::new(&stage.fs, 4);
    let places = [
        (0, 4096),               // overwrite
        (512, 512),              // a part of it
        (32768, 8192),           // hole
        (65536, 4096),           // unwritten
        (69632, 8192),           // unwritten
        (73728 + 512, 512),      // a part of a block
        (1 << 20, 4096),         // extends
        (100, 100),              // misaligned
        ((1 << 20) - 512, 4096), // across the end
    ];
    let mut n = [0; 9];
    for (tag, &(at, len)) in places.iter().enumerate() {
        let buf = AlignedBuf::copy_of(&pattern(ID, 1, at, len));
        it.submit(stage.ino, Request::new(Offset::At(at), None), buf, tag as u64);
        assert!(it.in_flight() <= 4);
    }
    while let Some(done) = it.wait() {
        let tag = usize::try_from(done.tag).unwrap();
        let (at, len) = places[tag];
        n[tag] += 1;
        assert_eq!(done.buf[..], pattern(ID, 1, at, len)[..], "{tag}");
        match done.result {
            Ok(outcome) => assert_eq!(outcome, Outcome { written: len as u64, buffered: 0 }),
            Err(err) => assert_eq!((err.errno(), tag), (errno::EINVAL, 7), "{err}"),
        }
    }
    assert_eq!(n, [1; 9]);
    assert!(it.poll().is_none());
    drop(it);
    assert_eq!(stage.fs.incore(stage.ino).dio_in_flight(), 0);
    let face = stage.close();
    assert_eq!(face.size, (1 << 20) + 4096);
    for (i, &(at, len)) in places.iter().enumerate().filter(|it| it.0 != 7 && it.0 != 6) {
        assert_eq!(face.bytes(at, len), pattern(ID, 1, at, len), "{i}");
    }
}

#[test]
fn atomic_writes_are_refused_by_name_after_their_shape_was_checked() {
    let Some(image) = file("ext4-4k", 16384).image() else { return };
    let stage = Stage::new(&image);
    let refused = |at, len| {
        let request = Request { is_atomic: true, ..Request::new(Offset::At(at), Some(len)) };
        let bytes = vec![0; usize::try_from(len).unwrap()];
        let res = DirectWrite::new(&stage.fs, stage.ino, request, &mut &bytes[..]).run();
        res.unwrap_err()
    };
    for (at, len) in [(0, 12288), (4096, 8192), (0, 512), (0, 0)] {
        assert_eq!(refused(at, len).errno(), errno::EINVAL, "{at}+{len}");
    }
    let err = refused(8192, 8192);
    assert_eq!(err.errno(), errno::EOPNOTSUPP);
    assert!(err.to_string().contains("atomic"), "{err}");
    let mut now = vec![0; image.bytes().len()];
    stage.device.read_at(0, &mut now).unwrap();
    assert!(now[..] == image.bytes()[..], "nothing was written");
}

#[test]
fn a_second_write_in_the_same_tick_needs_no_handle_for_times() {
    let Some(image) = Recipe::new("ext4-4k").write(PATH, pattern(ID, 0, 0, 8192)).image() else {
        return;
    };
    let device: Arc<dyn BlockDevice> = image.overlay();
    let fs = crate::world::open(&device).unwrap();
    let ino = fs.resolve(fs.meta(), PATH.as_bytes(), ext4_fs::Last::Stay).unwrap().ino;
    let write = || {
        let request = Request::new(Offset::At(0), Some(4096));
        DirectWrite::new(&fs, ino, request, &mut &pattern(ID, 1, 0, 4096)[..]).run().unwrap();
    };
    write();
    fs.commit().unwrap();
    let tid = fs.journal().running_tid();
    let version = || fs.inode(fs.meta(), ino).unwrap().version;
    let before = version();
    write();
    fs.commit().unwrap();
    assert_eq!((fs.journal().running_tid(), version()), (tid, before), "nothing to commit");
}
