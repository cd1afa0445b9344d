//! An image file or block device of the host, or a window of one.

mod direct;
mod open;
mod queue;
mod ring;
mod threads;
mod users;

pub use open::{OpenError, OpenMode};

use crate::{
    AlignedBuf, BlockDevice, Error, Limits, Result, TransferQueue, error::check_range,
    sectors::index,
};
use queue::FileQueue;
use rustix::fs::{Advice, FallocateFlags, SeekFrom};
use std::{
    fmt,
    fs::File,
    io,
    num::NonZero,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

/// Whether transfers pass by the host's page cache.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DirectIo {
    /// They do, where offset, length and memory are multiples of these.
    Yes(Limits),
    /// They do not: everything goes through the page cache.
    No {
        /// Why, for the user.
        reason: String,
    },
}

/// An open image file or block device, or a window of one.
///
/// [`read_at`](BlockDevice::read_at) and [`write_at`](BlockDevice::write_at) go through the host's
/// page cache, so any offset and length is cheap; the [`queue`](BlockDevice::queue) transfers
/// directly where the host allows it ([`direct_io`](Self::direct_io) tells). The host keeps the two
/// coherent only one after the other: before a direct write it writes back and drops the cached
/// pages below, and afterwards drops what was read meanwhile (`kiocb_invalidate_pages`,
/// `kiocb_invalidate_post_direct_write`). A page that is dirtied *meanwhile* stays, holds the old
/// bytes and makes the next fdatasync fail with EIO, even if other bytes of the page were meant. So
/// while a direct write is in flight, `write_at` passes by the cache too. Dropping the device
/// closes it and writes nothing.
pub struct FileDevice {
    shared: Arc<Shared>,
}

/// What the transfer threads share with the device.
struct Shared {
    path: PathBuf,
    buffered: File,
    /// The same file opened with O_DIRECT; only for transfers that `limits` fit.
    direct: Option<Arc<File>>,
    direct_io: DirectIo,
    limits: Limits,
    /// Where the window starts in the file, in bytes.
    start: u64,
    len: u64,
    is_read_only: bool,
    /// The host keeps the file in memory (tmpfs): a transfer is a copy, done when it returns.
    is_in_memory: bool,
    is_block_device: bool,
    is_poisoned: AtomicBool,
    /// Direct writes that may be under way; held locked while `write_at` works.
    n_direct: Mutex<usize>,
    notes: Vec<String>,
}

impl FileDevice {
    /// The path it was opened by.
    pub fn path(&self) -> &Path {
        &self.shared.path
    }

    /// Where the window starts in the file, in bytes; 0 for a whole file.
    pub fn start(&self) -> u64 {
        self.shared.start
    }

    /// Whether it is a block device, and not an image file.
    pub fn is_block_device(&self) -> bool {
        self.shared.is_block_device
    }

    /// The device number of a block device; `None` for an image file.
    pub fn device_number(&self) -> Option<u64> {
        use std::os::unix::fs::MetadataExt as _;
        let meta = self.shared.buffered.metadata().ok()?;
        self.shared.is_block_device.then(|| meta.rdev())
    }

    /// Whether the queue's transfers are direct, and if not, why.
    pub fn direct_io(&self) -> &DirectIo {
        &self.shared.direct_io
    }

    /// What the user should know about this opening, a line each: that someone else is writing
    /// what is read here.
    pub fn notes(&self) -> &[String] {
        &self.shared.notes
    }
}

impl Shared {
    fn check_writable(&self) -> Result<()> {
        if self.is_read_only {
            return Err(Error::ReadOnly);
        }
        if self.is_poisoned.load(Ordering::Acquire) {
            return Err(Error::Poisoned);
        }
        Ok(())
    }

    fn poison(&self) {
        self.is_poisoned.store(true, Ordering::Release);
    }

    /// Whether a transfer can be direct.
    fn fits_sectors(&self, offset: u64, len: usize) -> bool {
        let sector = u64::from(self.limits.sector);
        offset.is_multiple_of(sector) && (len as u64).is_multiple_of(sector)
    }

    fn direct_count(&self) -> MutexGuard<'_, usize> {
        self.n_direct.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// To be called before a direct write is handed to the host.
    fn begin_direct(&self) {
        *self.direct_count() += 1;
    }

    /// To be called when the host is done with a direct write.
    fn end_direct(&self) {
        *self.direct_count() -= 1;
    }

    /// Writes any bytes: through the page cache, or past it while direct writes are in flight.
    fn write_any(&self, offset: u64, buf: &[u8]) -> Result<()> {
        self.check_writable()?;
        check_range(offset, buf.len(), self.len)?;
        let n_direct = self.direct_count();
        let res = match &self.direct {
            Some(direct) if *n_direct > 0 => self.write_past_cache(direct, offset, buf),
            _ => self.buffered.write_all_at(buf, self.start + offset),
        };
        res.map_err(|source| {
            self.poison();
            Error::Write { offset, len: buf.len() as u64, source }
        })
    }

    /// Writes any bytes directly, reading what they leave of the first and last sector.
    fn write_past_cache(&self, direct: &File, offset: u64, buf: &[u8]) -> io::Result<()> {
        let sector = u64::from(self.limits.sector);
        let end = offset + buf.len() as u64;
        let (from, to) = (offset / sector * sector, end.next_multiple_of(sector));
        if to > self.len {
            // The end of a device that ends inside a sector: no direct write reaches it.
            return self.buffered.write_all_at(buf, self.start + offset);
        }
        let size = self.limits.sector as usize;
        let mut bounce = AlignedBuf::zeroed(index(to - from));
        if from < offset {
            direct.read_exact_at(&mut bounce[..size], self.start + from)?;
        }
        if end < to && (from == offset || to - from > sector) {
            let last = bounce.len() - size;
            direct.read_exact_at(&mut bounce[last..], self.start + to - sector)?;
        }
        let at = index(offset - from);
        bounce[at..at + buf.len()].copy_from_slice(buf);
        direct.write_all_at(&bounce, self.start + from)
    }

