//! What cannot go directly: the whole of some writes, the rest of others, through the buffered way
//! under a lock of its own.

use super::{Io, Operation, State};
use crate::{
    Error, Offset, Request, Result, Sync,
    checks::check,
    modified::strips_privileges,
    step::{Blocked, Step},
};
use ext4_fs::LockMode;

impl Operation<'_> {
    /// Takes the exclusive lock and makes the checks again, as a buffered write does: the lock was
    /// given back, and the end of the file may be another.
    pub(super) fn lock_rest(&mut self) -> Result<Option<Step>> {
        let ino = self.ino();
        if self.request.nowait {
            let reason = "the write goes through pages";
            return Err(Error::NoDirectIo { ino, reason });
        }
        let step = self.lock(LockMode::Exclusive, State::LockRest)?;
        if self.guard.is_none() {
            return Ok(Some(step));
        }
        // Data in flight would land on what pages are filled from.
        if self.incore.dio_in_flight() > 0 {
            return Ok(Some(Step::Blocked(Blocked::Dio)));
        }
        let inode = self.same_inode()?;
        let offset = match self.request.offset {
            Offset::At(_) => Offset::At(self.sent),
            Offset::Append => Offset::Append,
        };
        let written = self.written();
        let len = self.checked.len.map(|len| len - written);
        let Some(checked) = check(self.fs, &inode, &Request { offset, len, ..self.request })?
        else {
            self.guard = None;
            self.state = State::FlushRest;
            return Ok(None);
        };
        // An append goes to where the file ends now, which may be ahead or behind.
        let sent = self.sent;
        let move_on = |at: &mut u64| *at = at.saturating_add(checked.pos).saturating_sub(sent);
        [&mut self.checked.pos, &mut self.sent, &mut self.pos].into_iter().for_each(move_on);
        if let Some(filled) = &mut self.filled {
            move_on(&mut filled.pos);
        }
        self.checked.len = checked.len.map(|len| len + written);
        self.checked.max_len = checked.max_len.saturating_add(written);
        self.plan = None;
        self.is_modified = self.fs.is_modified_now(&inode)
            && !strips_privileges(self.fs, &inode, &self.request.caller)?;
        self.changed_metadata = true;
        self.state = State::Modify;
        Ok(Some(step))
    }

    /// The rest of the request, a chunk a step.
    pub(super) fn rest(&mut self, io: &mut Io<'_, '_>) -> Result<Option<Step>> {
        let has_some = self.filled.as_ref().is_some_and(|it| self.sent < it.end());
        let filled = if has_some || self.take(io)? { self.filled.take() } else { None };
        let (Some(filled), Some(guard)) = (filled, &self.guard) else {
            self.guard = None;
            self.state = State::FlushRest;
            return Ok(None);
        };
        let data = filled.from(self.sent);
        let written = self.fs.buffered_write(guard, self.sent, data);
        let is_all = matches!(written, Ok(n) if n == data.len());
        io.ring.put_back(io.owner, filled.buf, filled.is_callers);
        let len = match written {
            Ok(n) => n as u64,
            // No room for more: what was written is what the write comes to
            // (`generic_perform_write`).
            Err(_) if self.buffered > 0 => 0,
            Err(err) => return Err(err.into()),
        };
        self.sent += len;
        self.buffered += len;
        if !is_all {
            self.guard = None;
            self.state = State::FlushRest;
        }
        Ok(Some(Step::Buffered { len }))
    }

    /// Brings to the device what went through pages: the rest of a direct write always, so that
    /// whoever reads the device finds it; other writes when they have to be durable.
    pub(super) fn flush_rest(&mut self) -> Result<Option<Step>> {
        let is_durable = self.request.sync != Sync::None;
        if self.buffered > 0 && (self.has_rest || is_durable) {
            let range = self.sent.saturating_sub(self.buffered)..self.sent;
            match self.write_back(range.clone()) {
                Ok(Some(step)) => return Ok(Some(step)),
                Ok(None) => {}
                Err(err) if is_durable => return Err(err.into()),
                // The pages are dirty still: fsync tries again, and tells.
                Err(_kept_for_fsync) => {}
            }
            if self.has_rest {
                let _pages_that_stay_are_read = self.fs.invalidate_pages(self.ino(), range);
            }
        }
        self.state = State::Sync;
        Ok(None)
    }
}
