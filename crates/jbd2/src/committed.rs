//! Committed blocks that are not home yet: the checkpoint list.

use crate::{Block, transaction::Transaction};
use ext4_units::{BlockNr, BlockRange, Tid};
use std::{
    cmp::Ordering,
    collections::{BTreeMap, HashMap},
};

/// The newest committed version of each block whose home is older, and the transaction it is of.
///
/// A block is here once: when a later transaction commits it again, the older copy in the log is
/// not needed any more, because replay would go on to the later one.
#[derive(Debug, Default)]
pub(crate) struct Committed {
    blocks: BTreeMap<BlockNr, (Tid, Block)>,
}

impl Committed {
    pub(crate) fn get(&self, blk: BlockNr) -> Option<&Block> {
        self.blocks.get(&blk).map(|(_, data)| data)
    }

    pub(crate) fn len(&self) -> usize {
        self.blocks.len()
    }

    /// The blocks of `range` that are here.
    pub(crate) fn in_range(&self, range: BlockRange) -> impl Iterator<Item = BlockNr> {
        self.blocks.range(range.start..range.end()).map(|(&blk, _)| blk)
    }

    /// Takes over a transaction whose commit block is durable.
    pub(crate) fn take(&mut self, tx: &Transaction) {
        for (&blk, data) in &tx.blocks {
            self.blocks.insert(blk, (tx.tid, Block::clone(data)));
        }
        // The owner of a freed block is whoever gets it now, and may write it at any moment: the
        // old version must never go home again. Until this commit it might, and did no harm.
        // Replay does not bring it back either, by the revoke record of this transaction.
        for blk in &tx.revoked {
            self.blocks.remove(blk);
        }
    }

    /// How many blocks are here of each transaction.
    pub(crate) fn sizes(&self) -> HashMap<Tid, usize> {
        let mut sizes = HashMap::new();
        for (tid, _) in self.blocks.values() {
            *sizes.entry(*tid).or_default() += 1;
        }
        sizes
    }

    /// What must be home before the log may forget the transactions up to and including `last`,
    /// in ascending order.
    pub(crate) fn up_to(&self, last: Tid) -> Vec<(BlockNr, Block)> {
        let is_due = |tid: Tid| tid.wrapping_cmp(last) != Ordering::Greater;
        let due = self.blocks.iter().filter(|(_, (tid, _))| is_due(*tid));
        due.map(|(&blk, (_, data))| (blk, Block::clone(data))).collect()
    }

    /// Forgets blocks that are home, durably.
    pub(crate) fn remove(&mut self, blk: BlockNr) {
        self.blocks.remove(&blk);
    }
}
