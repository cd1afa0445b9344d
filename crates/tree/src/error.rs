//! What can be wrong with a source of files.

use std::{io, path::PathBuf};

/// Why a tree could not be made, or its contents not be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The host refused.
    #[error("{}: {source}", path.display())]
    Host {
        /// The file on the host.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A name or path that no filesystem can hold, or one that would leave the tree.
    #[error("{path}: {why}")]
    Name {
        /// The path as the source gives it, bytes that are not text escaped.
        path: String,
        /// What is wrong with it.
        why: String,
    },
    /// Two entries of a source contradict each other.
    #[error("{path}: {why}")]
    Conflict {
        /// The path in the tree.
        path: String,
        /// What contradicts what.
        why: String,
    },
    /// A line of a manifest that cannot be meant.
    #[error("{}:{line}: {why}", file.display())]
    Manifest {
        /// The manifest.
        file: PathBuf,
        /// The line, from 1 on.
        line: u32,
        /// What is wrong: found and expected.
        why: String,
    },
    /// A file had other contents when it was read than when the tree was made.
    #[error("{path}: changed while it was read: found {found} bytes, expected {expected}")]
    Changed {
        /// The file.
        path: String,
        /// Bytes it has now.
        found: u64,
        /// Bytes it had.
        expected: u64,
    },
    /// An archive is damaged, or has something in it that no tree can have.
    #[error("{}: at byte {offset}: {why}", archive.display())]
    Archive {
        /// The archive.
        archive: PathBuf,
        /// Bytes before the entry or the fault, counted after decompression.
        offset: u64,
        /// Which entry, and what is wrong with it.
        why: String,
    },
    /// The caller's progress function said so.
    #[error("stopped")]
    Stopped,
}

/// Shorthand for results of this crate.
pub type Result<T> = std::result::Result<T, Error>;
