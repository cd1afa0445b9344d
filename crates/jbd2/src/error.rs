//! What can go wrong in the journal.

use ext4_ondisk::{
    Corrupt,
    jbd2::{Class, Damage},
};
use ext4_units::{BlockNr, BlockSize};
use std::borrow::Cow;

/// A failed journal operation.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The device failed on a filesystem block (or, during replay, on a block of the log).
    #[error("block {blk}: {source}")]
    Io {
        /// The block on its device.
        blk: BlockNr,
        /// What the device said.
        source: ext4_blockdev::Error,
    },
    /// The device could not make writes durable.
    #[error("{0}")]
    Flush(#[source] ext4_blockdev::Error),
    /// The bytes read make no sense.
    #[error(transparent)]
    Corrupt(#[from] Corrupt),
    /// The journal superblock or the log is damaged, or of a kind nobody here knows.
    #[error(transparent)]
    Damaged(#[from] Damage),
    /// A log block that the log does not have.
    #[error("log block {at} of a log of {len} blocks")]
    BeyondLog {
        /// The log block asked for.
        at: u32,
        /// Blocks that there are.
        len: u64,
    },
    /// The journal asks for something this code cannot do.
    #[error("journal: {0}")]
    Unsupported(Cow<'static, str>),
    /// A block number that no device can have.
    #[error("block {blk} starts beyond byte 2^64")]
    OutOfRange {
        /// The block asked for.
        blk: BlockNr,
    },
    /// A new version of a block is not one block long.
    #[error("new contents of block {blk}: {found} bytes, expected {expected}")]
    BlockLen {
        /// The block being written.
        blk: BlockNr,
        /// Bytes given.
        found: usize,
        /// Bytes in a block.
        expected: BlockSize,
    },
    /// An earlier write, flush or commit failed: nothing more is written, and recovery of the log
    /// is what brings the filesystem back. Reads still work. (`EROFS` after `jbd2_journal_abort`.)
    #[error("the journal was aborted: {reason}")]
    Aborted {
        /// The first failure.
        reason: Cow<'static, str>,
    },
    /// A handle asks for more blocks than one transaction may have (`ENOSPC` in
    /// `add_transaction_credits`).
    #[error("a handle of {asked} blocks, at most {max} fit in a transaction")]
    TransactionTooBig {
        /// Blocks asked for.
        asked: usize,
        /// Blocks a transaction may have.
        max: usize,
    },
    /// This thread already holds a handle; waiting for it would never end.
    #[error("this thread already holds a handle")]
    HandleOpen,
    /// A block that a transaction holds cannot be written around the journal.
    #[error("block {blk} belongs to a transaction and cannot be written in place")]
    InTransaction {
        /// The block.
        blk: BlockNr,
    },
    /// The log still holds transactions; they have to be recovered first.
    #[error("the log is not empty (s_start {start}), it has to be recovered first")]
    NeedsRecovery {
        /// `s_start` of the journal superblock.
        start: u32,
    },
}

impl Error {
    /// The errno class the kernel has for this failure; `None` for wrong use of this crate, which
    /// the kernel has no errno for.
    pub const fn class(&self) -> Option<Class> {
        match self {
            Self::Io { .. } | Self::Flush(_) => Some(Class::Io),
            Self::Corrupt(it) if it.is_checksum => Some(Class::BadChecksum),
            Self::Corrupt(_) | Self::BeyondLog { .. } | Self::OutOfRange { .. } => {
                Some(Class::Corrupt)
            }
            Self::Damaged(it) => Some(it.class),
            Self::Unsupported(_) => Some(Class::NotSupported),
            _ => None,
        }
    }
}

/// Shorthand for results of journal operations.
pub type Result<T> = std::result::Result<T, Error>;
