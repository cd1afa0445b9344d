//! The bytes of a regular file: how many, which of them are holes, and where to read the others.

use crate::{Error, Result};
use std::{
    fs::File,
    io,
    ops::Range,
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
    sync::Arc,
};

/// Contents that can be read when they are due.
#[derive(Clone, Debug)]
pub struct Contents {
    /// Bytes of the file, holes included.
    pub size: u64,
    /// The parts that are not holes: in order, not empty, not touching, below `size`.
    pub data: Vec<Range<u64>>,
    /// Where they are.
    pub origin: Origin,
}

/// Where contents can be read.
#[derive(Clone, Debug)]
pub enum Origin {
    /// They are here: the data parts one behind the other.
    Bytes(Arc<[u8]>),
    /// A file of the host, whose size and offsets are those of the contents.
    Path(Box<Path>),
    /// A file that holds the data parts one behind the other, from this byte on: an archive.
    Within {
        /// The archive, or what was unpacked of it.
        file: Arc<File>,
        /// Its name, for messages.
        path: Arc<Path>,
        /// The first byte of the first part.
        start: u64,
    },
}

impl Contents {
    /// Contents that are here, without holes.
    pub fn bytes(bytes: impl Into<Arc<[u8]>>) -> Self {
        let bytes = bytes.into();
        let size = bytes.len() as u64;
        let data = std::iter::once(0..size).filter(|it| !it.is_empty()).collect();
        Self { size, data, origin: Origin::Bytes(bytes) }
    }

    /// Bytes that are not holes.
    pub fn data_len(&self) -> u64 {
        self.data.iter().map(|it| it.end - it.start).sum()
    }

    /// Opens what is to be read.
    ///
    /// # Errors
    /// [`Error::Host`] when the host's file cannot be opened, [`Error::Changed`] when it is no
    /// longer as long as it was.
    pub fn open(&self) -> Result<Open<'_>> {
        let file = match &self.origin {
            Origin::Path(path) => {
                let host = |source| Error::Host { path: path.to_path_buf(), source };
                let file = File::open(path).map_err(host)?;
                let found = file.metadata().map_err(host)?.len();
                if found != self.size {
                    return Err(self.changed(found));
                }
                Some(file)
            }
            Origin::Bytes(_) | Origin::Within { .. } => None,
        };
        Ok(Open { contents: self, file })
    }

    fn path(&self) -> PathBuf {
        match &self.origin {
            Origin::Bytes(_) => PathBuf::new(),
            Origin::Path(path) => path.to_path_buf(),
            Origin::Within { path, .. } => path.to_path_buf(),
        }
    }

    fn changed(&self, found: u64) -> Error {
        let path = self.path().display().to_string();
        Error::Changed { path, found, expected: self.size }
    }

    /// Where byte `offset`, which is data, lies among the data parts one behind the other.
    fn packed(&self, offset: u64) -> u64 {
        let mut before = 0;
        for part in &self.data {
            if offset < part.end {
                return before + offset.saturating_sub(part.start);
            }
            before += part.end - part.start;
        }
        before
    }
}

/// Contents that are being read.
#[derive(Debug)]
pub struct Open<'a> {
    contents: &'a Contents,
    file: Option<File>,
}

impl Open<'_> {
    /// Fills `buf` from byte `offset` of the file. All of it must lie within one data part.
    ///
    /// # Errors
    /// [`Error::Host`] when reading fails, [`Error::Changed`] when the bytes are no longer there.
    pub fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        let contents = self.contents;
        let (file, from) = match &contents.origin {
            Origin::Bytes(bytes) => {
                let from = usize::try_from(contents.packed(offset)).unwrap_or(usize::MAX);
                let found = from.checked_add(buf.len()).and_then(|end| bytes.get(from..end));
                let found = found.ok_or_else(|| contents.changed(bytes.len() as u64))?;
                buf.copy_from_slice(found);
                return Ok(());
            }
            Origin::Path(_) => match &self.file {
                Some(file) => (file, offset),
                None => return Err(contents.changed(0)),
            },
            Origin::Within { file, start, .. } => (&**file, start + contents.packed(offset)),
        };
        file.read_exact_at(buf, from).map_err(|source| {
            if source.kind() == io::ErrorKind::UnexpectedEof {
                contents.changed(file.metadata().map_or(0, |it| it.len()))
            } else {
                Error::Host { path: contents.path(), source }
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_an_archive_lie_one_behind_the_other() {
        let contents = Contents {
            size: 100,
            data: vec![10..14, 50..53],
            origin: Origin::Bytes(Arc::from(&b"abcdefg"[..])),
        };
        let open = contents.open().expect("bytes");
        let mut buf = [0; 2];
        open.read_at(51, &mut buf).expect("inside the second part");
        assert_eq!(&buf, b"fg");
        assert_eq!(contents.data_len(), 7);
    }

    #[test]
    fn a_file_that_shrank_is_told() {
        let data = std::iter::once(0..5).collect();
        let contents = Contents { size: 5, data, origin: Origin::Bytes(Arc::from([])) };
        let open = contents.open().expect("bytes");
        let err = open.read_at(0, &mut [0; 5]).expect_err("nothing there");
        assert!(err.to_string().contains("found 0 bytes, expected 5"), "{err}");
    }
}
