//! A handle: one atomic change, an overlay over the running transaction.

use crate::{
    Block, Error, Journal, MetaRead, Result, gate::Pass, journal::newest, transaction::Transaction,
};
use ext4_units::{BlockNr, BlockRange, BlockSize, Tid};
use std::sync::Arc;

/// One change to the metadata: all of it happens, in one transaction, or nothing.
///
/// Nothing is visible outside until [`stop`](Self::stop). Dropping a handle abandons its changes
/// and writes nothing.
#[derive(Debug)]
pub struct Handle<'j> {
    journal: &'j Journal,
    /// Held for its `Drop`: the next handle may start.
    pass: Pass<'j>,
    credits: usize,
    /// What this handle did so far.
    overlay: Transaction,
}

impl<'j> Handle<'j> {
    pub(crate) fn new(journal: &'j Journal, pass: Pass<'j>, credits: usize) -> Self {
        Self { journal, pass, credits, overlay: Transaction::default() }
    }

    /// The journal this handle belongs to.
    pub fn journal(&self) -> &'j Journal {
        self.journal
    }

    /// Makes `data` the new version of `blk`. A revoke of the block in this transaction is
    /// cancelled. [`Error::BlockLen`] unless it is one block long.
    pub fn write(&mut self, blk: BlockNr, data: impl Into<Block>) -> Result<()> {
        let data = data.into();
        let size = self.journal.block_size();
        if data.len() != size.len() {
            return Err(Error::BlockLen { blk, found: data.len(), expected: size });
        }
        blk.checked_add(1).and_then(|b| b.checked_byte(size)).ok_or(Error::OutOfRange { blk })?;
        self.overlay.write(blk, data);
        Ok(())
    }

    /// Changes `blk` by a function over its bytes (read first when needed) and hands on what that
    /// returns.
    pub fn modify<R>(&mut self, blk: BlockNr, change: impl FnOnce(&mut [u8]) -> R) -> Result<R> {
        if let Some(data) = self.overlay.blocks.get_mut(&blk) {
            return Ok(change(Arc::make_mut(data)));
        }
        let mut data = self.read(blk)?;
        let res = change(Arc::make_mut(&mut data));
        self.write(blk, data)?;
        Ok(res)
    }

    /// `blk` was metadata (extent node, indirect block, directory, xattr block) and is free now.
    /// Its versions in the log must not be replayed over whoever gets it next; nobody gets it
    /// before this transaction is committed.
    pub fn revoke(&mut self, blk: BlockNr) {
        self.overlay.revoke(blk);
    }

    /// [`revoke`](Self::revoke) of each block of `run`.
    pub fn revoke_run(&mut self, run: BlockRange) {
        for blk in run.iter() {
            self.revoke(blk);
        }
    }

    /// `run` was file data and is free now: nobody gets it before this transaction is committed,
    /// or a crash would give it back to its old owner with a stranger's bytes.
    pub fn free(&mut self, run: BlockRange) {
        let written: Vec<_> =
            self.overlay.blocks.range(run.start..run.end()).map(|(&blk, _)| blk).collect();
        for blk in written {
            self.revoke(blk);
        }
        self.overlay.freed.insert(run);
    }

    /// Whether a block of `run` was freed by this handle or by a transaction that is not durable.
    pub fn is_pending_free(&self, run: BlockRange) -> bool {
        (self.journal.has_log() && self.overlay.freed.overlaps(run))
            || self.journal.is_pending_free(run)
    }

    /// The runs that touch `run` and were freed by this handle or by a transaction that is not
    /// durable; in no order, and not cut to `run`.
    pub fn pending_free(&self, run: BlockRange) -> Vec<BlockRange> {
        let mut found = self.journal.pending_free().ranges;
        if self.journal.has_log() {
            found.extend(self.overlay.freed.iter());
        }
        found.retain(|freed| freed.overlaps(run));
        found
    }

    /// How many more blocks this handle may write or revoke.
    pub fn credits_left(&self) -> usize {
        self.credits.saturating_sub(self.overlay.n_blocks())
    }

    /// Hands the changes to the running transaction, all at once, and tells its id: they are
    /// durable when [`Journal::commit_tid`] of it returns. A handle that changed nothing returns
    /// the transaction which makes durable all it has seen.
    ///
    /// Without a log the blocks are written in place, in ascending order, and not flushed.
    ///
    /// A handle that changed more blocks than it asked for is a bug of the caller and panics in
    /// debug builds; otherwise it still goes in whole if a transaction can hold it, else
    /// [`Error::TransactionTooBig`] and nothing is changed.
    pub fn stop(self) -> Result<Tid> {
        self.stop_then(|_tid| ())
    }

    /// As [`stop`](Self::stop), and does what goes with it in memory before another handle can
    /// start.
    pub fn stop_then(self, effects: impl FnOnce(Tid)) -> Result<Tid> {
        debug_assert!(
            self.overlay.n_blocks() <= self.credits,
            "a handle of {} credits changed {} blocks",
            self.credits,
            self.overlay.n_blocks()
        );
        let Self { journal, pass, overlay, .. } = self;
        let res = journal.merge(overlay).inspect(|&tid| effects(tid));
        drop(pass);
        res
    }
}

impl MetaRead for Handle<'_> {
    fn read(&self, blk: BlockNr) -> Result<Block> {
        match self.overlay.blocks.get(&blk) {
            Some(data) => Ok(Block::clone(data)),
            None => self.journal.read(blk),
        }
    }

    fn read_run(&self, run: BlockRange) -> Result<Vec<Block>> {
        let below = self.journal.read_run(run)?;
        Ok(newest(run, below, |blk| self.overlay.blocks.get(&blk).cloned()))
    }

    fn block_size(&self) -> BlockSize {
        self.journal.block_size()
    }
}
