//! Reading the log front to back, a megabyte at a time.

use crate::{Log, Result};
use ext4_blockdev::{AlignedBuf, BlockDevice};
use ext4_units::BlockSize;

/// Bytes read at once.
const CHUNK: usize = 1 << 20;

/// Blocks of the log through one buffer of [`CHUNK`] bytes.
#[derive(Debug)]
pub(super) struct LogReader<'a> {
    device: &'a dyn BlockDevice,
    log: &'a Log,
    size: BlockSize,
    /// One past the last log block worth reading ahead.
    limit: u32,
    buf: AlignedBuf,
    /// What `buf` holds.
    start: u32,
    blocks: u32,
}

impl<'a> LogReader<'a> {
    /// A reader of the log's blocks up to `limit`.
    pub(super) fn new(
        device: &'a dyn BlockDevice,
        log: &'a Log,
        size: BlockSize,
        limit: u32,
    ) -> Self {
        Self { device, log, size, limit, buf: AlignedBuf::zeroed(0), start: 0, blocks: 0 }
    }

    /// The contents of log block `at`.
    pub(super) fn block(&mut self, at: u32) -> Result<&[u8]> {
        if at < self.start || at - self.start >= self.blocks {
            self.fill(at)?;
        }
        let offset = (at - self.start) as usize * self.size.len();
        Ok(&self.buf[offset..offset + self.size.len()])
    }

    /// Reads on from `at`. A bad sector further on is nobody's business yet: then only one block is
    /// read.
    fn fill(&mut self, at: u32) -> Result<()> {
        let room = u32::try_from(CHUNK / self.size.len()).expect("a chunk has few blocks");
        let ahead = self.limit.saturating_sub(at).clamp(1, room);
        self.blocks = 0;
        self.start = at;
        for blocks in [ahead, 1] {
            self.buf.resize(blocks as usize * self.size.len());
            match self.log.read(self.device, self.size, at, &mut self.buf) {
                Ok(()) => {
                    self.blocks = blocks;
                    return Ok(());
                }
                Err(_) if blocks > 1 => {}
                Err(err) => return Err(err),
            }
        }
        Ok(())
    }
}
