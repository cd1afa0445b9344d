//! Opening the image, and what its errors mean for the exit code.

use ext4_blockdev::{FileDevice, Location, OpenError, OpenMode};
use ext4_cli::{Failure, Report, clock};
use ext4_fs::Clock;
use std::{ffi::OsStr, sync::Arc, time::Duration};

/// Opens an image, or a part of one, and says what the user should know about it.
pub(crate) fn open(
    name: &OsStr,
    mode: OpenMode,
    report: &Report,
) -> Result<Arc<FileDevice>, Failure> {
    let open = || FileDevice::open_location(&Location::parse(name)?, mode);
    let device = open().map_err(|err: OpenError| Failure::operational(err))?;
    for note in device.notes() {
        report.note(note);
    }
    Ok(Arc::new(device))
}

/// The time of this run.
pub(crate) fn clock() -> Clock {
    let (sec, nsec) = clock::now();
    Clock::fixed(Duration::new(u64::try_from(sec).unwrap_or(0), nsec))
}

/// A filesystem's error: damage is told apart from what is no filesystem, or just cannot be done.
pub(crate) fn fs_failure(err: &ext4_fs::Error) -> Failure {
    if err.is_damage() && !err.is_superblock() {
        Failure::damage(err)
    } else {
        Failure::operational(err)
    }
}

/// A write's error.
pub(crate) fn dio_failure(err: &ext4_dio::Error) -> Failure {
    match err {
        ext4_dio::Error::Fs(err) => fs_failure(err),
        err => Failure::operational(err),
    }
}
