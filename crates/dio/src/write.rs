//! One direct write, a step at a time.

use crate::{
    Error, Plan, Request, Result, Sync, buffered,
    checks::{Checked, check, why_not_direct},
    modified::{file_modified, strips_privileges},
    piece::{Begin, MAX_BLOCKS, Piece, begin},
    transfer::{Filled, Transfers},
};
use ext4_fs::{Filesystem, Handle};
use ext4_units::{InodeNr, LogicalBlock};
use std::{collections::VecDeque, fmt, io::Read};

/// What a step did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// The request passed the checks, or needs nothing done.
    Checked(Option<Plan>),
    /// Times are set and privileges stripped.
    Modified,
    /// The inode is on the orphan record: a crash now truncates it to its old size.
    OrphanAdded,
    /// Blocks were found, or allocated, for the next bytes.
    Mapped {
        /// The first of them.
        lblk: LogicalBlock,
        /// How many.
        len: u32,
        /// Whether a handle changed the map.
        changed: bool,
    },
    /// Bytes are on their way to the device.
    Submitted {
        /// How many.
        len: u64,
    },
    /// Everything submitted is on the device, though not yet durable.
    Drained,
    /// A run of unwritten blocks was marked written.
    Converted {
        /// The first of them.
        lblk: LogicalBlock,
        /// How many.
        len: u32,
    },
    /// The sizes are raised and the orphan record is gone, in one handle.
    Sized {
        /// The size.
        size: u64,
    },
    /// Some of the rest went the buffered way.
    Buffered {
        /// How many bytes.
        len: u64,
    },
    /// What had to be durable is.
    Synced,
    /// All is done.
    Done(Outcome),
}

/// How a write ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Bytes written.
    pub written: u64,
    /// How many of them went the buffered way.
    pub buffered: u64,
}

/// What comes next.
#[derive(Debug)]
enum State {
    Check,
    Modify,
    AddOrphan,
    Align,
    Fill,
    Map(Filled),
    Send(Filled, Piece),
    Drain,
    Convert,
    Size,
    Trim,
    Buffered(Option<Filled>),
    Sync,
    Done,
}

/// A write on its way. [`run`](Self::run) it, or [`step`](Self::step) through it.
///
/// Dropping one that is not done leaves what it did so far, as a crash would.
pub struct DirectWrite<'a> {
    fs: &'a Filesystem,
    ino: InodeNr,
    request: Request,
    source: &'a mut dyn Read,
    transfers: Transfers<'a>,
    state: State,
    plan: Option<Plan>,
    checked: Checked,
    /// Size when the write began: bytes of old blocks behind it read as zeros.
    old_size: u64,
    /// Next byte of the file to be taken from the source.
    pos: u64,
    /// Next byte of the file to be sent.
    sent: u64,
    /// Unwritten runs that hold data now, in order.
    unwritten: VecDeque<(LogicalBlock, u32)>,
    /// One past the last block this write has mapped beyond the old size.
    mapped_end: u32,
    /// Data left over when a hole turned up that only the buffered way can fill.
    left_over: Option<Filled>,
    buffered: u64,
    source_ended: bool,
    /// Blocks may lie beyond the size, protected by the orphan record.
    is_extending: bool,
    /// Whether anything but data and times of mapped blocks was changed.
    changed_metadata: bool,
}

impl fmt::Debug for DirectWrite<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DirectWrite")
            .field("ino", &self.ino)
            .field("request", &self.request)
            .field("pos", &self.pos)
            .field("state", &self.state)
            .finish_non_exhaustive()
    }
}

impl<'a> DirectWrite<'a> {
    /// A write of bytes of `source` into the file `ino`. Nothing happens before the first step.
    pub fn new(
        fs: &'a Filesystem,
        ino: InodeNr,
        request: Request,
        source: &'a mut dyn Read,
    ) -> Self {
        Self {
            transfers: Transfers::new(&**fs.device(), request.depth, ino),
            fs,
            ino,
            request,
            source,
            state: State::Check,
            plan: None,
            checked: Checked { pos: 0, len: None, max_len: 0 },
            old_size: 0,
            pos: 0,
            sent: 0,
            unwritten: VecDeque::new(),
            mapped_end: 0,
            left_over: None,
            buffered: 0,
            source_ended: false,
            is_extending: false,
            changed_metadata: false,
        }
    }

    /// Does all of it.
    pub fn run(mut self) -> Result<Outcome> {
        loop {
            if let Step::Done(outcome) = self.step()? {
                return Ok(outcome);
            }
        }
    }

