//! Where the bytes of a write come from.

use crate::{Error, Result, ring::Ring};
use ext4_blockdev::AlignedBuf;
use ext4_units::BlockSize;
use std::{
    fmt,
    io::{ErrorKind, Read},
};

/// Bytes taken from a source.
#[derive(Debug)]
pub(crate) struct Filled {
    /// The memory.
    pub(crate) buf: AlignedBuf,
    /// Where in it the data begins.
    pub(crate) lead: usize,
    /// The file's byte that it begins with.
    pub(crate) pos: u64,
    /// How many bytes.
    pub(crate) len: usize,
    /// Whether the memory is the caller's, who wants it back as it was.
    pub(crate) is_callers: bool,
    /// Whether nothing comes after it.
    pub(crate) is_last: bool,
}

impl Filled {
    /// The byte of the file behind it.
    pub(crate) fn end(&self) -> u64 {
        self.pos + self.len as u64
    }

    /// Its bytes from byte `from` of the file on.
    pub(crate) fn from(&self, from: u64) -> &[u8] {
        let skip = usize::try_from(from.saturating_sub(self.pos)).unwrap_or(self.len);
        self.buf.get(self.lead + skip.min(self.len)..self.lead + self.len).unwrap_or_default()
    }
}

/// What is asked of a source.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ask {
    /// The byte of the file that the bytes are for.
    pub(crate) pos: u64,
    /// How many are still to come, at most.
    pub(crate) left: u64,
    /// How many have been taken.
    pub(crate) taken: u64,
    /// Bytes of one transfer, whole blocks.
    pub(crate) chunk: usize,
    pub(crate) block_size: BlockSize,
}

/// A source of bytes.
pub(crate) trait Source {
    /// The next bytes. A length of 0 is the end.
    fn fill(&mut self, ring: &mut Ring<'_>, ask: &Ask) -> Result<Filled>;
}

/// Something to read from.
pub(crate) struct Reader<'a>(pub(crate) &'a mut dyn Read);

impl fmt::Debug for Reader<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Reader")
    }
}

impl Source for Reader<'_> {
    /// Reads into memory in which the data begins where it does in its block.
    fn fill(&mut self, ring: &mut Ring<'_>, ask: &Ask) -> Result<Filled> {
        let lead = ask.block_size.within(ask.pos) as usize;
        let room = ask.chunk.saturating_sub(lead);
        let want = usize::try_from(ask.left).unwrap_or(room).min(room);
        let mut buf = ring.buffer(ask.chunk);
        let mut len = 0;
        while len < want {
            match self.0.read(&mut buf[lead + len..lead + want]) {
                Ok(0) => break,
                Ok(n) => len += n,
                Err(err) if err.kind() == ErrorKind::Interrupted => {}
                Err(source) => return Err(Error::Source { at: ask.taken + len as u64, source }),
            }
        }
        // Less than there was room for is the end; asking again could find a terminal's next line.
        let is_last = len < room;
        Ok(Filled { buf, lead, pos: ask.pos, len, is_callers: false, is_last })
    }
}

/// Memory of the caller's, taken whole.
impl Source for Option<AlignedBuf> {
    fn fill(&mut self, _ring: &mut Ring<'_>, ask: &Ask) -> Result<Filled> {
        let buf = self.take().unwrap_or_else(|| AlignedBuf::zeroed(0));
        let len = usize::try_from(ask.left).unwrap_or(buf.len()).min(buf.len());
        Ok(Filled { buf, lead: 0, pos: ask.pos, len, is_callers: true, is_last: true })
    }
}
