//! The bytes of an archive after decompression, read once from one end to the other: out of a file
//! in which contents are stepped over, or from a thread that unpacks.

use super::{ArchiveOptions, compression::unpacked, header::BLOCK, read_at, spool::Spool};
use crate::{Contents, Error, Origin, Result};
use std::{
    fs::File,
    io::{self, Read},
    ops::Range,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc::{Receiver, RecvTimeoutError, Sender, SyncSender, channel, sync_channel},
    },
    time::Duration,
};

/// Bytes that the unpacking thread hands over at once.
const CHUNK: usize = 256 << 10;
/// Chunks that wait to be taken.
const WAITING: usize = 4;
/// Bytes read at once where headers follow each other closely, and behind a jump.
const NEAR: usize = 64 << 10;
const FAR: usize = 4 << 10;
/// How often a waiting input asks whether to go on.
const PATIENCE: Duration = Duration::from_millis(100);

/// Where an archive is being read.
pub(super) struct Input<'a> {
    source: Source,
    path: Arc<Path>,
    /// Bytes of the archive before the next one.
    offset: u64,
    /// A block that was read too early.
    unread: Option<[u8; BLOCK]>,
    limit: u64,
    progress: &'a mut dyn FnMut(u64) -> bool,
}

enum Source {
    Seekable(Seekable),
    Stream(Stream),
}

/// An archive whose contents stay where they are.
struct Seekable {
    file: Arc<File>,
    /// What was read and is still to be looked at.
    window: Vec<u8>,
    at: usize,
    /// The byte of the file behind the window.
    next: u64,
    end: u64,
    jumped: bool,
}

/// An archive that a thread unpacks.
struct Stream {
    chunks: Receiver<Chunk>,
    used: Sender<Vec<u8>>,
    chunk: Vec<u8>,
    at: usize,
    n_read: Arc<AtomicU64>,
    ended: bool,
    spool: Spool,
}

enum Chunk {
    Bytes(Vec<u8>),
    /// All was read.
    End,
    Failed(io::Error),
}

impl<'a> Input<'a> {
    /// An archive from byte `start` to byte `end` of a file.
    pub(super) fn seekable(
        file: File,
        path: &Path,
        start: u64,
        end: u64,
        limit: u64,
        progress: &'a mut dyn FnMut(u64) -> bool,
    ) -> Self {
        let window = Vec::with_capacity(NEAR);
        let file = Arc::new(file);
        let source = Seekable { file, window, at: 0, next: start, end, jumped: false };
        Self {
            source: Source::Seekable(source),
            path: path.into(),
            offset: 0,
            unread: None,
            limit,
            progress,
        }
    }

    /// An archive out of `input`, which a new thread reads.
    pub(super) fn stream(
        input: impl Read + Send + 'static,
        path: &Path,
        options: &ArchiveOptions,
        progress: &'a mut dyn FnMut(u64) -> bool,
    ) -> Result<Self> {
        let n_read = Arc::new(AtomicU64::new(0));
        let (send, chunks) = sync_channel(WAITING);
        let (used, reuse) = channel();
        let threads = options.threads;
        let counted = Counted { input, n_read: Arc::clone(&n_read) };
        std::thread::Builder::new()
            .name("unpack".to_owned())
            .spawn(move || unpack(counted, threads, &send, &reuse))
            .map_err(|source| Error::Host { path: path.to_owned(), source })?;
        let spool = Spool::new(&options.spool);
        let chunk = Vec::new();
        let source = Stream { chunks, used, chunk, at: 0, n_read, ended: false, spool };
        Ok(Self {
            source: Source::Stream(source),
            path: path.into(),
            offset: 0,
            unread: None,
            limit: options.limit,
            progress,
        })
    }

    /// Bytes of the archive before the next one.
    pub(super) fn offset(&self) -> u64 {
        self.offset - if self.unread.is_some() { BLOCK as u64 } else { 0 }
    }

    /// An error about this archive.
    pub(super) fn damage_at(&self, offset: u64, why: impl Into<String>) -> Error {
        Error::Archive { archive: self.path.to_path_buf(), offset, why: why.into() }
    }

    /// An error about where the archive ends.
    fn truncated(&self, missing: u64) -> Error {
        self.damage_at(
            self.offset,
            format!("the archive ends here, expected at least {missing} more bytes"),
        )
    }

    /// The next block; `None` at the end.
    pub(super) fn block(&mut self) -> Result<Option<[u8; BLOCK]>> {
        if let Some(block) = self.unread.take() {
            return Ok(Some(block));
        }
        self.report()?;
        let mut block = [0; BLOCK];
        match self.read(&mut block)? {
            0 => Ok(None),
            BLOCK => Ok(Some(block)),
            n_read => Err(self.truncated((BLOCK - n_read) as u64)),
        }
    }

