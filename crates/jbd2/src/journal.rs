//! The journal as its users see it: reads, handles, and what is still pending.

use crate::{
    Block, Error, Handle, MetaRead, PendingFree, Result, cache::Cache, gate::Gate, home,
    transaction::Transaction,
};
use ext4_blockdev::BlockDevice;
use ext4_units::{BlockNr, BlockRange, BlockSize, Tid};
use std::{
    borrow::Cow,
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// Clean metadata kept in memory unless told otherwise, in bytes.
const CACHE_BYTES: usize = 16 << 20;

/// The metadata of a filesystem: a cache of blocks, the running transaction and the log behind it.
///
/// Any number of threads may read; one at a time may hold a [`Handle`]. A thread that holds one
/// must not start another ([`Error::HandleOpen`]).
#[derive(Debug)]
pub struct Journal {
    dev: Arc<dyn BlockDevice>,
    size: BlockSize,
    gate: Gate,
    state: Mutex<State>,
}

/// What readers and handles see. The lock is never held during a device operation, but for the
/// rare read in [`Journal::read`] that lost its race three times.
#[derive(Debug)]
struct State {
    running: Transaction,
    /// Blocks on their way home around the log; readers must not see half of one.
    in_place: BTreeMap<BlockNr, Block>,
    cache: Cache,
    /// Counts changes of blocks, so that a reader knows when what it read may be old.
    changes: u64,
    /// Counts changes of the set of pending frees.
    free_generation: u64,
    /// The first failure; nothing is written after it.
    aborted: Option<Cow<'static, str>>,
}

impl Journal {
    /// A journal for a filesystem that has none: handles write in place when they stop, a crash in
    /// between leaves whatever it leaves.
    pub fn without_log(dev: Arc<dyn BlockDevice>, size: BlockSize) -> Self {
        Self {
            dev,
            size,
            gate: Gate::default(),
            state: Mutex::new(State {
                running: Transaction::new(Tid(1)),
                in_place: BTreeMap::new(),
                cache: Cache::new(CACHE_BYTES / size.len()),
                changes: 0,
                free_generation: 0,
                aborted: None,
            }),
        }
    }

    /// Whether there is a log, and so atomicity.
    pub fn has_log(&self) -> bool {
        false
    }

    /// Starts a handle that will write or revoke at most `credits` blocks. Waits while another
    /// thread holds one; commits the running transaction first if both would not fit.
    pub fn start(&self, credits: usize) -> Result<Handle<'_>> {
        let pass = self.gate.enter()?;
        self.check_alive()?;
        Ok(Handle::new(self, pass, credits))
    }

    /// Makes every stopped handle durable.
    pub fn commit(&self) -> Result<()> {
        self.sync_data()
    }

    /// Makes the transaction `tid` durable, as [`Handle::stop`] told it; nothing is written if it
    /// already is.
    pub fn commit_tid(&self, tid: Tid) -> Result<()> {
        let _ = tid;
        self.commit()
    }

    /// Commits, writes everything home and leaves the log empty (`s_start` 0) and durable.
    pub fn checkpoint(&self) -> Result<()> {
        self.commit()
    }

    /// [`checkpoint`](Self::checkpoint), and the end of this journal.
    pub fn close(self) -> Result<()> {
        self.checkpoint()
    }

    /// Makes data written to the device so far durable, and no metadata: all that an overwrite
    /// with `O_DSYNC` needs.
    pub fn sync_data(&self) -> Result<()> {
        self.check_alive()?;
        let res = self.dev.flush().map_err(Error::Flush);
        self.or_abort(res)
    }

    /// Writes `blk` in place, around the log, and keeps it in the cache; not flushed. Only for a
    /// block that no transaction holds ([`Error::InTransaction`]): the superblock's flags at open
    /// and close.
    pub fn write_through(&self, blk: BlockNr, data: impl Into<Block>) -> Result<()> {
        let data = data.into();
        if data.len() != self.size.len() {
            return Err(Error::BlockLen { blk, found: data.len(), expected: self.size });
        }
        let state = self.state();
        state.check_alive()?;
        if state.dirty(blk).is_some() {
            return Err(Error::InTransaction { blk });
        }
        self.write_in_place(state, BTreeMap::from([(blk, data)]))
    }

    /// Forgets clean copies of `run`, whose bytes are about to be written around the journal (file
    /// data in blocks that may once have been metadata).
    pub fn forget_cached(&self, run: BlockRange) {
        let mut state = self.state();
        state.changes += 1;
        state.cache.remove_run(run);
    }

    /// Whether a block of `run` was freed by a transaction that is not durable yet, and so must
    /// not be given to anybody.
    pub fn is_pending_free(&self, run: BlockRange) -> bool {
        self.state().running.freed.overlaps(run)
    }

    /// All blocks freed by transactions that are not durable yet.
    pub fn pending_free(&self) -> PendingFree {
        let state = self.state();
        PendingFree {
            generation: state.free_generation,
            ranges: state.running.freed.iter().collect(),
        }
    }

    /// Changes whenever [`pending_free`](Self::pending_free) may have changed.
    pub fn pending_free_generation(&self) -> u64 {
        self.state().free_generation
    }

    /// How many blocks a commit would make free for use: on `ENOSPC` a commit and another try are
    /// worth it when this is not 0.
    pub fn freed_in_running(&self) -> u64 {
        self.state().running.freed.n_blocks()
    }

    /// The device of the filesystem.
    pub fn device(&self) -> &Arc<dyn BlockDevice> {
        &self.dev
    }

    /// Takes over what a handle did, or writes it in place when there is no log.
    pub(crate) fn merge(&self, overlay: Transaction) -> Result<Tid> {
        let mut state = self.state();
        state.check_alive()?;
        for run in overlay.freed.iter() {
            state.cache.remove_run(run);
        }
        let tid = state.running.tid;
        self.write_in_place(state, overlay.blocks)?;
        Ok(tid)
    }

    /// Writes blocks home around the log.
    fn write_in_place(
        &self,
        mut state: MutexGuard<'_, State>,
        blocks: BTreeMap<BlockNr, Block>,
    ) -> Result<()> {
        state.changes += 1;
        state.in_place.extend(blocks.iter().map(|(&blk, data)| (blk, Block::clone(data))));
        drop(state);
        let res = home::write(&*self.dev, self.size, blocks.iter().map(|(&blk, d)| (blk, d)));
        // After a failure the versions in memory stay what reads see.
        self.or_abort(res)?;
        let mut state = self.state();
        state.changes += 1;
        for (blk, data) in blocks {
            state.in_place.remove(&blk);
            state.cache.insert(blk, data);
        }
        Ok(())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn check_alive(&self) -> Result<()> {
        self.state().check_alive()
    }

    /// Passes `res` on; a failure ends all writing.
    fn or_abort<T>(&self, res: Result<T>) -> Result<T> {
        if let Err(err) = &res {
            let mut state = self.state();
            state.aborted.get_or_insert_with(|| err.to_string().into());
        }
        res
    }
}

impl State {
    /// The version of `blk` that is newer than its home, if there is one.
    fn dirty(&self, blk: BlockNr) -> Option<Block> {
        self.running.blocks.get(&blk).or_else(|| self.in_place.get(&blk)).cloned()
    }

    fn check_alive(&self) -> Result<()> {
        match &self.aborted {
            None => Ok(()),
            Some(reason) => Err(Error::Aborted { reason: reason.clone() }),
        }
    }
}

impl MetaRead for Journal {
    fn read(&self, blk: BlockNr) -> Result<Block> {
        let byte = blk.checked_byte(self.size).ok_or(Error::OutOfRange { blk })?;
        let read = || -> Result<Block> {
            let mut data = vec![0; self.size.len()];
            self.dev.read_at(byte, &mut data).map_err(|source| Error::Io { blk, source })?;
            Ok(data.into())
        };
        let mut state = self.state();
        for _ in 0..3 {
            if let Some(data) = state.dirty(blk).or_else(|| state.cache.get(blk)) {
                return Ok(data);
            }
            let before = state.changes;
            drop(state);
            let data = read()?;
            state = self.state();
            // Somebody changed a block meanwhile; if it was this one its home may have been
            // written while it was read.
            if state.changes == before {
                state.cache.insert(blk, Block::clone(&data));
                return Ok(data);
            }
        }
        if let Some(data) = state.dirty(blk).or_else(|| state.cache.get(blk)) {
            return Ok(data);
        }
        let data = read()?;
        state.cache.insert(blk, Block::clone(&data));
        Ok(data)
    }

    fn read_run(&self, run: BlockRange) -> Result<Vec<Block>> {
        let blk = run.start;
        let past = || Error::OutOfRange { blk };
        let byte = blk.checked_byte(self.size).ok_or_else(past)?;
        let end = run.end().checked_byte(self.size).ok_or_else(past)?;
        if end > self.dev.len() {
            let source = ext4_blockdev::Error::OutOfRange {
                offset: byte,
                len: end - byte,
                device_len: self.dev.len(),
            };
            return Err(Error::Io { blk, source });
        }
        let state = self.state();
        let before = state.changes;
        drop(state);
        let len = usize::try_from(run.len).ok().and_then(|n| n.checked_mul(self.size.len()));
        let mut bytes = vec![0; len.ok_or_else(past)?];
        self.dev.read_at(byte, &mut bytes).map_err(|source| Error::Io { blk, source })?;
        let below = bytes.chunks_exact(self.size.len()).map(Block::from).collect();
        let mut state = self.state();
        if state.changes != before {
            drop(state);
            return run.iter().map(|blk| self.read(blk)).collect();
        }
        let found = newest(run, below, |blk| state.dirty(blk));
        for (blk, data) in run.iter().zip(&found) {
            if state.dirty(blk).is_none() {
                state.cache.insert(blk, Block::clone(data));
            }
        }
        Ok(found)
    }

    fn block_size(&self) -> BlockSize {
        self.size
    }
}

/// The blocks of `run`, each replaced by what `above` has of it.
pub(crate) fn newest(
    run: BlockRange,
    mut below: Vec<Block>,
    above: impl Fn(BlockNr) -> Option<Block>,
) -> Vec<Block> {
    for (blk, data) in run.iter().zip(&mut below) {
        if let Some(newer) = above(blk) {
            *data = newer;
        }
    }
    below
}
