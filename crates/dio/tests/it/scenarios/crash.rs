//! 60 to 82: the power fails between two steps of a write, with everything before committed. What
//! is recovered is what the kernel recovers from a copy.

use super::{
    ID, Op, PATH, Write, errno,
    face::Face,
    stage::{Crashed, Stage, both, file, recover_at},
    write,
};
use ext4_blockdev::{
    AlignedBuf, BlockDevice, Event, Fault, FaultDevice, Op as DeviceOp, Overlay, Recorder,
};
use ext4_dio::{DirectWrite, Offset, Request, Step, Submitter, Sync};
use ext4_fs::OrphanFate;
use ext4_testkit::{
    image::{Image, Recipe},
    judge,
    model::pattern,
    view::View,
};
use std::{collections::BTreeSet, sync::Arc};

fn is_orphan_added(step: &Step) -> bool {
    matches!(step, Step::OrphanAdded)
}

fn is_mapped(step: &Step) -> bool {
    matches!(step, Step::Mapped { .. })
}

fn is_drained(step: &Step) -> bool {
    matches!(step, Step::Drained)
}

fn is_converted(step: &Step) -> bool {
    matches!(step, Step::Converted { .. })
}

fn is_sized(step: &Step) -> bool {
    matches!(step, Step::Sized { .. })
}

fn is_done(step: &Step) -> bool {
    matches!(step, Step::Done(_))
}

/// The number of `/f`.
fn number(device: &dyn BlockDevice) -> u32 {
    View::new(device).unwrap().paths().unwrap()[&PATH[1..]]
}

/// Crashes a write after a step, recovers, and returns what it was before and after.
#[track_caller]
fn crash_at(recipe: &Recipe, at: Write, until: impl FnMut(&Step) -> bool) -> Option<(Face, Face)> {
    let image = recipe.image()?;
    let stage = Stage::new(&image);
    stage.write_until(at, until);
    Some((Face::of(&image).unwrap(), stage.crash_committed().recover()))
}

#[test]
fn s60_nothing_committed_is_nothing_done() {
    for profile in ["ext4-4k", "ext3-1k", "orphan-4k"] {
        let Some(image) = file(profile, 0).image() else { return };
        let stage = Stage::new(&image);
        stage.write(Write::new(0, 8192)).unwrap();
        assert_eq!(stage.crash().recover(), Face::of(&image).unwrap(), "{profile}");
    }
}

#[test]
fn s61_an_orphan_record_alone_ends_with_the_old_size() {
    let Some(image) = file("ext4-4k", 0).image() else { return };
    let stage = Stage::new(&image);
    stage.write_until(Write::new(0, 8192), is_orphan_added);
    let crashed = stage.crash_committed();
    if let Some(raw) = crashed.replayed() {
        assert_eq!(View::new(&raw).unwrap().sb.s_last_orphan.get(), number(&raw));
    }
    let (face, report) = crashed.recover_with_report();
    assert_eq!((face.size, &*face.shape), (0, ""));
    assert_eq!(report.orphans.len(), 1);
    assert!(matches!(report.orphans[0].fate, OrphanFate::Truncated { .. }), "{report:?}");
    let (device, _) = crashed.recovered();
    let view = View::new(&*device).unwrap();
    let node = view.inode(number(&*device)).unwrap();
    assert_eq!((view.sb.s_last_orphan.get(), node.raw.i_dtime.get()), (0, 0));
}

#[test]
fn s62_blocks_behind_the_end_are_freed() {
    let Some(image) = file("ext4-4k", 0).image() else { return };
    let stage = Stage::new(&image);
    stage.write_until(Write::new(0, 8192), is_drained);
    let crashed = stage.crash_committed();
    if let Some(raw) = crashed.replayed() {
        let face = Face::of(&raw).unwrap();
        assert_eq!((face.size, &*face.shape), (0, "W0-1"));
        assert_eq!(View::new(&raw).unwrap().sb.s_last_orphan.get(), number(&raw));
    }
    let face = crashed.recover();
    assert_eq!((face.size, &*face.shape, face.sectors), (0, "", 0));
    assert_eq!(face.free, Face::of(&image).unwrap().free);
}

