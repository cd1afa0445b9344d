//! What cannot go directly: the whole of some writes, the rest of others, through the buffered way
//! under a lock of its own.

use super::{Io, Operation, State};
use crate::{Offset, Request, Result, buffered, checks::check, step::Step};
use ext4_fs::LockMode;

impl Operation<'_> {
    /// Takes the exclusive lock and makes the checks again, as a buffered write does: the lock was
    /// given back, and the end of the file may be another.
    pub(super) fn lock_rest(&mut self) -> Result<Option<Step>> {
        let step = self.lock(LockMode::Exclusive, State::LockRest)?;
        if self.guard.is_none() {
            return Ok(Some(step));
        }
        let ino = self.ino();
        let inode = self.fs.open_inode(self.fs.meta(), ino)?;
        let offset = match self.request.offset {
            Offset::At(_) => Offset::At(self.sent),
            Offset::Append => Offset::Append,
        };
        let len = self.checked.len.map(|len| len - self.written());
        let Some(checked) = check(self.fs, &inode, &Request { offset, len, ..self.request })?
        else {
            self.guard = None;
            self.state = State::Sync;
            return Ok(None);
        };
        // An append goes to where the file ends now.
        if let Some(by) = checked.pos.checked_sub(self.sent) {
            self.checked.pos += by;
            self.sent += by;
            self.pos += by;
            if let Some(filled) = &mut self.filled {
                filled.pos += by;
            }
        }
        self.plan = None;
        self.is_modified = self.has_rest && self.fs.is_modified_now(&inode);
        self.changed_metadata = true;
        self.state = if self.has_rest { State::Rest } else { State::Modify };
        Ok(Some(step))
    }

    /// The rest of the request, a chunk a step.
    pub(super) fn rest(&mut self, io: &mut Io<'_, '_>) -> Result<Option<Step>> {
        let filled = match self.filled.take() {
            Some(filled) if self.sent < filled.end() => filled,
            _ if self.take(io)? => match self.filled.take() {
                Some(filled) => filled,
                None => return Ok(None),
            },
            _ => {
                self.guard = None;
                self.state = State::Sync;
                return Ok(None);
            }
        };
        let data = filled.from(self.sent);
        let len = data.len() as u64;
        buffered::write(self.fs, self.ino(), self.sent, data)?;
        self.sent += len;
        self.buffered += len;
        io.ring.put_back(io.owner, filled.buf, filled.is_callers);
        Ok(Some(Step::Buffered { len }))
    }
}
