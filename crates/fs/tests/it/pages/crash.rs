//! Power cuts anywhere in buffered writes and their writeback.

use super::{NODELALLOC, ORDERED, create, find, journal_data, open_as, put, read, sizes};
use crate::rig::{clock, open};
use ext4_blockdev::Recorder;
use ext4_fs::{Delayed, MapState, RecoverOptions, WbStep, Writeback, recover};
use ext4_testkit::{
    crash::CrashState,
    explore::{Budget, Violation},
    image::{Image, Recipe},
    judge::judge,
    model::ModelFile,
    recovery::{Device, Recovery, record},
    view::View,
};
use ext4_units::LogicalBlock;
use std::{sync::Arc, time::Duration};

/// What is done to `/f`, which begins with 5000 bytes.
#[derive(Clone, Copy, Debug)]
enum Do {
    Put(u64, usize),
    /// So many steps of a writeback, which is then dropped.
    Steps(u64, usize),
    Cut(u64),
    Punch(u64, u64),
    Allocate(u64, u64),
    Commit,
    Fsync,
}

use Do::{Allocate, Commit, Cut, Fsync, Punch, Put, Steps};

const BEGIN: usize = 5000;

/// The bytes of each version differ from those of all others.
fn bytes(version: usize, len: usize) -> Vec<u8> {
    vec![u8::try_from(version + 1).unwrap(); len]
}

/// Cuts the power at every point of `steps`. Returns how many states there were.
fn explore(profile: &str, delayed: Delayed, journaled: bool, every_handle: bool, steps: &[Do]) {
    let name = format!("{profile} {delayed:?} {steps:?}");
    let Some(image) = Recipe::new(profile).mib(8).image() else { return };
    let device = image.device();
    let fs = open(Arc::clone(&device) as _);
    let ino = create(&fs, "f");
    if journaled {
        journal_data(&fs, ino);
    }
    put(&fs, ino, 0, &bytes(0, BEGIN)).unwrap();
    fs.close().unwrap();
    let base = Image::new(device.contents());

    let mut file = ModelFile::new();
    file.write(0, &bytes(0, BEGIN));
    let mut versions = vec![file];
    let mut explorer = record(&base, |recorder: Arc<Recorder>| {
        let mut options = RecoverOptions { delayed, ..RecoverOptions::new(clock()) };
        options.commit_every_handle = every_handle;
        let fs = recover(recorder.clone(), &options)?.fs;
        for step in steps {
            let mut file = versions.last().unwrap().clone();
            let acked = versions.len();
            match *step {
                Put(at, len) => {
                    let bytes = bytes(versions.len(), len);
                    file.write(at, &bytes);
                    versions.push(file);
                    assert_eq!(put(&fs, ino, at, &bytes)?, len);
                }
                Cut(size) => {
                    file.truncate(size);
                    versions.push(file);
                    fs.truncate(ino, size)?;
                }
                Punch(at, len) => {
                    file.zero(at, len);
                    versions.push(file);
                    fs.punch_hole(ino, at, len)?;
                }
                Allocate(at, len) => {
                    file.allocate(at, len, false);
                    versions.push(file);
                    fs.fallocate(ino, at, len, false)?;
                }
                Steps(at, n) => {
                    let mut writeback = Writeback::new(&fs, ino, at..u64::MAX);
                    for _ in 0..n {
                        writeback.step()?;
                    }
                }
                Commit => fs.commit()?,
                Fsync => {
                    fs.fsync(ino, true)?;
                    recorder.mark(0, (acked - 1).to_string());
                }
            }
        }
        fs.close()?;
        recorder.mark(0, (versions.len() - 1).to_string());
        Ok::<(), ext4_fs::Error>(())
    })
    .unwrap();
    explorer.budget = Budget { states: 1500, time: Duration::from_secs(20) };
    let again = |device: Device| {
        let fs = recover(device, &RecoverOptions::new(clock())).map_err(|it| it.to_string())?.fs;
        fs.close().map_err(|err| err.to_string())
    };
    let check = |state: &CrashState, device: &Device| {
        let mut broken = judge(&**device);
        if let Err(fault) = contents(state, device, &versions) {
            broken.push(fault);
        }
        broken
    };
    let mut recovery = Recovery::new(&again, &check);
    recovery.e2fsck_every = 40;
    let report = recovery.explore(&explorer);
    println!("{name}: {}", report.to_string().lines().next().unwrap_or_default());
    report.expect_no_failure();
    assert!(report.distinct > 10, "{name}: {report}");
}

