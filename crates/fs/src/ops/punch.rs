//! Holes punched into files.

use super::fallocate::{check_may_change, range_end};
use crate::{Error, Filesystem, MapState, Result};
use ext4_ondisk::inode::InodeFlags;
use ext4_units::{InodeNr, LogicalBlock};

impl Filesystem {
    /// Makes `offset..offset + len` a hole (`ext4_punch_hole`): whole blocks are freed, the rest
    /// becomes zeros. The size stays, and nothing is done beyond it.
    ///
    /// Several handles: after a crash a part of the range may be zeros already. A file inside its
    /// inode moves to a block first.
    pub fn punch_hole(&self, ino: InodeNr, offset: u64, len: u64) -> Result<()> {
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
        if first > last {
            self.zero_bytes(ino, offset, end)?;
        } else {
            self.zero_bytes(ino, offset, first << size.bits())?;
            self.zero_bytes(ino, last << size.bits(), end)?;
        }
        let block = |nr: u64| LogicalBlock(u32::try_from(nr).unwrap_or(u32::MAX));
        loop {
            let budget = self.unmap_budget();
            // A hole in one extent makes two, and may need a node for that.
            let split = self.open_inode(self.meta(), ino)?;
            let cost =
                split.map_format().insert_cost(&self.map_context(&split), &split.i_block, 1)?;
            let credits = self.unmap_credits(budget) + cost.written + 2 * cost.allocated;
            let done = self.retrying(|| {
                let mut h = self.start(credits)?;
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

    /// Zeroes bytes within one block, where it holds data (`ext4_zero_partial_blocks`).
    fn zero_bytes(&self, ino: InodeNr, from: u64, to: u64) -> Result<()> {
        if from >= to {
            return Ok(());
        }
        let size = self.geometry().block_size;
        let inode = self.open_inode(self.meta(), ino)?;
        let Some(lblk) = LogicalBlock::of_byte(from, size) else { return Ok(()) };
        let MapState::Written(blk) = self.lookup(self.meta(), &inode, lblk)?.state else {
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
