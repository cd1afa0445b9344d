//! Opening: what kind of file it is, who may have it open, and which part of it is meant.

use super::{DirectIo, FileDevice, Shared, direct};
use rustix::fs::{FileType, FlockOperation, Mode, OFlags};
use std::{
    fs::File,
    io::{self, Seek, SeekFrom},
    path::{Path, PathBuf},
    sync::{Arc, atomic::AtomicBool},
};

/// What the opener is going to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenMode {
    /// Read only. Others may write meanwhile; [`FileDevice::notes`] says if they seem to.
    ReadOnly,
    /// Read and write, and be the only one that does.
    Exclusive,
}

/// Why a file could not be opened as a device. One line each, with the path.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The host refused to open it.
    #[error("{}: {source}", path.display())]
    Host {
        /// The file.
        path: PathBuf,
        /// The host's error.
        source: io::Error,
    },
    /// It is not a regular file or block device.
    #[error("{}: found {found}, expected an image file or block device", path.display())]
    NotADevice {
        /// The file.
        path: PathBuf,
        /// What it is.
        found: &'static str,
    },
    /// It holds no bytes.
    #[error("{}: found 0 bytes, expected an image", path.display())]
    Empty {
        /// The file.
        path: PathBuf,
    },
    /// Somebody else uses it.
    #[error("{}: {by}", path.display())]
    InUse {
        /// The file.
        path: PathBuf,
        /// Who, and how.
        by: String,
    },
}

impl FileDevice {
    /// Opens all of the file at `path`.
    ///
    /// # Errors
    /// An [`OpenError`]; nothing was changed, and nothing is held open.
    pub fn open(path: impl AsRef<Path>, mode: OpenMode) -> Result<Self, OpenError> {
        let path = path.as_ref();
        let is_read_only = mode == OpenMode::ReadOnly;
        let mut buffered = open_buffered(path, is_read_only)?;
        let host = |source| OpenError::Host { path: path.to_owned(), source };
        // Seeking gives the size of a block device too, where fstat says 0.
        let len = buffered.seek(SeekFrom::End(0)).map_err(host)?;
        if len == 0 {
            return Err(OpenError::Empty { path: path.to_owned() });
        }
        let mut notes = Vec::new();
        lock(path, &buffered, mode, &mut notes)?;
        let start = 0;
        let (direct, direct_io) = direct::open(path, &buffered, is_read_only, start);
        let limits = match &direct_io {
            DirectIo::Yes(limits) => *limits,
            DirectIo::No { .. } => direct::BUFFERED_LIMITS,
        };
        let shared = Shared {
            path: path.to_owned(),
            buffered,
            direct,
            direct_io,
            limits,
            start,
            len,
            is_read_only,
            is_poisoned: AtomicBool::new(false),
            notes,
        };
        Ok(Self { shared: Arc::new(shared) })
    }
}

/// Opens without ever waiting for the other end of a fifo, and checks what was opened.
fn open_buffered(path: &Path, is_read_only: bool) -> Result<File, OpenError> {
    let host =
        |err: rustix::io::Errno| OpenError::Host { path: path.to_owned(), source: err.into() };
    // Looked at before it is opened: opening a tape or a terminal can have effects.
    check_kind(path, rustix::fs::stat(path).map_err(host)?.st_mode)?;
    let access = if is_read_only { OFlags::RDONLY } else { OFlags::RDWR };
    let flags = access | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    let fd = rustix::fs::open(path, flags, Mode::empty()).map_err(host)?;
    check_kind(path, rustix::fs::fstat(&fd).map_err(host)?.st_mode)?;
    Ok(File::from(fd))
}

fn check_kind(path: &Path, mode: rustix::fs::RawMode) -> Result<(), OpenError> {
    let found = match FileType::from_raw_mode(mode) {
        FileType::RegularFile | FileType::BlockDevice => return Ok(()),
        FileType::Directory => "a directory",
        FileType::CharacterDevice => "a character device",
        FileType::Fifo => "a fifo",
        FileType::Socket => "a socket",
        _ => "something else",
    };
    Err(OpenError::NotADevice { path: path.to_owned(), found })
}

/// The lock our tools take against each other: flock, which lives as long as the descriptor.
///
/// A writer keeps its lock. A reader only tries: it would otherwise keep writers away for as long
/// as it looks.
fn lock(
    path: &Path,
    file: &File,
    mode: OpenMode,
    notes: &mut Vec<String>,
) -> Result<(), OpenError> {
    let wanted = match mode {
        OpenMode::ReadOnly => FlockOperation::NonBlockingLockShared,
        OpenMode::Exclusive => FlockOperation::NonBlockingLockExclusive,
    };
    match (rustix::fs::flock(file, wanted), mode) {
        (Ok(()), OpenMode::ReadOnly) => {
            let _ = rustix::fs::flock(file, FlockOperation::Unlock);
        }
        (Err(rustix::io::Errno::WOULDBLOCK), OpenMode::ReadOnly) => {
            let line = "another tool has it locked for writing: what is read may change meanwhile";
            notes.push(line.to_owned());
        }
        (Err(rustix::io::Errno::WOULDBLOCK), OpenMode::Exclusive) => {
            let by = "another tool has it locked".to_owned();
            return Err(OpenError::InUse { path: path.to_owned(), by });
        }
        // A host without flock (some network filesystems) cannot tell.
        (Ok(()) | Err(_), _) => {}
    }
    Ok(())
}