    /// Gives the last block back.
    pub(super) fn unread(&mut self, block: &[u8; BLOCK]) {
        self.unread = Some(*block);
    }

    /// A block inside of an entry, where there has to be one.
    pub(super) fn inner_block(&mut self) -> Result<[u8; BLOCK]> {
        self.block()?.ok_or_else(|| self.truncated(BLOCK as u64))
    }

    /// `len` bytes that are kept in memory, and steps over what fills their last block. The caller
    /// has checked that they are not too many.
    pub(super) fn bytes(&mut self, len: u64) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        let mut left = len;
        while left > 0 {
            let part = self.take(left)?;
            if part.is_empty() {
                return Err(self.truncated(left));
            }
            bytes.extend_from_slice(part);
            let n_taken = part.len();
            self.consume(n_taken)?;
            left -= n_taken as u64;
        }
        self.skip(padding(len))?;
        Ok(bytes)
    }

    /// Keeps the next bytes as the data of a file of `size` bytes, and steps over what fills their
    /// last block.
    pub(super) fn contents(&mut self, size: u64, data: Vec<Range<u64>>) -> Result<Contents> {
        let len = data.iter().map(|it| it.end - it.start).sum();
        if len == 0 {
            return Ok(Contents { size, data, origin: Origin::Bytes(Arc::from([])) });
        }
        let (file, start) = self.keep(len)?;
        self.skip(padding(len))?;
        let path = Arc::clone(&self.path);
        Ok(Contents { size, data, origin: Origin::Within { file, path, start } })
    }

    /// Steps over bytes; over whole blocks when one was given back.
    pub(super) fn skip(&mut self, len: u64) -> Result<()> {
        let mut left = len;
        if left > 0 && self.unread.take().is_some() {
            left = left.saturating_sub(BLOCK as u64);
        }
        if let Source::Seekable(it) = &mut self.source {
            let in_window = (it.window.len() - it.at) as u64;
            if left > in_window {
                left -= in_window;
                it.jumped = true;
                (it.at, self.offset) = (it.window.len(), self.offset + in_window);
                let in_file = left.min(it.end.saturating_sub(it.next));
                (it.next, self.offset) = (it.next + in_file, self.offset + in_file);
                left -= in_file;
                return if left == 0 { self.check_limit() } else { Err(self.truncated(left)) };
            }
        }
        while left > 0 {
            let n_taken = self.take(left)?.len();
            if n_taken == 0 {
                return Err(self.truncated(left));
            }
            self.consume(n_taken)?;
            left -= n_taken as u64;
        }
        Ok(())
    }

    /// Reads what follows the end mark of a stream: whoever writes into a pipe is not cut off, and
    /// what a compression says at its end is checked.
    pub(super) fn drain(&mut self) -> Result<()> {
        while let Source::Stream(_) = self.source {
            self.report()?;
            let n_taken = self.take(u64::MAX)?.len();
            if n_taken == 0 {
                break;
            }
            self.consume(n_taken)?;
        }
        if let Source::Stream(it) = &mut self.source {
            it.spool.flush()?;
        }
        Ok(())
    }

    /// The file that has the next `len` bytes, and where; steps over them.
    fn keep(&mut self, len: u64) -> Result<(Arc<File>, u64)> {
        let kept = match &mut self.source {
            Source::Seekable(it) => {
                let start = it.next - (it.window.len() - it.at) as u64;
                let file = Arc::clone(&it.file);
                self.skip(len)?;
                return Ok((file, start));
            }
            Source::Stream(it) => it.spool.begin()?,
        };
        let mut left = len;
        while left > 0 {
            self.fill()?;
            let Source::Stream(it) = &mut self.source else { break };
            let part = it.chunk.get(it.at..).unwrap_or_default();
            let n_taken = part.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            if n_taken == 0 {
                return Err(self.truncated(left));
            }
            it.spool.write(part.get(..n_taken).unwrap_or_default())?;
            self.consume(n_taken)?;
            left -= n_taken as u64;
        }
        Ok(kept)
    }

    fn read(&mut self, buf: &mut [u8]) -> Result<usize> {
        let mut filled = 0;
        while let Some(rest) = buf.get_mut(filled..).filter(|it| !it.is_empty()) {
            let part = self.take(rest.len() as u64)?;
            if part.is_empty() {
                break;
            }
            let n_taken = part.len();
            rest[..n_taken].copy_from_slice(part);
            self.consume(n_taken)?;
            filled += n_taken;
        }
        Ok(filled)
    }

    /// Some of the next `most` bytes; none at the end.
    fn take(&mut self, most: u64) -> Result<&[u8]> {
        self.fill()?;
        let rest = match &self.source {
            Source::Seekable(it) => it.window.get(it.at..),
            Source::Stream(it) => it.chunk.get(it.at..),
        };
        let rest = rest.unwrap_or_default();
        Ok(rest.get(..usize::try_from(most).unwrap_or(usize::MAX)).unwrap_or(rest))
    }

    /// Steps over bytes that [`take`](Self::take) gave.
    fn consume(&mut self, n_taken: usize) -> Result<()> {
        match &mut self.source {
            Source::Seekable(it) => it.at += n_taken,
            Source::Stream(it) => it.at += n_taken,
        }
        self.offset += n_taken as u64;
        self.check_limit()
    }

    fn check_limit(&self) -> Result<()> {
        if self.offset <= self.limit {
            return Ok(());
        }
        let why = format!("the archive unpacks to more than {} bytes, the limit", self.limit);
        Err(self.damage_at(self.offset, why))
    }

    /// Sees to it that there are bytes unless the end is reached.
    fn fill(&mut self) -> Result<()> {
        match &mut self.source {
            Source::Seekable(it) => {
                it.fill().map_err(|source| Error::Host { path: self.path.to_path_buf(), source })
            }
            Source::Stream(it) => {
                let filled = it.fill(self.progress);
                filled.map_err(|stop| match stop {
                    Stop::Asked => Error::Stopped,
                    Stop::Failed(err) => self.unreadable(err),
                })
            }
        }
    }

    /// What the unpacking thread met: an error of the host has a number, the others are of the data.
    fn unreadable(&self, source: io::Error) -> Error {
        if source.raw_os_error().is_some() {
            return Error::Host { path: self.path.to_path_buf(), source };
        }
        let why = match source.kind() {
            // Not what is read here, which says it all.
            io::ErrorKind::Unsupported => source.to_string(),
            _ => format!("cannot be unpacked: {source}"),
        };
        self.damage_at(self.offset, why)
    }

    /// Tells how many bytes of the archive, as it lies there, were read.
    fn report(&mut self) -> Result<()> {
        let n_read = match &self.source {
            Source::Seekable(_) => self.offset,
            Source::Stream(it) => it.n_read.load(Ordering::Relaxed),
        };
        if (self.progress)(n_read) { Ok(()) } else { Err(Error::Stopped) }
    }
}

