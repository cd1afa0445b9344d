//! Opening the image, and what its errors mean for the exit code.

use ext4_blockdev::{BlockDevice, FileDevice, Location, OpenError, OpenMode};
use ext4_cli::{Failure, Report, clock};
use ext4_fs::{Clock, Filesystem, RecoverOptions, recover};
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

/// Opens the filesystem for writing as a mount would, and says what recovery did.
pub(crate) fn open_fs(
    device: Arc<dyn BlockDevice>,
    image: &OsStr,
    report: &Report,
) -> Result<Filesystem, Failure> {
    let image = image.display();
    let reader = Filesystem::open_read(Arc::clone(&device)).ok();
    if reader.is_some_and(|fs| fs.has_errors().unwrap_or(false)) {
        return Err(recorded_errors());
    }
    let options = RecoverOptions::new(clock());
    let recovered = recover(device, &options).map_err(|err| fs_failure(&err))?;
    let found = &recovered.report;
    if found.has_errors {
        // The log had them: recovery has moved them into the superblock.
        recovered.fs.close().map_err(|err| fs_failure(&err))?;
        return Err(recorded_errors());
    }
    if let Some(replayed) = &found.replayed {
        let n = replayed.transactions;
        report.note(format_args!("{image}: journal replayed, {n} transactions"));
    }
    if !found.orphans.is_empty() {
        let n = found.orphans.len();
        report.note(format_args!("{image}: {n} orphan inodes cleaned"));
    }
    if !recovered.fs.journal().has_log() {
        let what = "no journal, a crash in the middle may leave the image inconsistent";
        report.note(format_args!("{image}: {what}"));
    }
    Ok(recovered.fs)
}

/// Where errors are recorded nobody knows what can be trusted.
fn recorded_errors() -> Failure {
    Failure::damage("errors are recorded in the superblock (s_state), run a full check first")
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