/// The file has a size between those of the versions that are possible; each byte is that of one
/// of them, or zero where it was not acknowledged otherwise.
fn contents(state: &CrashState, device: &Device, versions: &[ModelFile]) -> Result<(), Violation> {
    let lost = |err: &dyn std::fmt::Display| Violation::new("lost", err.to_string());
    let acked: usize = state.marks().filter_map(|it| it.parse().ok()).max().unwrap_or(0);
    let possible = &versions[acked..];
    let view = View::new(&**device).map_err(|err| lost(&err))?;
    let paths = view.paths().map_err(|err| lost(&err))?;
    let node = view.inode(paths["f"]).map_err(|err| lost(&err))?;
    let size = node.size();
    let sizes = || possible.iter().map(ModelFile::size);
    if !(sizes().min()..=sizes().max()).contains(&Some(size)) {
        let expected = sizes().collect::<Vec<_>>();
        return Err(Violation::new("size", format!("{size}, expected among {expected:?}")));
    }
    let len = usize::try_from(size).unwrap();
    let found = view.read(&node, 0, len).map_err(|err| lost(&err))?;
    let expected: Vec<Vec<u8>> = possible.iter().map(|it| it.read(0, len)).collect();
    for (i, &byte) in found.iter().enumerate() {
        let is_one = expected.iter().any(|it| it.get(i).copied() == Some(byte));
        // Blocks that were not there when the version was acknowledged may read as zeros still.
        let was_nothing = expected[0].get(i).copied().unwrap_or(0) == 0;
        if !(is_one || byte == 0 && was_nothing) {
            let detail = format!("byte {i} of {size} is {byte}, from version {acked} on");
            return Err(Violation::new("content", detail));
        }
    }
    Ok(())
}

const STORIES: &[&[Do]] = &[
    &[Put(5000, 20_000), Commit, Fsync, Put(25_000, 100), Fsync],
    &[Put(16_384, 4096), Steps(0, 2), Commit, Put(8192, 9000), Fsync],
    &[Put(16_384, 4096), Steps(0, 1), Commit, Put(20_480, 100), Fsync],
    &[Put(40_000, 9000), Put(1000, 3000), Steps(20_000, 3), Commit, Fsync],
    &[Put(5000, 12_000), Steps(0, 1), Cut(9000), Put(9500, 5000), Fsync],
    &[Put(5000, 30_000), Cut(6000), Commit, Cut(20_000), Put(30_000, 10), Fsync],
    &[Put(5000, 30_000), Punch(6000, 12_000), Commit, Punch(30_000, 90_000), Fsync],
];

