//! The state machine of a write: one step at a time, waiting for nobody.
//!
//! Its locks are the kernel's: shared for overwrites, exclusive for everything else, given back when
//! all is submitted by asynchronous writes that may. Between two steps no handle is open.

mod begin;
mod end;
mod rest;
mod transfer;

use crate::{
    Error, Offset, Plan, Request, Result,
    checks::Checked,
    piece::Piece,
    ring::Ring,
    source::{Filled, Source},
    step::{Blocked, Outcome, Step},
};
use ext4_fs::{DioGuard, Filesystem, InCore, InodeGuard, LockMode, Mapping, Writeback};
use ext4_units::{BlockSize, InodeNr, LogicalBlock};
use std::{collections::VecDeque, sync::Arc};

/// What comes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Begin,
    Lock(LockMode),
    Check,
    WaitDio,
    Modify,
    AddOrphan,
    Flush,
    Align,
    Fill,
    Map,
    Send(Piece),
    Submitted,
    Drain,
    Convert,
    Size,
    Trim,
    RemoveOrphan,
    Unlock,
    LockRest,
    Rest,
    FlushRest,
    Sync,
    Done,
}

/// What a step is given: where bytes come from and what carries them.
pub(crate) struct Io<'a, 'd> {
    pub(crate) ring: &'a mut Ring<'d>,
    /// Whose writes in the ring are this operation's.
    pub(crate) owner: usize,
    pub(crate) source: &'a mut dyn Source,
}

/// A write on its way.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub(crate) struct Operation<'fs> {
    fs: &'fs Filesystem,
    incore: Arc<InCore>,
    /// Which file of that number it is, once it has been looked at.
    generation: Option<u32>,
    request: Request,
    state: State,
    guard: Option<InodeGuard>,
    dio: Option<DioGuard>,
    plan: Option<Plan>,
    /// The mapping of the first block, when it stays true as long as the lock is held; a hole may
    /// not.
    known: Option<Mapping>,
    /// Pages in the way, being written back.
    flush: Option<Writeback<'fs>>,
    checked: Checked,
    /// Whether its times are those of now already and nothing is to be stripped.
    is_modified: bool,
    /// Size when the write began: bytes of old blocks behind it read as zeros.
    old_size: u64,
    /// Next byte of the file to be taken from the source.
    pos: u64,
    /// Next byte of the file to be sent.
    sent: u64,
    /// Bytes taken from the source, not all sent.
    filled: Option<Filled>,
    source_ended: bool,
    /// Unwritten runs that hold data now, in order.
    unwritten: VecDeque<(LogicalBlock, u32)>,
    /// One past the last block this write has mapped beyond the old size.
    mapped_end: u32,
    /// The rest goes the buffered way.
    has_rest: bool,
    buffered: u64,
    /// This write has put the inode on the orphan record, and takes it off.
    added_orphan: bool,
    /// Whether anything but data and times of mapped blocks was changed.
    changed_metadata: bool,
}

impl<'fs> Operation<'fs> {
    /// Nothing happens before the first step.
    pub(crate) fn new(fs: &'fs Filesystem, incore: Arc<InCore>, request: Request) -> Self {
        Self {
            fs,
            incore,
            generation: None,
            request,
            state: State::Begin,
            guard: None,
            dio: None,
            plan: None,
            known: None,
            flush: None,
            checked: Checked { pos: 0, len: None, max_len: 0 },
            is_modified: false,
            old_size: 0,
            pos: 0,
            sent: 0,
            filled: None,
            source_ended: false,
            unwritten: VecDeque::new(),
            mapped_end: 0,
            has_rest: false,
            buffered: 0,
            added_orphan: false,
            changed_metadata: false,
        }
    }

    /// One that goes the buffered way as a whole.
    pub(crate) fn buffered(fs: &'fs Filesystem, incore: Arc<InCore>, request: Request) -> Self {
        let pos = match request.offset {
            Offset::At(pos) => pos,
            Offset::Append => 0,
        };
        Self {
            state: State::LockRest,
            checked: Checked { pos, len: request.len, max_len: 0 },
            pos,
            sent: pos,
            ..Self::new(fs, incore, request)
        }
    }

    pub(crate) fn ino(&self) -> InodeNr {
        self.incore.ino()
    }

    /// Whether all is sent, the lock is given back, and the transfers have yet to end.
    pub(crate) fn is_in_flight(&self) -> bool {
        self.state == State::Drain && self.guard.is_none()
    }

    /// Bytes sent so far.
    pub(crate) fn written(&self) -> u64 {
        self.sent.saturating_sub(self.checked.pos)
    }

