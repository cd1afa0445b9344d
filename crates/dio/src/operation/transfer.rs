//! The data: blocks for it, and its way to the device.

use super::{Io, Operation, State};
use crate::{
    Error, Result,
    piece::{Begin, MAX_BLOCKS, Piece, begin},
    source::Ask,
    step::Step,
};
use ext4_blockdev::AlignedBuf;
use ext4_fs::MapState;
use ext4_units::LogicalBlock;
use std::ops::Range;

impl Operation<'_> {
    /// Bytes still to come, as far as anybody knows.
    fn left(&self) -> u64 {
        let len = self.checked.len.unwrap_or(self.checked.max_len);
        len.saturating_sub(self.pos - self.checked.pos)
    }

    fn chunk(&self) -> usize {
        self.request.chunk.max(1).next_multiple_of(self.block_size().len())
    }

    /// Takes the next bytes; `false` when there are none.
    pub(super) fn take(&mut self, io: &mut Io<'_, '_>) -> Result<bool> {
        if self.left() == 0 || self.source_ended {
            return Ok(false);
        }
        let filled = io.source.fill(
            io.ring,
            &Ask {
                pos: self.pos,
                left: self.left(),
                taken: self.pos - self.checked.pos,
                chunk: self.chunk(),
                block_size: self.block_size(),
            },
        )?;
        self.source_ended = filled.is_last;
        self.pos += filled.len as u64;
        let is_some = filled.len > 0;
        self.filled = Some(filled);
        Ok(is_some)
    }

    pub(super) fn fill(&mut self, io: &mut Io<'_, '_>) -> Result<Option<Step>> {
        self.state = if self.take(io)? { State::Map } else { State::Submitted };
        Ok(None)
    }

    pub(super) fn map(&mut self) -> Result<Option<Step>> {
        let size = self.block_size();
        let lblk = LogicalBlock::of_byte(self.sent, size);
        let lblk = lblk.ok_or_else(|| self.too_big(self.sent))?;
        let known_end = match self.checked.len {
            Some(len) => self.checked.pos + len,
            // Beyond the size what turns out too much is trimmed; below it nothing may be left over.
            None if lblk.byte(size) >= self.old_size => u64::MAX,
            None => self.pos,
        };
        let want = size.blocks_for(known_end).saturating_sub(u64::from(lblk.0));
        let want = u32::try_from(want).unwrap_or(u32::MAX).min(MAX_BLOCKS);
        let begin = match self.known_piece(lblk, want) {
            Some(piece) => Begin::Piece(piece, false),
            None => begin(self.fs, self.ino(), lblk, want, self.known_hole(lblk))?,
        };
        Ok(match begin {
            Begin::Piece(piece, changed) => {
                if piece.is_new {
                    self.mapped_end = self.mapped_end.max(piece.end());
                }
                self.changed_metadata |= changed;
                self.state = State::Send(piece);
                Some(Step::Mapped { lblk, len: piece.len, changed })
            }
            Begin::Buffered => {
                self.has_rest = true;
                self.state = State::Submitted;
                None
            }
        })
    }

    /// How long the hole is that the checks have found at `lblk`. Writeback may have filled it since.
    fn known_hole(&self, lblk: LogicalBlock) -> Option<u32> {
        let hole = self.known.filter(|it| it.state == MapState::Hole && it.lblk == lblk);
        hole.map(|it| it.len)
    }

    /// The piece at `lblk` by the mapping that the checks have found.
    fn known_piece(&self, lblk: LogicalBlock, want: u32) -> Option<Piece> {
        let known = self.known?;
        let skip = lblk.0.checked_sub(known.lblk.0).filter(|&skip| skip < known.len)?;
        let (MapState::Written(start) | MapState::Unwritten(start)) = known.state else {
            return None;
        };
        let is_new = matches!(known.state, MapState::Unwritten(_));
        let len = want.max(1).min(known.len - skip);
        Some(Piece { lblk, len, start: start.plus(skip.into()), is_new, converts: is_new })
    }

    pub(super) fn send(&mut self, io: &mut Io<'_, '_>, piece: Piece) -> Result<Step> {
        let size = self.block_size();
        let end = self.pos;
        let to = end.min(LogicalBlock(piece.end()).byte(size));
        self.transfer(io, &piece, self.sent..to)?;
        if piece.converts {
            let first = LogicalBlock::of_byte(self.sent, size).unwrap_or(piece.lblk);
            let blocks = size.blocks_for(to) - u64::from(first.0);
            self.note_unwritten(first, u32::try_from(blocks).unwrap_or(u32::MAX));
        }
        let len = to - self.sent;
        self.sent = to;
        self.state = match (to < end, to < LogicalBlock(piece.end()).byte(size)) {
            (true, _) => State::Map,
            // The piece has room for what comes next.
            (false, true) if self.take(io)? => State::Send(piece),
            (false, true) => State::Submitted,
            (false, false) => State::Fill,
        };
        Ok(Step::Submitted { len })
    }

    fn note_unwritten(&mut self, lblk: LogicalBlock, len: u32) {
        match self.unwritten.back_mut() {
            Some((first, n)) if first.0.checked_add(*n) == Some(lblk.0) => *n += len,
            _ => self.unwritten.push_back((lblk, len)),
        }
    }

    /// Sends bytes of the file that were taken and lie in `piece`, to the device.
    ///
    /// To written blocks below the size go the sectors themselves, since others may be writing the
    /// rest of the block. Otherwise whole blocks: what of the first and the last one is not written
    /// stays what it is below the size, and becomes zeros if it is new or behind it.
    fn transfer(&mut self, io: &mut Io<'_, '_>, piece: &Piece, bytes: Range<u64>) -> Result<()> {
        let size = self.block_size();
        let sectors = u64::from(io.ring.device().limits().sector) - 1;
        let is_exact =
            !piece.is_new && bytes.end <= self.old_size && (bytes.start | bytes.end) & sectors == 0;
        let first = if is_exact { bytes.start } else { size.round_down(bytes.start) };
        let last = if is_exact { bytes.end } else { size.round_up(bytes.end) };
        let (head, tail) = (index(bytes.start - first), index(bytes.end - first));
        let len = index(last - first);
        let Some(mut filled) = self.filled.take() else { return Ok(()) };
        let at = filled.lead + index(bytes.start - filled.pos);
        let is_whole = at == head && bytes.end == filled.end();
        let (mut buf, is_callers) = if is_whole && !filled.is_callers {
            (filled.buf, false)
        } else if is_whole && head == 0 && tail == len && len == filled.buf.len() {
            (filled.buf, true)
        } else {
            let mut part = io.ring.buffer(len);
            part[head..tail].copy_from_slice(&filled.buf[at..at + (tail - head)]);
            if bytes.end < filled.end() {
                self.filled = Some(filled);
            } else {
                let buf = std::mem::replace(&mut filled.buf, AlignedBuf::zeroed(0));
                io.ring.put_back(io.owner, buf, filled.is_callers);
            }
            (part, false)
        };
        if !is_callers {
            buf.resize(len);
        }
        let lblk = LogicalBlock::of_byte(first, size).expect("the piece was found by it");
        let byte = piece.block(lblk).byte(size) + u64::from(size.within(first));
        for keep in [0..head, tail..len] {
            if keep.is_empty() {
                continue;
            }
            let old = &mut buf[keep.clone()];
            old.fill(0);
            // What is readable of it: nothing of new blocks, nothing behind the size.
            let readable = index(self.old_size.saturating_sub(first).min(keep.end as u64));
            if !piece.is_new && readable > keep.start {
                let old = &mut old[..readable - keep.start];
                io.ring
                    .device()
                    .read_at(byte + keep.start as u64, old)
                    .map_err(|source| Error::Data { ino: self.ino(), source })?;
            }
        }
        let sent = io.ring.submit(io.owner, byte, buf, is_callers);
        sent.map_err(|source| Error::Data { ino: self.ino(), source })
    }
}

/// A length inside a buffer.
fn index(bytes: u64) -> usize {
    usize::try_from(bytes).expect("a buffer is shorter than memory")
}
