//! Whether and how the host takes direct transfers on an open file.

use super::DirectIo;
use crate::{AlignedBuf, Limits};
use rustix::{
    fs::{AtFlags, Mode, OFlags, StatxFlags},
    io::Errno,
};
use std::{fs::File, os::unix::fs::FileExt, path::Path, sync::Arc};

/// What [`AlignedBuf`] offers.
const MEMORY: u32 = 4096;
/// The smallest sector a medium has.
const MIN_SECTOR: u32 = 512;

/// Transfers that need no alignment: those of the page cache.
pub(super) const BUFFERED_LIMITS: Limits = Limits { sector: MIN_SECTOR, memory: 1 };

/// The file behind `buffered` opened a second time with O_DIRECT, for transfers in a window that
/// starts at `start`.
pub(super) fn open(
    path: &Path,
    buffered: &File,
    is_read_only: bool,
    start: u64,
) -> (Option<Arc<File>>, DirectIo) {
    match try_open(path, buffered, is_read_only, start) {
        Ok((file, limits)) => (Some(Arc::new(file)), DirectIo::Yes(limits)),
        Err(reason) => (None, DirectIo::No { reason }),
    }
}

fn try_open(
    path: &Path,
    buffered: &File,
    is_read_only: bool,
    start: u64,
) -> Result<(File, Limits), String> {
    let access = if is_read_only { OFlags::RDONLY } else { OFlags::RDWR };
    let flags = access | OFlags::DIRECT | OFlags::CLOEXEC;
    let file = match rustix::fs::open(path, flags, Mode::empty()) {
        Ok(fd) => File::from(fd),
        Err(Errno::INVAL) => return Err("the host's filesystem does not take O_DIRECT".into()),
        Err(err) => return Err(format!("the host refuses O_DIRECT: {err}")),
    };
    if !is_same_file(buffered, &file) {
        return Err("the path leads to another file than a moment ago".into());
    }
    let limits = match stated_limits(&file) {
        Some(Limits { sector: 0, .. }) => {
            return Err("the host's filesystem does not take direct transfers on this file".into());
        }
        Some(limits) => limits,
        None => probed_limits(&file, start)
            .ok_or("the host refuses direct reads at alignments up to 4096 bytes")?,
    };
    if limits.memory > MEMORY {
        return Err(format!("the host wants memory aligned to {} bytes", limits.memory));
    }
    let sector = limits.sector;
    if !start.is_multiple_of(u64::from(sector)) {
        return Err(format!("the window starts at byte {start}, inside a {sector}-byte sector"));
    }
    Ok((file, limits))
}

/// `STATX_DIOALIGN` (Linux 6.1), else the logical sector size of a block device (`BLKSSZGET`).
/// A sector of 0 says that direct IO is not supported.
fn stated_limits(file: &File) -> Option<Limits> {
    let wanted = StatxFlags::DIOALIGN;
    if let Ok(stat) = rustix::fs::statx(file, "", AtFlags::EMPTY_PATH, wanted)
        && stat.stx_mask & wanted.bits() != 0
    {
        let (sector, memory) = (stat.stx_dio_offset_align, stat.stx_dio_mem_align);
        if sector == 0 || sector.is_power_of_two() && memory.is_power_of_two() {
            return Some(Limits { sector: sector.max(sector.min(1) * MIN_SECTOR), memory });
        }
    }
    let sector = rustix::fs::ioctl_blksszget(file).ok()?;
    sector.is_power_of_two().then_some(Limits { sector, memory: sector })
}

/// The smallest alignment at which a direct read succeeds, for hosts that state none (tmpfs).
fn probed_limits(file: &File, start: u64) -> Option<Limits> {
    [MIN_SECTOR, 1024, 2048, 4096].into_iter().find_map(|sector| {
        let at = start.next_multiple_of(u64::from(sector));
        let mut buf = AlignedBuf::zeroed(sector as usize);
        file.read_at(&mut buf, at).ok().map(|_| Limits { sector, memory: sector })
    })
}

fn is_same_file(one: &File, two: &File) -> bool {
    match (rustix::fs::fstat(one), rustix::fs::fstat(two)) {
        (Ok(a), Ok(b)) => {
            (a.st_dev, a.st_ino, a.st_rdev, a.st_mode) == (b.st_dev, b.st_ino, b.st_rdev, b.st_mode)
        }
        _ => false,
    }
}
