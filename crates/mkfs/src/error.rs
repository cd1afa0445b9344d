//! Why no filesystem was made. One line each.

use ext4_ondisk::{Corrupt, inode::DoesNotFit};

/// What can go wrong between the options and the last write.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Options that contradict each other or the format. Nothing was written.
    #[error("{0}")]
    Options(String),
    /// The filesystem would not fit. Nothing was written.
    #[error("{found} bytes are too few, expected at least {expected}: {what}")]
    TooSmall {
        /// Bytes there are.
        found: u64,
        /// Bytes that are needed at the least.
        expected: u64,
        /// What does not fit.
        what: String,
    },
    /// No run of free blocks is left for a structure. Nothing was written.
    #[error("no room for {what}: {blocks} blocks wanted")]
    NoRoom {
        /// The structure.
        what: String,
        /// Blocks it needs.
        blocks: u64,
    },
    /// More files than there are inodes. Nothing was written.
    #[error("{found} inodes are too few, expected at least {expected}: raise the count (-N)")]
    TooFewInodes {
        /// Inodes there are.
        found: u32,
        /// Inodes that are needed at the least.
        expected: u64,
    },
    /// A file that this filesystem cannot hold. Nothing was written.
    #[error("{path}: {why}")]
    File {
        /// Its path in the filesystem, bytes that are not text escaped.
        path: String,
        /// What is found and what was expected.
        why: String,
    },
    /// The superblock that came out would not pass our own check: a fault in the plan.
    #[error("the plan is not sound: {0}")]
    Unsound(#[from] Corrupt),
    /// A value that an inode of this filesystem can't hold.
    #[error("{0}")]
    DoesNotFit(#[from] DoesNotFit),
    /// The device failed, or it is shorter than the plan.
    #[error("{0}")]
    Device(#[from] ext4_blockdev::Error),
    /// A file that goes into the filesystem could not be read, or is not what it was when the tree
    /// was made.
    #[error("{0}")]
    Source(#[from] ext4_tree::Error),
    /// The caller asked for it; what was written is no filesystem.
    #[error("stopped: what was written is not a filesystem")]
    Stopped,
}

/// Shorthand for results of making a filesystem.
pub type Result<T> = std::result::Result<T, Error>;

/// An [`Error::Options`] from one line of text.
pub(crate) fn conflict<T>(line: impl Into<String>) -> Result<T> {
    Err(Error::Options(line.into()))
}
