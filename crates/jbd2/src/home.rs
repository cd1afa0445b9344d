//! Writing blocks to their homes, neighbours together.

use crate::{Block, Error, Result};
use ext4_blockdev::{AlignedBuf, BlockDevice};
use ext4_units::{BlockNr, BlockSize};

/// The most bytes one write carries.
pub(crate) const MAX_WRITE: usize = 1 << 20;

/// Writes `blocks`, which come in ascending order, in place. Runs of neighbours become one write.
/// Not durable until the device is flushed.
pub(crate) fn write<'a>(
    dev: &dyn BlockDevice,
    size: BlockSize,
    blocks: impl IntoIterator<Item = (BlockNr, &'a Block)>,
) -> Result<()> {
    let mut run: Vec<&Block> = Vec::new();
    let mut start = BlockNr(0);
    let mut buf = AlignedBuf::zeroed(0);
    let max_run = (MAX_WRITE / size.len()).max(1);
    for (blk, data) in blocks {
        let follows = start.checked_add(run.len() as u64) == Some(blk);
        if !run.is_empty() && (!follows || run.len() >= max_run) {
            write_run(dev, size, start, &run, &mut buf)?;
            run.clear();
        }
        if run.is_empty() {
            start = blk;
        }
        run.push(data);
    }
    if run.is_empty() { Ok(()) } else { write_run(dev, size, start, &run, &mut buf) }
}

fn write_run(
    dev: &dyn BlockDevice,
    size: BlockSize,
    start: BlockNr,
    run: &[&Block],
    buf: &mut AlignedBuf,
) -> Result<()> {
    let byte = start.checked_byte(size).ok_or(Error::OutOfRange { blk: start })?;
    buf.resize(run.len() * size.len());
    for (to, from) in buf.chunks_exact_mut(size.len()).zip(run) {
        to.copy_from_slice(from);
    }
    dev.write_at(byte, buf).map_err(|source| Error::Io { blk: start, source })
}