#[test]
fn s63_blocks_behind_the_end_are_freed_by_the_orphan_file() {
    let Some(image) = file("orphan-4k", 0).image() else { return };
    let stage = Stage::new(&image);
    stage.write_until(Write::new(0, 8192), is_drained);
    let crashed = stage.crash_committed();
    let view = View::new(&*crashed.device).unwrap();
    assert!(view.orphan_present());
    if let Some(raw) = crashed.replayed() {
        assert_eq!(View::new(&raw).unwrap().sb.s_last_orphan.get(), 0);
        let found = format!("{:?}", judge::at_rest(&View::new(&raw).unwrap()));
        assert!(found.contains(&format!("slot 0: inode {}", number(&raw))), "{found}");
    }
    let face = crashed.recover();
    assert_eq!((face.size, &*face.shape), (0, ""));
    assert_eq!(face.free, Face::of(&image).unwrap().free);
}

#[test]
fn s64_the_old_contents_stay_with_the_old_size() {
    for profile in ["ext4-4k", "orphan-4k", "ext3-4k", "bigalloc-4k", "ext4-nocsum"] {
        let recipe = file(profile, 8192);
        let Some((_, face)) = crash_at(&recipe, Write::new(8192, 65536), is_drained) else {
            return;
        };
        assert_eq!((face.size, &*face.shape), (8192, "W0-1"), "{profile}");
        assert_eq!(face.bytes(0, 8192), pattern(ID, 0, 0, 8192), "{profile}");
    }
}

/// A small filesystem whose free blocks lie one by one, and `/f` of two blocks.
fn crumbs() -> Option<Image> {
    let recipe = file("journal-1m", 2048).mib(6).write("/g", []);
    let image = recipe.image()?;
    let device = image.overlay();
    let stage = Stage::on(device.clone());
    let g = stage.fs.resolve(stage.fs.meta(), b"/g", ext4_fs::Last::Stay).unwrap().ino;
    // All that is left, and then every other block of it back.
    let mut len = 4 << 20;
    while len >= 1024 {
        let end = stage.fs.inode(stage.fs.meta(), g).unwrap().i_size;
        if stage.fs.fallocate(g, end, len, false).is_err() {
            len /= 2;
        }
    }
    for i in 0..600 {
        stage.fs.punch_hole(g, i * 2048, 1024).unwrap();
    }
    stage.fs.close().unwrap();
    let mut bytes = vec![0; image.bytes().len()];
    device.read_at(0, &mut bytes).unwrap();
    Some(Image::new(bytes))
}

/// An extending write into free blocks that nowhere lie together, cut off with all of it mapped.
fn deep() -> Option<Crashed> {
    let stage = Stage::new(&crumbs()?);
    stage.write_until(Write::new(2048, 500 << 10), is_drained);
    Some(stage.crash_committed())
}

#[test]
fn s65_a_deep_tree_is_cut_whatever_write_of_the_cleanup_is_the_last() {
    let Some(crashed) = deep() else { return };
    if let Some(raw) = crashed.replayed() {
        let view = View::new(&raw).unwrap();
        let node = view.inode(number(&raw)).unwrap();
        assert!(view.runs(&node).unwrap().len() > 300 && view.map_blocks(&node).unwrap().len() > 4);
    }
    let face = Face::of(&*crashed.recovered().0).unwrap();
    let counter = Arc::new(FaultDevice::new(crashed.raw(), []));
    recover_at(&(counter.clone() as Arc<dyn BlockDevice>)).unwrap();
    let writes = counter.counts().writes;
    assert!(writes > 20, "{writes} writes");
    for nth in (1..=writes).step_by(usize::try_from(writes / 20).unwrap()) {
        let base = crashed.raw();
        let device =
            Arc::new(FaultDevice::new(Arc::clone(&base), [Fault::from(DeviceOp::Write, nth)]));
        assert!(recover_at(&(device as Arc<dyn BlockDevice>)).is_err(), "write {nth}");
        recover_at(&base).unwrap();
        let found = judge::judge(&*base);
        assert!(found.is_empty(), "after a crash of the cleanup at write {nth}: {found:?}");
        assert_eq!(Face::of(&*base).unwrap(), face, "write {nth}");
    }
}

