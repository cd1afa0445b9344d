//! Sizes, pages and the device in single situations.

use super::{check, create, open_as, put, read, sizes};
use crate::rig::{image, open};
use ext4_blockdev::{BlockDevice, Fault, FaultDevice, Op};
use ext4_fs::{Delayed, Filesystem, LockMode, MapState, Setattr, WbStep, Writeback};
use ext4_testkit::{image::assert_clean, judge::judge};
use ext4_units::{InodeNr, LogicalBlock};
use std::sync::Arc;

fn state_of(fs: &Filesystem, ino: InodeNr, lblk: u32) -> MapState {
    let inode = fs.inode(fs.meta(), ino).unwrap();
    fs.lookup(fs.meta(), &inode, LogicalBlock(lblk)).unwrap().state
}

/// The device after a power cut now, recovered.
fn after_crash(device: &Arc<ext4_blockdev::MemoryDevice>) -> Filesystem {
    let copy = ext4_testkit::image::Image::new(device.contents()).device();
    open(copy.clone()).close().unwrap();
    assert_eq!(judge(&*copy), Vec::new());
    open(copy)
}

#[test]
fn the_size_on_disk_follows_the_blocks_not_the_write() {
    let Some(image) = image("ext4-4k") else { return };
    let device = image.device();
    let fs = open(device.clone());
    let ino = create(&fs, "f");
    assert_eq!(put(&fs, ino, 16384, &[1; 4096]).unwrap(), 4096);
    assert_eq!(sizes(&fs, ino), (20480, 0));
    assert_eq!(state_of(&fs, ino, 4), MapState::Hole);
    // A plain change of the inode writes the size on disk, whatever the user sees.
    fs.setattr(ino, &Setattr { mode: Some(0o600), ..Setattr::default() }).unwrap();
    fs.commit().unwrap();
    assert_eq!(sizes(&fs, ino), (20480, 0));
    assert_eq!(sizes(&after_crash(&device), ino), (0, 0));

    put(&fs, ino, 0, &[2; 5000]).unwrap();
    let mut writeback = Writeback::new(&fs, ino, 0..4096);
    let lblk = LogicalBlock(0);
    assert_eq!(writeback.step().unwrap(), WbStep::Mapped { lblk, len: 1, i_disksize: 4096 });
    assert!(matches!(state_of(&fs, ino, 0), MapState::Unwritten(_)));
    assert!(fs.is_writing_back(ino, 0..1) && !fs.is_writing_back(ino, 4096..u64::MAX));
    // A second one waits for the page; a write does not, and leaves it dirty.
    assert_eq!(Writeback::new(&fs, ino, 0..1).step().unwrap(), WbStep::Blocked);
    put(&fs, ino, 1, &[3]).unwrap();
    assert_eq!(writeback.step().unwrap(), WbStep::Submitted { bytes: 4096 });
    assert_eq!(writeback.step().unwrap(), WbStep::Written);
    assert_eq!(writeback.step().unwrap(), WbStep::Converted { lblk, len: 1 });
    assert_eq!(writeback.step().unwrap(), WbStep::Done);
    drop(writeback);
    assert!(matches!(state_of(&fs, ino, 0), MapState::Written(_)));
    assert!(fs.has_dirty_pages(ino, 0..1), "it was written to meanwhile");
    assert_eq!(sizes(&fs, ino), (20480, 4096));
    fs.fsync(ino, true).unwrap();
    assert_eq!(sizes(&fs, ino), (20480, 20480));
    let crashed = after_crash(&device);
    assert_eq!(sizes(&crashed, ino), (20480, 20480));
    assert_eq!(read(&crashed, ino, 0, 3), [2, 3, 2]);
    check(&fs, ino);
    fs.close().unwrap();
    assert_clean(&*device).unwrap();
}

#[test]
fn the_size_on_disk_moves_at_once_when_the_last_block_is_written_already() {
    let Some(image) = image("ext4-4k") else { return };
    let fs = open(image.device());
    let ino = create(&fs, "f");
    put(&fs, ino, 0, &[1; 1000]).unwrap();
    assert_eq!(sizes(&fs, ino), (1000, 0));
    fs.fsync(ino, false).unwrap();
    put(&fs, ino, 1000, &[2; 500]).unwrap();
    assert_eq!(sizes(&fs, ino), (1500, 1500));
    // Not by preallocation, whose blocks are unwritten.
    fs.fallocate(ino, 0, 40960, true).unwrap();
    put(&fs, ino, 1500, &[3; 5000]).unwrap();
    assert_eq!(sizes(&fs, ino), (6500, 1500));
    assert_eq!(fs.reserved_clusters(), 0, "its blocks are there");
    check(&fs, ino);
    fs.fsync(ino, false).unwrap();
    assert_eq!(sizes(&fs, ino), (6500, 6500));
    fs.close().unwrap();
}