#[test]
fn scenario_98_the_size_may_come_before_the_conversion_and_shows_zeros() {
    let Some(image) = Recipe::new("ext4-4k").image() else { return };
    let device = image.device();
    let fs = open_as(Arc::clone(&device) as _, Delayed::DEFAULT);
    let ino = create(&fs, "f");
    put(&fs, ino, 0, &vec![9; 20_000]).unwrap();
    let mut writeback = Writeback::new(&fs, ino, 0..u64::MAX);
    let lblk = LogicalBlock(0);
    assert_eq!(writeback.step().unwrap(), WbStep::Mapped { lblk, len: 5, i_disksize: 20_000 });
    // Data may be there or not.
    for has_data in [false, true] {
        if has_data {
            writeback.step().unwrap();
        }
        fs.commit().unwrap();
        let crashed = Image::new(device.contents()).device();
        let after = open(crashed.clone());
        let ino = find(&after, "/f");
        assert_eq!(sizes(&after, ino), (20_000, 20_000));
        assert_eq!(read(&after, ino, 0, 30_000), vec![0; 20_000]);
        let inode = after.inode(after.meta(), ino).unwrap();
        let state = after.lookup(after.meta(), &inode, lblk).unwrap().state;
        assert!(matches!(state, MapState::Unwritten(_)), "{state:?}");
        after.close().unwrap();
        assert_eq!(judge(&*crashed), Vec::new());
    }
    drop(writeback);
    fs.close().unwrap();
    for steps in STORIES {
        explore("ext4-1k", Delayed::DEFAULT, false, true, steps);
        explore("ext4-4k", Delayed::DEFAULT, false, false, steps);
    }
    explore(
        "ext4-1k",
        Delayed::DEFAULT,
        false,
        true,
        &[Put(5000, 9000), Allocate(7000, 30_000), Commit, Put(20_000, 3000), Fsync],
    );
    explore("bigalloc-1k", Delayed::DEFAULT, false, true, STORIES[2]);
    explore("orphan-4k", Delayed::DEFAULT, false, true, STORIES[3]);
    explore("inline-4k", Delayed::DEFAULT, false, true, STORIES[4]);
}

#[test]
fn scenario_99_in_ordered_mode_no_crash_shows_what_was_there_before() {
    for steps in STORIES {
        explore("ext4-1k", ORDERED, false, true, steps);
        explore("ext3-1k", Delayed::DEFAULT, false, true, steps);
    }
    explore("bigalloc-1k", ORDERED, false, true, STORIES[1]);
    explore("ext3-4k", ORDERED, false, false, STORIES[5]);
}

#[test]
fn without_delayed_allocation_and_with_journaled_data_no_crash_does_either() {
    explore("ext4-1k", NODELALLOC, false, true, STORIES[0]);
    explore("ext3-1k", NODELALLOC, false, true, STORIES[4]);
    explore("ext4-1k", Delayed::DEFAULT, true, true, STORIES[3]);
    explore("ext3-4k", Delayed::DEFAULT, true, false, STORIES[4]);
}

#[test]
fn a_write_that_shows_blocks_before_their_data_would_be_caught() {
    // The exploration itself: blocks mapped written, committed, and only then their data.
    let Some(image) = Recipe::new("ext4-1k").mib(8).image() else { return };
    let base = Image::new(image.bytes().to_vec());
    let mut versions = vec![ModelFile::new()];
    let explorer = record(&base, |recorder: Arc<Recorder>| {
        let fs = open(recorder.clone());
        let ino = create(&fs, "f");
        fs.commit()?;
        recorder.mark(0, "0");
        let mut file = ModelFile::new();
        file.write(0, &bytes(1, 4096));
        versions.push(file);
        let inode = fs.inode(fs.meta(), ino)?;
        let mut h = fs.start(fs.allocate_credits(&inode, 4)? + 2)?;
        let mut inode = h.inode(ino)?;
        let mapped = h.allocate(&mut inode, LogicalBlock(0), 4, false)?;
        h.raise_size(&mut inode, 4096)?;
        h.put_inode(&inode)?;
        h.stop()?;
        fs.commit()?;
        let start = mapped.blocks().unwrap().start;
        fs.device().write_at(start.0 * 1024, &bytes(1, 4096))?;
        fs.close()
    })
    .unwrap();
    let again = |device: Device| {
        let fs = recover(device, &RecoverOptions::new(clock())).map_err(|it| it.to_string())?.fs;
        fs.close().map_err(|err| err.to_string())
    };
    let check = |state: &CrashState, device: &Device| {
        if state.marks().next().is_none() {
            return Vec::new();
        }
        contents(state, device, &versions).err().into_iter().collect()
    };
    let report = Recovery::new(&again, &check).explore(&explorer);
    assert!(report.n_failures > 0, "{report}");
}
