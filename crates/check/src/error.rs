//! Why a check ends before its end. Damage is never one of these: it is a finding.

use ext4_units::BlockNr;

/// What stops a check.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The device failed, or the changes passed their limit in memory.
    #[error("{0}")]
    Device(#[from] ext4_blockdev::Error),
    /// A block outside of the device was asked for: a fault of a pass, which must check first.
    #[error("block {0} is outside of the device")]
    Outside(BlockNr),
    /// No superblock is usable, and none of the copies; nothing can be said of the rest.
    #[error("no superblock: {0}")]
    NoSuperblock(String),
    /// The device ends before the filesystem does, and nothing may be changed then.
    #[error(
        "the filesystem has {blocks} blocks, but its device only {device}; \
             lengthen a copy of it (truncate -s) to check what is there"
    )]
    TooShort {
        /// Blocks of the filesystem.
        blocks: u64,
        /// Blocks of that size that the device has.
        device: u64,
    },
    /// A feature that is not known: what it changes on disk cannot be judged.
    #[error("{0}")]
    Unsupported(String),
    /// Somebody wants to stop: a signal, or the answer to a question.
    #[error("stopped")]
    Stopped,
    /// Unattended repair met something that a person has to decide.
    #[error("{0}: needs a decision; run fsck manually, without -p")]
    NeedsDecision(String),
    /// No free block or inode is left for a repair.
    #[error("no free {0} is left for the repair")]
    NoSpace(&'static str),
    /// A repair met damage where the passes before it should have left none.
    #[error("{0}")]
    Damaged(String),
    /// Superblock or descriptors changed so much that all begins again. Never leaves this crate.
    #[error("the check begins again")]
    Restart,
    /// What is scanned has something to mend, which the scan leaves to those who may ask. Never
    /// leaves this crate.
    #[error("something to mend")]
    Suspect,
    /// All maps together name far more than there is. Never leaves this crate.
    #[error("maps name more than there is")]
    TooMuch,
    /// A map names what others named, and too much of it. Never leaves this crate.
    #[error("a map of what others have")]
    NotWorthIt,
}

/// Shorthand for results of this crate.
pub type Result<T> = std::result::Result<T, Error>;

impl From<ext4_ondisk::Corrupt> for Error {
    fn from(corrupt: ext4_ondisk::Corrupt) -> Self {
        Self::Damaged(corrupt.to_string())
    }
}

impl From<ext4_dir::Error> for Error {
    fn from(error: ext4_dir::Error) -> Self {
        Self::Damaged(error.to_string())
    }
}

impl From<ext4_jbd2::Error> for Error {
    fn from(error: ext4_jbd2::Error) -> Self {
        match error {
            ext4_jbd2::Error::Io { source, .. } | ext4_jbd2::Error::Flush(source) => {
                Self::Device(source)
            }
            other => Self::Damaged(other.to_string()),
        }
    }
}