#[test]
fn s66_what_is_left_of_a_deep_tree_may_keep_a_leaf() {
    let Some(crashed) = deep() else { return };
    let face = crashed.recover();
    assert_eq!((face.size, &*face.shape), (2048, "W0-1"));
    assert_eq!(face.bytes(0, 2048), pattern(ID, 0, 0, 2048));
    // The kernel keeps the leftmost node of each level of a tree that it cuts. Two sectors for each
    // block of 1 KiB: two of data, and up to two of the tree.
    assert!([4, 6, 8].contains(&face.sectors), "{face:?}");
}

#[test]
fn s67_the_size_comes_with_its_data() {
    for profile in ["ext4-4k", "orphan-4k", "ext3-1k"] {
        let recipe = file(profile, 0);
        let Some((_, face)) = crash_at(&recipe, Write::new(0, 8192), is_sized) else { return };
        assert_eq!((face.size, face.bytes(0, 8192)), (8192, pattern(ID, 1, 0, 8192)), "{profile}");
    }
}

#[test]
fn s68_an_acknowledged_write_lasts_from_the_next_commit_on() {
    let Some(image) = file("ext4-4k", 0).image() else { return };
    let stage = Stage::new(&image);
    stage.write(Write::new(0, 8192)).unwrap();
    assert_eq!(stage.crash().recover().size, 0);
    let stage = Stage::new(&image);
    stage.write(Write::new(0, 8192)).unwrap();
    assert_eq!(stage.crash_committed().recover().size, 8192);
}

#[test]
fn s69_a_synchronous_write_lasts() {
    for sync in [Sync::Data, Sync::Full] {
        for profile in ["ext4-4k", "ext3-1k", "orphan-4k", "inline-4k"] {
            let Some(image) = file(profile, 4096).image() else { return };
            let stage = Stage::new(&image);
            stage.write(Write { sync, ..Write::new(4096, 8192) }).unwrap();
            let face = stage.crash().recover();
            assert_eq!(face.size, 12288, "{profile}");
            assert_eq!(face.bytes(4096, 8192), pattern(ID, 1, 4096, 8192), "{profile}");
        }
    }
}

/// `/f` is a hole of so many bytes.
fn hole(profile: &str, size: u64) -> Option<Image> {
    let image = file(profile, 0).image()?;
    let device = image.overlay();
    let stage = Stage::on(device.clone());
    stage.fs.truncate(stage.ino, size).unwrap();
    stage.fs.close().unwrap();
    let mut bytes = vec![0; image.bytes().len()];
    device.read_at(0, &mut bytes).unwrap();
    Some(Image::new(bytes))
}

#[test]
fn s70_a_filled_hole_reads_as_zeros_until_it_is_converted() {
    let Some(image) = hole("ext4-4k", 1 << 20) else { return };
    let stage = Stage::new(&image);
    stage.write_until(Write::new(16384, 8192), is_drained);
    let face = stage.crash_committed().recover();
    assert_eq!((face.size, &*face.shape), (1 << 20, "U4-5"));
    let stage = Stage::new(&image);
    stage.write_until(Write::new(16384, 8192), is_converted);
    let face = stage.crash_committed().recover();
    assert_eq!((face.size, &*face.shape), (1 << 20, "W4-5"));
    assert_eq!(face.bytes(16384, 8192), pattern(ID, 1, 16384, 8192));
}

#[test]
fn s71_across_the_end_the_new_block_goes_and_the_old_one_is_old_or_new() {
    let recipe = file("ext4-4k", 4096);
    let mut mapped = 0;
    let both_mapped = |step: &Step| {
        mapped += usize::from(is_mapped(step));
        mapped == 2
    };
    let Some((_, face)) = crash_at(&recipe, Write::new(0, 8192), both_mapped) else { return };
    assert_eq!((face.size, &*face.shape), (4096, "W0"));
    let (old, new) = (pattern(ID, 0, 0, 4096), pattern(ID, 1, 0, 4096));
    let now = face.bytes(0, 4096);
    let is_one = |((now, old), new): ((&[u8], &[u8]), &[u8])| now == old || now == new;
    assert!(now.chunks(512).zip(old.chunks(512)).zip(new.chunks(512)).all(is_one), "{face:?}");
}

