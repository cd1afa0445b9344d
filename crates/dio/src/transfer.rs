//! Buffers on their way from the source to the device.

use crate::{Error, Result, piece::Piece};
use ext4_blockdev::{AlignedBuf, BlockDevice, TransferQueue, Write};
use ext4_units::{BlockSize, InodeNr, LogicalBlock};
use std::io::{ErrorKind, Read};

/// The writes in flight of one request, and their buffers.
#[derive(Debug)]
pub(crate) struct Transfers<'d> {
    device: &'d dyn BlockDevice,
    queue: Box<dyn TransferQueue + 'd>,
    spare: Vec<AlignedBuf>,
    depth: usize,
    in_flight: usize,
    ino: InodeNr,
    failed: Option<ext4_blockdev::Error>,
}

/// Bytes taken from the source, in whole blocks of memory.
#[derive(Debug)]
pub(crate) struct Filled {
    /// The memory; the data begins at the offset of its first byte in its block.
    pub(crate) buf: AlignedBuf,
    /// The file's byte that it begins with.
    pub(crate) pos: u64,
    /// How many bytes.
    pub(crate) len: usize,
}

impl<'d> Transfers<'d> {
    pub(crate) fn new(device: &'d dyn BlockDevice, depth: usize, ino: InodeNr) -> Self {
        let depth = depth.max(1);
        let queue = device.queue(depth);
        Self { device, queue, spare: Vec::new(), depth, in_flight: 0, ino, failed: None }
    }

    /// Takes up to `want` bytes from the source for byte `pos` of the file, into a buffer of `chunk`
    /// bytes. A length of 0 is the source's end.
    pub(crate) fn fill(
        &mut self,
        source: &mut dyn Read,
        size: BlockSize,
        pos: u64,
        want: u64,
        chunk: usize,
        taken: u64,
    ) -> Result<Filled> {
        let within = size.within(pos) as usize;
        let room = u64::try_from(chunk.saturating_sub(within)).unwrap_or(u64::MAX);
        let want = usize::try_from(want.min(room)).unwrap_or(chunk);
        let mut buf = self.buffer(chunk);
        let mut len = 0;
        while len < want {
            match source.read(&mut buf[within + len..within + want]) {
                Ok(0) => break,
                Ok(n) => len += n,
                Err(err) if err.kind() == ErrorKind::Interrupted => {}
                Err(source) => return Err(Error::Source { at: taken + len as u64, source }),
            }
        }
        Ok(Filled { buf, pos, len })
    }

    /// Sends `from..to`, file bytes of `filled` that lie in `piece`, to the device, in whole blocks.
    /// Bytes of the first and the last block which are not written stay what they are below
    /// `i_size`, and are zeros otherwise. Keeps the buffer when it was the last use of it.
    pub(crate) fn send(
        &mut self,
        filled: &mut Filled,
        piece: &Piece,
        size: BlockSize,
        from: u64,
        to: u64,
        i_size: u64,
    ) -> Result<()> {
        let first = size.round_down(from);
        let at = index(first - size.round_down(filled.pos));
        let len = index(size.round_up(to) - first);
        let is_last = to == filled.pos + filled.len as u64;
        let mut buf = if at == 0 && is_last {
            std::mem::replace(&mut filled.buf, AlignedBuf::zeroed(0))
        } else {
            let mut part = self.buffer(filled.buf.len());
            part[..len].copy_from_slice(&filled.buf[at..at + len]);
            part
        };
        buf.resize(len);
        let lblk = LogicalBlock::of_byte(first, size).expect("the piece was found by it");
        let byte = piece.block(lblk).byte(size);
        let head = index(from - first);
        let tail = index(to - first);
        for keep in [0..head, tail..len] {
            if keep.is_empty() {
                continue;
            }
            let old = &mut buf[keep.clone()];
            old.fill(0);
            // What is readable of it: nothing of new blocks, nothing behind the size.
            let readable = index(i_size.saturating_sub(first).min(keep.end as u64));
            if !piece.is_new && readable > keep.start {
                let old = &mut old[..readable - keep.start];
                self.device
                    .read_at(byte + keep.start as u64, old)
                    .map_err(|source| Error::Data { ino: self.ino, source })?;
            }
        }
        self.submit(byte, buf)
    }

    /// Starts a write, waiting for one to end when too many are in flight.
    pub(crate) fn submit(&mut self, offset: u64, buf: AlignedBuf) -> Result<()> {
        while self.in_flight >= self.depth {
            self.take_one();
        }
        self.check()?;
        self.queue
            .submit(Write { offset, buf, tag: offset })
            .map_err(|source| Error::Data { ino: self.ino, source })?;
        self.in_flight += 1;
        Ok(())
    }

    /// Waits until nothing is in flight. The first failure of any write is returned.
    pub(crate) fn drain(&mut self) -> Result<()> {
        while self.in_flight > 0 {
            self.take_one();
        }
        self.check()
    }

    fn take_one(&mut self) {
        let Some(done) = self.queue.wait() else {
            self.in_flight = 0;
            return;
        };
        self.in_flight -= 1;
        self.spare.push(done.buf);
        if let Err(err) = done.result {
            self.failed.get_or_insert(err);
        }
    }

    fn check(&mut self) -> Result<()> {
        match self.failed.take() {
            Some(source) => Err(Error::Data { ino: self.ino, source }),
            None => Ok(()),
        }
    }

    /// Memory of `len` bytes with anything in it.
    fn buffer(&mut self, len: usize) -> AlignedBuf {
        let mut buf = self.spare.pop().unwrap_or_else(|| AlignedBuf::zeroed(len));
        buf.resize(len);
        buf
    }
}

/// A length inside a buffer.
fn index(bytes: u64) -> usize {
    usize::try_from(bytes).expect("a buffer is shorter than memory")
}