    /// The caller's memory, if it is held here.
    pub(crate) fn take_callers_buf(&mut self) -> Option<ext4_blockdev::AlignedBuf> {
        self.filled.take().filter(|it| it.is_callers).map(|it| it.buf)
    }

    /// Does the next step. After an error the write is over: what it had allocated beyond the old
    /// size is freed, what it had allocated below it stays, unwritten.
    pub(crate) fn step(&mut self, io: &mut Io<'_, '_>) -> Result<Step> {
        let res = loop {
            match self.advance(io) {
                Ok(None) => {}
                Ok(Some(step)) => break Ok(step),
                Err(err) => break Err(err),
            }
        };
        if let Err(err) = &res {
            if let Error::Fs(err) = err {
                self.fs.note_damage(err);
            }
            self.state = State::Done;
            self.give_up(io);
        }
        res
    }

    /// Waits for a lock, but only as long as it takes no sleep; whether it is held now.
    pub(crate) fn wait_briefly(&mut self, on: Blocked) -> bool {
        let Blocked::Lock(mode) = on else { return false };
        self.guard = self.incore.lock_soon(mode);
        self.guard.is_some()
    }

    /// Waits for what a step was blocked by.
    pub(crate) fn wait(&mut self, io: &mut Io<'_, '_>, on: Blocked) {
        match on {
            Blocked::Lock(mode) => self.guard = Some(self.incore.lock(mode)),
            Blocked::Dio => self.incore.wait_dio(0),
            Blocked::Pages => {
                if let Some(flush) = &self.flush {
                    flush.wait();
                }
            }
            Blocked::Io => io.ring.drain(io.owner),
        }
    }

    /// Goes on from the state. `None` is a state with nothing to do.
    fn advance(&mut self, io: &mut Io<'_, '_>) -> Result<Option<Step>> {
        match self.state {
            State::Begin => self.begin(),
            State::Lock(mode) => self.lock(mode, State::Check).map(Some),
            State::Check => self.check().map(Some),
            State::WaitDio => Ok(self.wait_dio()),
            State::Modify => self.modify().map(Some),
            State::AddOrphan => self.add_orphan().map(Some),
            State::Flush => self.flush(),
            State::Align => self.align(io),
            State::Fill => self.fill(io),
            State::Map => self.map(),
            State::Send(piece) => self.send(io, piece).map(Some),
            State::Submitted => Ok(self.submitted()),
            State::Drain => self.drain(io).map(Some),
            State::Convert => self.convert(),
            State::Size => self.set_size(),
            State::Trim => self.trim(),
            State::RemoveOrphan => Ok(self.remove_orphan()),
            State::Unlock => Ok(self.unlock()),
            State::LockRest => self.lock_rest(),
            State::Rest => self.rest(io),
            State::FlushRest => self.flush_rest(),
            State::Sync => self.sync(),
            State::Done => Ok(Some(Step::Done(self.outcome()))),
        }
    }

    /// Takes the inode lock, if that needs no waiting, and goes on with `next`.
    fn lock(&mut self, mode: LockMode, next: State) -> Result<Step> {
        if self.guard.is_none() {
            if self.generation.is_none() {
                let inode = self.fs.open_inode(self.fs.meta(), self.ino())?;
                self.generation = Some(inode.generation);
            }
            self.guard = self.incore.try_lock(mode);
        }
        if self.guard.is_none() {
            if self.request.nowait {
                let what = "another holds the inode lock";
                return Err(Error::WouldWait { ino: self.ino(), what });
            }
            return Ok(Step::Blocked(Blocked::Lock(mode)));
        }
        self.state = next;
        Ok(Step::Locked(mode))
    }

    /// What must be undone of a failed write (`ext4_inode_extension_cleanup`).
    fn give_up(&mut self, io: &mut Io<'_, '_>) {
        // What is still in flight must not land in blocks that are freed.
        io.ring.drain(io.owner);
        let _the_first_error_is_told = io.ring.failure(io.owner);
        self.dio = None;
        self.flush = None;
        if std::mem::take(&mut self.added_orphan) {
            // A failure to clean up leaves the orphan record, and recovery does what is left.
            let _the_first_error_is_told = self.fs.cut_to_size(self.ino());
        }
        self.guard = None;
    }

    fn block_size(&self) -> BlockSize {
        self.fs.geometry().block_size
    }

    fn extends(&self) -> bool {
        self.plan.is_some_and(|plan| plan.extends)
    }

    fn outcome(&self) -> Outcome {
        Outcome { written: self.written(), buffered: self.buffered }
    }

    fn too_big(&self, offset: u64) -> Error {
        let limit = self.fs.geometry().max_bytes;
        Error::TooBig { ino: self.ino(), offset, limit, what: "largest file" }
    }
}
