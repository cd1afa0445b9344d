//! Buffered data that does not wait in pages: journaled data, files without `delalloc`, and the
//! last blocks of a full filesystem.
//!
//! What pages and their writeback would do in two steps is done in one: data first, then the
//! handle that shows it (ordered mode), or data and metadata in one handle (journaled data).

use crate::{Error, Filesystem, Handle, InCore, Inode, MapState, Result, WbStep, Writeback};
use ext4_jbd2::MetaRead as _;
use ext4_units::{BlockNr, LogicalBlock};
use std::sync::Arc;

/// Blocks of journaled data in one handle.
const JOURNALED_BLOCKS: usize = 32;

impl Filesystem {
    /// Writes `data` at byte `pos`; the size follows. Says how many bytes: fewer than asked for
    /// when there is no space for more. Each handle leaves a consistent file, the call as a whole
    /// may be torn by a crash, as any buffered write.
    pub(super) fn write_through(
        &self,
        incore: &Arc<InCore>,
        pos: u64,
        data: &[u8],
    ) -> Result<usize> {
        let ino = incore.ino();
        let size = self.geometry().block_size;
        let end = pos + data.len() as u64;
        if self.has_pages(ino, pos..end) && !self.push_out(incore, pos, end)? {
            return Err(Error::NoSpace { what: "blocks" });
        }
        let mut at = pos;
        while at < end {
            let limit = size.round_down(at) + (JOURNALED_BLOCKS * size.len()) as u64;
            let to = end.min(limit);
            let place = |byte: u64| usize::try_from(byte - pos).unwrap_or(usize::MAX);
            let part = data.get(place(at)..place(to)).unwrap_or_default();
            let written = self.retrying(|| self.write_run(incore, at, part));
            match written {
                Ok(n) => at += n,
                Err(_) if at > pos => break,
                Err(err) => return Err(err),
            }
        }
        Ok(usize::try_from(at - pos).unwrap_or(usize::MAX))
    }

    /// Writes the pages of a range back and drops them; `false` when one cannot go now.
    fn push_out(&self, incore: &Arc<InCore>, pos: u64, end: u64) -> Result<bool> {
        let mut writeback = Writeback::new(self, incore.ino(), pos..end);
        loop {
            match writeback.step()? {
                WbStep::Done => return Ok(self.invalidate_pages(incore.ino(), pos..end)),
                WbStep::Blocked => return Ok(false),
                _ => {}
            }
        }
    }

    /// Writes as much of `data` as one mapping takes, in one handle, and returns how many bytes.
    fn write_run(&self, incore: &InCore, pos: u64, data: &[u8]) -> Result<u64> {
        let size = self.geometry().block_size;
        let ino = incore.ino();
        let max = self.geometry().max_bytes;
        let too_big = Error::TooBig { ino, offset: pos, max };
        let lblk = LogicalBlock::of_byte(pos, size).ok_or(too_big)?;
        let blocks = size.blocks_for(pos + data.len() as u64) - u64::from(lblk.0);
        let blocks = u32::try_from(blocks).unwrap_or(u32::MAX);
        let mut h = self.start_for(|meta| {
            let inode = self.inode(meta, ino)?;
            let map = self.allocate_credits(&inode, blocks)? + self.convert_credits(&inode)?;
            Ok(map + blocks as usize + Handle::INODE_CREDITS)
        })?;
        let mut inode = h.inode(ino)?;
        let mapping = self.lookup(&h, &inode, lblk)?;
        let len = mapping.len.min(blocks);
        let (start, len, is_new) = match mapping.state {
            MapState::Written(start) => (start, len, false),
            MapState::Unwritten(start) => (start, h.convert(&mut inode, lblk, len)?.min(len), true),
            MapState::Hole => {
                let mapped = h.allocate(&mut inode, lblk, len, false)?;
                let (MapState::Written(start) | MapState::Unwritten(start)) = mapped.state else {
                    return Err(Error::NoSpace { what: "blocks" });
                };
                (start, mapped.len, true)
            }
        };
        let first = lblk.byte(size);
        let end = (pos + data.len() as u64).min(first + (u64::from(len) << size.bits()));
        let n = usize::try_from(end - pos).unwrap_or(usize::MAX);
        let blocks = size.blocks_for(end) - u64::from(lblk.0);
        let mut buf = vec![0; usize::try_from(blocks << size.bits()).unwrap_or(usize::MAX)];
        let head = usize::try_from(pos - first).unwrap_or(usize::MAX);
        if !is_new {
            // Both ends may be blocks written in part; their old bytes stay, below the size.
            self.keep_old(&h, &inode, start, first, &mut buf)?;
        }
        buf[head..head + n].copy_from_slice(&data[..n]);
        if self.logs_data(&inode) {
            for (i, block) in buf.chunks(size.len()).enumerate() {
                h.write_data(start.plus(i as u64), block.to_vec())?;
            }
        } else {
            // The commit of this handle's transaction flushes the data before it shows it; dropped
            // instead, the blocks stay free.
            self.device().write_at(start.byte(size), &buf)?;
        }
        h.raise_size(&mut inode, end)?;
        h.put_inode(&inode)?;
        h.stop()?;
        Ok(end - pos)
    }

    /// Fills `buf`, whole blocks from byte `first` of the file, with what they hold below the size.
    fn keep_old(
        &self,
        h: &Handle<'_>,
        inode: &Inode,
        start: BlockNr,
        first: u64,
        buf: &mut [u8],
    ) -> Result<()> {
        let size = self.geometry().block_size;
        if self.logs_data(inode) {
            for (i, block) in buf.chunks_mut(size.len()).enumerate() {
                block.copy_from_slice(&h.read(start.plus(i as u64))?);
            }
        } else {
            self.device().read_at(start.byte(size), buf)?;
        }
        let readable = usize::try_from(inode.i_size.saturating_sub(first)).unwrap_or(usize::MAX);
        if let Some(behind) = buf.get_mut(readable..) {
            behind.fill(0);
        }
        Ok(())
    }
}
