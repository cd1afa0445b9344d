//! Names come, go, and come to mean another inode, in blocks or inside the directory's inode.
//!
//! The directory's times change with them; its inode is written back by the caller, in the same
//! handle.

use super::store::Blocks;
use crate::{Handle, Inode, Result};
use ext4_dir::{DirStore as _, Entry};
use ext4_ondisk::{dir_entry::FileType, features::Compat, inode::InodeFlags};
use ext4_units::InodeNr;

impl Handle<'_> {
    /// Adds a name (`ext4_add_entry`).
    pub(crate) fn dir_insert(
        &mut self,
        dir: &mut Inode,
        name: &[u8],
        ino: InodeNr,
        file_type: FileType,
    ) -> Result<()> {
        if dir.has_inline_data() {
            let mut inline = dir.inline_dir()?;
            let room = dir.inline_room()?;
            if inline.insert(&self.fs().dir_context(dir), room, name, ino, file_type)? {
                self.store_inline_dir(dir, &inline)?;
                dir.modified(self.now());
                return Ok(());
            }
            self.inline_dir_to_block(dir, &inline)?;
        }
        let ctx = self.fs().dir_context(dir);
        let outcome = ext4_dir::insert(&ctx, &mut Blocks { h: self, dir }, name, ino, file_type)?;
        dir.disk.flags.set(InodeFlags::INDEX, outcome.now_indexed);
        dir.modified(self.now());
        Ok(())
    }

    /// Removes a name and says what it was (`ext4_delete_entry`).
    pub(crate) fn dir_remove(&mut self, dir: &mut Inode, name: &[u8]) -> Result<Entry> {
        let ctx = self.fs().dir_context(dir);
        let entry = if dir.has_inline_data() {
            let mut inline = dir.inline_dir()?;
            let entry = inline.remove(&ctx, name)?;
            self.store_inline_dir(dir, &inline)?;
            entry
        } else {
            ext4_dir::remove(&ctx, &mut Blocks { h: self, dir }, name)?
        };
        self.update_index_flag(dir);
        dir.modified(self.now());
        Ok(entry)
    }

    /// Lets a name that is there, which may be `..`, mean `ino` (`ext4_setent`). The times stay.
    pub(crate) fn dir_set(
        &mut self,
        dir: &mut Inode,
        name: &[u8],
        ino: InodeNr,
        file_type: FileType,
    ) -> Result<()> {
        let ctx = self.fs().dir_context(dir);
        if dir.has_inline_data() {
            let mut inline = dir.inline_dir()?;
            inline.set_entry(&ctx, name, ino, file_type)?;
            return self.store_inline_dir(dir, &inline);
        }
        ext4_dir::set_entry(&ctx, &mut Blocks { h: self, dir }, name, ino, file_type)?;
        Ok(())
    }

    /// Whether there is nothing but `.` and `..` (`ext4_empty_dir`).
    pub(crate) fn dir_is_empty(&mut self, dir: &mut Inode) -> Result<bool> {
        let ctx = self.fs().dir_context(dir);
        if dir.has_inline_data() {
            return Ok(dir.inline_dir()?.is_empty(&ctx)?);
        }
        ext4_dir::is_empty(&ctx, &Blocks { h: self, dir })
    }

    /// Makes a new directory's contents, `.` and `..`: inside the inode where the filesystem has
    /// inline data (`ext4_try_create_inline_dir`), else in its first block (`ext4_init_new_dir`).
    pub(crate) fn dir_init(&mut self, dir: &mut Inode, parent: InodeNr) -> Result<()> {
        let ctx = self.fs().dir_context(dir);
        if dir.may_be_inline(self.fs()) {
            let inline = ext4_dir::inline::Inline::new(&ctx, parent)?;
            dir.start_inline_data()?;
            return self.store_inline_dir(dir, &inline);
        }
        self.first_dir_block(dir, ext4_dir::new_directory(&ctx, parent)?)
    }

    /// Gives a directory without blocks its first one.
    pub(super) fn first_dir_block(&mut self, dir: &mut Inode, block: Vec<u8>) -> Result<()> {
        let mut blocks = Blocks { h: self, dir };
        let lblk = blocks.append()?;
        blocks.write(lblk, block)
    }

    /// A filesystem that lost dir_index loses its directories' indexes one by one
    /// (`ext4_update_dx_flag`).
    fn update_index_flag(&self, dir: &mut Inode) {
        if !self.fs().superblock().features.has_compat(Compat::DIR_INDEX) {
            dir.disk.flags.remove(InodeFlags::INDEX);
        }
    }
}
