//! Buffered writes in pages, and their way to the device.

mod crash;
mod model;
mod order;
mod scenarios;
mod space;
mod threads;

use crate::rig::clock;
use ext4_blockdev::BlockDevice;
use ext4_fs::{Delayed, Filesystem, Last, LockMode, NewFile, RecoverOptions, recover};
use ext4_ondisk::inode::InodeFlags;
use ext4_units::InodeNr;
use std::sync::Arc;

const FILE: NewFile = NewFile::of_root(0o644);

/// Without `delalloc`.
const NODELALLOC: Delayed = Delayed { delalloc: false, ..Delayed::DEFAULT };

/// With `dioread_lock`: blocks are written when they are mapped.
const ORDERED: Delayed = Delayed { dioread_nolock: false, ..Delayed::DEFAULT };

fn open_as(device: Arc<dyn BlockDevice>, delayed: Delayed) -> Filesystem {
    recover(device, &RecoverOptions { delayed, ..RecoverOptions::new(clock()) }).unwrap().fs
}

fn create(fs: &Filesystem, name: &str) -> InodeNr {
    fs.create(InodeNr::ROOT, name.as_bytes(), &FILE).unwrap()
}

fn find(fs: &Filesystem, path: &str) -> InodeNr {
    fs.resolve(fs.meta(), path.as_bytes(), Last::Stay).unwrap().ino
}

/// A buffered write of a program, as much of it as there is space for.
fn put(fs: &Filesystem, ino: InodeNr, pos: u64, bytes: &[u8]) -> ext4_fs::Result<usize> {
    let guard = fs.incore(ino).lock(LockMode::Exclusive);
    fs.buffered_write(&guard, pos, bytes)
}

fn read(fs: &Filesystem, ino: InodeNr, pos: u64, len: usize) -> Vec<u8> {
    let inode = fs.inode(fs.meta(), ino).unwrap();
    let mut bytes = vec![0xEE; len];
    let n = fs.read_at(fs.meta(), &inode, pos, &mut bytes).unwrap();
    bytes.truncate(n);
    bytes
}

/// `i_size` and `i_disksize`.
fn sizes(fs: &Filesystem, ino: InodeNr) -> (u64, u64) {
    let inode = fs.inode(fs.meta(), ino).unwrap();
    (inode.i_size, inode.i_disksize())
}

#[track_caller]
fn check(fs: &Filesystem, ino: InodeNr) {
    assert_eq!(fs.check_incore(ino).unwrap(), Vec::<String>::new());
}

/// Sends the data of a file through the log from now on (`chattr +j`).
fn journal_data(fs: &Filesystem, ino: InodeNr) {
    let mut h = fs.start(2).unwrap();
    let mut inode = h.inode(ino).unwrap();
    inode.disk.flags.insert(InodeFlags::JOURNAL_DATA);
    h.put_inode(&inode).unwrap();
    h.stop().unwrap();
}
