//! Names that come and go by fast commits. Each operation leaves the link count as the kernel's
//! replay does; the record of the inode, which comes later in the fast commit, has the last word.

use super::Replay;
use crate::{Error, Inode, Result};
use ext4_units::InodeNr;

impl Replay<'_> {
    /// Gives a new inode its first name (`ext4_fc_replay_create`).
    pub(super) fn create(&mut self, parent: InodeNr, ino: InodeNr, name: &[u8]) -> Result<()> {
        let Some(mut inode) = self.take(ino)? else {
            let fault = format!("names inode {ino}, which was not recorded before");
            return Err(Error::corrupt("fast commit, record of a new file", fault));
        };
        let Some(mut dir) = self.take_dir(parent, ino)? else {
            self.put(inode);
            return Ok(());
        };
        let is_new = self.h.fs().find(&self.h, &dir, name)?.is_none();
        if is_new {
            if inode.is_dir() {
                // Its contents are not recorded: it was empty, or what is in it comes later.
                self.unmap_all(&mut inode)?;
                self.h.set_size(&mut inode, 0)?;
                self.h.dir_init(&mut inode, parent)?;
                dir.add_subdir(self.h.fs())?;
            }
            self.h.dir_insert(&mut dir, name, ino, inode.file_type())?;
        }
        if !inode.is_dir() {
            inode.disk.links_count = 1;
        }
        self.put(dir);
        self.put(inode);
        Ok(())
    }

    /// Adds a name (`ext4_fc_replay_link`).
    pub(super) fn link(&mut self, parent: InodeNr, ino: InodeNr, name: &[u8]) -> Result<()> {
        let Some(mut inode) = self.take(ino)? else { return Ok(()) };
        if !inode.is_dir()
            && let Some(mut dir) = self.take_dir(parent, ino)?
        {
            if self.h.fs().find(&self.h, &dir, name)?.is_none() {
                self.h.dir_insert(&mut dir, name, ino, inode.file_type())?;
                inode.disk.links_count = inode.links_count.saturating_add(1);
                inode.changed(self.h.now());
            }
            self.put(dir);
        }
        self.put(inode);
        Ok(())
    }

    /// Removes a name (`ext4_fc_replay_unlink`). The inode goes with the last one, at the end.
    pub(super) fn unlink(&mut self, parent: InodeNr, ino: InodeNr, name: &[u8]) -> Result<()> {
        let Some(mut inode) = self.take(ino)? else { return Ok(()) };
        if let Some(mut dir) = self.take_dir(parent, ino)? {
            if let Some(entry) = self.h.fs().find(&self.h, &dir, name)? {
                if inode.is_dir() && !self.h.dir_is_empty(&mut inode)? {
                    let fault = format!("removes directory inode {ino}, which is not empty");
                    return Err(Error::corrupt("fast commit, record of a removed name", fault));
                }
                // With another inode the name was given away already.
                if entry.ino == ino {
                    self.h.dir_remove(&mut dir, name)?;
                    if inode.is_dir() {
                        dir.remove_subdir();
                    }
                }
                inode.disk.links_count =
                    if inode.is_dir() { 0 } else { inode.links_count.saturating_sub(1) };
                inode.changed(self.h.now());
            }
            self.put(dir);
        }
        self.put(inode);
        Ok(())
    }

    /// The directory in which inode `of` is named; `None` when it is not in use.
    fn take_dir(&mut self, parent: InodeNr, of: InodeNr) -> Result<Option<Inode>> {
        let dir = self.take(parent)?;
        if parent == of || dir.as_ref().is_some_and(|dir| !dir.is_dir()) {
            let fault = format!("inode {of} is named in inode {parent}, expected a directory");
            return Err(Error::corrupt("fast commit, record of a name", fault));
        }
        Ok(dir)
    }
}
