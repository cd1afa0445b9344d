//! The blocks of directories as they are read: many of one directory at once, and those of small
//! directories that lie near each other together.

use crate::{Error, Result, image::Image};
use ext4_units::{BlockNr, BlockRange};

/// Bytes that are read at once.
const READ: u64 = 256 << 10;
/// Bytes between two directories that are read rather than left out: to copy them takes less time than
/// to ask once more.
const GAP: u64 = 16 << 10;

/// Blocks that were read, to be used before the next are.
#[derive(Debug, Default)]
pub(crate) struct Window {
    start: BlockNr,
    bytes: Vec<u8>,
}

impl Window {
    /// Reads what comes first of these runs, which are read one after the other, as long as they follow
    /// each other on the device. What cannot be read is left to [`Self::read`].
    pub(super) fn reach(&mut self, image: &Image, runs: impl Iterator<Item = BlockRange>) {
        let size = image.size;
        let mut all: Option<BlockRange> = None;
        for run in runs {
            let joined = match all {
                None if self.holds(image, run.start) => return,
                None => run,
                Some(all)
                    if all.end() <= run.start
                        && run.start.0 - all.end().0 <= GAP >> size.bits() =>
                {
                    BlockRange::new(all.start, run.end().0 - all.start.0)
                }
                Some(_) => break,
            };
            if joined.len > READ >> size.bits() {
                break;
            }
            all = Some(joined);
        }
        if let Some(all) = all {
            // What cannot be read now is read again, one by one.
            let _ = self.fill(image, all);
        }
    }

    /// The first blocks of a run, as many as are at hand or can be read at once. What is outside of the
    /// device is zeros, which hold no names.
    ///
    /// # Errors
    /// [`Error::Device`]: a block that cannot be read is not damaged, and its names are not gone.
    pub(super) fn read(&mut self, image: &Image, run: BlockRange) -> Result<&mut [u8]> {
        let size = image.size;
        let many = BlockRange::new(run.start, run.len.min(READ >> size.bits()));
        if !self.holds(image, run.start) && self.fill(image, many).is_err() {
            match self.fill(image, BlockRange::new(run.start, 1)) {
                Err(Error::Outside(_)) => {
                    self.start = run.start;
                    self.bytes.resize(size.len(), 0);
                }
                other => other?,
            }
        }
        let from = usize::try_from((run.start.0 - self.start.0) << size.bits()).unwrap_or(0);
        let len = usize::try_from(run.len << size.bits()).unwrap_or(usize::MAX);
        let to = from.saturating_add(len).min(self.bytes.len());
        Ok(&mut self.bytes[from..to])
    }

    fn holds(&self, image: &Image, blk: BlockNr) -> bool {
        let n = (self.bytes.len() >> image.size.bits()) as u64;
        (self.start.0..self.start.0 + n).contains(&blk.0)
    }

    /// Reads blocks; there is nothing in the window when they cannot be read.
    fn fill(&mut self, image: &Image, run: BlockRange) -> Result<()> {
        self.start = run.start;
        let result = image.read_run_into(run, &mut self.bytes);
        if result.is_err() {
            self.bytes.clear();
        }
        result
    }
}