    /// Bytes sent to the device so far.
    pub fn sent(&self) -> u64 {
        self.sent.saturating_sub(self.checked.pos)
    }

    /// Does the next step. After an error the write is over: what it had allocated beyond the old
    /// size is freed, what it had allocated below it stays, unwritten.
    pub fn step(&mut self) -> Result<Step> {
        self.resume().inspect_err(|_told| {
            self.state = State::Done;
            // The first error is the one to be told. A failure to clean up leaves the orphan record,
            // and recovery does what is left.
            let _cleanup = self.clean_up_failure();
        })
    }

    /// Goes on with what was set as next.
    fn resume(&mut self) -> Result<Step> {
        let state = std::mem::replace(&mut self.state, State::Done);
        self.advance(state)
    }

    fn advance(&mut self, state: State) -> Result<Step> {
        match state {
            State::Check => self.check(),
            State::Modify => {
                file_modified(self.fs, self.ino, &self.request.caller)?;
                self.state = if self.extends() { State::AddOrphan } else { State::Align };
                if self.plan.is_none() {
                    self.state = State::Buffered(None);
                }
                Ok(Step::Modified)
            }
            State::AddOrphan => {
                self.add_orphan()?;
                self.is_extending = true;
                // Crash here, or any time before the size is set: cleanup truncates to the old size.
                self.state = State::Align;
                Ok(Step::OrphanAdded)
            }
            State::Align => {
                self.check_alignment()?;
                self.state = State::Fill;
                self.resume()
            }
            State::Fill => self.fill(),
            State::Map(filled) => self.map(filled),
            State::Send(filled, piece) => self.send(filled, piece),
            State::Drain => {
                self.transfers.drain()?;
                // Crash here: all data may be there, nothing shows it yet.
                self.state = State::Convert;
                Ok(Step::Drained)
            }
            State::Convert => self.convert(),
            State::Size => self.set_size(),
            State::Trim => self.trim(),
            State::Buffered(filled) => self.buffered(filled),
            State::Sync => self.sync(),
            State::Done => Ok(Step::Done(self.outcome())),
        }
    }

    fn extends(&self) -> bool {
        self.plan.is_some_and(|plan| plan.extends)
    }

    fn outcome(&self) -> Outcome {
        Outcome { written: self.sent.saturating_sub(self.checked.pos), buffered: self.buffered }
    }

    fn check(&mut self) -> Result<Step> {
        let inode = self.fs.open_inode(self.fs.meta(), self.ino)?;
        let Some(checked) = check(self.fs, &inode, &self.request)? else {
            return Ok(Step::Checked(None));
        };
        (self.checked, self.pos, self.sent) = (checked, checked.pos, checked.pos);
        self.old_size = inode.i_size;
        if let Some(reason) = why_not_direct(self.fs, &inode) {
            if self.request.nowait {
                return Err(Error::NoDirectIo { ino: self.ino, reason });
            }
            self.state = State::Modify;
            return Ok(Step::Checked(None));
        }
        let size = self.fs.geometry().block_size;
        let lblk = LogicalBlock::of_byte(checked.pos, size).ok_or(Error::TooBig {
            ino: self.ino,
            offset: checked.pos,
            limit: self.fs.geometry().max_bytes,
            what: "largest file",
        })?;
        let first = self.fs.lookup(self.fs.meta(), &inode, lblk)?;
        let strips = strips_privileges(self.fs, &inode, &self.request.caller)?;
        let plan = Plan::new(&inode, size, checked.pos, checked.len, &first, strips);
        if self.request.nowait {
            plan.check_nowait(&inode)?;
        }
        self.changed_metadata = !plan.overwrites || plan.onto_unwritten || strips;
        self.plan = Some(plan);
        self.state = State::Modify;
        Ok(Step::Checked(Some(plan)))
    }

    fn add_orphan(&self) -> Result<()> {
        let mut h = self.fs.start(Handle::ORPHAN_CREDITS + Handle::INODE_CREDITS)?;
        let mut inode = h.inode(self.ino)?;
        h.orphan_add(&mut inode)?;
        h.put_inode(&inode)?;
        h.stop()?;
        Ok(())
    }

    /// Direct IO moves whole sectors (`iomap_dio_bio_iter`).
    fn check_alignment(&self) -> Result<()> {
        let sector = self.fs.device().limits().sector;
        let (pos, len) = (self.checked.pos, self.checked.len.unwrap_or(0));
        if self.request.is_strict && (pos | len) & u64::from(sector - 1) != 0 {
            return Err(Error::Misaligned { ino: self.ino, offset: pos, len, sector });
        }
        Ok(())
    }

