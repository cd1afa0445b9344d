//! Holes punched into files.

use super::fallocate::{check_may_change, range_end};
use crate::{Error, Filesystem, InCore, InodeGuard, MapState, Result};
use ext4_ondisk::inode::InodeFlags;
use ext4_units::{InodeNr, LogicalBlock};

impl Filesystem {
    /// Makes `offset..offset + len` a hole (`ext4_punch_hole`): whole blocks are freed, the rest
    /// becomes zeros. The size stays, and nothing is done beyond it.
    ///
    /// Several handles: after a crash a part of the range may be zeros already. A file inside its
    /// inode moves to a block first.
    ///
    /// Waits for the inode's lock, direct IO in flight and pages under writeback. Pages in the hole
    /// go.
    pub fn punch_hole(&self, ino: InodeNr, offset: u64, len: u64) -> Result<()> {
        let guard = self.lock_alone(ino);
        self.punch_hole_locked(&guard, offset, len)
    }

    /// As [`punch_hole`](Self::punch_hole), for who holds the lock alone, with no direct IO in
    /// flight. Waits for [pages under writeback](Self::is_writing_back).
    pub fn punch_hole_locked(&self, guard: &InodeGuard, offset: u64, len: u64) -> Result<()> {
        let incore = guard.alone();
        let ino = incore.ino();
        let inode = self.open_inode(self.meta(), ino)?;
        check_may_change(&inode)?;
        if inode.flags.contains(InodeFlags::APPEND) {
            return Err(Error::NotPermitted { ino, flag: "append-only" });
        }
        let end = range_end(self, &inode, offset, len)?;
        if offset >= inode.i_size {
            return Ok(());
        }
        self.inline_to_blocks(ino)?;
        if self.logs_data(&inode) {
            // No copy of the freed data may be left in the log.
            self.journal().checkpoint()?;
        }
        // Blocks preallocated behind the end of the file stay.
        let size = self.geometry().block_size;
        let bytes = u64::from(size.bytes());
        let end = end.min(inode.i_size.next_multiple_of(bytes));
        let (first, last) = (size.blocks_for(offset), end >> size.bits());
        self.follow_punch(ino, end.min(inode.i_size))?;
        if first > last {
            self.zero_bytes(incore, offset, end)?;
        } else {
            self.zero_bytes(incore, offset, first << size.bits())?;
            self.zero_bytes(incore, last << size.bits(), end)?;
        }
        let block = |nr: u64| LogicalBlock(u32::try_from(nr).unwrap_or(u32::MAX));
        if first < last {
            self.drop_pages(incore, block(first)..=block(last - 1));
        }
        loop {
            let budget = self.unmap_budget();
            let done = self.retrying(|| {
                let mut h = self.start_for(|meta| {
                    // A hole in one extent makes two, and may need a node for that.
                    let split = self.open_inode(meta, ino)?;
                    let ctx = self.map_context(&split);
                    let cost = split.map_format().insert_cost(&ctx, &split.i_block, 1)?;
                    Ok(self.unmap_credits(budget) + cost.written + 2 * cost.allocated)
                })?;
                let mut inode = self.open_inode(&h, ino)?;
                let done =
                    first >= last || h.unmap(&mut inode, block(first), block(last), budget)?;
                inode.modified(h.now());
                h.put_inode(&inode)?;
                h.stop()?;
                Ok(done)
            })?;
            // Crash here: a hole from the right end of the range on.
            if done {
                return Ok(());
            }
        }
    }

    /// Raises the size on disk to `end`, which the user sees already: the pages that would have done
    /// it are about to go (`ext4_update_disksize_before_punch`).
    fn follow_punch(&self, ino: InodeNr, end: u64) -> Result<()> {
        if self.open_inode(self.meta(), ino)?.i_disksize() >= end {
            return Ok(());
        }
        let mut h = self.start(crate::Handle::INODE_CREDITS)?;
        let mut inode = self.open_inode(&h, ino)?;
        h.raise_disksize(&mut inode, end)?;
        h.put_inode(&inode)?;
        h.stop()?;
        // Crash here: the file with a part of its end missing, which reads as zeros.
        Ok(())
    }

    /// Zeroes bytes within one block, where it holds data (`ext4_zero_partial_blocks`).
    fn zero_bytes(&self, incore: &InCore, from: u64, to: u64) -> Result<()> {
        if from >= to {
            return Ok(());
        }
        let ino = incore.ino();
        // No writeback has the page in hand after this, and a later one writes the zeros.
        self.zero_in_page(incore, from, to);
        let size = self.geometry().block_size;
        let inode = self.open_inode(self.meta(), ino)?;
        let Some(lblk) = LogicalBlock::of_byte(from, size) else { return Ok(()) };
        let MapState::Written(blk) = self.steady_lookup(ino, lblk)?.1.state else {
            return Ok(());
        };
        let len = usize::try_from(to - from).unwrap_or(usize::MAX).min(size.len());
        let at = size.within(from) as usize;
        if self.logs_data(&inode) {
            let mut h = self.start(1)?;
            h.modify(blk, |block| {
                if let Some(part) = block.get_mut(at..).and_then(|rest| rest.get_mut(..len)) {
                    part.fill(0);
                }
            })?;
            h.stop()?;
            return Ok(());
        }
        Ok(self.device().write_at(blk.byte(size) + at as u64, &vec![0; len])?)
    }
}
