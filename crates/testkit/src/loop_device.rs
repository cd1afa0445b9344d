//! A block device over an image file.

use crate::{oracle, process::run};
use anyhow::Result;
use std::path::{Path, PathBuf};

/// A loop device, detached when dropped, also by a panic.
#[derive(Debug)]
pub struct LoopDevice(PathBuf);

impl LoopDevice {
    /// Puts a loop device over a file.
    ///
    /// # Errors
    /// With losetup's words: it needs root.
    pub fn attach(file: &Path) -> Result<Self> {
        let args = ["--find".as_ref(), "--show".as_ref(), file.as_os_str()];
        let out = run("losetup", args, &[], b"", oracle::LIMIT)?.expect_ok("losetup")?;
        Ok(Self(out.trim().into()))
    }

    /// The device's path.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for LoopDevice {
    fn drop(&mut self) {
        let args = ["--detach".as_ref(), self.0.as_os_str()];
        let _ = run("losetup", args, &[], b"", oracle::LIMIT);
    }
}
