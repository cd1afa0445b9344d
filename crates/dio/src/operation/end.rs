//! After the data: conversion, sizes, the orphan record (`ext4_dio_write_end_io`), and what must be
//! durable.

use super::{Io, Operation, State};
use crate::{
    Error, Result, Sync,
    plan::extends,
    step::{Blocked, Step},
};
use ext4_fs::{Handle, LockMode};
use ext4_units::LogicalBlock;

impl Operation<'_> {
    /// All is on its way. An asynchronous write gives the lock back, unless it must be whole first.
    pub(super) fn submitted(&mut self) -> Option<Step> {
        self.state = State::Drain;
        let is_synchronous = self.plan.is_none_or(|it| it.is_synchronous()) || self.has_rest;
        if !self.request.is_async || is_synchronous {
            return None;
        }
        self.guard = None;
        Some(Step::Unlocked)
    }

    pub(super) fn drain(&mut self, io: &mut Io<'_, '_>) -> Result<Step> {
        if self.guard.is_some() {
            io.ring.drain(io.owner);
        } else if io.ring.in_flight_of(io.owner) > 0 {
            return Ok(Step::Blocked(Blocked::Io));
        }
        if let Some(source) = io.ring.failure(io.owner) {
            return Err(Error::Data { ino: self.ino(), source });
        }
        // Crash here: all data may be there, nothing shows it yet.
        self.state = State::Convert;
        Ok(Step::Drained)
    }

    /// Marks what holds data now as written, one mapping a handle (`ext4_convert_unwritten_extents`).
    pub(super) fn convert(&mut self) -> Result<Option<Step>> {
        let Some(&(lblk, len)) = self.unwritten.front() else {
            self.state = State::Size;
            return Ok(None);
        };
        let done = match self.fs.convert_in_place(self.ino(), lblk, len) {
            // There is no block for a node: zeros around the converted blocks do without, if nobody
            // else writes there.
            Err(ext4_fs::Error::NoSpace { .. }) if self.is_alone() => {
                self.fs.convert_written(self.ino(), lblk, len)?
            }
            done => done?,
        };
        let done = done.clamp(1, len);
        self.converted(done);
        // Crash here: what comes before shows its data, the rest still reads as zeros.
        Ok(Some(Step::Converted { lblk, len: done }))
    }

    /// The first run that is to be converted.
    pub(crate) fn to_convert(&self) -> Option<(LogicalBlock, u32)> {
        self.unwritten.front().filter(|_| self.state == State::Convert).copied()
    }

    /// The first blocks of what is to be converted are.
    pub(crate) fn converted(&mut self, done: u32) {
        if let Some((lblk, len)) = self.unwritten.pop_front()
            && done < len
        {
            self.unwritten.push_front((LogicalBlock(lblk.0 + done), len - done));
        }
    }

    /// Whether no other direct IO is in flight, nor can begin as long as the lock is held.
    fn is_alone(&mut self) -> bool {
        if self.guard.as_ref().is_none_or(|it| it.mode() == LockMode::Shared) {
            // Waiting for the lock could be for ever: who has it may wait for this very write.
            self.guard = None;
            self.guard = self.incore.try_lock(LockMode::Exclusive);
        }
        self.guard.is_some() && self.incore.dio_in_flight() <= 1
    }

    /// Both sizes and the orphan record, in one handle (`ext4_handle_inode_extension`). A write of
    /// 0 bytes moves no size.
    pub(super) fn set_size(&mut self) -> Result<Option<Step>> {
        let end = self.sent;
        self.state = State::Trim;
        // One that ended below both sizes when it began still does: only truncate lowers them, and
        // it waits for direct IO in flight.
        if !self.extends() || end <= self.checked.pos {
            return Ok(None);
        }
        let mut h = self.fs.start(Handle::ORPHAN_CREDITS + Handle::INODE_CREDITS)?;
        let mut inode = h.inode(self.ino())?;
        if !extends(inode.i_size, inode.i_disksize(), end) {
            // Writeback has raised the size on disk meanwhile. The record is still this write's.
            return Ok(None);
        }
        h.raise_size(&mut inode, end)?;
        // An inode without links stays on record for its deletion, and one with blocks to be
        // trimmed until they are.
        let is_last = inode.links_count > 0 && !self.must_trim();
        if is_last {
            h.orphan_del(&mut inode)?;
        }
        h.put_inode(&inode)?;
        h.stop()?;
        // Crash here: the write is complete.
        self.added_orphan &= !is_last;
        Ok(Some(Step::Sized { size: inode.i_size }))
    }

    /// Whether more was mapped beyond the end than the source had bytes for.
    fn must_trim(&self) -> bool {
        self.checked.len.is_none_or(|len| self.sent < self.checked.pos + len)
            && u64::from(self.mapped_end) > self.block_size().blocks_for(self.end())
    }

    /// Where the file ends now.
    fn end(&self) -> u64 {
        self.sent.max(self.old_size)
    }

    pub(super) fn trim(&mut self) -> Result<Option<Step>> {
        if self.must_trim() && !self.has_rest {
            self.fs.trim_mapped(self.ino(), self.mapped_end)?;
        }
        self.state = State::RemoveOrphan;
        Ok(None)
    }

    /// The record of this write, if nothing before has removed it: a writeback between submission
    /// and completion had raised the size beyond the end of the write, or nothing was written. Only
    /// who added a record may remove it, under the lock that it was added under.
    pub(super) fn remove_orphan(&mut self) -> Option<Step> {
        self.state = State::Unlock;
        if !std::mem::take(&mut self.added_orphan) || !self.fs.is_orphan(self.ino()) {
            return None;
        }
        // One that stays because this fails does no harm: recovery truncates the file to the size
        // it has.
        self.try_remove_orphan().is_ok_and(|it| it).then_some(Step::OrphanRemoved)
    }

    fn try_remove_orphan(&self) -> Result<bool> {
        let mut h = self.fs.start(Handle::ORPHAN_CREDITS + Handle::INODE_CREDITS)?;
        let mut inode = h.inode(self.ino())?;
        if inode.links_count == 0 {
            return Ok(false);
        }
        h.orphan_del(&mut inode)?;
        h.put_inode(&inode)?;
        h.stop()?;
        Ok(true)
    }

    pub(super) fn unlock(&mut self) -> Option<Step> {
        self.dio = None;
        self.state = if self.has_rest { State::LockRest } else { State::Sync };
        self.guard.take().map(|_| Step::Unlocked)
    }

    /// Makes durable what has to be.
    pub(super) fn sync(&mut self) -> Result<Option<Step>> {
        self.state = State::Done;
        let journal = self.fs.journal();
        let is_overwrite = !self.changed_metadata && !self.extends();
        match self.request.sync {
            Sync::None => return Ok(None),
            // An earlier write that is not durable yet may have made the blocks it overwrote.
            Sync::Data if is_overwrite && self.fs.is_map_durable(self.ino()) => journal.sync_data(),
            Sync::Data | Sync::Full => journal.sync(),
        }
        .map_err(ext4_fs::Error::from)?;
        Ok(Some(Step::Synced))
    }
}