    /// Bytes still to come, as far as anybody knows.
    fn left(&self) -> u64 {
        let len = self.checked.len.unwrap_or(self.checked.max_len);
        len.saturating_sub(self.pos - self.checked.pos)
    }

    fn chunk(&self) -> usize {
        self.request.chunk.max(1).next_multiple_of(self.fs.geometry().block_size.len())
    }

    fn fill(&mut self) -> Result<Step> {
        let size = self.fs.geometry().block_size;
        let (left, chunk) = (self.left(), self.chunk());
        let taken = self.pos - self.checked.pos;
        let filled = if left == 0 || self.source_ended {
            None
        } else {
            let pos = self.pos;
            let filled = self.transfers.fill(&mut *self.source, size, pos, left, chunk, taken)?;
            // Less than was asked for is the end; asking again could find a terminal's next line.
            self.source_ended = filled.len < chunk - size.within(pos) as usize;
            Some(filled).filter(|filled| filled.len > 0)
        };
        let Some(filled) = filled else {
            self.state = State::Drain;
            return self.resume();
        };
        self.pos += filled.len as u64;
        self.map(filled)
    }

    fn map(&mut self, filled: Filled) -> Result<Step> {
        let size = self.fs.geometry().block_size;
        let lblk = LogicalBlock::of_byte(self.sent, size).ok_or(Error::TooBig {
            ino: self.ino,
            offset: self.sent,
            limit: self.fs.geometry().max_bytes,
            what: "largest file",
        })?;
        let known_end = match self.checked.len {
            Some(len) => self.checked.pos + len,
            // Beyond the size what turns out too much is trimmed; below it nothing may be left over.
            None if lblk.byte(size) >= self.old_size => u64::MAX,
            None => self.pos,
        };
        let want = size.blocks_for(known_end).saturating_sub(u64::from(lblk.0));
        let want = u32::try_from(want).unwrap_or(u32::MAX).min(MAX_BLOCKS);
        match begin(self.fs, self.ino, lblk, want)? {
            Begin::Piece(piece, changed) => {
                if piece.is_new {
                    self.mapped_end = self.mapped_end.max(piece.end());
                }
                self.changed_metadata |= changed;
                let step = Step::Mapped { lblk, len: piece.len, changed };
                self.state = State::Send(filled, piece);
                Ok(step)
            }
            Begin::Buffered => {
                self.left_over = Some(filled);
                self.state = State::Drain;
                self.resume()
            }
        }
    }

    fn send(&mut self, mut filled: Filled, piece: Piece) -> Result<Step> {
        let size = self.fs.geometry().block_size;
        let end = filled.pos + filled.len as u64;
        let to = end.min(LogicalBlock(piece.end()).byte(size));
        self.transfers.send(&mut filled, &piece, size, self.sent, to, self.old_size)?;
        if piece.converts {
            let first = LogicalBlock::of_byte(self.sent, size).unwrap_or(piece.lblk);
            let blocks = size.blocks_for(to) - u64::from(first.0);
            self.note_unwritten(first, u32::try_from(blocks).unwrap_or(u32::MAX));
        }
        let len = to - self.sent;
        self.sent = to;
        self.state = match (to < end, to < LogicalBlock(piece.end()).byte(size)) {
            (true, _) => State::Map(filled),
            // The piece has room for what comes next.
            (false, true) => self.next_into(piece)?,
            (false, false) => State::Fill,
        };
        Ok(Step::Submitted { len })
    }

    /// Takes the next bytes for a piece that is not full.
    fn next_into(&mut self, piece: Piece) -> Result<State> {
        if self.left() == 0 || self.source_ended {
            return Ok(State::Drain);
        }
        let size = self.fs.geometry().block_size;
        let (pos, left, chunk) = (self.pos, self.left(), self.chunk());
        let taken = pos - self.checked.pos;
        let filled = self.transfers.fill(&mut *self.source, size, pos, left, chunk, taken)?;
        self.source_ended = filled.len < chunk - size.within(pos) as usize;
        if filled.len == 0 {
            return Ok(State::Drain);
        }
        self.pos += filled.len as u64;
        Ok(State::Send(filled, piece))
    }

    fn note_unwritten(&mut self, lblk: LogicalBlock, len: u32) {
        match self.unwritten.back_mut() {
            Some((first, n)) if first.0.checked_add(*n) == Some(lblk.0) => *n += len,
            _ => self.unwritten.push_back((lblk, len)),
        }
    }

