//! The bytes of a regular file: how many, which of them are holes, and where to read the others.

use crate::{Error, Result};
use rustix::{
    fs::{Mode, OFlags, SeekFrom},
    io::Errno,
};
use std::{
    fs::File,
    io::{self, IoSliceMut},
    ops::Range,
    os::{
        fd::OwnedFd,
        unix::{ffi::OsStrExt as _, fs::FileExt as _},
    },
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
    /// A file of the host, whose size and offsets are those of the contents. Not a symbolic link:
    /// none is followed at the path's end, for one might have taken the file's place.
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

    /// Those of a regular file of the host, its holes kept. Symbolic links are followed, now.
    ///
    /// # Errors
    /// [`Error::Host`] when there is none.
    pub fn of_host(path: &Path) -> Result<Self> {
        let host = |source| Error::Host { path: path.to_path_buf(), source };
        let found = path.canonicalize().map_err(host)?;
        // Looked at before it is opened: opening a pipe would wait.
        if !found.metadata().map_err(host)?.is_file() {
            return Err(host(io::Error::other("not a regular file")));
        }
        let file = File::open(&found).map_err(host)?;
        let size = file.metadata().map_err(host)?.len();
        let data = data_parts(&file, size).map_err(host)?;
        Ok(Self { size, data, origin: Origin::Path(found.into()) })
    }

    /// Bytes that are not holes.
    pub fn data_len(&self) -> u64 {
        self.data.iter().map(|it| it.end - it.start).sum()
    }

    /// Opens what is to be read.
    ///
    /// # Errors
    /// [`Error::Host`] when the host's file cannot be opened, [`Error::Changed`] when it is no
    /// longer as long as it was and reading its data would not tell.
    pub fn open(&self) -> Result<Open<'_>> {
        let file = match &self.origin {
            Origin::Path(path) => {
                let host = |source| Error::Host { path: path.to_path_buf(), source };
                let file = open_host(path, OFlags::empty()).map_err(host)?;
                // Otherwise whoever reads the last byte sees whether there are more.
                if self.data.last().is_none_or(|it| it.end < self.size) {
                    let found = file.metadata().map_err(host)?.len();
                    if found != self.size {
                        return Err(self.changed(found));
                    }
                }
                Some(file)
            }
            Origin::Bytes(_) | Origin::Within { .. } => None,
        };
        let is_packed = file.is_none() && self.data.len() > 1;
        let packed = if is_packed { packed(&self.data) } else { Vec::new() };
        Ok(Open { contents: self, file, packed })
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
}

/// Opens a file for reading, not through a link or into a pipe that took its place meanwhile. The
/// path may be longer than one call takes.
pub(crate) fn open_host(path: &Path, flags: OFlags) -> io::Result<File> {
    /// Bytes of a path in one call; the kernel's `PATH_MAX` is 4096.
    const LONGEST: usize = 4095;
    let flags = flags | OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let mut rest = path.as_os_str().as_bytes();
    let mut at: Option<OwnedFd> = None;
    let open = |at: &Option<OwnedFd>, path: &[u8], flags| match at {
        Some(dir) => rustix::fs::openat(dir, path, flags, Mode::empty()),
        None => rustix::fs::open(path, flags, Mode::empty()),
    };
    while rest.len() > LONGEST {
        let Some(slash) = rest[..LONGEST].iter().rposition(|it| *it == b'/') else {
            return Err(Errno::NAMETOOLONG.into());
        };
        let part = if slash == 0 { &b"/"[..] } else { &rest[..slash] };
        at = Some(open(&at, part, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC)?);
        rest = &rest[slash..];
        while let [b'/', more @ ..] = rest {
            rest = more;
        }
    }
    Ok(open(&at, rest, flags)?.into())
}

/// The parts of a file that are no holes, as the host tells (lseek(2), `SEEK_DATA`); all of it where
/// the host cannot.
pub(crate) fn data_parts(file: &File, size: u64) -> io::Result<Vec<Range<u64>>> {
    let mut parts: Vec<Range<u64>> = Vec::new();
    let mut at = 0;
    while at < size {
        let start = match rustix::fs::seek(file, SeekFrom::Data(at)) {
            Ok(start) => start,
            Err(Errno::NXIO) => break,
            Err(Errno::INVAL | Errno::OPNOTSUPP) => at,
            Err(errno) => return Err(errno.into()),
        };
        let end = match rustix::fs::seek(file, SeekFrom::Hole(start)) {
            Ok(end) => end.min(size),
            Err(Errno::NXIO) => break,
            Err(Errno::INVAL | Errno::OPNOTSUPP) => size,
            Err(errno) => return Err(errno.into()),
        };
        if start >= end {
            break;
        }
        match parts.last_mut().filter(|it| it.end == start) {
            Some(last) => last.end = end,
            None => parts.push(start..end),
        }
        at = end;
    }
    Ok(parts)
}

/// Where each part begins when they lie one behind the other.
fn packed(data: &[Range<u64>]) -> Vec<u64> {
    let mut before = 0;
    let starts = data.iter().map(|part| {
        let start = before;
        before += part.end - part.start;
        start
    });
    starts.collect()
}

/// Contents that are being read.
#[derive(Debug)]
pub struct Open<'a> {
    contents: &'a Contents,
    file: Option<File>,
    /// Where each part begins among the parts, when there are several and they lie one behind the
    /// other.
    packed: Vec<u64>,
}

