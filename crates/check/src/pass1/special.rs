//! Inodes with a duty: root, journal, quota, orphan file, and the reserved ones.

use super::inode::{Check, Verdict};
use crate::{
    Problem, Result,
    problem::pass1::{
        JOURNAL_MODE, JOURNAL_NOT_CLEAR, ORPHAN_FILE_MODE, QUOTA_MODE, QUOTA_NOT_CLEAR,
        RESERVED_MODE, ROOT_DTIME, ROOT_NO_DIR,
    },
};
use ext4_ondisk::{features::RoCompat, inode::FileType};
use ext4_units::InodeNr;

impl Check<'_> {
    /// Checks an inode with a duty. `None` for all others, and for those that go on like them.
    pub(super) fn special(&mut self) -> Result<Option<Verdict>> {
        let nr = self.ino.get();
        let sb = self.world.sb;
        if self.ino == InodeNr::BAD_BLOCKS {
            return self.bad_blocks().map(Some);
        }
        if self.ino == InodeNr::ROOT {
            return self.root();
        }
        let journal = self.world.raw.s_journal_inum.get();
        if self.ino == InodeNr::JOURNAL {
            self.found.is_used = true;
            if journal == nr {
                return self.hidden_file(&JOURNAL_MODE).map(Some);
            }
            return self.unused(&JOURNAL_NOT_CLEAR);
        }
        let is_project_quota = sb.quota_inums[2] == Some(self.ino);
        if matches!(self.ino, InodeNr::USER_QUOTA | InodeNr::GROUP_QUOTA) || is_project_quota {
            self.found.is_used = true;
            self.found.is_hidden = true;
            if sb.features.has_ro_compat(RoCompat::QUOTA)
                && sb.quota_inums.contains(&Some(self.ino))
            {
                return self.hidden_file(&QUOTA_MODE).map(Some);
            }
            return self.unused(&QUOTA_NOT_CLEAR);
        }
        if sb.orphan_file_inum == Some(self.ino) {
            self.found.is_used = true;
            self.found.is_hidden = true;
            return self.hidden_file(&ORPHAN_FILE_MODE).map(Some);
        }
        if nr < self.world.geo.first_ino {
            return self.reserved().map(Some);
        }
        Ok(None)
    }

    fn root(&mut self) -> Result<Option<Verdict>> {
        if self.kind() != FileType::Directory
            && (self.raw.i_links_count.get() != 0 || self.raw.i_mode.get() != 0)
            && self.fix(&ROOT_NO_DIR, format_args!("mode {:#o}", self.raw.i_mode.get()), "")?
        {
            return Ok(Some(self.clear()));
        }
        let dtime = self.raw.i_dtime.get();
        if dtime != 0 && self.raw.i_links_count.get() != 0 && self.fix(&ROOT_DTIME, dtime, 0)? {
            self.raw.i_dtime.set(0);
            self.is_dirty = true;
        }
        Ok(None)
    }

    /// A file of the filesystem itself: its mode, then its blocks.
    fn hidden_file(&mut self, problem: &'static Problem) -> Result<Verdict> {
        let mode = self.raw.i_mode.get();
        if self.kind() != FileType::Regular
            && self.fix(problem, format_args!("mode {mode:#o}"), "a regular file")?
        {
            self.raw.i_mode.set(FileType::Regular.mode_bits());
            self.is_dirty = true;
        }
        self.blocks()
    }

    /// An inode whose duty the filesystem does not have: nothing should be in it.
    fn unused(&mut self, problem: &'static Problem) -> Result<Option<Verdict>> {
        let is_in_use = self.raw.i_links_count.get() != 0
            || self.raw.i_blocks_lo.get() != 0
            || self.word(0) != 0;
        if is_in_use && self.fix(problem, "", "")? {
            self.wipe();
        }
        Ok(if self.raw.i_links_count.get() == 0 { Some(Verdict::Kept) } else { None })
    }

    /// One of the first inodes that has no other rule.
    fn reserved(&mut self) -> Result<Verdict> {
        self.found.is_used = true;
        let (mode, kind) = (self.raw.i_mode.get(), self.kind());
        let is_wrong = match self.ino {
            InodeNr::BOOT_LOADER => kind == FileType::Directory,
            InodeNr::RESIZE => mode != 0 && kind != FileType::Regular,
            _ => mode != 0,
        };
        if is_wrong && self.fix(&RESERVED_MODE, format_args!("mode {mode:#o}"), 0)? {
            self.raw.i_mode.set(0);
            self.is_dirty = true;
        }
        self.blocks()
    }
}