#[test]
fn s72_across_the_end_of_a_hole_the_piece_is_unwritten_as_a_whole() {
    let ops = [Op::Truncate(8192), write(0, 16384)];
    let Some(ran) = both(&file("ext4-4k", 0), &ops) else { return };
    ran.expect(&[Ok(0), Ok(16384)], 16384, "W0-3");

    let Some(image) = hole("ext4-4k", 8192) else { return };
    let stage = Stage::new(&image);
    stage.write_until(Write::new(0, 16384), is_drained);
    let crashed = stage.crash_committed();
    if let Some(raw) = crashed.replayed() {
        assert_eq!(Face::of(&raw).unwrap().shape, "U0-3");
    }
    let face = crashed.recover();
    assert_eq!((face.size, &*face.shape), (8192, "U0-1"));

    let stage = Stage::new(&image);
    stage.write_until(Write::new(0, 16384), is_converted);
    let face = stage.crash_committed().recover();
    assert_eq!((face.size, &*face.shape), (8192, "W0-1"));
    assert_eq!(face.bytes(0, 8192), pattern(ID, 1, 0, 8192));
}

#[test]
fn s73_preallocation_goes_with_an_extending_write_that_never_ended() {
    for profile in ["ext4-4k", "orphan-4k"] {
        let Some(image) = file(profile, 8192).image() else { return };
        let stage = Stage::new(&image);
        stage.fs.fallocate(stage.ino, 0, 4 << 20, true).unwrap();
        stage.fs.commit().unwrap();
        stage.write_until(Write::new(8192, 65536), is_orphan_added);
        let face = stage.crash_committed().recover();
        assert_eq!((face.size, &*face.shape), (8192, "W0-1"), "{profile}");
        assert_eq!(face.free, Face::of(&image).unwrap().free, "{profile}");
    }
}

#[test]
fn s74_preallocation_stays_behind_a_write_that_ended() {
    let Some(image) = file("ext4-4k", 0).image() else { return };
    let stage = Stage::new(&image);
    stage.fs.fallocate(stage.ino, 0, 1 << 20, true).unwrap();
    stage.write_until(Write::new(0, 8192), is_done);
    let face = stage.crash_committed().recover();
    assert_eq!((face.size, &*face.shape), (8192, "W0-1 U2-255"));
}

#[test]
fn s75_a_file_without_a_name_is_written_and_still_goes() {
    for profile in ["ext4-4k", "orphan-4k"] {
        let Some(image) = file(profile, 4096).image() else { return };
        let device = image.overlay();
        let stage = Stage::on(device.clone());
        let root = stage.fs.resolve(stage.fs.meta(), b"/", ext4_fs::Last::Stay).unwrap().ino;
        let gone = stage.fs.unlink_open(root, &PATH.as_bytes()[1..]).unwrap();
        assert!(gone.is_last);
        stage.write(Write::new(4096, 8192)).unwrap();
        let inode = stage.fs.inode(stage.fs.meta(), stage.ino).unwrap();
        assert_eq!((inode.i_size, inode.links_count), (12288, 0));
        assert!(stage.fs.is_orphan(stage.ino), "the record is that of its deletion");
        // One that fails leaves it as well.
        let request = Request::new(Offset::At(12288), Some(100));
        let err = DirectWrite::new(&stage.fs, stage.ino, request, &mut &[0; 100][..]).run();
        assert_eq!(err.unwrap_err().errno(), errno::EINVAL);
        assert!(stage.fs.is_orphan(stage.ino));
        stage.fs.commit().unwrap();

        let crashed = Crashed { device: Arc::new(device.fork()) };
        let (by_recovery, report) = crashed.recovered();
        assert!(matches!(report.orphans[0].fate, OrphanFate::Deleted { .. }), "{report:?}");
        if super::kernel::is_here() {
            let by_kernel = super::kernel::recover(&*crashed.device).unwrap();
            let free = |device: &dyn BlockDevice| judge::free_counts(&View::new(device).unwrap());
            assert_eq!(free(&*by_recovery), free(&by_kernel));
        }
        // Closing the last descriptor does the same.
        stage.fs.release(stage.ino).unwrap();
        stage.fs.close().unwrap();
        super::stage::assert_sound(&*device);
        let view = View::new(&*device).unwrap();
        assert_eq!(
            judge::free_counts(&view),
            judge::free_counts(&View::new(&*by_recovery).unwrap())
        );
    }
}

