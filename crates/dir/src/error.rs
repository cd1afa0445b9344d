//! What can go wrong with a directory besides its store.

use ext4_ondisk::Corrupt;
use ext4_units::InodeNr;

/// An operation on a directory that failed for a reason of the directory's own.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The directory's bytes make no sense (EFSCORRUPTED), or a checksum fails (EFSBADCRC).
    #[error(transparent)]
    Corrupt(#[from] Corrupt),
    /// The name is there already (EEXIST).
    #[error("directory inode {dir}: \"{name}\" exists already")]
    Exists {
        /// The directory.
        dir: InodeNr,
        /// The name, escaped.
        name: String,
    },
    /// The name is not there (ENOENT).
    #[error("directory inode {dir}: no entry \"{name}\"")]
    NotFound {
        /// The directory.
        dir: InodeNr,
        /// The name, escaped.
        name: String,
    },
    /// The name is longer than 255 bytes (ENAMETOOLONG).
    #[error("directory inode {dir}: name of {len} bytes, expected at most 255")]
    NameTooLong {
        /// The directory.
        dir: InodeNr,
        /// The name, escaped.
        name: String,
        /// The name's length in bytes.
        len: usize,
    },
    /// No entry may have this name, or this operation may not touch it (EINVAL): empty, `.`, `..`,
    /// or with a `/` or NUL in it.
    #[error("directory inode {dir}: name \"{name}\", expected one without / and NUL, not . or ..")]
    BadName {
        /// The directory.
        dir: InodeNr,
        /// The name, escaped.
        name: String,
    },
    /// The index has as many levels as it may and no room left (ENOSPC).
    #[error("directory inode {dir}: directory index full, {levels} levels")]
    IndexFull {
        /// The directory.
        dir: InodeNr,
        /// Levels of index blocks.
        levels: usize,
    },
    /// More entries than any index of this block size leads to (ENOSPC).
    #[error(
        "directory inode {dir}: {n_entries} entries fill {n_leaves} blocks, expected at most \
         {max_leaves} below {levels} levels of index"
    )]
    TooMany {
        /// The directory.
        dir: InodeNr,
        /// Names it should have.
        n_entries: usize,
        /// Blocks they fill.
        n_leaves: usize,
        /// Blocks the index leads to.
        max_leaves: usize,
        /// Levels of index blocks.
        levels: usize,
    },
    /// One more block would be more than a directory may have (ENOSPC).
    #[error("directory inode {dir}: directory full, {n_blocks} blocks")]
    TooBig {
        /// The directory.
        dir: InodeNr,
        /// Blocks it has.
        n_blocks: u32,
    },
    /// The directory can be read but not changed here.
    #[error("directory inode {dir}: {what} is not supported for writing")]
    Unsupported {
        /// The directory.
        dir: InodeNr,
        /// The feature or hash version.
        what: &'static str,
    },
}

/// A name for a message: printable whatever its bytes.
pub(crate) fn escape(name: &[u8]) -> String {
    match str::from_utf8(name) {
        Ok(name) => name.escape_debug().to_string(),
        Err(_) => name.escape_ascii().to_string(),
    }
}
