//! Before any data: the lock, the checks, times and privileges, the orphan record.

use super::{Io, Operation, State};
use crate::{
    Error, Offset, Plan, Result,
    checks::{check, check_atomic, why_not_direct},
    modified::{file_modified, strips_privileges},
    step::{Blocked, Step},
};
use ext4_fs::{Handle, Inode, LockMode, MapState, WbStep, Writeback};
use ext4_units::LogicalBlock;
use std::ops::Range;

impl Operation<'_> {
    /// Chooses the lock by a look at the size that nothing holds still: it is only a guess.
    pub(super) fn begin(&mut self) -> Result<Option<Step>> {
        check_atomic(self.ino(), self.block_size(), &self.request)?;
        let end = match (self.request.offset, self.request.len) {
            (_, Some(0)) => 0,
            (Offset::At(pos), Some(len)) => pos.saturating_add(len),
            _ => u64::MAX,
        };
        let inode = self.fs.open_inode(self.fs.meta(), self.ino())?;
        self.generation = Some(inode.generation);
        let mode = if end > inode.i_size { LockMode::Exclusive } else { LockMode::Shared };
        self.state = State::Lock(mode);
        Ok(None)
    }

    /// The inode, under the lock. While nobody held that, the file may have been deleted and its
    /// number given to another: that one is not written (`ESTALE`).
    pub(super) fn same_inode(&mut self) -> Result<Inode> {
        let inode = self.fs.open_inode(self.fs.meta(), self.ino())?;
        if *self.generation.get_or_insert(inode.generation) != inode.generation {
            return Err(ext4_fs::Error::NotInUse { ino: inode.ino }.into());
        }
        Ok(inode)
    }

    /// All checks, under the lock (`ext4_dio_write_checks`).
    pub(super) fn check(&mut self) -> Result<Step> {
        let ino = self.ino();
        let inode = self.same_inode()?;
        let Some(checked) = check(self.fs, &inode, &self.request)? else {
            self.guard = None;
            self.state = State::Done;
            return Ok(Step::Checked(None));
        };
        (self.checked, self.pos, self.sent) = (checked, checked.pos, checked.pos);
        self.old_size = inode.i_size;
        if let Some(reason) = why_not_direct(self.fs, &inode) {
            if self.request.nowait {
                return Err(Error::NoDirectIo { ino, reason });
            }
            self.guard = None;
            self.state = State::LockRest;
            return Ok(Step::Checked(None));
        }
        self.incore.forbid_inline();
        let size = self.block_size();
        let lblk = LogicalBlock::of_byte(checked.pos, size);
        let lblk = lblk.ok_or_else(|| self.too_big(checked.pos))?;
        let first = self.fs.steady_lookup(ino, lblk)?.1;
        let strips = strips_privileges(self.fs, &inode, &self.request.caller)?;
        let sector = self.fs.device().limits().sector;
        let plan = Plan::new(&inode, size, sector, checked.pos, checked.len, &first, strips);
        if self.request.nowait {
            plan.check_nowait(&inode)?;
        }
        if plan.lock == LockMode::Exclusive && self.holds() == Some(LockMode::Shared) {
            self.guard = None;
            self.state = State::Lock(LockMode::Exclusive);
            return Ok(Step::Upgraded);
        }
        self.changed_metadata = !plan.overwrites || plan.onto_unwritten || strips;
        self.is_modified = !strips && self.fs.is_modified_now(&inode);
        // Written blocks stay where they are while any lock is held. Unwritten ones may become
        // written, which is the same to a write of whole blocks.
        self.known = match first.state {
            // A hole is only a hint.
            MapState::Written(_) | MapState::Hole => Some(first),
            MapState::Unwritten(_) if plan.overwrites && !plan.is_unaligned => Some(first),
            MapState::Unwritten(_) => None,
        };
        self.plan = Some(plan);
        self.state = if plan.waits_for_dio() { State::WaitDio } else { State::Modify };
        Ok(Step::Checked(Some(plan)))
    }

    fn holds(&self) -> Option<LockMode> {
        self.guard.as_ref().map(ext4_fs::InodeGuard::mode)
    }

    /// The exclusive lock lets no direct IO begin; what is in flight has to end.
    pub(super) fn wait_dio(&mut self) -> Option<Step> {
        if self.incore.dio_in_flight() > 0 {
            return Some(Step::Blocked(Blocked::Dio));
        }
        self.state = State::Modify;
        None
    }

    /// Times and privileges. A failure is the write's failure: there is no data yet.
    pub(super) fn modify(&mut self) -> Result<Step> {
        if self.is_modified {
            self.fs.check_writable()?;
        } else {
            file_modified(self.fs, self.ino(), &self.request.caller)?;
        }
        self.state = match self.plan {
            None => State::Rest,
            Some(plan) if plan.extends => State::AddOrphan,
            Some(_) => State::Flush,
        };
        Ok(Step::Modified)
    }

    pub(super) fn add_orphan(&mut self) -> Result<Step> {
        let mut h = self.fs.start(Handle::ORPHAN_CREDITS + Handle::INODE_CREDITS)?;
        let mut inode = h.inode(self.ino())?;
        h.orphan_add(&mut inode)?;
        h.put_inode(&inode)?;
        h.stop()?;
        self.added_orphan = true;
        // Crash here, or any time before the size is set: cleanup truncates to the old size.
        self.state = State::Flush;
        Ok(Step::OrphanAdded)
    }

    /// Writes back and drops the pages of exactly its range, which would hide or overwrite its data
    /// (`kiocb_invalidate_pages`). Pages beyond stay as they are.
    pub(super) fn flush(&mut self) -> Result<Option<Step>> {
        let ino = self.ino();
        let len = self.checked.len.unwrap_or(self.checked.max_len);
        let range = self.checked.pos..self.checked.pos.saturating_add(len);
        if self.flush.is_none() {
            if !self.fs.has_pages(ino, range.clone()) {
                self.state = State::Align;
                return Ok(None);
            }
            if self.request.nowait {
                let what = "pages of the range are in memory";
                return Err(Error::WouldWait { ino, what });
            }
        }
        // A failure to write back is left to the buffered way and to fsync.
        let is_clear = match self.write_back(range.clone()) {
            Ok(Some(step)) => return Ok(Some(step)),
            Ok(None) => self.fs.invalidate_pages(ino, range),
            Err(_kept_for_fsync) => false,
        };
        self.has_rest = !is_clear;
        self.state = if is_clear { State::Align } else { State::Submitted };
        Ok(Some(Step::Flushed { is_clear }))
    }

    /// Goes through a writeback; `None` when it is done.
    pub(super) fn write_back(&mut self, range: Range<u64>) -> ext4_fs::Result<Option<Step>> {
        let (fs, ino) = (self.fs, self.ino());
        let flush = self.flush.get_or_insert_with(|| Writeback::new(fs, ino, range));
        loop {
            match flush.step() {
                Ok(WbStep::Blocked) => return Ok(Some(Step::Blocked(Blocked::Pages))),
                Ok(WbStep::Done) => break,
                Ok(_) => {}
                Err(err) => {
                    self.flush = None;
                    return Err(err);
                }
            }
        }
        self.flush = None;
        Ok(None)
    }

    /// Direct IO moves whole sectors (`iomap_dio_bio_iter`).
    pub(super) fn align(&mut self, io: &Io<'_, '_>) -> Result<Option<Step>> {
        let sector = io.ring.device().limits().sector;
        let (pos, len) = (self.checked.pos, self.checked.len.unwrap_or(0));
        if self.request.is_strict && (pos | len) & u64::from(sector - 1) != 0 {
            return Err(Error::Misaligned { ino: self.ino(), offset: pos, len, sector });
        }
        self.dio = Some(self.incore.begin_dio());
        self.state = State::Fill;
        Ok(None)
    }
}