#[test]
fn s76_a_failed_write_is_truncated_by_recovery_when_it_was_not_before() {
    // The device's failures are 55; here the input fails, and the truncation is not committed.
    let Some(image) = file("ext4-4k", 8192).image() else { return };
    let stage = Stage::new(&image);
    let (mut request, bytes) = stage.request(&Write::new(8192, 65536));
    request.chunk = 4096;
    let mut source = Committing { bytes: &bytes[..40_000], stage: &stage };
    let err = DirectWrite::new(&stage.fs, stage.ino, request, &mut source).run().unwrap_err();
    assert_eq!(err.errno(), errno::EFAULT);
    let crashed = stage.crash();
    if let Some(raw) = crashed.replayed() {
        assert_eq!(Face::of(&raw).unwrap().shape, "W0-17");
    }
    let face = crashed.recover();
    assert_eq!((face.size, &*face.shape), (8192, "W0-1"));
}

/// Commits whatever there is before each read, and fails after its bytes.
struct Committing<'a> {
    bytes: &'a [u8],
    stage: &'a Stage,
}

impl std::io::Read for Committing<'_> {
    fn read(&mut self, buf: &mut [u8]) -> std::io::Result<usize> {
        self.stage.fs.commit().unwrap();
        match self.bytes.read(buf)? {
            0 => Err(std::io::Error::other("bad memory")),
            n => Ok(n),
        }
    }
}

#[test]
fn s77_two_extending_writes_are_both_cut() {
    for profile in ["ext4-4k", "orphan-4k"] {
        let recipe = file(profile, 8192).write("/g", pattern(0x6, 0, 0, 4096));
        let Some(image) = recipe.image() else { return };
        let stage = Stage::new(&image);
        let g = stage.fs.resolve(stage.fs.meta(), b"/g", ext4_fs::Last::Stay).unwrap().ino;
        let (request, bytes) = stage.request(&Write::new(8192, 65536));
        let others = pattern(0x6, 1, 4096, 32768);
        let (mut source, mut other) = (&bytes[..], &others[..]);
        let mut first = DirectWrite::new(&stage.fs, stage.ino, request, &mut source);
        let second = Request::new(Offset::At(4096), Some(32768));
        let mut second = DirectWrite::new(&stage.fs, g, second, &mut other);
        let mut steps = [false; 2];
        while steps != [true; 2] {
            for (write, is_there) in [&mut first, &mut second].into_iter().zip(&mut steps) {
                *is_there = *is_there || is_drained(&write.step().unwrap());
            }
        }
        drop((first, second));
        let crashed = stage.crash_committed();
        let (face, report) = crashed.recover_with_report();
        assert_eq!((face.size, &*face.shape), (8192, "W0-1"), "{profile}");
        assert_eq!(report.orphans.len(), 2, "{profile}: {report:?}");
        assert_eq!(face.free, Face::of(&image).unwrap().free, "{profile}");
    }
}

#[test]
fn s78_times_and_privileges_may_be_all_that_happened() {
    let recipe = file("ext4-4k", 4096).debugfs(&format!("set_inode_field {PATH} mode 0106755"));
    let by_user = Write { fsetid: false, ..Write::new(0, 4096) };
    let is_modified = |step: &Step| matches!(step, Step::Modified);
    let Some((before, face)) = crash_at(&recipe, by_user, is_modified) else { return };
    assert_eq!((face.mode, face.touched), (0o755, true));
    assert_eq!(Face { mode: before.mode, touched: before.touched, ..face }, before);
}