#[test]
fn scenario_96_a_write_cut_short_does_not_leave_the_size_on_disk_beyond_the_users() {
    let Some(image) = image("ext4-4k") else { return };
    let inner = image.device();
    let faulty = Arc::new(FaultDevice::new(inner.clone(), []));
    let fs = open(faulty.clone());
    let ino = create(&fs, "f");
    put(&fs, ino, 0, &vec![1; (3 << 20) + 100]).unwrap();
    fs.sync().unwrap();
    assert!(fs.invalidate_pages(ino, 0..u64::MAX));
    fs.truncate(ino, 100).unwrap();
    fs.fallocate(ino, 0, 4 << 20, true).unwrap();
    let end = fs.geometry().block_size.bytes().into();
    // No bytes: the block that is written in part cannot be read.
    faulty.add(Fault::from(Op::Read, faulty.counts().reads + 1));
    let guard = fs.incore(ino).lock(LockMode::Exclusive);
    assert_eq!(fs.buffered_write(&guard, 100, &[7; 5000]).unwrap_err().errno(), 5);
    assert_eq!(sizes(&fs, ino), (100, 100));
    drop(guard);
    check_after_failure(&fs, ino, 100);
    drop(fs);

    // Some bytes: there is room for one block more and no second.
    let fs = open(inner.clone());
    let filler = create(&fs, "filler");
    assert_eq!(fs.fallocate(filler, 0, 1 << 30, true).unwrap_err().errno(), 28);
    fs.truncate(ino, 100).unwrap();
    fs.commit().unwrap();
    assert_eq!(fs.fallocate(filler, 0, 1 << 30, true).unwrap_err().errno(), 28);
    let done = put(&fs, ino, 50, &[7; 9000]).unwrap();
    assert_eq!(50 + done as u64, end, "up to the end of the block it has");
    assert_eq!(sizes(&fs, ino), (end, end));
    assert_eq!(put(&fs, ino, end, &[7; 100]).unwrap_err().errno(), 28);
    assert_eq!(sizes(&fs, ino), (end, end));
    check(&fs, ino);
    fs.close().unwrap();
    assert_clean(&*inner).unwrap();
}

fn check_after_failure(fs: &Filesystem, ino: InodeNr, size: u64) {
    let (i_size, i_disksize) = sizes(fs, ino);
    assert!(i_disksize <= i_size && i_size == size, "{i_disksize} {i_size}");
}

#[test]
fn scenario_97_a_hole_over_pages_moves_the_size_on_disk_no_further_than_itself() {
    let Some(image) = image("ext4-4k") else { return };
    let device = image.device();
    let fs = open(device.clone());
    let ino = create(&fs, "f");
    put(&fs, ino, 0, &vec![1; 40960]).unwrap();
    assert_eq!(sizes(&fs, ino), (40960, 0));
    fs.punch_hole(ino, 4096, 8192).unwrap();
    assert_eq!(sizes(&fs, ino), (40960, 12288));
    check(&fs, ino);
    fs.commit().unwrap();
    assert_eq!(sizes(&after_crash(&device), ino), (12288, 12288));
    // At the end of the file nobody else would move it any more.
    fs.punch_hole(ino, 32768, 1 << 20).unwrap();
    assert_eq!(sizes(&fs, ino), (40960, 40960));
    check(&fs, ino);
    assert_eq!(fs.reserved_clusters(), 1 + 5 + 1, "blocks 0 and 3 to 7, and a node");
    fs.close().unwrap();
    let fs = open(device.clone());
    let mut expected = vec![1; 40960];
    expected[4096..12288].fill(0);
    expected[32768..].fill(0);
    assert_eq!(read(&fs, ino, 0, 50_000), expected);
    fs.close().unwrap();
    assert_clean(&*device).unwrap();
}

#[test]
fn a_device_that_fails_loses_no_page_and_everybody_is_told() {
    for delayed in [Delayed::DEFAULT, super::ORDERED] {
        let Some(image) = image("ext4-4k") else { return };
        let inner = image.device();
        let faulty = Arc::new(FaultDevice::new(inner.clone(), []));
        let fs = open_as(faulty.clone(), delayed);
        let ino = create(&fs, "f");
        fs.commit().unwrap();
        put(&fs, ino, 0, &vec![5; 20_000]).unwrap();
        faulty.add(Fault::from(Op::Write, faulty.counts().writes + 1));
        for _ in 0..2 {
            assert_eq!(fs.fsync(ino, false).unwrap_err().errno(), 5);
            assert!(fs.has_dirty_pages(ino, 0..20_000));
            assert!(!fs.is_writing_back(ino, 0..u64::MAX));
            assert_eq!(read(&fs, ino, 0, 30_000), vec![5; 20_000]);
        }
        assert_eq!(fs.sync().unwrap_err().errno(), 5);
        fs.close().unwrap_err();
        let fs = open(inner.clone());
        let size = sizes(&fs, ino).0;
        assert!(read(&fs, ino, 0, 30_000) == vec![0; usize::try_from(size).unwrap()]);
        fs.close().unwrap();
        assert_eq!(judge(&*inner), Vec::new());
    }
}