/// Bytes that fill the last block of `len`.
fn padding(len: u64) -> u64 {
    let block = BLOCK as u64;
    (block - len % block) % block
}

impl Seekable {
    fn fill(&mut self) -> io::Result<()> {
        if self.at < self.window.len() {
            return Ok(());
        }
        let near = if self.jumped { FAR } else { NEAR } as u64;
        let want = near.min(self.end.saturating_sub(self.next));
        self.window.resize(usize::try_from(want).unwrap_or(NEAR), 0);
        let n_read = read_at(&self.file, self.next, &mut self.window)?;
        self.window.truncate(n_read);
        (self.at, self.next, self.jumped) = (0, self.next + n_read as u64, false);
        Ok(())
    }
}

enum Stop {
    Asked,
    Failed(io::Error),
}

impl Stream {
    fn fill(&mut self, progress: &mut dyn FnMut(u64) -> bool) -> std::result::Result<(), Stop> {
        while self.at >= self.chunk.len() && !self.ended {
            match self.chunks.recv_timeout(PATIENCE) {
                Ok(Chunk::Bytes(chunk)) => {
                    let used = std::mem::replace(&mut self.chunk, chunk);
                    self.at = 0;
                    // Nobody wants it when the thread is at its end.
                    let _ = self.used.send(used);
                }
                Ok(Chunk::End) => self.ended = true,
                Ok(Chunk::Failed(err)) => return Err(Stop::Failed(err)),
                Err(RecvTimeoutError::Timeout) => {
                    if !progress(self.n_read.load(Ordering::Relaxed)) {
                        return Err(Stop::Asked);
                    }
                }
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(Stop::Failed(io::Error::other("the decoder gave up")));
                }
            }
        }
        Ok(())
    }
}

/// The unpacking thread. It ends when nobody takes its chunks any more.
fn unpack(
    input: impl Read + 'static,
    threads: u32,
    send: &SyncSender<Chunk>,
    reuse: &Receiver<Vec<u8>>,
) {
    let last = match unpacked(input, threads) {
        Ok(mut input) => loop {
            let mut chunk = reuse.try_recv().unwrap_or_default();
            chunk.clear();
            let found = (&mut input).take(CHUNK as u64).read_to_end(&mut chunk);
            if !chunk.is_empty() && send.send(Chunk::Bytes(chunk)).is_err() {
                return;
            }
            match found {
                Ok(0) => break Chunk::End,
                Ok(_) => {}
                Err(err) => break Chunk::Failed(err),
            }
        },
        Err(err) => Chunk::Failed(err),
    };
    let _ = send.send(last);
}

/// Counts what is read.
struct Counted<R> {
    input: R,
    n_read: Arc<AtomicU64>,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let n_read = self.input.read(buf)?;
        self.n_read.fetch_add(n_read as u64, Ordering::Relaxed);
        Ok(n_read)
    }
}