#[test]
fn s79_between_two_conversions_the_first_part_is_there() {
    // Written blocks in the middle, so that there are two mappings to convert.
    let ops = [Op::Truncate(1 << 20), write(8192, 4096)];
    let recipe = file("ext4-4k", 0);
    let Some(ran) = both(&recipe, &ops) else { return };
    assert_eq!(ran.face.shape, "W2");
    let Some(image) = recipe.image() else { return };
    let stage = Stage::new(&image);
    stage.fs.truncate(stage.ino, 1 << 20).unwrap();
    stage.write(Write::new(8192, 4096)).unwrap();
    stage.write_until(Write { generation: 2, ..Write::new(0, 20480) }, is_converted);
    let face = stage.crash_committed().recover();
    let first = face.shape.split(' ').next();
    assert!(first.is_some_and(|it| it.starts_with("W0-")) && face.shape.contains('U'), "{face:?}");
    assert_eq!(face.bytes(0, 12288), pattern(ID, 2, 0, 12288));
    assert_eq!(face.bytes(12288, 8192), [0; 8192]);
}

#[test]
fn s80_an_overwrite_changes_nothing_but_data() {
    for until in [is_mapped as fn(&Step) -> bool, is_drained, is_done] {
        let Some(image) = file("ext4-4k", 16384).image() else { return };
        let before = Face::of(&image).unwrap();
        let stage = Stage::new(&image);
        stage.write_until(Write::new(4096 + 512, 8192), until);
        let face = stage.crash().recover();
        for (i, sector) in face.bytes(0, 16384).chunks(512).enumerate() {
            let at = i as u64 * 512;
            let is_written = (4608..12800).contains(&at);
            let (old, new) = (pattern(ID, 0, at, 512), pattern(ID, 1, at, 512));
            assert!(sector == old || is_written && sector == new, "sector {i}: {face:?}");
        }
        assert_eq!(Face { content: before.content.clone(), ..face }, before);
    }
}

/// Whether everything written so far, the log's blocks as well, was flushed.
fn is_flushed(recorder: &Recorder) -> bool {
    let events = recorder.events();
    let last = events.iter().rposition(|it| matches!(it, Event::Write { .. }));
    let flushed = events.iter().filter_map(|it| match it {
        Event::Flush { covers } => Some(*covers),
        _ => None,
    });
    last.is_none_or(|last| flushed.max().is_some_and(|covers| covers > last))
}

fn recorded(recipe: &Recipe) -> Option<(Arc<Recorder>, Stage)> {
    let recorder = Arc::new(Recorder::new(recipe.image()?.overlay()));
    let stage = Stage::on(recorder.clone());
    Some((recorder, stage))
}

#[test]
fn s81_a_data_synchronous_overwrite_is_durable_without_a_commit() {
    let Some((recorder, stage)) = recorded(&file("ext4-4k", 16384)) else { return };
    // The mark of being in use, once.
    stage.write(Write { sync: Sync::Full, ..Write::new(0, 512) }).unwrap();
    recorder.take_events();
    stage.write(Write { sync: Sync::Data, ..Write::new(4096, 8192) }).unwrap();
    assert!(is_flushed(&recorder));
    let n_writes = recorder.events().iter().filter(|it| matches!(it, Event::Write { .. })).count();
    assert_eq!(n_writes, 1, "the data alone");
}

#[test]
fn s81_a_synchronous_overwrite_keeps_its_times() {
    let Some(image) = file("ext4-4k", 16384).image() else { return };
    let stage = Stage::new(&image);
    stage.write(Write { sync: Sync::Full, ..Write::new(4096, 8192) }).unwrap();
    let face = stage.crash().recover();
    assert!(face.touched);
    assert_eq!(face.bytes(4096, 8192), pattern(ID, 1, 4096, 8192));
}

