//! How a journal is opened: what the filesystem has, how much memory may be used, the clock.

use ext4_units::{BlockSize, Tid};
use std::{fmt, sync::Arc, time::Duration};

/// The most blocks of one transaction, whatever the size of the log.
const MAX_TRANSACTION_BLOCKS: usize = 2048;
/// The most bytes of one transaction, unless that would be fewer than [`MIN_TRANSACTION_BLOCKS`].
const MAX_TRANSACTION_BYTES: usize = 8 << 20;
/// With the largest blocks a transaction may still have this many.
const MIN_TRANSACTION_BLOCKS: usize = 256;

/// Tells the time since 1970. Commit blocks carry it; the journal never lets it run backwards.
#[derive(Clone)]
pub struct Clock(Arc<dyn Fn() -> Duration + Send + Sync>);

impl Clock {
    /// A clock that asks `now`.
    pub fn new(now: impl Fn() -> Duration + Send + Sync + 'static) -> Self {
        Self(Arc::new(now))
    }

    /// A clock that stands still.
    pub fn fixed(now: Duration) -> Self {
        Self::new(move || now)
    }

    /// What it says now.
    pub fn now(&self) -> Duration {
        (self.0)()
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Clock")
    }
}

/// How to open a journal with a log.
#[derive(Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a feature bit or a switch of its own")]
pub struct Options {
    /// The time of commits.
    pub clock: Clock,
    /// The filesystem has INCOMPAT 64bit: block numbers in the log get 64 bits, as at a mount.
    pub is_64bit: bool,
    /// The filesystem has RO_COMPAT metadata_csum: a log without per-block checksums gets those of
    /// version 3, as at a mount (`set_journal_csum_feature_set`).
    pub metadata_csum: bool,
    /// The filesystem has COMPAT fast_commit: the end of the log is left to fast commits while the
    /// log is in use, as a mount does. None are ever written.
    pub fast_commit: bool,
    /// Where to go on in a log that holds no transaction but live fast commits: what
    /// [`Scan::keep_fast_commits`](crate::recovery::Scan::keep_fast_commits) wrote. The first commit
    /// is of this very transaction, so it takes the fast commits' place; whoever opens the journal
    /// so has applied them in it.
    pub resume: Option<(u32, Tid)>,
    /// For tests: each handle gets a transaction of its own, committed before the next starts.
    pub commit_every_handle: bool,
    /// The most blocks of one transaction; by default 2048 blocks or 8 MiB, whichever is less. A
    /// third of the log at most in any case.
    pub max_transaction: Option<usize>,
    /// Memory for clean blocks, in bytes.
    pub cache_bytes: usize,
    /// Memory for blocks that are in the log and not home yet, in bytes. One transaction may pass
    /// it for a moment.
    pub committed_bytes: usize,
}

impl Options {
    /// The log as its superblock says, 16 MiB for clean blocks, 16 MiB for blocks not home yet.
    pub const fn new(clock: Clock) -> Self {
        Self {
            clock,
            is_64bit: false,
            metadata_csum: false,
            fast_commit: false,
            resume: None,
            commit_every_handle: false,
            max_transaction: None,
            cache_bytes: 16 << 20,
            committed_bytes: 16 << 20,
        }
    }

    /// The most blocks of one transaction in a ring of `ring_len` blocks:
    /// `jbd2_journal_get_max_txn_bufs` is a third of the log.
    pub(crate) fn max_transaction(&self, size: BlockSize, ring_len: u32) -> usize {
        let by_memory = (MAX_TRANSACTION_BYTES / size.len())
            .clamp(MIN_TRANSACTION_BLOCKS, MAX_TRANSACTION_BLOCKS);
        let by_log = usize::try_from(ring_len / 3).unwrap_or(usize::MAX);
        self.max_transaction.unwrap_or(by_memory).min(by_log).max(1)
    }
}
