//! What can go wrong in the filesystem.

use ext4_ondisk::{Corrupt, features::Unsupported, inode::DoesNotFit};
use ext4_units::{BlockNr, InodeNr, LogicalBlock};
use std::borrow::Cow;

/// A failed filesystem operation.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The device failed, or was not able to do what was asked.
    #[error(transparent)]
    Device(#[from] ext4_blockdev::Error),
    /// The journal failed, or a metadata block could not be read or written.
    #[error(transparent)]
    Journal(ext4_jbd2::Error),
    /// Bytes on disk make no sense (`EUCLEAN`, or `EBADMSG` for a checksum).
    #[error(transparent)]
    Corrupt(#[from] Corrupt),
    /// A feature that this operation does not support.
    #[error(transparent)]
    Unsupported(#[from] Unsupported),
    /// Something else that is refused by name.
    #[error("{0}")]
    Refused(Cow<'static, str>),
    /// The path or directory entry is not there (`ENOENT`).
    #[error("{path}: no such file or directory")]
    NotFound {
        /// The path, as far as it was resolved, and the name that was missing.
        path: String,
    },
    /// The name exists already (`EEXIST`).
    #[error("{path}: exists already")]
    Exists {
        /// The name.
        path: String,
    },
    /// A component of a path is no directory (`ENOTDIR`).
    #[error("{path}: not a directory")]
    NotADirectory {
        /// The path up to the component.
        path: String,
    },
    /// A directory where a file is needed (`EISDIR`).
    #[error("inode {ino}: is a directory")]
    IsADirectory {
        /// The inode.
        ino: InodeNr,
    },
    /// A directory that still has entries (`ENOTEMPTY`).
    #[error("inode {ino}: directory is not empty")]
    NotEmpty {
        /// The directory.
        ino: InodeNr,
    },
    /// Too many symbolic links on a path (`ELOOP`).
    #[error("{path}: too many levels of symbolic links")]
    Loop {
        /// The path.
        path: String,
    },
    /// A name longer than 255 bytes, empty, or with a slash or NUL in it (`ENAMETOOLONG`, `EINVAL`).
    #[error("name {name:?}: {fault}")]
    BadName {
        /// The name, lossily.
        name: String,
        /// What is wrong with it.
        fault: &'static str,
    },
    /// The wrong kind of inode for this operation (`EINVAL`).
    #[error("inode {ino}: is {found}, expected {expected}")]
    WrongType {
        /// The inode.
        ino: InodeNr,
        /// What it is.
        found: &'static str,
        /// What it should be.
        expected: &'static str,
    },
    /// The inode is not in use (`ESTALE`).
    #[error("inode {ino}: not in use")]
    NotInUse {
        /// The inode.
        ino: InodeNr,
    },
    /// The inode must not be changed: `EPERM` by flag, named here.
    #[error("inode {ino}: {flag} flag is set")]
    NotPermitted {
        /// The inode.
        ino: InodeNr,
        /// Which flag.
        flag: &'static str,
    },
    /// No free blocks or inodes (`ENOSPC`).
    #[error("no space left: no free {what}")]
    NoSpace {
        /// Blocks, inodes, or room in a fixed-size structure.
        what: &'static str,
    },
    /// Beyond what this file's format can hold (`EFBIG`).
    #[error("inode {ino}: byte {offset} is beyond the largest size {max} of this file")]
    TooBig {
        /// The inode.
        ino: InodeNr,
        /// The byte asked for.
        offset: u64,
        /// The limit.
        max: u64,
    },
    /// A logical block that no file has: the last one is 2^32 - 2 (`EINVAL` in
    /// `ext4_iomap_begin`).
    #[error("inode {ino}: logical block {lblk} is behind the last one that a file can have")]
    NoSuchBlock {
        /// The inode.
        ino: InodeNr,
        /// The block asked for.
        lblk: LogicalBlock,
    },
    /// Too many links to one inode (`EMLINK`).
    #[error("inode {ino}: too many links")]
    TooManyLinks {
        /// The inode.
        ino: InodeNr,
    },
    /// A value does not fit its field in this filesystem (`EOVERFLOW`).
    #[error("inode {ino}: {source}")]
    DoesNotFit {
        /// The inode.
        ino: InodeNr,
        /// Field and value.
        source: DoesNotFit,
    },
    /// The inode has no such attribute (`ENODATA`).
    #[error("inode {ino}: no attribute {name}")]
    NoAttribute {
        /// The inode.
        ino: InodeNr,
        /// The attribute's full name, escaped.
        name: String,
    },
    /// The filesystem was opened for reading (`EROFS`).
    #[error("the filesystem is open read-only")]
    ReadOnly,
    /// The caller asked recovery to stop: it did so between two steps, and can be run again.
    #[error("stopped before the end, run it again")]
    Stopped,
    /// A block that the operation needs lies outside the filesystem.
    #[error("block {blk}: outside the filesystem")]
    OutsideFilesystem {
        /// The block.
        blk: BlockNr,
    },
}

impl Error {
    /// The errno that a system call on a mounted filesystem gives for it, as a positive number.
    pub fn errno(&self) -> i32 {
        match self {
            Self::Device(ext4_blockdev::Error::ReadOnly) | Self::ReadOnly => errno::EROFS,
            Self::Device(_) | Self::OutsideFilesystem { .. } => errno::EIO,
            Self::Journal(err) => journal_errno(err),
            Self::Corrupt(fault) if fault.is_checksum => errno::EBADMSG,
            Self::Corrupt(_) => errno::EUCLEAN,
            Self::Unsupported(_) | Self::Refused(_) => errno::EOPNOTSUPP,
            Self::NotFound { .. } => errno::ENOENT,
            Self::Exists { .. } => errno::EEXIST,
            Self::NotADirectory { .. } => errno::ENOTDIR,
            Self::IsADirectory { .. } => errno::EISDIR,
            Self::NotEmpty { .. } => errno::ENOTEMPTY,
            Self::Loop { .. } => errno::ELOOP,
            Self::BadName { fault, .. } if fault.contains("longer") => errno::ENAMETOOLONG,
            Self::BadName { .. } | Self::WrongType { .. } | Self::NoSuchBlock { .. } => {
                errno::EINVAL
            }
            Self::NotInUse { .. } => errno::ESTALE,
            Self::NotPermitted { .. } => errno::EPERM,
            Self::NoSpace { .. } => errno::ENOSPC,
            Self::TooBig { .. } => errno::EFBIG,
            Self::TooManyLinks { .. } => errno::EMLINK,
            Self::DoesNotFit { .. } => errno::EOVERFLOW,
            Self::NoAttribute { .. } => errno::ENODATA,
            Self::Stopped => errno::EINTR,
        }
    }

    /// Whether the superblock itself cannot be used: most likely this is no ext4 filesystem.
    pub fn is_superblock(&self) -> bool {
        matches!(self, Self::Corrupt(it) if it.place == "superblock")
    }

    /// Whether bytes on disk make no sense, in the filesystem or in its log; everything else just
    /// cannot be done.
    pub fn is_damage(&self) -> bool {
        matches!(self, Self::Corrupt(_) | Self::Journal(ext4_jbd2::Error::Damaged(_)))
    }

    /// Damage, told by place and fault.
    pub(crate) fn corrupt(
        place: impl Into<Cow<'static, str>>,
        fault: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self::Corrupt(Corrupt::new(place, fault))
    }
}

impl From<ext4_jbd2::Error> for Error {
    fn from(err: ext4_jbd2::Error) -> Self {
        match err {
            ext4_jbd2::Error::Corrupt(it) => Self::Corrupt(it),
            err => Self::Journal(err),
        }
    }
}

/// The kernel aborts the journal after a failure, and has no errno for wrong use of ours.
fn journal_errno(err: &ext4_jbd2::Error) -> i32 {
    use ext4_ondisk::jbd2::Class;
    match (err, err.class()) {
        (ext4_jbd2::Error::Aborted { .. }, _) => errno::EROFS,
        (ext4_jbd2::Error::TransactionTooBig { .. }, _) => errno::ENOSPC,
        (_, Some(Class::BadChecksum)) => errno::EBADMSG,
        (_, Some(Class::Corrupt)) => errno::EUCLEAN,
        (_, Some(Class::Invalid)) => errno::EINVAL,
        (_, Some(Class::NotSupported)) => errno::EOPNOTSUPP,
        (_, Some(Class::Cancelled)) => errno::ECANCELED,
        (_, _) => errno::EIO,
    }
}

/// The numbers of Linux on most processors.
mod errno {
    pub(super) const EPERM: i32 = 1;
    pub(super) const ENOENT: i32 = 2;
    pub(super) const EINTR: i32 = 4;
    pub(super) const EIO: i32 = 5;
    pub(super) const EEXIST: i32 = 17;
    pub(super) const ENOTDIR: i32 = 20;
    pub(super) const EISDIR: i32 = 21;
    pub(super) const EINVAL: i32 = 22;
    pub(super) const EFBIG: i32 = 27;
    pub(super) const ENOSPC: i32 = 28;
    pub(super) const EROFS: i32 = 30;
    pub(super) const EMLINK: i32 = 31;
    pub(super) const ENAMETOOLONG: i32 = 36;
    pub(super) const ENOTEMPTY: i32 = 39;
    pub(super) const ELOOP: i32 = 40;
    pub(super) const ENODATA: i32 = 61;
    pub(super) const EBADMSG: i32 = 74;
    pub(super) const EOVERFLOW: i32 = 75;
    pub(super) const EOPNOTSUPP: i32 = 95;
    pub(super) const ESTALE: i32 = 116;
    pub(super) const EUCLEAN: i32 = 117;
    pub(super) const ECANCELED: i32 = 125;
}

/// Shorthand for results of filesystem operations.
pub type Result<T> = std::result::Result<T, Error>;