#[test]
fn a_page_that_cannot_be_dropped_is_told_of() {
    let Some(image) = image("ext4-4k") else { return };
    let fs = open(image.device());
    let ino = create(&fs, "f");
    assert!(!fs.has_pages(ino, 0..u64::MAX) && fs.invalidate_pages(ino, 0..u64::MAX));
    put(&fs, ino, 0, &vec![1; 12288]).unwrap();
    assert!(fs.has_pages(ino, 100..101) && !fs.has_pages(ino, 12288..u64::MAX));
    assert!(!fs.invalidate_pages(ino, 0..1), "dirty");
    fs.fsync(ino, true).unwrap();
    assert!(fs.pin_page(ino, LogicalBlock(1), true));
    assert!(!fs.pin_page(ino, LogicalBlock(9), true));
    assert!(!fs.invalidate_pages(ino, 0..u64::MAX));
    assert!(fs.has_pages(ino, 4096..4097) && !fs.has_pages(ino, 0..4096));
    assert!(fs.pin_page(ino, LogicalBlock(1), false));
    assert!(fs.invalidate_pages(ino, 0..u64::MAX));
    assert!(!fs.has_pages(ino, 0..u64::MAX));
    assert_eq!(read(&fs, ino, 0, 20_000), [1; 12288]);
    fs.close().unwrap();
}

#[test]
fn a_small_file_goes_into_its_inode_unless_direct_io_was_tried() {
    let Some(image) = image("inline-4k") else { return };
    let fs = open(image.device());
    let [a, b] = [create(&fs, "a"), create(&fs, "b")];
    fs.incore(b).forbid_inline();
    for ino in [a, b] {
        put(&fs, ino, 0, b"hello").unwrap();
    }
    assert!(fs.inode(fs.meta(), a).unwrap().has_inline_data());
    assert!(!fs.inode(fs.meta(), b).unwrap().has_inline_data());
    assert_eq!(sizes(&fs, b), (5, 0));
    put(&fs, a, 5, &[b'x'; 500]).unwrap();
    assert!(!fs.inode(fs.meta(), a).unwrap().has_inline_data());
    for ino in [a, b] {
        assert_eq!(read(&fs, ino, 0, 5), b"hello");
        check(&fs, ino);
    }
    fs.close().unwrap();
}

#[test]
fn an_unlinked_file_takes_its_pages_along() {
    let Some(image) = image("ext4-1k") else { return };
    let device = image.device();
    let fs = open(device.clone());
    let ino = create(&fs, "f");
    put(&fs, ino, 0, &vec![1; 100_000]).unwrap();
    assert!(fs.reserved_clusters() >= 98 && fs.dirty_bytes() >= 100_000);
    let gone = fs.unlink_open(InodeNr::ROOT, b"f").unwrap();
    put(&fs, ino, 100_000, &[2; 1000]).unwrap();
    assert_eq!(read(&fs, ino, 99_999, 2), [1, 2]);
    fs.release(gone.ino).unwrap();
    assert_eq!((fs.reserved_clusters(), fs.dirty_bytes()), (0, 0));
    assert!(put(&fs, ino, 0, &[1]).is_err(), "nobody's inode");
    // Whoever gets the number next sees nothing of it.
    let next = create(&fs, "g");
    assert_eq!((next, sizes(&fs, next)), (ino, (0, 0)));
    assert!(read(&fs, next, 0, 10).is_empty());
    fs.close().unwrap();
    assert_clean(&*device).unwrap();
}

#[test]
fn bytes_behind_the_end_that_others_left_are_not_shown() {
    // Debris behind the end, as from a program that writes to a device itself.
    for grow in [0, 1, 2] {
        let Some(image) = image("ext4-4k") else { return };
        let device = image.device();
        let fs = open(device.clone());
        let ino = create(&fs, "f");
        put(&fs, ino, 0, &[1; 1000]).unwrap();
        fs.fsync(ino, false).unwrap();
        let MapState::Written(blk) = state_of(&fs, ino, 0) else { panic!("written") };
        fs.close().unwrap();
        device.write_at(blk.0 * 4096 + 1000, &[0xDB; 3096]).unwrap();
        let fs = open(device.clone());
        match grow {
            0 => fs.truncate(ino, 6000).unwrap(),
            1 => drop(put(&fs, ino, 5000, &[2; 1000]).unwrap()),
            _ => fs.fallocate(ino, 0, 6000, false).unwrap(),
        }
        let mut expected = vec![1; 1000];
        expected.resize(5000, 0);
        assert_eq!(read(&fs, ino, 0, 5000), expected, "{grow}");
        fs.close().unwrap();
    }
}
