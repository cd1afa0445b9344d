//! How many names an inode has, and how a directory counts the directories below it.

use crate::{Error, Filesystem, Inode, Result};
use ext4_ondisk::{
    features::{Compat, RoCompat},
    inode::InodeFlags,
};

impl Inode {
    /// `EXT4_LINK_MAX`.
    pub(super) const MAX_LINKS: u16 = 65000;

    /// Counts one more directory below this one (`ext4_inc_count`, `EXT4_DIR_LINK_MAX`). With
    /// dir_nlink an indexed directory gives up counting, and has 1 from then on.
    pub(crate) fn add_subdir(&mut self, fs: &Filesystem) -> Result<()> {
        let features = fs.superblock().features;
        let is_indexed =
            self.flags.contains(InodeFlags::INDEX) && features.has_compat(Compat::DIR_INDEX);
        let may_overflow = is_indexed && features.has_ro_compat(RoCompat::DIR_NLINK);
        if self.links_count >= Self::MAX_LINKS && !may_overflow {
            return Err(Error::TooManyLinks { ino: self.ino });
        }
        let links = self.links_count.saturating_add(1);
        let gives_up = is_indexed && (links > Self::MAX_LINKS || links == 2);
        self.disk.links_count = if gives_up { 1 } else { links };
        Ok(())
    }

    /// Counts one directory less (`ext4_dec_count`).
    pub(crate) fn remove_subdir(&mut self) {
        if self.links_count > 2 {
            self.disk.links_count -= 1;
        }
    }

    /// Refuses an inode whose names must stay as they are (`may_delete`, `vfs_link`).
    pub(super) fn check_may_move(&self) -> Result<()> {
        for (flag, name) in
            [(InodeFlags::IMMUTABLE, "immutable"), (InodeFlags::APPEND, "append-only")]
        {
            if self.flags.contains(flag) {
                return Err(Error::NotPermitted { ino: self.ino, flag: name });
            }
        }
        Ok(())
    }
}
