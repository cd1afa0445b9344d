//! Opening: what kind of file it is, who may have it open, and which part of it is meant.

use super::{
    DirectIo, FileDevice, Shared, direct,
    users::{self, Identity},
};
use crate::{
    location::{Location, Part},
    partition::{TableError, TableKind, read_table},
};
use rustix::{
    fs::{FileType, FlockOperation, Mode, OFlags},
    io::Errno,
};
use std::{
    ffi::OsString,
    fs::File,
    io::{self, BufReader, Seek, SeekFrom},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, atomic::AtomicBool},
    thread,
    time::Duration,
};

/// `f_type` of a tmpfs: linux/magic.h.
const TMPFS_MAGIC: rustix::fs::FsWord = 0x0102_1994;

/// What the opener is going to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenMode {
    /// Read only. Others may write meanwhile; [`FileDevice::notes`] says if they seem to.
    ReadOnly,
    /// Read and write, and be the only one that does. Refused where the file or device is mounted,
    /// behind a loop device, swap, held by dm or md, open for writing or locked by another process.
    ///
    /// What cannot be known: whether a process that we may not look into (another user's, unless
    /// we are root), a mapping whose descriptor was closed, or another machine writes to it. And
    /// only our own tools are kept from opening it afterwards.
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
    /// A text that names no part of a file.
    #[error("{}: {fault}", text.display())]
    Location {
        /// What was given.
        text: OsString,
        /// What is wrong with it.
        fault: String,
    },
    /// The window starts at or after the end.
    #[error("{}: offset {offset} is not inside the file's {file_len} bytes", path.display())]
    PastEnd {
        /// The file.
        path: PathBuf,
        /// Where the window should start, in bytes.
        offset: u64,
        /// Size of the file.
        file_len: u64,
    },
    /// A partition was asked for and there is no table.
    #[error("{}: found no partition table (MBR or GPT) in its first sector", path.display())]
    NoTable {
        /// The file.
        path: PathBuf,
    },
    /// The partition table is damaged.
    #[error("{}: partition table: {fault}", path.display())]
    BadTable {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        fault: String,
    },
    /// The table has no such partition.
    #[error("{}: no partition {number} in the {kind}, which has: {existing}", path.display())]
    NoPartition {
        /// The file.
        path: PathBuf,
        /// The number asked for.
        number: u32,
        /// The kind of table.
        kind: TableKind,
        /// The numbers there are, or "none".
        existing: String,
    },
    /// The partition cannot be used.
    #[error("{}: partition {number}: {fault}", path.display())]
    BadPartition {
        /// The file.
        path: PathBuf,
        /// Its number.
        number: u32,
        /// What is wrong with it.
        fault: String,
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
    /// Opens what `location` names.
    ///
    /// # Errors
    /// An [`OpenError`]; nothing was changed, and nothing is held open.
    pub fn open_location(location: &Location, mode: OpenMode) -> Result<Self, OpenError> {
        let path = &location.path;
        let is_read_only = mode == OpenMode::ReadOnly;
        let host = |source| OpenError::Host { path: path.clone(), source };
        let mut buffered = open_buffered(path, is_read_only)?;
        let identity = Identity::of(&buffered.metadata().map_err(host)?);
        let identity = identity.expect("a file or block device, as was checked");
        let notes = keep_others_out(path, &buffered, identity, mode)?;
        // Seeking gives the size of a block device too, where fstat says 0.
        let file_len = buffered.seek(SeekFrom::End(0)).map_err(host)?;
        if file_len == 0 {
            return Err(OpenError::Empty { path: path.clone() });
        }
        let (start, len) = window(location, &buffered, file_len, identity)?;
        let (direct, direct_io) = direct::open(path, &buffered, is_read_only, start);
        let limits = match &direct_io {
            DirectIo::Yes(limits) => *limits,
            DirectIo::No { .. } => direct::BUFFERED_LIMITS,
        };
        let is_in_memory = rustix::fs::fstatfs(&buffered).is_ok_and(|it| it.f_type == TMPFS_MAGIC);
        let shared = Shared {
            path: path.clone(),
            buffered,
            direct,
            direct_io,
            limits,
            start,
            len,
            is_read_only,
            is_in_memory,
            is_block_device: matches!(identity, Identity::Device(_)),
            is_poisoned: AtomicBool::new(false),
            n_direct: Mutex::new(0),
            notes,
        };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// Makes the image file at `path` at least `len` bytes long: it is created if there is none, and
    /// grown if it is shorter; what is added has no blocks and reads as zeros. Whether it changed.
    /// A block device has the size it has.
    ///
    /// # Errors
    /// As [`open_location`](Self::open_location): a file that somebody uses does not grow.
    pub fn provide(path: &Path, len: u64) -> Result<bool, OpenError> {
        let host = |source| OpenError::Host { path: path.to_owned(), source };
        let file = match std::fs::metadata(path) {
            Err(err) if err.kind() == io::ErrorKind::NotFound => {
                File::create_new(path).map_err(host)?
            }
            Err(err) => return Err(host(err)),
            Ok(meta) if !meta.is_file() || meta.len() >= len => return Ok(false),
            Ok(meta) => {
                if meta.len() > 0 {
                    drop(Self::open(path, OpenMode::Exclusive)?);
                }
                File::options().write(true).open(path).map_err(host)?
            }
        };
        file.set_len(len).map_err(host)?;
        Ok(true)
    }

    /// Opens all of the file at `path`, whatever its name looks like.
    ///
    /// # Errors
    /// As [`open_location`](Self::open_location).
    pub fn open(path: impl AsRef<Path>, mode: OpenMode) -> Result<Self, OpenError> {
        Self::open_location(&Location::whole(path.as_ref()), mode)
    }
}

/// Opens without ever waiting for the other end of a fifo, and checks what was opened.
fn open_buffered(path: &Path, is_read_only: bool) -> Result<File, OpenError> {
    let host = |err: Errno| OpenError::Host { path: path.to_owned(), source: err.into() };
    // Looked at before it is opened: opening a tape or a terminal can have effects.
    let kind = check_kind(path, rustix::fs::stat(path).map_err(host)?.st_mode)?;
    let mut flags = OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    flags |= if is_read_only { OFlags::RDONLY } else { OFlags::RDWR };
    if kind == FileType::BlockDevice && !is_read_only {
        // Refused while the kernel itself holds the device, whoever sees the mount.
        flags |= OFlags::EXCL;
    }
    let fd = rustix::fs::open(path, flags, Mode::empty()).map_err(|err| {
        let identity = std::fs::metadata(path).ok().as_ref().and_then(Identity::of);
        match (err, identity) {
            (Errno::BUSY, Some(identity)) => {
                let by = users::find(identity).into_iter().next();
                let by =
                    by.unwrap_or_else(|| "held exclusively: mounted, swap, RAID or LVM".into());
                OpenError::InUse { path: path.to_owned(), by }
            }
            _ => host(err),
        }
    })?;
    check_kind(path, rustix::fs::fstat(&fd).map_err(host)?.st_mode)?;
    Ok(File::from(fd))
}

fn check_kind(path: &Path, mode: rustix::fs::RawMode) -> Result<FileType, OpenError> {
    let found = match FileType::from_raw_mode(mode) {
        it @ (FileType::RegularFile | FileType::BlockDevice) => return Ok(it),
        FileType::Directory => "a directory",
        FileType::CharacterDevice => "a character device",
        FileType::Fifo => "a fifo",
        FileType::Socket => "a socket",
        _ => "something else",
    };
    Err(OpenError::NotADevice { path: path.to_owned(), found })
}

/// Where the window lies in a file of `file_len` bytes: start and length.
fn window(
    location: &Location,
    file: &File,
    file_len: u64,
    identity: Identity,
) -> Result<(u64, u64), OpenError> {
    let path = || location.path.clone();
    let number = match location.part {
        Part::Whole => return Ok((0, file_len)),
        Part::Offset(offset) if offset < file_len => return Ok((offset, file_len - offset)),
        Part::Offset(offset) => return Err(OpenError::PastEnd { path: path(), offset, file_len }),
        Part::Partition(number) => number,
    };
    let sector = match identity {
        Identity::Device(_) => rustix::fs::ioctl_blksszget(file).ok(),
        Identity::File { .. } => None,
    };
    let table = read_table(&mut BufReader::new(file), file_len, sector);
    let table = table.map_err(|err| match err {
        TableError::Io(source) => OpenError::Host { path: path(), source },
        TableError::Missing => OpenError::NoTable { path: path() },
        TableError::Damaged(fault) => OpenError::BadTable { path: path(), fault },
    })?;
    let Some(found) = table.partitions.iter().find(|it| it.number == number) else {
        let existing = table.partitions.iter().map(|it| it.number.to_string()).collect::<Vec<_>>();
        let existing = if existing.is_empty() { "none".into() } else { existing.join(", ") };
        let kind = table.kind;
        return Err(OpenError::NoPartition { path: path(), number, kind, existing });
    };
    let wrong = |fault| Err(OpenError::BadPartition { path: path(), number, fault });
    if found.is_extended {
        return wrong(
            "an extended partition, which only holds the logical ones (from 5)".to_owned(),
        );
    }
    if found.len == 0 {
        return wrong(format!("starts at byte {} and ends before it", found.start));
    }
    let end = found.start.saturating_add(found.len);
    if end > file_len {
        let start = found.start;
        return wrong(format!(
            "bytes {start} to {end} pass the end of the file at byte {file_len}"
        ));
    }
    Ok((found.start, found.len))
}

/// How often to look again, and how long to wait in between, when a process seems to have the file
/// open: one that was just forked holds copies of descriptors that exec closes.
const LOOKS: u32 = 20;
const PAUSE: Duration = Duration::from_millis(50);

/// Takes the lock our tools take against each other (flock, which lives as long as the
/// descriptor), and looks for everybody else. Returns what a reader should be told.
///
/// A writer keeps its lock. A reader only tries: it would otherwise keep writers away for as long
/// as it looks.
fn keep_others_out(
    path: &Path,
    file: &File,
    identity: Identity,
    mode: OpenMode,
) -> Result<Vec<String>, OpenError> {
    let wanted = match mode {
        OpenMode::ReadOnly => FlockOperation::NonBlockingLockShared,
        OpenMode::Exclusive => FlockOperation::NonBlockingLockExclusive,
    };
    let ours = (mode == OpenMode::Exclusive).then_some(file);
    let mut users = users::of_kernel(identity);
    if users.is_empty() {
        let looks = if mode == OpenMode::ReadOnly { 1 } else { LOOKS };
        for look in 0..looks {
            if look > 0 {
                thread::sleep(PAUSE);
            }
            users = match rustix::fs::flock(file, wanted) {
                Err(Errno::WOULDBLOCK) => vec![users::lock_holder(identity)],
                // A host without flock (some network filesystems) cannot tell.
                Ok(()) | Err(_) => users::of_processes(identity, ours),
            };
            if users.is_empty() {
                break;
            }
        }
    }
    if mode == OpenMode::ReadOnly {
        let _ = rustix::fs::flock(file, FlockOperation::Unlock);
    }
    match (mode, users.into_iter().next()) {
        (_, None) => Ok(Vec::new()),
        (OpenMode::Exclusive, Some(by)) => Err(OpenError::InUse { path: path.to_owned(), by }),
        (OpenMode::ReadOnly, Some(by)) => {
            Ok(vec![format!("{by}: what is read may change meanwhile")])
        }
    }
}
