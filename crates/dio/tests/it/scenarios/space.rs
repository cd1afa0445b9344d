//! 52 to 56: no space, and devices that fail.

use super::{
    ID, Op, Write, errno,
    face::Face,
    stage::{Crashed, Stage, both, both_but_shape, file},
    write,
};
use ext4_blockdev::{Fault, FaultDevice, Op as DeviceOp};
use ext4_dio::Step;
use ext4_testkit::model::pattern;
use std::sync::Arc;

const MIB: usize = 1 << 20;

#[test]
fn s52_no_space_behind_the_end_takes_everything_back() {
    let Some(image) = file("ext4-4k", 8192).image() else { return };
    let before = Face::of(&image).unwrap();
    let Some(ran) = both(&file("ext4-4k", 8192), &[write(8192, 32 * MIB)]) else { return };
    ran.expect(&[Err(errno::ENOSPC)], 8192, "W0-1");
    assert_eq!(ran.face.free, before.free);
}

#[test]
fn s52_no_space_at_the_second_mapping_takes_the_first_back() {
    let Some(image) = file("ext4-1k", 0).image() else { return };
    let stage = Stage::new(&image);
    let (request, bytes) = stage.request(&Write::new(0, 32 * MIB));
    let mut source = &bytes[..];
    let mut it = ext4_dio::DirectWrite::new(&stage.fs, stage.ino, request, &mut source);
    let mut mapped = 0;
    let err = loop {
        match it.step() {
            Ok(Step::Mapped { .. }) => mapped += 1,
            Ok(Step::Done(_)) => panic!("there is room for all"),
            Ok(_) => {}
            Err(err) => break err,
        }
    };
    drop(it);
    assert!(mapped > 1, "{mapped} mappings");
    assert_eq!(err.errno(), errno::ENOSPC);
    assert!(!stage.fs.is_orphan(stage.ino));
    let face = stage.close();
    assert_eq!((face.size, &*face.shape, face.free), (0, "", Face::of(&image).unwrap().free));
}

#[test]
fn s53_no_space_in_a_hole_leaves_unwritten_blocks() {
    let ops = [Op::Truncate(32 * MIB as u64), write(0, 32 * MIB)];
    // The kernel joins no extents that are to be converted, and needs a node for them.
    let Some(ran) = both_but_shape(&file("ext4-4k", 0), &ops) else { return };
    assert_eq!(ran.results, [Ok(0), Err(errno::ENOSPC)]);
    assert_eq!(ran.face.size, 32 * MIB as u64);
    assert!(ran.face.shape.starts_with('U') && !ran.face.shape.contains('W'), "{:?}", ran.face);
}

#[test]
fn s54_blocks_that_the_running_transaction_frees_are_waited_for() {
    let all = 9 * MIB;
    let again = Op::Write(Write { generation: 2, ..Write::new(0, all) });
    let ops = [write(0, all), Op::Truncate(0), again];
    let Some(ran) = both(&file("ext4-4k", 0), &ops) else { return };
    assert_eq!(
        (&ran.results[..], ran.face.size),
        (&[Ok(all as u64), Ok(0), Ok(all as u64)][..], all as u64)
    );
    assert_eq!(ran.face.bytes(0, all), pattern(ID, 2, 0, all));
}

/// A stage whose device fails at the first data of a write, and all that follows.
fn failing_at_data(profile: &str, len: usize, prepare: impl FnOnce(&Stage), at: Write) -> Crashed {
    let image = file(profile, len).image().expect("a tool is missing");
    let device = Arc::new(FaultDevice::new(image.overlay(), []));
    let stage = Stage::on(device.clone());
    prepare(&stage);
    stage.fs.commit().unwrap();
    let (request, bytes) = stage.request(&at);
    let mut source = &bytes[..];
    let mut it = ext4_dio::DirectWrite::new(&stage.fs, stage.ino, request, &mut source);
    let mut is_armed = false;
    let err = loop {
        match it.step() {
            Ok(Step::Mapped { .. }) if !is_armed => {
                is_armed = true;
                // Everything that protects the write is durable, as it may be at any time.
                stage.fs.commit().unwrap();
                device.add(Fault::from(DeviceOp::Write, device.counts().writes + 1));
            }
            Ok(Step::Done(_)) => panic!("nothing failed"),
            Ok(_) => {}
            Err(err) => break err,
        }
    };
    drop(it);
    assert_eq!(err.errno(), errno::EIO, "{err}");
    let counts = device.counts();
    // After the failed write, nothing: not even the truncation, which recovery does.
    assert!(stage.write(Write::new(0, 512)).is_err());
    assert_eq!(device.counts().writes, counts.writes);
    stage.crash()
}

#[test]
fn s55_a_device_that_fails_behind_the_end_leaves_the_old_size() {
    if file("ext4-4k", 0).image().is_none() {
        return;
    }
    for profile in ["ext4-4k", "ext3-1k", "orphan-4k", "bigalloc-4k"] {
        let crashed = failing_at_data(profile, 8192, |_| {}, Write::new(8192, 65536));
        let face = crashed.recover();
        assert_eq!((face.size, face.bytes(0, 8192)), (8192, pattern(ID, 0, 0, 8192)), "{profile}");
        let blocks = if profile == "ext3-1k" { "W0-7" } else { "W0-1" };
        assert_eq!(face.shape, blocks, "{profile}");
    }
}

#[test]
fn s56_a_device_that_fails_on_unwritten_blocks_leaves_zeros() {
    if file("ext4-4k", 0).image().is_none() {
        return;
    }
    let prepare = |stage: &Stage| stage.fs.fallocate(stage.ino, 0, 65536, false).unwrap();
    let face = failing_at_data("ext4-4k", 0, prepare, Write::new(0, 16384)).recover();
    assert_eq!((face.size, &*face.shape), (65536, "U0-15"));
    // A hole gets unwritten blocks, and keeps them.
    let prepare = |stage: &Stage| stage.fs.truncate(stage.ino, 65536).unwrap();
    let face = failing_at_data("ext4-4k", 0, prepare, Write::new(8192, 16384)).recover();
    assert_eq!((face.size, &*face.shape), (65536, "U2-5"));
}
