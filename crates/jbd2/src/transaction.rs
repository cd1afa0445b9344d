//! One transaction: the newest version of each block it changes, what it revokes, what it frees.

use crate::{Block, ranges::RangeSet};
use ext4_units::{BlockNr, BlockRange, Tid};
use std::collections::{BTreeMap, BTreeSet};

/// A transaction in memory, running or being committed.
#[derive(Debug, Default)]
pub(crate) struct Transaction {
    pub(crate) tid: Tid,
    /// New versions, in the order of their homes.
    pub(crate) blocks: BTreeMap<BlockNr, Block>,
    /// Metadata blocks freed and not journaled again: replay must not bring older copies back.
    pub(crate) revoked: BTreeSet<BlockNr>,
    /// Everything freed, data and metadata: nobody may have it before the commit.
    pub(crate) freed: RangeSet,
}

impl Transaction {
    pub(crate) fn new(tid: Tid) -> Self {
        Self { tid, ..Self::default() }
    }

    /// Nothing that a log would have to hold.
    pub(crate) fn is_empty(&self) -> bool {
        self.blocks.is_empty() && self.revoked.is_empty()
    }

    /// Blocks written or revoked: what counts against credits.
    pub(crate) fn n_blocks(&self) -> usize {
        self.blocks.len().saturating_add(self.revoked.len())
    }

    /// A new version of `blk`. A revoke of this same transaction is cancelled
    /// (`jbd2_journal_cancel_revoke`): it would have skipped this copy too.
    pub(crate) fn write(&mut self, blk: BlockNr, data: Block) {
        self.revoked.remove(&blk);
        self.freed.remove(BlockRange::new(blk, 1));
        self.blocks.insert(blk, data);
    }

    /// `blk` was metadata and is free now: its new version is dropped, older ones in the log are
    /// revoked (`jbd2_journal_forget` and `jbd2_journal_revoke`).
    pub(crate) fn revoke(&mut self, blk: BlockNr) {
        self.blocks.remove(&blk);
        self.revoked.insert(blk);
        self.freed.insert(BlockRange::new(blk, 1));
    }

    /// Takes over everything a stopped handle did.
    pub(crate) fn merge(&mut self, handle: Self) {
        // A block is in one of the two only, so their order does not matter; but both come after
        // the plain frees, which a write of the same handle may have taken back.
        for range in handle.freed.iter() {
            self.freed.insert(range);
        }
        for (blk, data) in handle.blocks {
            self.write(blk, data);
        }
        for blk in handle.revoked {
            self.revoke(blk);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BLK: BlockNr = BlockNr(7);

    fn block() -> Block {
        Block::from(vec![1; 1024])
    }

    #[test]
    fn journaling_a_block_again_cancels_its_revoke() {
        let mut tx = Transaction::new(Tid(1));
        tx.write(BLK, block());
        tx.revoke(BLK);
        assert!(tx.blocks.is_empty() && tx.freed.overlaps(BlockRange::new(BLK, 1)));
        let mut handle = Transaction::default();
        handle.write(BLK, block());
        tx.merge(handle);
        assert!(tx.revoked.is_empty() && tx.freed.is_empty());
        assert_eq!(tx.blocks.len(), 1);
    }

    #[test]
    fn revoking_in_a_later_handle_drops_the_earlier_copy() {
        let mut tx = Transaction::new(Tid(1));
        tx.write(BLK, block());
        let mut handle = Transaction::default();
        handle.revoke(BLK);
        tx.merge(handle);
        assert!(tx.blocks.is_empty());
        assert!(tx.revoked.contains(&BLK));
    }
}
