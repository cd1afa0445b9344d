//! What a check changed, and how it comes to the device: as one transaction of the filesystem's own
//! journal where that can be, else in an order in which a cut leaves nothing that a second run would
//! not mend in the same way.

mod ordered;
mod transaction;

use crate::{Outcome, Result, pass0::OwnJournal};
use ext4_blockdev::{BlockDevice, Overlay};
use ext4_ondisk::superblock::RawSuperblock;
use std::{ops::Range, sync::Arc};
use transaction::Transaction;

pub use ordered::mark_unsound;

/// Bytes of a piece that reaches the device whole or not at all.
pub(crate) const SECTOR: u64 = 512;
/// Most bytes that are written at once.
const CHUNK: usize = 1 << 20;

/// How changes came to the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// There were none.
    Nothing,
    /// As one transaction: whatever is cut, the image is as before or wholly repaired, once the
    /// journal is replayed.
    Transaction,
    /// In order, for this reason: what is cut, a second run completes.
    Ordered(&'static str),
}

/// The bytes that differ between an overlay and the device below it.
#[derive(Clone, Debug)]
pub struct Changes<'o> {
    overlay: &'o Overlay,
    /// Runs of sectors that differ, by byte, in order: those in blocks that nothing on the device uses,
    /// those in blocks of which copies were made, and the others. The sectors of the superblock are in
    /// none.
    fresh: Vec<Range<u64>>,
    others: Vec<Range<u64>>,
    sources: Vec<Range<u64>>,
    superblock: bool,
    journal: Option<OwnJournal>,
}

impl<'o> Changes<'o> {
    /// What `overlay` holds that `device` does not. `outcome` is of the check that made it.
    ///
    /// # Errors
    /// [`Error::Device`](crate::Error::Device).
    pub fn new(overlay: &'o Overlay, device: &dyn BlockDevice, outcome: &Outcome) -> Result<Self> {
        let journal = outcome.journal.clone();
        let mut changes = Self {
            overlay,
            fresh: Vec::new(),
            others: Vec::new(),
            sources: Vec::new(),
            superblock: false,
            journal,
        };
        let place = superblock_sectors();
        for at in overlay.written_sectors() {
            let end = (at + SECTOR).min(device.len());
            let len = usize::try_from(end - at).unwrap_or(0);
            let (mut old, mut new) = (vec![0; len], vec![0; len]);
            device.read_at(at, &mut old)?;
            overlay.read_at(at, &mut new)?;
            if old == new {
                continue;
            }
            if place.contains(&at) {
                changes.superblock = true;
                continue;
            }
            let list = if outcome.is_fresh(at) {
                &mut changes.fresh
            } else if outcome.is_source(at) {
                &mut changes.sources
            } else {
                &mut changes.others
            };
            match list.last_mut() {
                Some(last) if last.end == at && last.end - last.start < CHUNK as u64 => {
                    last.end = end;
                }
                _ => list.push(at..end),
            }
        }
        Ok(changes)
    }

    /// Whether nothing differs.
    pub fn is_empty(&self) -> bool {
        !self.superblock
            && [&self.fresh, &self.others, &self.sources].iter().all(|it| it.is_empty())
    }

    /// All runs that will be written, by byte, in order.
    pub fn runs(&self) -> Vec<Range<u64>> {
        let mut runs = self.fresh.clone();
        runs.extend(self.others.iter().chain(&self.sources).cloned());
        if !self.is_empty() {
            runs.push(superblock_sectors());
        }
        runs.sort_by_key(|it| it.start);
        runs
    }

    /// The bytes of a run as they will be.
    ///
    /// # Errors
    /// [`Error::Device`](crate::Error::Device).
    pub fn read(&self, run: &Range<u64>) -> Result<Vec<u8>> {
        let mut bytes = vec![0; usize::try_from(run.end - run.start).unwrap_or(0)];
        self.overlay.read_at(run.start, &mut bytes)?;
        Ok(bytes)
    }

    /// Writes everything. `now` is the time of what goes into the log.
    ///
    /// # Errors
    /// [`Error::Device`](crate::Error::Device); a second check mends what is left.
    pub fn write(&self, device: &Arc<dyn BlockDevice>, now: u64) -> Result<Way> {
        if self.is_empty() {
            return Ok(Way::Nothing);
        }
        match Transaction::plan(self, device, now)? {
            Ok(transaction) => {
                transaction.write(self, device)?;
                Ok(Way::Transaction)
            }
            Err(why) => self.write_in_order(&**device, why),
        }
    }

    /// Writes everything without a journal, each step durable before the next. `why` is the reason.
    ///
    /// # Errors
    /// [`Error::Device`](crate::Error::Device); a second check mends what is left.
    pub fn write_in_order(&self, device: &dyn BlockDevice, why: &'static str) -> Result<Way> {
        ordered::write(self, device)?;
        Ok(Way::Ordered(why))
    }

    fn put(&self, device: &dyn BlockDevice, runs: &[Range<u64>]) -> Result<()> {
        for run in runs {
            device.write_at(run.start, &self.read(run)?)?;
        }
        Ok(())
    }
}

const fn superblock_sectors() -> Range<u64> {
    RawSuperblock::OFFSET..RawSuperblock::OFFSET + RawSuperblock::SIZE as u64
}
