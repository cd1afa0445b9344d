//! Names go, and with the last one the inode.

use super::create::check_name;
use crate::{Error, Filesystem, Handle, Inode, InodeGuard, Result};
use ext4_ondisk::inode::InodeFlags;
use ext4_units::InodeNr;

/// Credits of taking a name away: its block, the directory, the inode and its orphan record.
const UNLINK_CREDITS: usize = 4 + Handle::ORPHAN_CREDITS;

/// What removing a name left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unlinked {
    /// The inode that was named.
    pub ino: InodeNr,
    /// Whether it has no name any more: [`Filesystem::release`] it.
    pub is_last: bool,
}

impl Filesystem {
    /// Removes a name that is no directory's (`ext4_unlink`), and the inode with its last name.
    ///
    /// The name and the orphan record change in one handle; after a crash recovery finishes what is
    /// left.
    pub fn unlink(&self, dir: InodeNr, name: &[u8]) -> Result<()> {
        let gone = self.unlink_open(dir, name)?;
        if gone.is_last { self.release(gone.ino) } else { Ok(()) }
    }

    /// As [`unlink`](Self::unlink), but an inode without names stays, on the orphan record, until
    /// [`release`](Self::release) or recovery: that of a file that is still open.
    pub fn unlink_open(&self, dir: InodeNr, name: &[u8]) -> Result<Unlinked> {
        self.noting(self.unlink_once(dir, name))
    }

    fn unlink_once(&self, dir: InodeNr, name: &[u8]) -> Result<Unlinked> {
        check_name(name)?;
        let names = self.lock_names()?;
        let mut h = self.start(UNLINK_CREDITS)?;
        let mut parent = self.dir_to_change(&h, dir)?;
        let mut inode = self.victim(&h, &parent, name)?;
        if inode.is_dir() {
            return Err(Error::IsADirectory { ino: inode.ino });
        }
        h.dir_remove(&mut parent, name)?;
        h.put_inode(&parent)?;
        let is_last = h.drop_link(&mut inode)?;
        h.put_inode(&inode)?;
        h.stop()?;
        drop(names);
        Ok(Unlinked { ino: inode.ino, is_last })
    }

    /// Frees an inode that [`unlink_open`](Self::unlink_open) left without names.
    ///
    /// Waits for the inode's lock, direct IO in flight and pages under writeback. Its pages go.
    pub fn release(&self, ino: InodeNr) -> Result<()> {
        let guard = self.lock_alone(ino);
        self.release_locked(&guard)
    }

    /// As [`release`](Self::release), for who holds the lock alone, with no direct IO in flight.
    /// Waits for [pages under writeback](Self::is_writing_back).
    pub fn release_locked(&self, guard: &InodeGuard) -> Result<()> {
        let ino = guard.alone().ino();
        let inode = self.open_inode(self.meta(), ino)?;
        if inode.links_count != 0 {
            let (found, expected) = ("in use by its names", "an inode without names");
            return Err(Error::WrongType { ino, found, expected });
        }
        self.noting(self.evict_locked(guard))
    }

    /// Removes an empty directory (`ext4_rmdir`).
    pub fn rmdir(&self, dir: InodeNr, name: &[u8]) -> Result<()> {
        self.noting(self.rmdir_once(dir, name))
    }

    fn rmdir_once(&self, dir: InodeNr, name: &[u8]) -> Result<()> {
        check_name(name)?;
        let names = self.lock_names()?;
        let mut h = self.start(UNLINK_CREDITS)?;
        let mut parent = self.dir_to_change(&h, dir)?;
        let mut inode = self.victim(&h, &parent, name)?;
        if !inode.is_dir() {
            return Err(Error::NotADirectory { path: String::from_utf8_lossy(name).into() });
        }
        if !h.dir_is_empty(&mut inode)? {
            return Err(Error::NotEmpty { ino: inode.ino });
        }
        h.dir_remove(&mut parent, name)?;
        parent.remove_subdir();
        h.put_inode(&parent)?;
        h.drop_dir(&mut inode)?;
        h.put_inode(&inode)?;
        h.stop()?;
        // Inode locks come before this one.
        drop(names);
        self.evict(inode.ino)
    }

    /// The inode that a name is about to be taken from (`may_delete`).
    pub(super) fn victim(&self, h: &Handle<'_>, dir: &Inode, name: &[u8]) -> Result<Inode> {
        if dir.flags.contains(InodeFlags::APPEND) {
            return Err(Error::NotPermitted { ino: dir.ino, flag: "append-only" });
        }
        let entry = self
            .find(h, dir, name)?
            .ok_or_else(|| Error::NotFound { path: String::from_utf8_lossy(name).into() })?;
        if entry.ino == dir.ino || entry.ino == InodeNr::ROOT {
            let place = format!("directory inode {}", dir.ino);
            let fault = format!("\"{}\" names a directory above it", name.escape_ascii());
            return Err(Error::corrupt(place, fault));
        }
        let inode = self.live_inode(h, entry.ino)?;
        if !self.geometry().is_ordinary_inode(inode.ino) {
            let place = format!("directory inode {}", dir.ino);
            return Err(Error::corrupt(place, format!("names the reserved inode {}", inode.ino)));
        }
        inode.check_may_move()?;
        Ok(inode)
    }
}

impl Handle<'_> {
    /// One name less; with the last one the inode goes on the orphan record. Returns whether it was
    /// the last. The caller writes the inode back.
    pub(super) fn drop_link(&mut self, inode: &mut Inode) -> Result<bool> {
        inode.disk.links_count = inode.links_count.saturating_sub(1);
        inode.changed(self.now());
        if inode.links_count == 0 {
            self.orphan_add(inode)?;
        }
        Ok(inode.links_count == 0)
    }

    /// An empty directory loses its name and all its links at once. The caller writes it back.
    pub(super) fn drop_dir(&mut self, inode: &mut Inode) -> Result<()> {
        inode.disk.links_count = 0;
        inode.changed(self.now());
        self.orphan_add(inode)
    }
}
