//! What can go wrong with a write, and the errno that the kernel has for it.

use ext4_units::InodeNr;
use std::io;

/// A failed write.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The filesystem failed: no space, damage, the device or the journal.
    #[error(transparent)]
    Fs(#[from] ext4_fs::Error),
    /// The device failed on data.
    #[error("inode {ino}: {source}")]
    Data {
        /// The file.
        ino: InodeNr,
        /// What the device said.
        source: ext4_blockdev::Error,
    },
    /// The input failed (`EFAULT`, where the kernel would read memory).
    #[error("input at byte {at}: {source}")]
    Source {
        /// Bytes taken from it before.
        at: u64,
        /// What it said.
        source: io::Error,
    },
    /// No regular file (`EISDIR`, `EINVAL`).
    #[error("inode {ino}: is not a regular file")]
    NotAFile {
        /// The inode.
        ino: InodeNr,
        /// Whether it is a directory.
        is_dir: bool,
    },
    /// The immutable flag is set (`EPERM`).
    #[error("inode {ino}: immutable flag is set")]
    Immutable {
        /// The inode.
        ino: InodeNr,
    },
    /// The file must not be written for another reason (`EPERM`, `ENOKEY`, `ETXTBSY`), named here.
    #[error("inode {ino}: {reason}")]
    Refused {
        /// The inode.
        ino: InodeNr,
        /// Why.
        reason: &'static str,
        /// The kernel's errno.
        errno: i32,
    },
    /// The first byte lies beyond a limit (`EFBIG`).
    #[error("inode {ino}: byte {offset} is beyond the limit {limit} ({what})")]
    TooBig {
        /// The inode.
        ino: InodeNr,
        /// The first byte.
        offset: u64,
        /// The limit.
        limit: u64,
        /// Which limit.
        what: &'static str,
    },
    /// Offset or length is no multiple of the device's sectors (`EINVAL`).
    #[error("inode {ino}: {len} bytes at byte {offset}: not aligned to sectors of {sector} bytes")]
    Misaligned {
        /// The inode.
        ino: InodeNr,
        /// First byte.
        offset: u64,
        /// Length.
        len: u64,
        /// The device's logical sector.
        sector: u32,
    },
    /// An atomic write whose length is no power of two or shorter than a block, or whose offset is
    /// no multiple of it (`EINVAL`).
    #[error("inode {ino}: {len} bytes at byte {offset}: no atomic write has this length and place")]
    AtomicGeometry {
        /// The inode.
        ino: InodeNr,
        /// First byte.
        offset: u64,
        /// Length.
        len: u64,
    },
    /// With `nowait`, what it would have had to wait for (`EAGAIN`).
    #[error("inode {ino}: would wait: {what}")]
    WouldWait {
        /// The inode.
        ino: InodeNr,
        /// For what.
        what: &'static str,
    },
    /// `nowait` on a file that takes no direct IO (`EOPNOTSUPP`).
    #[error("inode {ino}: takes no direct IO ({reason}), and nowait forbids the other way")]
    NoDirectIo {
        /// The inode.
        ino: InodeNr,
        /// Why.
        reason: &'static str,
    },
}

impl Error {
    /// The errno that the kernel returns for it.
    pub fn errno(&self) -> i32 {
        const EPERM: i32 = 1;
        match self {
            Self::Fs(err) => err.errno(),
            Self::Data { source, .. } => data_errno(source),
            Self::Source { .. } => 14,
            Self::NotAFile { is_dir: true, .. } => 21,
            Self::NotAFile { .. } | Self::Misaligned { .. } | Self::AtomicGeometry { .. } => 22,
            Self::Immutable { .. } => EPERM,
            Self::Refused { errno, .. } => *errno,
            Self::TooBig { .. } => 27,
            Self::WouldWait { .. } => 11,
            Self::NoDirectIo { .. } => 95,
        }
    }
}

/// The kernel passes on what the device says of data (`blk_status_to_errno`): no space below, which
/// only a thin device or a sparse file has, or plain failure.
fn data_errno(source: &ext4_blockdev::Error) -> i32 {
    match source {
        ext4_blockdev::Error::Write { source, .. }
            if source.kind() == io::ErrorKind::StorageFull =>
        {
            28
        }
        _ => 5,
    }
}

/// Shorthand for results of writes.
pub type Result<T> = std::result::Result<T, Error>;
