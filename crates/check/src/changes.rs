//! What a check changed, and how it comes to the device: in an order in which a cut leaves nothing
//! that a second run would not mend in the same way.

use crate::{Outcome, Result};
use ext4_blockdev::{BlockDevice, Overlay};
use ext4_ondisk::superblock::{RawSuperblock, State};
use std::ops::Range;
use zerocopy::{FromZeros as _, IntoBytes as _};

/// Bytes of a piece that reaches the device whole or not at all.
pub(crate) const SECTOR: u64 = 512;
/// Most bytes that are written at once.
const CHUNK: usize = 1 << 20;

/// The bytes that differ between an overlay and the device below it.
#[derive(Clone, Debug)]
pub struct Changes<'o> {
    overlay: &'o Overlay,
    /// Runs of sectors that differ, by byte, in order: those in blocks that nothing on the device uses,
    /// and the others. The sectors of the superblock are in neither.
    fresh: Vec<Range<u64>>,
    others: Vec<Range<u64>>,
    superblock: bool,
}

impl<'o> Changes<'o> {
    /// What `overlay` holds that `device` does not. `outcome` is of the check that made it.
    ///
    /// # Errors
    /// [`Error::Device`](crate::Error::Device).
    pub fn new(overlay: &'o Overlay, device: &dyn BlockDevice, outcome: &Outcome) -> Result<Self> {
        let mut changes =
            Self { overlay, fresh: Vec::new(), others: Vec::new(), superblock: false };
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
            let list = if outcome.is_fresh(at) { &mut changes.fresh } else { &mut changes.others };
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
    pub const fn is_empty(&self) -> bool {
        self.fresh.is_empty() && self.others.is_empty() && !self.superblock
    }

    /// All runs that will be written, by byte, in order.
    pub fn runs(&self) -> Vec<Range<u64>> {
        let mut runs = self.fresh.clone();
        runs.extend(self.others.iter().cloned());
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

    /// Writes everything, each step durable before the next. Gives the bytes that were written.
    ///
    /// # Errors
    /// [`Error::Device`](crate::Error::Device); a second check mends what is left.
    pub fn write(&self, device: &dyn BlockDevice) -> Result<u64> {
        if self.is_empty() {
            return Ok(0);
        }
        let mut written = mark(device)?;
        // Cut here: as before, but known not to be in order.
        device.flush()?;
        written += self.put(device, &self.fresh)?;
        // Cut here: blocks that nobody uses yet have new contents.
        device.flush()?;
        written += self.put(device, &self.others)?;
        // Cut inside: each block is as it was, or as it will be. What moves from one block to another
        // was written to a fresh one before, so a second run finds it in at least one of both.
        device.flush()?;
        let place = superblock_sectors();
        device.write_at(place.start, &self.read(&place)?)?;
        device.flush()?;
        Ok(written + (place.end - place.start))
    }

    fn put(&self, device: &dyn BlockDevice, runs: &[Range<u64>]) -> Result<u64> {
        let mut written = 0;
        for run in runs {
            device.write_at(run.start, &self.read(run)?)?;
            written += run.end - run.start;
        }
        Ok(written)
    }
}

const fn superblock_sectors() -> Range<u64> {
    RawSuperblock::OFFSET..RawSuperblock::OFFSET + RawSuperblock::SIZE as u64
}

/// Sets the state that makes everybody check again, if there is a superblock that says otherwise.
fn mark(device: &dyn BlockDevice) -> Result<u64> {
    let mut raw = RawSuperblock::new_zeroed();
    device.read_at(RawSuperblock::OFFSET, raw.as_mut_bytes())?;
    let is_one = raw.s_magic.get() == RawSuperblock::MAGIC
        && (!raw.has_checksum() || raw.s_checksum.get() == raw.checksum());
    if !is_one {
        return Ok(0);
    }
    raw.s_state.set(raw.s_state.get() & !State::VALID.bits() | State::ERROR.bits());
    raw.update_checksum();
    device.write_at(RawSuperblock::OFFSET, raw.as_bytes())?;
    Ok(RawSuperblock::SIZE as u64)
}