    /// Writes directly what fits the device's sectors.
    fn write_direct(&self, offset: u64, buf: &[u8]) -> Result<()> {
        let Some(direct) = &self.direct else { return self.write_any(offset, buf) };
        self.check_writable()?;
        check_range(offset, buf.len(), self.len)?;
        let mut done = 0;
        while done < buf.len() {
            let rest = &buf[done..];
            let at = offset + done as u64;
            // A short transfer may end inside a sector.
            if !self.fits_sectors(at, rest.len()) {
                return self.write_any(at, rest);
            }
            self.begin_direct();
            let res = direct.write_at(rest, self.start + at);
            self.end_direct();
            let res = match res {
                Ok(0) => Err(io::ErrorKind::WriteZero.into()),
                Err(err) if err.kind() == io::ErrorKind::Interrupted => Ok(0),
                other => other,
            };
            done += res.map_err(|source| {
                self.poison();
                Error::Write { offset: at, len: rest.len() as u64, source }
            })?;
        }
        Ok(())
    }
}

impl BlockDevice for FileDevice {
    fn len(&self) -> u64 {
        self.shared.len
    }

    fn limits(&self) -> Limits {
        self.shared.limits
    }

    fn is_read_only(&self) -> bool {
        self.shared.is_read_only
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        check_range(offset, buf.len(), self.len())?;
        // Goes on after signals and short reads; a file that was cut short meanwhile is an error.
        self.shared
            .buffered
            .read_exact_at(buf, self.start() + offset)
            .map_err(|source| Error::Read { offset, len: buf.len() as u64, source })
    }

    fn write_at(&self, offset: u64, buf: &[u8]) -> Result<()> {
        self.shared.write_any(offset, buf)
    }

    fn flush(&self) -> Result<()> {
        if self.shared.is_read_only {
            return Ok(()); // nothing of ours to make durable
        }
        self.shared.check_writable()?;
        // Both descriptors are of one file, and fdatasync acts on the file: pages of the cache,
        // blocks that direct writes allocated, and the cache of the medium below.
        self.shared.buffered.sync_data().map_err(|source| {
            // Never tried again: the host drops dirty pages it could not write, and a second
            // fdatasync would say that all is well.
            self.shared.poison();
            Error::Flush(source)
        })
    }

    fn discard(&self, offset: u64, len: u64) -> Result<()> {
        self.shared.check_writable()?;
        check_range(offset, usize::try_from(len).unwrap_or(usize::MAX), self.len())?;
        let sector = u64::from(self.shared.limits.sector);
        let from = (self.start() + offset).next_multiple_of(sector);
        let to = (self.start() + offset + len) / sector * sector;
        if from >= to {
            return Ok(());
        }
        let mode = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        match rustix::fs::fallocate(&self.shared.buffered, mode, from, to - from) {
            Err(err @ (rustix::io::Errno::IO | rustix::io::Errno::NOSPC)) => {
                self.shared.poison();
                Err(Error::Write { offset, len, source: err.into() })
            }
            // What is left cannot be done here, and need not be.
            Ok(()) | Err(_) => Ok(()),
        }
    }

    fn punch(&self, offset: u64, len: u64) -> Result<bool> {
        self.shared.check_writable()?;
        check_range(offset, usize::try_from(len).unwrap_or(usize::MAX), self.len())?;
        let at = self.start() + offset;
        let sector = u64::from(self.shared.limits.sector);
        let is_whole = at.is_multiple_of(sector) && len.is_multiple_of(sector);
        // A block device takes whole sectors only; a file takes any range and zeroes its ends.
        if len == 0 || (self.shared.is_block_device && !is_whole) {
            return Ok(len == 0);
        }
        let mode = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        match rustix::fs::fallocate(&self.shared.buffered, mode, at, len) {
            Ok(()) => Ok(true),
            Err(err @ (rustix::io::Errno::IO | rustix::io::Errno::NOSPC)) => {
                self.shared.poison();
                Err(Error::Write { offset, len, source: err.into() })
            }
            Err(_) => Ok(false),
        }
    }

    fn prefetch(&self, offset: u64, len: u64) {
        let Some(len) = NonZero::new(len) else { return };
        if check_range(offset, 0, self.len()).is_ok() {
            let at = self.start() + offset;
            // Only advice: a host that cannot follow it loses nothing but time.
            let _ = rustix::fs::fadvise(&self.shared.buffered, at, Some(len), Advice::WillNeed);
        }
    }

    fn next_data(&self, from: u64, to: u64) -> u64 {
        // The file's position, which this moves, is used by nobody.
        let at = SeekFrom::Data(self.start().saturating_add(from));
        match rustix::fs::seek(&self.shared.buffered, at) {
            Ok(at) => at.saturating_sub(self.start()).max(from).min(to),
            Err(rustix::io::Errno::NXIO) => to,
            Err(_) => from,
        }
    }

    fn queue(&self, depth: usize) -> Box<dyn TransferQueue + '_> {
        Box::new(FileQueue::new(&self.shared, depth))
    }
}

impl fmt::Debug for FileDevice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Shared { path, start, len, .. } = &*self.shared;
        write!(f, "FileDevice({}, {len} bytes from {start})", path.display())
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Shared({})", self.path.display())
    }
}
