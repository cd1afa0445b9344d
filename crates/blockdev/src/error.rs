//! What can go wrong below the filesystem.

use std::io;

/// A failed device operation.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The host refused a read.
    #[error("read of {len} bytes at byte {offset}: {source}")]
    Read {
        /// Byte offset on the device.
        offset: u64,
        /// Length asked for.
        len: u64,
        /// The host's error.
        source: io::Error,
    },
    /// The host refused a write; the device is poisoned from here on.
    #[error("write of {len} bytes at byte {offset}: {source}")]
    Write {
        /// Byte offset on the device.
        offset: u64,
        /// Length asked for.
        len: u64,
        /// The host's error.
        source: io::Error,
    },
    /// The host could not make the data durable; the device is poisoned from here on.
    #[error("flush: {0}")]
    Flush(#[source] io::Error),
    /// A transfer passes the end of the device.
    #[error("{len} bytes at byte {offset} pass the end of the device at byte {device_len}")]
    OutOfRange {
        /// Byte offset asked for.
        offset: u64,
        /// Length asked for.
        len: u64,
        /// Size of the device.
        device_len: u64,
    },
    /// The device was opened for reading only.
    #[error("the device is open read-only")]
    ReadOnly,
    /// An earlier write or flush failed, so nothing more is written.
    #[error("an earlier write or flush failed, nothing more is written")]
    Poisoned,
}

/// Shorthand for results of device operations.
pub type Result<T> = std::result::Result<T, Error>;

/// Checks that `len` bytes at `offset` lie inside a device of `device_len` bytes.
pub(crate) fn check_range(offset: u64, len: usize, device_len: u64) -> Result<()> {
    let len = len as u64;
    match offset.checked_add(len) {
        Some(end) if end <= device_len => Ok(()),
        _ => Err(Error::OutOfRange { offset, len, device_len }),
    }
}