    /// Marks what holds data now as written, one mapping a handle (`ext4_convert_unwritten_extents`).
    fn convert(&mut self) -> Result<Step> {
        let Some((lblk, len)) = self.unwritten.pop_front() else {
            self.state = State::Size;
            return self.resume();
        };
        let done = self.fs.convert_written(self.ino, lblk, len)?.clamp(1, len);
        // Crash here: what comes before shows its data, the rest still reads as zeros.
        if done < len {
            self.unwritten.push_front((LogicalBlock(lblk.0 + done), len - done));
        }
        self.state = State::Convert;
        Ok(Step::Converted { lblk, len: done })
    }

    /// Both sizes and the orphan record, in one handle (`ext4_handle_inode_extension`). A write of
    /// 0 bytes moves no size.
    fn set_size(&mut self) -> Result<Step> {
        let end = self.sent;
        self.state = State::Trim;
        if !self.extends() && end <= self.old_size {
            return self.resume();
        }
        let mut h = self.fs.start(Handle::ORPHAN_CREDITS + Handle::INODE_CREDITS)?;
        let mut inode = h.inode(self.ino)?;
        if end > self.checked.pos {
            h.raise_size(&mut inode, end)?;
        }
        // An inode without links stays on record for its deletion, and one with blocks to be
        // trimmed until they are.
        if inode.links_count > 0 && !self.must_trim() {
            h.orphan_del(&mut inode)?;
        }
        h.put_inode(&inode)?;
        h.stop()?;
        // Crash here: the write is complete.
        self.is_extending = self.must_trim();
        Ok(Step::Sized { size: inode.i_size })
    }

    /// Whether more was mapped beyond the end than the source had bytes for.
    fn must_trim(&self) -> bool {
        self.checked.len.is_none_or(|len| self.sent < self.checked.pos + len)
            && u64::from(self.mapped_end) > self.fs.geometry().block_size.blocks_for(self.end())
    }

    /// Where the file ends now.
    fn end(&self) -> u64 {
        self.sent.max(self.old_size)
    }

    fn trim(&mut self) -> Result<Step> {
        if self.must_trim() && self.left_over.is_none() {
            self.fs.trim_mapped(self.ino, self.mapped_end)?;
        }
        self.state = match self.left_over.take() {
            Some(filled) => State::Buffered(Some(filled)),
            None => State::Sync,
        };
        self.resume()
    }

    /// The rest of the request, through the buffered way, a chunk a step.
    fn buffered(&mut self, filled: Option<Filled>) -> Result<Step> {
        let size = self.fs.geometry().block_size;
        let filled = match filled {
            Some(filled) => filled,
            None if self.left() == 0 || self.source_ended => {
                self.state = State::Sync;
                return self.resume();
            }
            None => {
                let (pos, left, chunk) = (self.pos, self.left(), self.chunk());
                let taken = pos - self.checked.pos;
                let filled =
                    self.transfers.fill(&mut *self.source, size, pos, left, chunk, taken)?;
                self.source_ended = filled.len < chunk - size.within(pos) as usize;
                self.pos += filled.len as u64;
                filled
            }
        };
        let skip = usize::try_from(self.sent - size.round_down(filled.pos)).unwrap_or(0);
        let end = size.within(filled.pos) as usize + filled.len;
        let data = filled.buf.get(skip..end).unwrap_or_default();
        if !data.is_empty() {
            buffered::write(self.fs, self.ino, self.sent, data)?;
            self.changed_metadata = true;
        }
        let len = data.len() as u64;
        self.sent += len;
        self.buffered += len;
        self.state = State::Buffered(None);
        Ok(Step::Buffered { len })
    }

    fn sync(&mut self) -> Result<Step> {
        match self.request.sync {
            Sync::None => return self.resume(),
            // An earlier write that is not durable yet may have made the blocks it overwrote.
            Sync::Data
                if !self.changed_metadata
                    && !self.extends()
                    && self.fs.is_map_durable(self.ino) =>
            {
                self.fs.journal().sync_data().map_err(ext4_fs::Error::from)?;
            }
            Sync::Data | Sync::Full => self.fs.journal().sync().map_err(ext4_fs::Error::from)?,
        }
        Ok(Step::Synced)
    }

    /// Undoes what a failed write had added beyond the size (`ext4_inode_extension_cleanup`).
    fn clean_up_failure(&mut self) -> Result<()> {
        // What is still in flight must not land in blocks that are freed.
        let _first_error_is_told = self.transfers.drain();
        if std::mem::take(&mut self.is_extending) {
            self.fs.cut_to_size(self.ino)?;
        }
        Ok(())
    }
}