impl Open<'_> {
    /// Fills `buf` from byte `offset` of the file. All of it must lie within one data part.
    ///
    /// # Errors
    /// [`Error::Host`] when reading fails, [`Error::Changed`] when the bytes are no longer there, or
    /// more than there were.
    pub fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        let contents = self.contents;
        let (file, from) = match &contents.origin {
            Origin::Bytes(bytes) => {
                let from = usize::try_from(self.packed(offset)).unwrap_or(usize::MAX);
                let found = from.checked_add(buf.len()).and_then(|end| bytes.get(from..end));
                let found = found.ok_or_else(|| contents.changed(bytes.len() as u64))?;
                buf.copy_from_slice(found);
                return Ok(());
            }
            Origin::Path(_) => match &self.file {
                Some(file) => return self.read_file(file, offset, buf),
                None => return Err(contents.changed(0)),
            },
            Origin::Within { file, start, .. } => (&**file, start + self.packed(offset)),
        };
        file.read_exact_at(buf, from).map_err(|source| self.failed(file, source))
    }

    /// Reads from a file of its own, and behind its last byte asks for one more.
    fn read_file(&self, file: &File, offset: u64, buf: &mut [u8]) -> Result<()> {
        let is_last = offset + buf.len() as u64 == self.contents.size;
        let mut more = [0];
        let more = if is_last { &mut more[..] } else { &mut [] };
        let mut slices = [IoSliceMut::new(buf), IoSliceMut::new(more)];
        let done = match rustix::io::preadv(file, &mut slices, offset) {
            Ok(done) => done,
            Err(Errno::INTR) => 0,
            Err(errno) => return Err(self.failed(file, errno.into())),
        };
        if done > buf.len() {
            return Err(self.contents.changed(file.metadata().map_or(0, |it| it.len())));
        }
        if done == buf.len() {
            return Ok(());
        }
        // A short read: what is left in the usual way, and then the same question.
        let rest = &mut buf[done..];
        file.read_exact_at(rest, offset + done as u64).map_err(|err| self.failed(file, err))?;
        let found = file.metadata().map_err(|err| self.failed(file, err))?.len();
        if found == self.contents.size { Ok(()) } else { Err(self.contents.changed(found)) }
    }

    fn failed(&self, file: &File, source: io::Error) -> Error {
        if source.kind() == io::ErrorKind::UnexpectedEof {
            self.contents.changed(file.metadata().map_or(0, |it| it.len()))
        } else {
            Error::Host { path: self.contents.path(), source }
        }
    }

    /// Where byte `offset`, which is data, lies among the data parts one behind the other.
    fn packed(&self, offset: u64) -> u64 {
        let data = &self.contents.data;
        let nr = data.partition_point(|it| it.end <= offset);
        let before = self.packed.get(nr).copied().unwrap_or(0);
        before + data.get(nr).map_or(u64::MAX / 2, |it| offset.saturating_sub(it.start))
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
    fn a_file_that_is_no_longer_what_it_was_is_told() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("f");
        let read = |size: u64, data: Range<u64>| {
            let data = std::iter::once(data).collect::<Vec<_>>();
            let origin = Origin::Path(path.as_path().into());
            let contents = Contents { size, data: data.clone(), origin };
            let mut bytes = vec![0; 3];
            contents.open()?.read_at(data[0].end - 3, &mut bytes)?;
            Ok::<_, Error>(bytes)
        };
        std::fs::write(&path, b"abcdef").expect("written");
        assert_eq!(read(6, 0..6).expect("unchanged"), b"def");
        let err = read(5, 0..5).expect_err("grown").to_string();
        assert!(err.ends_with("found 6 bytes, expected 5"), "{err}");
        let err = read(5, 0..4).expect_err("grown, with a hole at the end").to_string();
        assert!(err.ends_with("found 6 bytes, expected 5"), "{err}");
        let err = read(7, 0..7).expect_err("shrunk").to_string();
        assert!(err.ends_with("found 6 bytes, expected 7"), "{err}");
        std::fs::rename(&path, folder.path().join("g")).expect("moved");
        std::os::unix::fs::symlink("g", &path).expect("a link");
        assert!(matches!(read(6, 0..6), Err(Error::Host { .. })), "a link was followed");
    }

    #[test]
    fn bytes_that_are_too_few_are_told() {
        let data = std::iter::once(0..5).collect();
        let contents = Contents { size: 5, data, origin: Origin::Bytes(Arc::from([])) };
        let open = contents.open().expect("bytes");
        let err = open.read_at(0, &mut [0; 5]).expect_err("nothing there");
        assert!(err.to_string().contains("found 0 bytes, expected 5"), "{err}");
    }

    #[test]
    fn holes_of_a_file_of_the_host_stay_holes() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("sparse");
        let file = File::create(&path).expect("a file");
        file.write_all_at(b"x", 4 << 20).expect("written");
        file.set_len(16 << 20).expect("longer");
        std::os::unix::fs::symlink("sparse", folder.path().join("link")).expect("a link");
        let contents = Contents::of_host(&folder.path().join("link")).expect("readable");
        assert_eq!(contents.size, 16 << 20);
        let parts = contents.data.len();
        assert!(parts == 1 && contents.data[0].contains(&(4 << 20)), "{:?}", contents.data);
        assert!(contents.data_len() < 1 << 20, "{:?}", contents.data);
        let mut buf = [0];
        contents.open().and_then(|it| it.read_at(4 << 20, &mut buf)).expect("readable");
        assert_eq!(&buf, b"x");
        assert!(Contents::of_host(folder.path()).is_err(), "a directory has no contents");
    }
}
