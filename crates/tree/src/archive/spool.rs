//! The file without a name that unpacked contents go into, one behind the other.

use crate::{Error, Result};
use std::{
    fs::File,
    io::Write as _,
    path::{Path, PathBuf},
    sync::Arc,
};

/// Bytes that are gathered before they are written.
const GATHERED: usize = 1 << 20;

/// Made when the first byte comes; gone with the last who reads it.
#[derive(Debug)]
pub(super) struct Spool {
    folder: PathBuf,
    file: Option<Arc<File>>,
    /// Bytes that were handed over, gathered ones among them.
    len: u64,
    gathered: Vec<u8>,
}

impl Spool {
    pub(super) fn new(folder: &Path) -> Self {
        Self { folder: folder.to_owned(), file: None, len: 0, gathered: Vec::new() }
    }

    /// The file, and the byte where the next contents begin.
    pub(super) fn begin(&mut self) -> Result<(Arc<File>, u64)> {
        if self.file.is_none() {
            let file = tempfile::tempfile_in(&self.folder)
                .map_err(|source| Error::Host { path: self.folder.clone(), source })?;
            self.gathered.reserve_exact(GATHERED);
            self.file = Some(Arc::new(file));
        }
        self.file.as_ref().map(|file| (Arc::clone(file), self.len)).ok_or(Error::Stopped)
    }

    /// Adds bytes to the contents that were begun last.
    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<()> {
        if self.gathered.len() + bytes.len() > GATHERED {
            self.flush()?;
        }
        self.len += bytes.len() as u64;
        self.gathered.extend_from_slice(bytes);
        Ok(())
    }

    /// Writes what was gathered.
    pub(super) fn flush(&mut self) -> Result<()> {
        if let Some(file) = &self.file {
            (&**file)
                .write_all(&self.gathered)
                .map_err(|source| Error::Host { path: self.folder.clone(), source })?;
        }
        self.gathered.clear();
        Ok(())
    }
}