#[test]
fn s81_an_overwrite_of_what_is_not_durable_makes_it_durable() {
    // The blocks and the size came with a write that nobody synced.
    for sync in [Sync::Data, Sync::Full] {
        let Some(image) = file("ext4-4k", 0).image() else { return };
        let stage = Stage::new(&image);
        stage.write(Write::new(0, 8192)).unwrap();
        stage.write(Write { sync, generation: 2, ..Write::new(4096, 4096) }).unwrap();
        let face = stage.crash().recover();
        assert_eq!((face.size, &*face.shape), (8192, "W0-1"), "{sync:?}");
        assert_eq!(face.bytes(4096, 4096), pattern(ID, 2, 4096, 4096), "{sync:?}");

        let stage = Stage::new(&image);
        stage.fs.fallocate(stage.ino, 0, 8192, false).unwrap();
        stage.fs.commit().unwrap();
        stage.write(Write::new(0, 8192)).unwrap();
        stage.write(Write { sync, generation: 2, ..Write::new(4096, 4096) }).unwrap();
        let face = stage.crash().recover();
        assert_eq!(face.bytes(4096, 4096), pattern(ID, 2, 4096, 4096), "{sync:?}");
    }
}

#[test]
fn s81_a_submitted_overwrite_makes_durable_what_is_not() {
    let Some(image) = file("ext4-4k", 0).image() else { return };
    let stage = Stage::new(&image);
    stage.write(Write::new(0, 8192)).unwrap();
    let mut it = Submitter::new(&stage.fs, 4);
    let buf = AlignedBuf::copy_of(&pattern(ID, 2, 4096, 4096));
    let request = Request { sync: Sync::Data, ..Request::new(Offset::At(4096), None) };
    it.submit(stage.ino, request, buf, 7);
    let done = it.wait().unwrap();
    assert_eq!((done.tag, done.result.unwrap().written, done.buf.len()), (7, 4096, 4096));
    drop(it);
    let face = stage.crash().recover();
    assert_eq!((face.size, face.bytes(4096, 4096)), (8192, pattern(ID, 2, 4096, 4096)));
}

#[test]
fn s81_a_synchronous_write_is_flushed_when_somebody_else_committed_its_times() {
    for sync in [Sync::Data, Sync::Full] {
        let Some((recorder, stage)) = recorded(&file("ext4-4k", 16384)) else { return };
        stage.write_until(Write { sync, ..Write::new(4096, 8192) }, |step| {
            if matches!(step, Step::Modified) {
                stage.fs.commit().unwrap();
            }
            is_done(step)
        });
        assert!(is_flushed(&recorder), "{sync:?}");
    }
}

/// Brings a file into the state that a write finds.
type Prepare = fn(&Stage);

#[test]
fn s82_a_write_ends_in_few_ways() {
    let holes = |stage: &Stage| stage.fs.truncate(stage.ino, 40960).unwrap();
    let keeps = |stage: &Stage| stage.fs.fallocate(stage.ino, 0, 65536, true).unwrap();
    let no = |_: &Stage| ();
    let cases: [(&str, &str, Prepare, Write); 5] = [
        ("append", "ext4-4k", no, Write::new(8192, 8192)),
        ("across the end", "orphan-4k", holes, Write::new(16384, 32768)),
        ("preallocated", "ext4-4k", keeps, Write::new(4096, 16384)),
        ("hole", "ext4-4k", holes, Write::new(16384, 8192)),
        ("block map", "ext3-4k", holes, Write::new(4096, 40960)),
    ];
    for (name, profile, prepare, at) in cases {
        let Some(image) = file(profile, 8192).image() else { return };
        let device = image.overlay();
        let stage = Stage::on(device.clone());
        prepare(&stage);
        stage.fs.commit().unwrap();
        let mut crashes: Vec<Arc<Overlay>> = vec![Arc::new(device.fork())];
        stage.write_until(at, |step| {
            stage.fs.commit().unwrap();
            crashes.push(Arc::new(device.fork()));
            is_done(step)
        });
        let old = Face::of(&*Crashed { device: crashes[0].clone() }.recovered().0).unwrap();
        let new_size = old.size.max(at.at.unwrap() + at.len as u64);
        let mut ends = BTreeSet::new();
        let mut last = old.size;
        for crash in crashes {
            let face = Crashed { device: crash }.recover();
            assert!(face.size == old.size || face.size == new_size, "{name}: {face:?}");
            assert!(face.size >= last, "{name}: {face:?}");
            last = face.size;
            ends.insert((face.size, face.shape, face.touched));
        }
        assert_eq!(last, new_size, "{name}");
        assert!(ends.len() <= 5, "{name}: {ends:?}");
    }
}
