//! A name moves, and may take the place of another.

use super::create::check_name;
use crate::{Error, Filesystem, Handle, Inode, Result};
use ext4_units::InodeNr;

/// What a rename may do to a name that is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Replace {
    /// Take its place, as rename(2) does.
    Yes,
    /// Nothing: `EEXIST`, as with `RENAME_NOREPLACE`.
    No,
}

/// The directories of a rename, which may be one.
struct Dirs {
    old: Inode,
    /// When it is another one.
    new: Option<Inode>,
}

impl Dirs {
    fn target(&mut self) -> &mut Inode {
        self.new.as_mut().unwrap_or(&mut self.old)
    }
}

impl Filesystem {
    /// Moves a name (`ext4_rename`), in one handle. A file may take the place of a file, a
    /// directory that of an empty directory; whoever loses its last name by it is freed. Two names
    /// of one inode stay as they are.
    pub fn rename(
        &self,
        old_dir: InodeNr,
        old_name: &[u8],
        new_dir: InodeNr,
        new_name: &[u8],
        replace: Replace,
    ) -> Result<()> {
        check_name(old_name)?;
        check_name(new_name)?;
        let names = self.lock_names()?;
        let gone =
            self.retrying(|| self.rename_once(old_dir, old_name, new_dir, new_name, replace))?;
        // Inode locks come before this one.
        drop(names);
        // Crash before: the one replaced is on the orphan record.
        gone.map_or(Ok(()), |ino| self.evict(ino))
    }

    /// The handle of a rename. Returns the inode that has no names any more by it.
    fn rename_once(
        &self,
        old_dir: InodeNr,
        old_name: &[u8],
        new_dir: InodeNr,
        new_name: &[u8],
        replace: Replace,
    ) -> Result<Option<InodeNr>> {
        let target_dir = self.live_inode(self.meta(), new_dir)?;
        let credits = self.dir_insert_credits(&target_dir)? + 6 + Handle::ORPHAN_CREDITS;
        let mut h = self.start(credits)?;
        let old = self.dir_to_change(&h, old_dir)?;
        let new = if new_dir == old_dir { None } else { Some(self.dir_to_change(&h, new_dir)?) };
        let mut dirs = Dirs { old, new };
        let is_across = dirs.new.is_some();
        let mut inode = self.victim(&h, &dirs.old, old_name)?;
        let is_dir = inode.is_dir();
        if is_dir && is_across {
            self.check_not_below(&h, dirs.target(), inode.ino)?;
        }
        let target = match self.find(&h, dirs.target(), new_name)? {
            None => None,
            Some(entry) if entry.ino == inode.ino && replace == Replace::Yes => return Ok(None),
            Some(_) if replace == Replace::No => {
                return Err(Error::Exists { path: String::from_utf8_lossy(new_name).into() });
            }
            Some(_) => Some(self.victim(&h, dirs.target(), new_name)?),
        };
        let gone = if let Some(mut target) = target {
            check_kinds(&inode, &target)?;
            if is_dir && !h.dir_is_empty(&mut target)? {
                return Err(Error::NotEmpty { ino: target.ino });
            }
            h.dir_set(dirs.target(), new_name, inode.ino, inode.file_type())?;
            let now = h.now();
            dirs.target().modified(now);
            let is_last = if is_dir {
                h.drop_dir(&mut target)?;
                true
            } else {
                h.drop_link(&mut target)?
            };
            h.put_inode(&target)?;
            if is_dir {
                // The one that moves takes over the place of the one that goes.
                dirs.old.remove_subdir();
            }
            is_last.then_some(target.ino)
        } else {
            if is_dir && is_across {
                dirs.target().add_subdir(self)?;
                dirs.old.remove_subdir();
            }
            h.dir_insert(dirs.target(), new_name, inode.ino, inode.file_type())?;
            None
        };
        h.dir_remove(&mut dirs.old, old_name)?;
        if is_dir && is_across {
            let parent = dirs.target().ino;
            h.dir_set(&mut inode, b"..", parent, ext4_ondisk::dir_entry::FileType::Directory)?;
        }
        inode.changed(h.now());
        h.put_inode(&inode)?;
        h.put_inode(&dirs.old)?;
        if let Some(new) = &dirs.new {
            h.put_inode(new)?;
        }
        h.stop()?;
        Ok(gone)
    }

    /// Refuses to move the directory `moved` to `dir` when that is itself, or lies below it
    /// (`EINVAL`, `lock_rename`).
    fn check_not_below(&self, h: &Handle<'_>, dir: &Inode, moved: InodeNr) -> Result<()> {
        let mut here = dir.ino;
        // No tree is deeper than it has inodes; deeper, it runs in a circle.
        for _ in 0..=self.geometry().inodes_count {
            if here == moved {
                let (found, expected) = ("below the directory that moves", "one not below it");
                return Err(Error::WrongType { ino: dir.ino, found, expected });
            }
            if here == InodeNr::ROOT {
                return Ok(());
            }
            let inode = self.live_inode(h, here)?;
            let up = self.find(h, &inode, b"..")?.ok_or_else(|| {
                Error::corrupt(format!("directory inode {here}"), "no entry \"..\"")
            })?;
            here = up.ino;
        }
        Err(Error::corrupt(format!("directory inode {}", dir.ino), "does not lie below the root"))
    }
}

/// A directory replaces a directory, and nothing else does.
fn check_kinds(moved: &Inode, replaced: &Inode) -> Result<()> {
    match (moved.is_dir(), replaced.is_dir()) {
        (true, false) => Err(Error::NotADirectory { path: format!("inode {}", replaced.ino) }),
        (false, true) => Err(Error::IsADirectory { ino: replaced.ino }),
        _ => Ok(()),
    }
}
