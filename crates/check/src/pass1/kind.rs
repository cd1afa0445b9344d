//! What an inode of each kind may and must not have: directories, files, symbolic links, devices.

use super::inode::Check;
use crate::{
    Result,
    facts::Directory,
    problem::pass1::{IMMUTABLE, SPECIAL_FLAGS, SPECIAL_SIZE},
};
use ext4_ondisk::{
    features::Incompat,
    inode::{FileType, InodeFlags},
};
use ext4_units::BlockNr;

impl Check<'_> {
    /// What each kind may and must not have. True when nothing of it has blocks to look at.
    pub(super) fn by_kind(&mut self) -> Result<bool> {
        match self.kind() {
            FileType::Directory => {
                let flags = self.flags();
                self.found.directory = Some(Directory {
                    is_encrypted: flags.contains(InodeFlags::ENCRYPT),
                    is_casefolded: flags.contains(InodeFlags::CASEFOLD)
                        && self.features.has_incompat(Incompat::CASEFOLD),
                    generation: self.raw.i_generation.get(),
                    ..Directory::default()
                });
            }
            FileType::Regular => self.found.is_regular = true,
            FileType::Symlink if self.is_good_symlink()? => {
                self.found.is_symlink = true;
                self.immutable()?;
                return Ok(self.has_flag(InodeFlags::INLINE_DATA));
            }
            FileType::CharDevice | FileType::BlockDevice | FileType::Fifo | FileType::Socket
                if self.is_good_device() =>
            {
                if self.flags().intersects(InodeFlags::EXTENTS | InodeFlags::INLINE_DATA)
                    && self.fix(&SPECIAL_FLAGS, "", "")?
                {
                    self.clear_flags(InodeFlags::EXTENTS | InodeFlags::INLINE_DATA);
                }
                self.immutable()?;
                if self.size() != 0 && self.fix(&SPECIAL_SIZE, self.size(), 0)? {
                    self.set_size(0);
                }
            }
            FileType::Unknown => {
                self.found.is_bad_mode = true;
                self.found.is_bad_kind = true;
                self.found.is_odd = true;
            }
            _ => {
                self.found.is_bad_kind = true;
                self.found.is_odd = true;
            }
        }
        Ok(false)
    }

    /// Looks once more at a symlink or device that was none by flags that are gone by now.
    pub(super) fn is_its_kind_after_all(&mut self) -> Result<()> {
        if !self.found.is_bad_kind || !self.is_dirty {
            return Ok(());
        }
        let is_symlink = self.kind() == FileType::Symlink && self.is_good_symlink()?;
        let is_device = matches!(
            self.kind(),
            FileType::CharDevice | FileType::BlockDevice | FileType::Fifo | FileType::Socket
        );
        self.found.is_symlink = is_symlink;
        self.found.is_bad_kind = !(is_symlink || is_device && self.is_good_device());
        Ok(())
    }

    fn immutable(&mut self) -> Result<()> {
        let flags = InodeFlags::IMMUTABLE | InodeFlags::APPEND;
        if self.flags().intersects(flags) && self.fix(&IMMUTABLE, "", "")? {
            self.clear_flags(flags);
        }
        Ok(())
    }

    /// Whether nothing speaks against a device, pipe or socket (`e2fsck_pass1_check_device_inode`).
    fn is_good_device(&self) -> bool {
        let is_marked = self.flags().intersects(InodeFlags::IMMUTABLE | InodeFlags::APPEND);
        !self.flags().intersects(InodeFlags::INDEX | InodeFlags::EXTENTS)
            && (!is_marked || self.raw.i_block[16..].iter().all(|it| *it == 0))
    }

    /// Whether a symlink's target is inside `i_block` (`ext2fs_is_fast_symlink`).
    pub(super) fn is_fast_symlink(&self) -> bool {
        self.kind() == FileType::Symlink && (1..60).contains(&self.size())
    }

    /// Whether a symlink is as it should be (`e2fsck_pass1_check_symlink`).
    fn is_good_symlink(&mut self) -> Result<bool> {
        let size = self.size();
        if self.raw.i_size_high.get() != 0 || size == 0 || self.has_flag(InodeFlags::INDEX) {
            return Ok(false);
        }
        if self.has_flag(InodeFlags::INLINE_DATA) {
            let is_good = !self.has_flag(InodeFlags::EXTENTS)
                && self.inline_room().is_some_and(|room| room == size);
            return Ok(is_good);
        }
        let target = if self.is_fast_symlink() {
            if self.has_flag(InodeFlags::EXTENTS) {
                return Ok(false);
            }
            self.raw.i_block.to_vec()
        } else {
            let Some(blk) = self.only_block() else { return Ok(false) };
            self.world.image.read(blk)?
        };
        let len = if self.has_flag(InodeFlags::ENCRYPT) {
            usize::from(target[0]) + (usize::from(target[1]) << 8) + 2
        } else {
            target.iter().position(|it| *it == 0).unwrap_or(target.len())
        };
        Ok(len < target.len() && len as u64 == size)
    }

    /// The block of a symlink that has one.
    fn only_block(&self) -> Option<BlockNr> {
        let blk = if self.has_flag(InodeFlags::EXTENTS) {
            let header = super::tree::header(&self.raw.i_block).ok()?;
            if header.eh_entries.get() != 1 || header.eh_depth.get() != 0 {
                return None;
            }
            let only = super::tree::leaf_entry(&self.raw.i_block, 0)?;
            (only.ee_block.get() == 0 && only.len() == 1).then(|| only.start())?
        } else {
            // What other slots have is cleared with the map: outside of the filesystem, or too much for
            // a symlink. It does not have to cost the target; more levels would.
            let levels = (12..15).map(|slot| BlockNr(self.word(slot).into()));
            let has_levels = levels.into_iter().any(|it| it.0 != 0 && self.world.is_block(it));
            (!has_levels).then(|| BlockNr(self.word(0).into()))?
        };
        self.world.is_block(blk).then_some(blk)
    }

    /// Whether `i_block` is a target of just the length that the size says: whatever a damaged count of
    /// blocks makes of it, it maps nothing.
    pub(super) fn holds_target(&self) -> bool {
        let len = self.raw.i_block.iter().position(|it| *it == 0);
        self.is_fast_symlink()
            && !self.has_flag(InodeFlags::EXTENTS)
            && len.is_some_and(|len| len as u64 == self.size())
    }
}
