//! The journal as its users see it: opening and closing, handles, reads, what is still pending.

use crate::{
    Block, Error, Handle, Log, MetaRead, Options, PendingFree, Result, cache::Cache, gate::Gate,
    home, state::State, transaction::Transaction, writer::Writer,
};
use ext4_blockdev::BlockDevice;
use ext4_units::{BlockNr, BlockRange, BlockSize, Tid};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

/// Clean metadata kept in memory when there is no log, in bytes.
const CACHE_BYTES: usize = 16 << 20;

/// With fewer blocks than this a log cannot hold a useful transaction.
const MIN_RING: u32 = 64;

/// The metadata of a filesystem: a cache of blocks, the running transaction and the log behind it.
///
/// Any number of threads may read; one at a time may hold a [`Handle`]. A thread that holds one
/// must not start another ([`Error::HandleOpen`]). Committing does not wait for an open handle: it
/// makes durable what was stopped before.
///
/// After the first write, flush or commit that fails the journal is aborted: nothing more is
/// written ([`Error::Aborted`]), reads go on, and the log as it is on the device is what the next
/// recovery works from.
///
/// The order a filesystem has to keep around it: INCOMPAT needs_recovery goes into the ext4
/// superblock by [`write_through`](Self::write_through) and [`sync_data`](Self::sync_data) before
/// the first [`start`](Self::start), and out of it, the same way, after
/// [`checkpoint`](Self::checkpoint). A kernel that finds a log without the flag throws the log
/// away.
#[derive(Debug)]
pub struct Journal {
    dev: Arc<dyn BlockDevice>,
    size: BlockSize,
    // Locks are taken in this order: gate, writer, state.
    gate: Gate,
    log: Option<LogSide>,
    state: Mutex<State>,
}

/// What a journal with a log has more.
#[derive(Debug)]
struct LogSide {
    writer: Mutex<Writer>,
    options: Options,
    /// The most blocks of one transaction.
    max_transaction: usize,
    /// Block numbers the log can name are below this.
    end_of_numbers: u64,
}

impl Journal {
    /// A journal for a filesystem that has none: handles write in place when they stop, a crash in
    /// between leaves whatever it leaves.
    pub fn without_log(dev: Arc<dyn BlockDevice>, size: BlockSize) -> Self {
        let state = State::new(Tid(1), Cache::new(CACHE_BYTES / size.len()));
        Self { dev, size, gate: Gate::default(), log: None, state: Mutex::new(state) }
    }

    /// Opens the journal of the filesystem on `dev`. Writes nothing; what changes in the journal
    /// superblock is written with the first commit.
    ///
    /// [`Error::NeedsRecovery`] unless the log is empty, [`Error::Damaged`] when its superblock
    /// makes no sense. A log with ASYNC_COMMIT is written with all flushes, which is always legal.
    pub fn open(
        dev: Arc<dyn BlockDevice>,
        size: BlockSize,
        log: Log,
        options: Options,
    ) -> Result<Self> {
        let writer = Writer::open(Arc::clone(&dev), size, log, &options)?;
        if writer.len() < MIN_RING {
            let what = format!("{} blocks in the log, expected at least {MIN_RING}", writer.len());
            return Err(Error::Unsupported(what.into()));
        }
        let state = State::new(writer.first_tid(), Cache::new(options.cache_bytes / size.len()));
        let log = LogSide {
            max_transaction: options.max_transaction(size, writer.len()),
            end_of_numbers: if writer.format.is_64bit { u64::MAX } else { 1 << 32 },
            writer: Mutex::new(writer),
            options,
        };
        Ok(Self { dev, size, gate: Gate::default(), log: Some(log), state: Mutex::new(state) })
    }

    /// Commits, writes everything home, leaves the log empty, and ends this journal.
    pub fn close(self) -> Result<()> {
        self.checkpoint()
    }

    /// Whether there is a log, and so atomicity.
    pub fn has_log(&self) -> bool {
        self.log.is_some()
    }

    /// The most credits a handle can ask for.
    pub fn max_credits(&self) -> usize {
        self.log.as_ref().map_or(usize::MAX, |log| log.max_transaction)
    }

