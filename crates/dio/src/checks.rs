//! The checks before a write: `ext4_dio_write_checks` and `generic_write_checks`, in their order.

use crate::{Caller, Error, Offset, Request, Result};
use ext4_fs::{Filesystem, Inode};
use ext4_ondisk::inode::InodeFlags;
use ext4_units::{BlockSize, InodeNr};

/// The largest offset of a file opened without O_LARGEFILE, `MAX_NON_LFS`.
const MAX_NON_LFS: u64 = (1 << 31) - 1;

/// A request whose place is settled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Checked {
    /// First byte.
    pub(crate) pos: u64,
    /// Bytes to be written at most; `None` is until the source ends or `max_len` is reached.
    pub(crate) len: Option<u64>,
    /// What the limits leave.
    pub(crate) max_len: u64,
}

/// Why a file takes no direct IO at all (`ext4_dio_alignment` of 0).
pub(crate) fn why_not_direct(fs: &Filesystem, inode: &Inode) -> Option<&'static str> {
    if inode.flags.contains(InodeFlags::VERITY) {
        Some("fs-verity")
    } else if fs.logs_data(inode) {
        Some("its data is journaled")
    } else if inode.has_inline_data() {
        Some("inline data")
    } else {
        None
    }
}

/// What an atomic write must look like (`generic_atomic_write_valid`), and then its refusal: there
/// is no device below an image that takes several sectors whole or not at all.
pub(crate) fn check_atomic(ino: InodeNr, size: BlockSize, request: &Request) -> Result<()> {
    if !request.is_atomic {
        return Ok(());
    }
    let offset = match request.offset {
        Offset::At(pos) => pos,
        Offset::Append => 0,
    };
    let len = request.len.unwrap_or(0);
    if !len.is_power_of_two() || len < size.len() as u64 || offset % len != 0 {
        return Err(Error::AtomicGeometry { ino, offset, len });
    }
    let reason = "no device below takes an atomic write";
    Err(Error::Refused { ino, reason, errno: 95 })
}

/// Whether a write would pass the checks that do not depend on what the file holds: its kind, its
/// flags, the limits. For those who are about to change the file before they write it.
pub fn check_request(fs: &Filesystem, ino: InodeNr, request: &Request) -> Result<()> {
    let inode = fs.open_inode(fs.meta(), ino)?;
    check(fs, &inode, request).map(|_place| ())
}

/// Settles where the request goes and how much of it the limits allow. `None` is nothing to do: a
/// length of 0.
pub(crate) fn check(fs: &Filesystem, inode: &Inode, request: &Request) -> Result<Option<Checked>> {
    let ino = inode.ino;
    if !inode.is_regular() {
        return Err(Error::NotAFile { ino, is_dir: inode.is_dir() });
    }
    if inode.flags.contains(InodeFlags::IMMUTABLE) {
        return Err(Error::Immutable { ino });
    }
    for (flag, reason, errno) in [
        (InodeFlags::VERITY, "is under fs-verity", 1),
        (InodeFlags::ENCRYPT, "is encrypted, and there is no key", 126),
        (InodeFlags::EA_INODE, "holds an attribute's value", 1),
    ] {
        if inode.flags.contains(flag) {
            return Err(Error::Refused { ino, reason, errno });
        }
    }
    if !fs.geometry().is_ordinary_inode(ino) {
        return Err(Error::Refused { ino, reason: "is a reserved inode", errno: 1 });
    }
    if request.len == Some(0) {
        return Ok(None);
    }
    let pos = match request.offset {
        Offset::At(pos) => pos,
        Offset::Append => inode.i_size,
    };
    let mut max_len = u64::MAX;
    for (what, limit) in limits(fs, inode, &request.caller) {
        let left = limit.checked_sub(pos).filter(|&left| left > 0);
        let left = left.ok_or(Error::TooBig { ino, offset: pos, limit, what })?;
        max_len = max_len.min(left);
    }
    let len = request.len.map(|len| len.min(max_len));
    Ok(Some(Checked { pos, len, max_len }))
}

/// Where files must end, in the order in which the kernel asks.
fn limits(
    fs: &Filesystem,
    inode: &Inode,
    caller: &Caller,
) -> impl Iterator<Item = (&'static str, u64)> {
    let geo = fs.geometry();
    let bitmap =
        (!inode.has_extents()).then_some(("largest file with a block map", geo.bitmap_max_bytes));
    [
        caller.file_size_limit.map(|limit| ("file size limit", limit)),
        (!caller.is_largefile).then_some(("without O_LARGEFILE", MAX_NON_LFS)),
        Some(("largest file", geo.max_bytes)),
        bitmap,
    ]
    .into_iter()
    .flatten()
}
