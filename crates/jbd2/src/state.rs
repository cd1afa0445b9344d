//! What readers and handles see of a journal.

use crate::{
    Block, Error, Result, cache::Cache, committed::Committed, ranges::RangeSet,
    transaction::Transaction,
};
use ext4_units::{BlockNr, BlockRange, Tid};
use std::{borrow::Cow, collections::BTreeMap, sync::Arc};

/// All versions of blocks in memory. Its lock is never held during a device operation, but for the
/// rare read that lost its race three times.
#[derive(Debug)]
pub(crate) struct State {
    /// Takes what handles do.
    pub(crate) running: Transaction,
    /// On its way into the log.
    pub(crate) committing: Option<Arc<Transaction>>,
    /// In the log, not home.
    pub(crate) committed: Committed,
    /// On their way home around the log; readers must not see half of one.
    pub(crate) in_place: BTreeMap<BlockNr, Block>,
    pub(crate) cache: Cache,
    /// The newest transaction that no crash can undo.
    pub(crate) durable: Tid,
    /// Counts changes of blocks, so that a reader knows when what it read may be old.
    pub(crate) changes: u64,
    /// Counts changes of the set of pending frees.
    pub(crate) free_generation: u64,
    /// The first failure; nothing is written after it.
    pub(crate) aborted: Option<Cow<'static, str>>,
}

impl State {
    /// Nothing in memory, `first` the id of the first transaction.
    pub(crate) fn new(first: Tid, cache: Cache) -> Self {
        Self {
            running: Transaction::new(first),
            committing: None,
            committed: Committed::default(),
            in_place: BTreeMap::new(),
            cache,
            durable: first.prev(),
            changes: 0,
            free_generation: 0,
            aborted: None,
        }
    }

    /// The version of `blk` that is newer than its home, if there is one.
    pub(crate) fn dirty(&self, blk: BlockNr) -> Option<Block> {
        let committing = || self.committing.as_ref().and_then(|tx| tx.blocks.get(&blk));
        self.running
            .blocks
            .get(&blk)
            .or_else(committing)
            .or_else(|| self.in_place.get(&blk))
            .or_else(|| self.committed.get(blk))
            .cloned()
    }

    /// The newest version in memory.
    pub(crate) fn find(&mut self, blk: BlockNr) -> Option<Block> {
        self.dirty(blk).or_else(|| self.cache.get(blk))
    }

    pub(crate) fn check_alive(&self) -> Result<()> {
        match &self.aborted {
            None => Ok(()),
            Some(reason) => Err(Error::Aborted { reason: reason.clone() }),
        }
    }

    /// Hands a stopped handle's changes to the running transaction.
    pub(crate) fn merge(&mut self, mut overlay: Transaction) {
        // A freed block with a copy in a transaction needs a revoke whatever its owner called it,
        // or replay would write over the next owner's data.
        let copies: Vec<BlockNr> = overlay.freed.iter().flat_map(|run| self.copies(run)).collect();
        for blk in copies {
            overlay.revoke(blk);
        }
        self.changes += 1;
        self.free_generation += 1;
        for run in overlay.freed.iter() {
            self.cache.remove_run(run);
        }
        for &blk in overlay.blocks.keys() {
            self.cache.remove(blk);
        }
        self.running.merge(overlay);
    }

    /// The blocks of `run` that transactions hold.
    fn copies(&self, run: BlockRange) -> Vec<BlockNr> {
        let range = run.start..run.end();
        let running = self.running.blocks.range(range.clone()).map(|(&blk, _)| blk);
        let committing =
            self.committing.iter().flat_map(|tx| tx.blocks.range(range.clone())).map(|(&b, _)| b);
        running.chain(committing).chain(self.committed.in_range(run)).collect()
    }

    /// What transactions that are not durable have freed, oldest last.
    fn freed(&self) -> impl Iterator<Item = &RangeSet> {
        std::iter::once(&self.running.freed)
            .chain(self.committing.as_ref().map(|committing| &committing.freed))
    }

    pub(crate) fn is_pending_free(&self, run: BlockRange) -> bool {
        self.freed().any(|freed| freed.overlaps(run))
    }

    /// The runs freed and not durable, sorted and joined.
    pub(crate) fn pending_free(&self) -> RangeSet {
        let mut all = RangeSet::default();
        for run in self.freed().flat_map(RangeSet::iter) {
            all.insert(run);
        }
        all
    }
}
