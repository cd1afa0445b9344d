//! Blocks of the image under check, through the overlay that holds what was mended.

use crate::{Error, Result};
use ext4_blockdev::{BlockDevice, Overlay};
use ext4_units::{BlockNr, BlockRange, BlockSize};
use std::sync::Arc;

/// The image, in blocks of the filesystem.
#[derive(Clone, Debug)]
pub(crate) struct Image {
    overlay: Arc<Overlay>,
    pub(crate) size: BlockSize,
}

impl Image {
    pub(crate) fn new(overlay: Arc<Overlay>, size: BlockSize) -> Self {
        Self { overlay, size }
    }

    /// The device with its changes.
    pub(crate) fn device(&self) -> &Arc<Overlay> {
        &self.overlay
    }

    /// Whole blocks that the device has.
    pub(crate) fn n_blocks(&self) -> u64 {
        self.overlay.len() >> self.size.bits()
    }

    /// The contents of a block.
    pub(crate) fn read(&self, blk: BlockNr) -> Result<Vec<u8>> {
        self.read_run(BlockRange::new(blk, 1))
    }

    /// The contents of a run of blocks. The caller bounds its length.
    pub(crate) fn read_run(&self, run: BlockRange) -> Result<Vec<u8>> {
        let end = run.start.checked_add(run.len).filter(|end| end.0 <= self.n_blocks());
        if end.is_none() {
            return Err(Error::Outside(run.start));
        }
        let len = usize::try_from(run.len).ok().and_then(|it| it.checked_mul(self.size.len()));
        let mut bytes = vec![0; len.ok_or(Error::Outside(run.start))?];
        self.overlay.read_at(run.start.byte(self.size), &mut bytes)?;
        Ok(bytes)
    }

    /// Replaces a block, in the overlay.
    pub(crate) fn write(&self, blk: BlockNr, bytes: &[u8]) -> Result<()> {
        if blk.0 >= self.n_blocks() || bytes.len() != self.size.len() {
            return Err(Error::Outside(blk));
        }
        self.overlay.write_at(blk.byte(self.size), bytes)?;
        Ok(())
    }
}
