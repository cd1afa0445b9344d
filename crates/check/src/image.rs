//! Blocks of the image under check, through the overlay that holds what was mended.

use crate::{Error, Result};
use ext4_blockdev::{BlockDevice, Overlay, SECTOR};
use ext4_units::{BlockNr, BlockRange, BlockSize};
use std::sync::Arc;

/// Most bytes that the host is told of at once.
const PREFETCH: u64 = 64 << 20;

/// The image, in blocks of the filesystem.
#[derive(Clone, Debug)]
pub(crate) struct Image {
    overlay: Arc<Overlay>,
    pub(crate) size: BlockSize,
    n_blocks: u64,
}

impl Image {
    pub(crate) fn new(overlay: Arc<Overlay>, size: BlockSize) -> Self {
        let n_blocks = overlay.len() >> size.bits();
        Self { overlay, size, n_blocks }
    }

    /// The device with its changes.
    pub(crate) fn device(&self) -> &Arc<Overlay> {
        &self.overlay
    }

    /// Whole blocks that the device has.
    pub(crate) const fn n_blocks(&self) -> u64 {
        self.n_blocks
    }

    /// The contents of a block.
    pub(crate) fn read(&self, blk: BlockNr) -> Result<Vec<u8>> {
        self.read_run(BlockRange::new(blk, 1))
    }

    /// The contents of a run of blocks. The caller bounds its length.
    pub(crate) fn read_run(&self, run: BlockRange) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.read_run_into(run, &mut bytes)?;
        Ok(bytes)
    }

    /// Reads a run of blocks into `bytes`, which then holds nothing else. The caller bounds its length.
    pub(crate) fn read_run_into(&self, run: BlockRange, bytes: &mut Vec<u8>) -> Result<()> {
        let end = run.start.checked_add(run.len).filter(|end| end.0 <= self.n_blocks());
        if end.is_none() {
            return Err(Error::Outside(run.start));
        }
        let len = usize::try_from(run.len).ok().and_then(|it| it.checked_mul(self.size.len()));
        bytes.resize(len.ok_or(Error::Outside(run.start))?, 0);
        self.overlay.read_at(run.start.byte(self.size), bytes)?;
        Ok(())
    }

    /// Tells the host which blocks will be read soon. Runs with less than `gap` blocks between them are
    /// fetched as one; what is too much to be kept until it is read is left.
    pub(crate) fn prefetch(&self, runs: &mut [BlockRange], gap: u64) {
        runs.sort_unstable_by_key(|it| it.start);
        let mut left = PREFETCH;
        let near = |a: &BlockRange, b: &BlockRange| b.start.0.saturating_sub(a.end().0) < gap;
        for runs in runs.chunk_by(near) {
            let end = runs.iter().map(|it| it.end()).max();
            let (Some(first), Some(end)) = (runs.first(), end) else { continue };
            let len = ((end.0 - first.start.0) << self.size.bits()).min(left);
            self.overlay.prefetch(first.start.byte(self.size), len);
            left -= len;
        }
    }

    /// Replaces a block, in the overlay.
    pub(crate) fn write(&self, blk: BlockNr, bytes: &[u8]) -> Result<()> {
        if blk.0 >= self.n_blocks() || bytes.len() != self.size.len() {
            return Err(Error::Outside(blk));
        }
        // What stays as it is takes no room. What cannot be read is all new.
        let old = self.read(blk).unwrap_or_default();
        let mut at = blk.byte(self.size);
        for (nr, sector) in bytes.chunks(SECTOR).enumerate() {
            if old.chunks(SECTOR).nth(nr) != Some(sector) {
                self.overlay.write_at(at, sector)?;
            }
            at += SECTOR as u64;
        }
        Ok(())
    }
}
