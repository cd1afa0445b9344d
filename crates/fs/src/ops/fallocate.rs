//! Blocks for a range ahead of its data.

use crate::{Error, Filesystem, InCore, Inode, InodeGuard, MapState, Result};
use ext4_extent::Mapping;
use ext4_ondisk::{extent::Extent, inode::InodeFlags};
use ext4_units::{InodeNr, LogicalBlock};

impl Filesystem {
    /// Gives the holes of `offset..offset + len` blocks that read as zeros until they are written
    /// (`ext4_fallocate`), and raises the size to its end unless `keep_size`.
    ///
    /// One handle for each extent, the size with it as far as that goes: out of space
    /// (`ENOSPC`), what is there already stays. A file inside its inode moves to a block first. Files with
    /// block maps cannot have such blocks (`EOPNOTSUPP`).
    ///
    /// Waits for the inode's lock and direct IO in flight.
    pub fn fallocate(&self, ino: InodeNr, offset: u64, len: u64, keep_size: bool) -> Result<()> {
        let guard = self.lock_alone(ino);
        self.fallocate_locked(&guard, offset, len, keep_size)
    }

    /// As [`fallocate`](Self::fallocate), for who holds the lock alone, with no direct IO in
    /// flight.
    pub fn fallocate_locked(
        &self,
        guard: &InodeGuard,
        offset: u64,
        len: u64,
        keep_size: bool,
    ) -> Result<()> {
        let incore = guard.alone();
        let ino = incore.ino();
        let inode = self.open_inode(self.meta(), ino)?;
        check_may_change(&inode)?;
        let end = range_end(self, &inode, offset, len)?;
        if inode.has_inline_data() {
            self.inline_to_blocks(ino)?;
        } else if !inode.has_extents() {
            let what = format!("inode {ino}: preallocation needs extents, the file has none");
            return Err(Error::Refused(what.into()));
        }
        let size = self.geometry().block_size;
        let too_big = || Error::TooBig {
            ino,
            offset: end,
            max: self.geometry().max_size(inode.has_extents()),
        };
        let mut at = LogicalBlock::of_byte(offset, size).ok_or_else(too_big)?;
        let last = LogicalBlock::of_byte(end - 1, size).ok_or_else(too_big)?;
        if !keep_size && end > inode.i_size {
            self.zero_tail(ino)?;
        }
        while at <= last {
            let next = self.retrying(|| {
                self.fallocate_piece(incore, at, last.0 - at.0 + 1, (!keep_size).then_some(end))
            })?;
            // Crash here: unwritten blocks up to `next`, and a size that includes them.
            at = LogicalBlock(next);
        }
        Ok(())
    }

    /// One step: steps over what is mapped, or fills a hole as far as one extent goes. Returns the
    /// block behind.
    fn fallocate_piece(
        &self,
        incore: &InCore,
        at: LogicalBlock,
        len: u32,
        new_size: Option<u64>,
    ) -> Result<u32> {
        let ino = incore.ino();
        let mut h = self
            .start_for(|meta| Ok(self.allocate_credits(&self.open_inode(meta, ino)?, len)? + 1))?;
        let mut inode = self.open_inode(&h, ino)?;
        let found = self.lookup(&h, &inode, at)?;
        let len = found.len.min(len);
        let Mapping { len, .. } = match found.state {
            MapState::Hole => h.allocate(&mut inode, at, len.min(Extent::max_len(true)), true)?,
            MapState::Written(_) | MapState::Unwritten(_) => Mapping { len, ..found },
        };
        let next = at.0.saturating_add(len);
        inode.changed(h.now());
        let reached = LogicalBlock(next).byte(self.geometry().block_size);
        if let Some(new_size) = new_size
            && h.raise_size(&mut inode, reached.min(new_size))?
        {
            inode.disk.mtime = h.now();
        }
        h.put_inode(&inode)?;
        h.stop()?;
        Ok(next)
    }
}

/// Where a range of a file ends; it must not be empty, nor go beyond what the file may have.
pub(super) fn range_end(fs: &Filesystem, inode: &Inode, offset: u64, len: u64) -> Result<u64> {
    let ino = inode.ino;
    if len == 0 {
        return Err(Error::WrongType { ino, found: "an empty range", expected: "bytes" });
    }
    let max = fs.geometry().max_size(inode.has_extents() || inode.has_inline_data());
    let end = offset.checked_add(len).filter(|&end| end <= max);
    end.ok_or(Error::TooBig { ino, offset: offset.saturating_add(len), max })
}

/// What `vfs_fallocate` and `ext4_fallocate` ask of a file.
pub(super) fn check_may_change(inode: &Inode) -> Result<()> {
    let ino = inode.ino;
    if inode.is_dir() {
        return Err(Error::IsADirectory { ino });
    }
    if !inode.is_regular() {
        return Err(Error::WrongType { ino, found: "no regular file", expected: "a regular file" });
    }
    if inode.flags.contains(InodeFlags::IMMUTABLE) {
        return Err(Error::NotPermitted { ino, flag: "immutable" });
    }
    if inode.flags.contains(InodeFlags::ENCRYPT) {
        return Err(Error::NotPermitted { ino, flag: "encrypt" });
    }
    if inode.flags.contains(InodeFlags::VERITY) {
        return Err(Error::NotPermitted { ino, flag: "verity" });
    }
    Ok(())
}
