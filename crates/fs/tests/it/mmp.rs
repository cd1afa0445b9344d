//! Multi-mount protection: who else has the filesystem, and that we have it.

use ext4_blockdev::BlockDevice;
use ext4_fs::{Clock, NewFile, RecoverOptions, recover};
use ext4_ondisk::mmp::{Owner, RawMmp, SEQ_CLEAN};
use ext4_testkit::{image::Recipe, oracle, view::View};
use ext4_units::{BlockNr, InodeNr};
use std::{sync::Arc, time::Duration};

fn options() -> RecoverOptions {
    RecoverOptions::new(Clock::fixed(Duration::from_secs(1_700_000_000)))
}

/// The MMP block's number and contents; without asking its checksum.
fn mmp(device: &dyn BlockDevice) -> (u64, RawMmp) {
    let mut superblock = [0; 1024];
    device.read_at(1024, &mut superblock).unwrap();
    let blk = u64::from_le_bytes(superblock[0x168..0x170].try_into().unwrap());
    let bytes = View::new(device).unwrap().block(blk).unwrap();
    (blk, RawMmp::decode(&bytes, BlockNr(blk), None).unwrap())
}

#[test]
fn a_filesystem_that_another_host_has_is_refused_and_left_alone() {
    let Some(image) = Recipe::new("mmp-4k").image() else { return };
    let device = image.device();
    let (blk, mut raw) = mmp(&*device);
    raw.mmp_seq.set(77);
    raw.mmp_nodename[..5].copy_from_slice(b"other");
    let seed = {
        let mut superblock = [0; 1024];
        device.read_at(1024, &mut superblock).unwrap();
        let raw = ext4_ondisk::superblock::RawSuperblock::of(&superblock).unwrap().clone();
        ext4_ondisk::superblock::Superblock::decode(&raw).unwrap().metadata_csum()
    };
    let mut block = vec![0; 4096];
    raw.encode(&mut block, seed);
    device.write_at(blk * 4096, &block).unwrap();
    let before = device.contents();
    let err = recover(device.clone(), &options()).unwrap_err().to_string();
    assert!(err.contains("\"other\"") && err.contains("0x0000004d"), "{err}");
    assert!(device.contents() == before);
}

#[test]
fn we_say_that_we_have_it_and_a_crash_of_ours_does_not_keep_us_out() {
    let Some(image) = Recipe::new("mmp-4k").image() else { return };
    let device = image.device();
    let fs = recover(device.clone(), &options()).unwrap().fs;
    assert_eq!(mmp(&*device).1.owner(), Owner::Clean, "nothing is written before a change");
    fs.create(InodeNr::ROOT, b"f", &NewFile::of_root(0o644)).unwrap();
    fs.commit().unwrap();
    assert_eq!(mmp(&*device).1.owner(), Owner::Fsck);
    drop(fs);
    let device: Arc<dyn BlockDevice> = device;
    recover(Arc::clone(&device), &options()).unwrap().fs.close().unwrap();
    assert_eq!(mmp(&*device).1.mmp_seq.get(), SEQ_CLEAN);
    if !oracle::skip_without(&[oracle::Need::E2fsck]) {
        let found = oracle::e2fsck_device(&*device, oracle::FsckMode::Check).unwrap();
        assert!(found.is_clean(), "{found:?}");
    }
}
