//! `i_size` and `i_disksize`: the only place that moves them.

use crate::{Error, Handle, Inode, Result};
use ext4_ondisk::features::RoCompat;

/// The largest size that a filesystem without RO_COMPAT large_file may have in it.
const MAX_SMALL_FILE: u64 = (1 << 31) - 1;

impl Handle<'_> {
    /// Sets both sizes. The caller writes the inode back, in this handle.
    ///
    /// The first size beyond 2^31 - 1 sets large_file in the superblock
    /// (`ext4_update_dynamic_rev` and its callers).
    pub fn set_size(&mut self, inode: &mut Inode, size: u64) -> Result<()> {
        self.check_size(inode, size)?;
        self.set_sizes(inode, size, size)
    }

    fn check_size(&self, inode: &Inode, size: u64) -> Result<()> {
        let max = self.fs().geometry().max_size(inode.has_extents());
        if size > max {
            return Err(Error::TooBig { ino: inode.ino, offset: size, max });
        }
        Ok(())
    }

    /// Both at once, also for who looks without a lock: never is the user's size seen to be the
    /// smaller one in between.
    fn set_sizes(&mut self, inode: &mut Inode, i_size: u64, i_disksize: u64) -> Result<()> {
        self.note_mapped(inode.ino);
        inode.i_size = i_size;
        inode.disk.size = i_disksize;
        self.note_sizes(inode);
        self.note_large_file(i_disksize)
    }

    /// Raises both sizes to `end` where they are below it (`ext4_handle_inode_extension`), and
    /// tells whether one was. The caller writes the inode back, in this handle.
    ///
    /// The data up to `end` must be on the device before this handle's transaction commits.
    pub fn raise_size(&mut self, inode: &mut Inode, end: u64) -> Result<bool> {
        if end <= inode.i_disksize() && end <= inode.i_size {
            return Ok(false);
        }
        self.check_size(inode, end)?;
        self.set_sizes(inode, inode.i_size.max(end), inode.i_disksize().max(end))?;
        Ok(true)
    }

    /// Raises the size on disk to `end` where it is below, for blocks that have been mapped; never
    /// beyond the size that the user sees (`ext4_update_i_disksize`). The caller writes the inode
    /// back, in this handle.
    pub(crate) fn raise_disksize(&mut self, inode: &mut Inode, end: u64) -> Result<bool> {
        let end = end.min(inode.i_size);
        if end <= inode.i_disksize() {
            return Ok(false);
        }
        self.note_mapped(inode.ino);
        inode.disk.size = end;
        self.note_disksize(inode);
        self.note_large_file(end)?;
        Ok(true)
    }

    /// The first size beyond 2^31 - 1 sets large_file in the superblock.
    fn note_large_file(&mut self, size: u64) -> Result<()> {
        let large_file = RoCompat::LARGE_FILE.bits();
        if size > MAX_SMALL_FILE
            && self.fs().raw_superblock(self)?.s_feature_ro_compat.get() & large_file == 0
        {
            self.modify_superblock(|raw| {
                raw.s_feature_ro_compat.set(raw.s_feature_ro_compat.get() | large_file);
            })?;
        }
        Ok(())
    }
}