    /// Starts a handle that will write or revoke at most `credits` blocks. Waits while another
    /// thread holds one; commits the running transaction first if both would not fit into one.
    ///
    /// [`Error::TransactionTooBig`] when they never fit, [`Error::HandleOpen`] when this thread
    /// holds a handle already, [`Error::Aborted`].
    pub fn start(&self, credits: usize) -> Result<Handle<'_>> {
        let pass = self.gate.enter()?;
        self.state().check_alive()?;
        if let Some(log) = &self.log {
            let max = log.max_transaction;
            if credits > max {
                return Err(Error::TransactionTooBig { asked: credits, max });
            }
            let running = self.state().running.n_blocks();
            let is_full = running.saturating_add(credits) > max;
            if running > 0 && (is_full || log.options.commit_every_handle) {
                self.commit()?;
            }
        }
        Ok(Handle::new(self, pass, credits))
    }

    /// Makes data written to the filesystem's device so far durable, and no metadata: all that an
    /// overwrite with `O_DSYNC` needs.
    pub fn sync_data(&self) -> Result<()> {
        self.state().check_alive()?;
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
        self.state().is_pending_free(run)
    }

    /// All blocks freed by transactions that are not durable yet.
    pub fn pending_free(&self) -> PendingFree {
        let state = self.state();
        let ranges = state.pending_free().iter().collect();
        PendingFree { generation: state.free_generation, ranges }
    }

    /// Changes whenever [`pending_free`](Self::pending_free) may have changed.
    pub fn pending_free_generation(&self) -> u64 {
        self.state().free_generation
    }

    /// How many blocks a commit would make free for use: on `ENOSPC` a commit and another try are
    /// worth it when this is not 0.
    pub fn freed_in_running(&self) -> u64 {
        self.state().pending_free().n_blocks()
    }

    /// The transaction that handles stop into now (`j_running_transaction`); it may be empty still.
    pub fn running_tid(&self) -> Tid {
        self.state().running.tid
    }

    /// Fails when the journal was aborted: nothing is written any more.
    pub fn check_alive(&self) -> Result<()> {
        self.state().check_alive()
    }

    /// The device of the filesystem.
    pub fn device(&self) -> &Arc<dyn BlockDevice> {
        &self.dev
    }

    /// Takes over what a handle did, or writes it in place when there is no log.
    pub(crate) fn merge(&self, overlay: Transaction) -> Result<Tid> {
        let mut state = self.state();
        state.check_alive()?;
        let Some(log) = &self.log else {
            for run in overlay.freed.iter() {
                state.cache.remove_run(run);
            }
            let tid = state.running.tid;
            self.write_in_place(state, overlay.blocks)?;
            return Ok(tid);
        };
        if overlay.is_empty() && overlay.freed.is_empty() {
            // What it saw may be in the running transaction.
            let running = state.running.tid;
            return Ok(if state.running.is_empty() { running.prev() } else { running });
        }
        let last = overlay.blocks.keys().chain(&overlay.revoked).max();
        if let Some(blk) = last.filter(|blk| blk.0 >= log.end_of_numbers) {
            let what = format!("block {blk} does not fit the log's 32-bit block numbers");
            return Err(Error::Unsupported(what.into()));
        }
        let (asked, max) = (overlay.n_blocks(), log.max_transaction);
        if asked > max {
            return Err(Error::TransactionTooBig { asked, max });
        }
        // Only a handle that passed its credits gets here with too much; what it has read is the
        // same after a commit.
        if state.running.n_blocks() + asked > max {
            drop(state);
            self.commit()?;
            state = self.state();
        }
        state.merge(overlay);
        Ok(state.running.tid)
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

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The log, for one thread; `None` without one.
    pub(crate) fn writer(&self) -> Option<MutexGuard<'_, Writer>> {
        Some(self.log.as_ref()?.writer.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The most committed blocks to keep in memory.
    pub(crate) fn max_committed(&self) -> usize {
        self.log.as_ref().map_or(0, |log| log.options.committed_bytes / self.size.len())
    }

    pub(crate) fn now(&self) -> Duration {
        self.log.as_ref().map_or(Duration::ZERO, |log| log.options.clock.now())
    }

    /// Passes `res` on; a failure ends all writing.
    fn or_abort<T>(&self, res: Result<T>) -> Result<T> {
        if let Err(err) = &res
            && self.abort(err)
            && let Some(log) = &self.log
            // Whoever holds the log now meets the failed device by himself.
            && let Ok(mut writer) = log.writer.try_lock()
        {
            writer.record_abort();
        }
        res
    }

    /// As [`or_abort`](Self::or_abort), for whoever holds the log.
    pub(crate) fn or_abort_with<T>(&self, writer: &mut Writer, res: Result<T>) -> Result<T> {
        if let Err(err) = &res
            && self.abort(err)
        {
            writer.record_abort();
        }
        res
    }

    /// Ends all writing; whether this was the first failure.
    fn abort(&self, err: &Error) -> bool {
        let mut state = self.state();
        let is_first = state.aborted.is_none() && !matches!(err, Error::Aborted { .. });
        if is_first {
            state.aborted = Some(err.to_string().into());
        }
        is_first
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
            if let Some(data) = state.find(blk) {
                return Ok(data);
            }
            let before = state.changes;
            drop(state);
            let data = read()?;
            state = self.state();
            // Otherwise somebody changed a block meanwhile; if it was this one its home may have
            // been written while it was read.
            if state.changes == before {
                state.cache.insert(blk, Block::clone(&data));
                return Ok(data);
            }
        }
        if let Some(data) = state.find(blk) {
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
        let end = run.start.checked_add(run.len).and_then(|end| end.checked_byte(self.size));
        let len = end.ok_or_else(past)? - byte;
        let device_len = self.dev.len();
        if byte.saturating_add(len) > device_len {
            let source = ext4_blockdev::Error::OutOfRange { offset: byte, len, device_len };
            return Err(Error::Io { blk, source });
        }
        let mut state = self.state();
        // A run that was read before mostly is here still; the first block missing ends the search.
        if let Some(found) = run.iter().map(|blk| state.find(blk)).collect() {
            return Ok(found);
        }
        let before = state.changes;
        drop(state);
        let mut bytes = vec![0; usize::try_from(len).map_err(|_too_long| past())?];
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
