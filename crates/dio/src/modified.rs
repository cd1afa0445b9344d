//! What every write does to its inode before any data: privileges and times (`file_modified`).

use crate::{Caller, Result};
use ext4_fs::{Filesystem, Inode};
use ext4_units::InodeNr;

const S_ISUID: u16 = 0o4000;
const S_ISGID: u16 = 0o2000;
const S_IXGRP: u16 = 0o010;

/// The file capability, which a write takes away from everybody.
const CAPABILITY: &[u8] = b"security.capability";

/// The mode bits a write by `caller` takes away (`setattr_should_drop_suidgid`).
fn stripped_bits(inode: &Inode, caller: &Caller) -> u16 {
    if caller.has_fsetid {
        return 0;
    }
    let mut bits = inode.mode & S_ISUID;
    if inode.mode & S_IXGRP != 0 {
        bits |= inode.mode & S_ISGID;
    }
    bits
}

/// Whether a write has anything to strip.
pub(crate) fn strips_privileges(fs: &Filesystem, inode: &Inode, caller: &Caller) -> Result<bool> {
    Ok(stripped_bits(inode, caller) != 0 || fs.xattr(fs.meta(), inode, CAPABILITY)?.is_some())
}

/// Strips privileges and sets the times, in a handle of its own. A failure is the write's failure:
/// no data has been written.
pub(crate) fn file_modified(fs: &Filesystem, ino: InodeNr, caller: &Caller) -> Result<()> {
    let inode = fs.inode(fs.meta(), ino)?;
    if fs.xattr(fs.meta(), &inode, CAPABILITY)?.is_some() {
        fs.remove_xattr(ino, CAPABILITY)?;
    }
    let mut h = fs.start(1)?;
    let mut inode = h.inode(ino)?;
    let bits = stripped_bits(&inode, caller);
    inode.disk.mode &= !bits;
    inode.modified(h.now());
    h.put_inode(&inode)?;
    h.stop()?;
    Ok(())
}
