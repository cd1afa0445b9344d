//! Where the blocks of a log are, and the ring that they form.
//!
//! A log block is a number from 0 (`log block`); what lies behind it is a block of the filesystem
//! for a log in an inode, or the block with the same number of an external device.

use crate::{Error, Result};
use ext4_blockdev::BlockDevice;
use ext4_ondisk::{
    Corrupt,
    jbd2::{Damage, JournalSuperblock, SUPERBLOCK_LEN, SUPERBLOCK_MUTABLE_LEN},
};
use ext4_units::{BlockNr, BlockRange, BlockSize};
use std::sync::Arc;

/// Where the blocks of a log are.
#[derive(Clone, Debug)]
pub struct Log {
    place: Place,
}

#[derive(Clone, Debug)]
enum Place {
    /// Runs of the filesystem's own blocks: in log order, each with the log block it begins at, and
    /// ordered by block.
    Internal { runs: Vec<(u64, BlockRange)>, sorted: Vec<BlockRange>, len: u64 },
    /// A device of its own.
    External { device: Arc<dyn BlockDevice>, len: u64 },
}

impl Log {
    /// A log in an inode of the filesystem: the blocks of that file, in order, none missing.
    pub fn internal(ranges: Vec<BlockRange>) -> Self {
        let mut len = 0u64;
        let mut runs: Vec<(u64, BlockRange)> = Vec::with_capacity(ranges.len());
        for range in ranges.into_iter().filter(|it| it.len > 0) {
            match runs.last_mut() {
                Some((_, last)) if last.end() == range.start => last.len += range.len,
                _ => runs.push((len, range)),
            }
            len = len.saturating_add(range.len);
        }
        let mut sorted: Vec<_> = runs.iter().map(|run| run.1).collect();
        sorted.sort_unstable();
        // A damaged inode may name a block twice.
        sorted.dedup_by(|next, kept| {
            let do_touch = next.start <= kept.end();
            if do_touch {
                let end = kept.end().max(next.end());
                kept.len = end.0 - kept.start.0;
            }
            do_touch
        });
        Self { place: Place::Internal { runs, sorted, len } }
    }

    /// A log on a device of its own, which has `len` blocks according to the ext4 superblock on it
    /// (INCOMPAT `journal_dev`). Log blocks are that device's blocks, `jbd2_journal_bmap`.
    pub fn external(device: Arc<dyn BlockDevice>, len: u64) -> Self {
        Self { place: Place::External { device, len } }
    }

    /// Number of blocks that the file or device has; `s_maxlen` may not be more.
    pub const fn len(&self) -> u64 {
        match self.place {
            Place::Internal { len, .. } | Place::External { len, .. } => len,
        }
    }

    /// Whether it has no blocks at all.
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether the log is on a device of its own: the filesystem's device must then be flushed before
    /// a commit record is written.
    pub const fn is_external(&self) -> bool {
        matches!(self.place, Place::External { .. })
    }

    /// The log block of the journal superblock: 0, or on an external device the one after the block
    /// with the ext4 superblock.
    pub const fn superblock_at(&self, block_size: BlockSize) -> u32 {
        match self.place {
            Place::Internal { .. } => 0,
            Place::External { .. } => 1024 / block_size.bytes() + 1,
        }
    }

    /// The device that the log is on, when the filesystem is on `fs`.
    pub fn device<'a>(&'a self, fs: &'a dyn BlockDevice) -> &'a dyn BlockDevice {
        match &self.place {
            Place::Internal { .. } => fs,
            Place::External { device, .. } => &**device,
        }
    }

    /// The block of [`device`](Self::device) that holds log block `at`; `None` beyond the log.
    pub fn block(&self, at: u32) -> Option<BlockNr> {
        Some(self.run(at)?.start)
    }

    /// The longest run of the device's blocks that begins with log block `at`.
    fn run(&self, at: u32) -> Option<BlockRange> {
        let at = u64::from(at);
        match &self.place {
            Place::Internal { runs, .. } => {
                let (from, range) =
                    runs.get(runs.partition_point(|run| run.0 <= at).checked_sub(1)?)?;
                let skip = at - from;
                let len = range.len.checked_sub(skip).filter(|&len| len > 0)?;
                Some(BlockRange::new(range.start.checked_add(skip)?, len))
            }
            Place::External { len, .. } => {
                Some(BlockRange::new(BlockNr(at), len.checked_sub(at).filter(|&len| len > 0)?))
            }
        }
    }

    /// Whether a block of the *filesystem* is one of the log's own.
    pub fn holds(&self, block: BlockNr) -> bool {
        match &self.place {
            Place::Internal { sorted, .. } => sorted
                .partition_point(|range| range.start <= block)
                .checked_sub(1)
                .and_then(|i| sorted.get(i))
                .is_some_and(|range| range.contains(block)),
            Place::External { .. } => false,
        }
    }

    /// Calls `each` for the pieces of `len` bytes from log block `at`: device byte, offset in the
    /// buffer, length.
    fn pieces(
        &self,
        size: BlockSize,
        at: u32,
        len: usize,
        mut each: impl FnMut(u64, std::ops::Range<usize>) -> ext4_blockdev::Result<()>,
    ) -> Result<()> {
        let mut done = 0;
        let mut at = at;
        while done < len {
            let run = self.run(at).ok_or(Error::BeyondLog { at, len: self.len() })?;
            let byte = run.start.checked_byte(size).ok_or(Error::OutOfRange { blk: run.start })?;
            let left = len - done;
            let blocks = run.len.min(size.blocks_for(left as u64));
            let blocks = u32::try_from(blocks).unwrap_or(u32::MAX);
            let n = usize::try_from(u64::from(blocks) << size.bits()).unwrap_or(left).min(left);
            each(byte, done..done + n).map_err(|source| Error::Io { blk: run.start, source })?;
            done += n;
            at = at.saturating_add(blocks);
        }
        Ok(())
    }

    /// Fills `buf` with the log's bytes from the start of log block `at`, over as many blocks as it
    /// takes; does not wrap.
    pub fn read(
        &self,
        fs: &dyn BlockDevice,
        size: BlockSize,
        at: u32,
        buf: &mut [u8],
    ) -> Result<()> {
        let device = self.device(fs);
        let len = buf.len();
        self.pieces(size, at, len, |byte, part| device.read_at(byte, &mut buf[part]))
    }

    /// Writes `buf` from the start of log block `at`, over as many blocks as it takes; does not wrap.
    pub fn write(&self, fs: &dyn BlockDevice, size: BlockSize, at: u32, buf: &[u8]) -> Result<()> {
        let device = self.device(fs);
        self.pieces(size, at, buf.len(), |byte, part| device.write_at(byte, &buf[part]))
    }

    /// Reads and checks the journal superblock. A device that several filesystems share is refused,
    /// as `ext4_open_dev_journal` does.
    pub fn read_superblock(
        &self,
        fs: &dyn BlockDevice,
        size: BlockSize,
    ) -> Result<JournalSuperblock> {
        let mut bytes = [0; SUPERBLOCK_LEN];
        self.read(fs, size, self.superblock_at(size), &mut bytes)?;
        let superblock = JournalSuperblock::decode(&bytes, size, self.len())?;
        if self.is_external() && superblock.nr_users != 1 {
            let fault = format!("s_nr_users {}, expected 1", superblock.nr_users);
            return Err(Damage::invalid(Corrupt::new("journal superblock", fault)).into());
        }
        Ok(superblock)
    }

    /// Writes what may have changed in the journal superblock: its first sector, so that a crash
    /// leaves either the old or the new one. Not durable before a flush of
    /// [`device`](Self::device).
    pub fn write_superblock(&self, fs: &dyn BlockDevice, it: &JournalSuperblock) -> Result<()> {
        let bytes = it.encode();
        let size = it.block_size;
        self.write(fs, size, self.superblock_at(size), &bytes[..SUPERBLOCK_MUTABLE_LEN])
    }
}

/// The ring of log blocks that transactions go round: from `first` up to, not including, `end`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ring {
    /// `s_first`.
    pub first: u32,
    /// One past the last block, `j_last`.
    pub end: u32,
}

impl Ring {
    /// The ring of a log.
    pub const fn of(superblock: &JournalSuperblock) -> Self {
        Self { first: superblock.first, end: superblock.ring_end() }
    }

    /// Number of blocks.
    pub const fn len(self) -> u32 {
        self.end.saturating_sub(self.first)
    }

    /// Never for the ring of a checked superblock.
    pub const fn is_empty(self) -> bool {
        self.len() == 0
    }

    /// The block `n` after `at`, going round. `at` lies in the ring.
    #[must_use]
    pub fn advance(self, at: u32, n: u32) -> u32 {
        let len = u64::from(self.len().max(1));
        let offset = (u64::from(at.saturating_sub(self.first)) + u64::from(n)) % len;
        self.first + u32::try_from(offset).expect("less than the ring's length")
    }

    /// The block after `at`.
    #[must_use]
    pub fn next(self, at: u32) -> u32 {
        self.advance(at, 1)
    }

    /// How many blocks from `from` on it takes to come to `to`: 0 when they are the same.
    pub const fn distance(self, from: u32, to: u32) -> u32 {
        if to >= from { to - from } else { self.len() - (from - to) }
    }

    /// How many blocks there are from `at` to the place where the ring wraps.
    pub const fn until_wrap(self, at: u32) -> u32 {
        self.end.saturating_sub(at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ext4_blockdev::MemoryDevice;

    const SIZE: BlockSize = BlockSize::MIN;

    #[test]
    fn a_ring_goes_round_at_its_end() {
        let ring = Ring { first: 3, end: 10 };
        assert_eq!(ring.len(), 7);
        assert_eq!(ring.next(9), 3);
        assert_eq!(ring.advance(8, 7), 8);
        assert_eq!(ring.advance(4, u32::MAX), 7); // 2^32 % 7 = 4 from the first
        assert_eq!(ring.distance(8, 4), 3);
        assert_eq!(ring.distance(4, 8), 4);
        assert_eq!(ring.until_wrap(8), 2);
    }

    #[test]
    fn a_log_in_pieces_is_read_and_written_as_one() {
        let runs = [(20, 2), (22, 1), (5, 3)];
        let log = Log::internal(runs.map(|(at, n)| BlockRange::new(BlockNr(at), n)).to_vec());
        assert_eq!(log.len(), 6);
        let blocks: Vec<_> = (0..7).map(|at| log.block(at).map(|it| it.0)).collect();
        assert_eq!(blocks, [Some(20), Some(21), Some(22), Some(5), Some(6), Some(7), None]);
        assert!(log.holds(BlockNr(6)) && !log.holds(BlockNr(8)));

        let dev = MemoryDevice::new(vec![0; 30 * 1024]);
        let data: Vec<u8> = (0..4 * 1024 + 10).map(|i: u32| i.to_le_bytes()[1]).collect();
        log.write(&dev, SIZE, 1, &data).unwrap();
        let mut back = vec![0; data.len()];
        log.read(&dev, SIZE, 1, &mut back).unwrap();
        assert_eq!(back, data);
        assert_eq!(dev.contents()[5 * 1024..7 * 1024], data[2048..4096]);
        assert!(matches!(
            log.read(&dev, SIZE, 5, &mut back),
            Err(Error::BeyondLog { at: 6, len: 6 })
        ));
    }

    #[test]
    fn an_external_log_has_its_superblock_behind_the_ext4_one() {
        let dev: Arc<dyn BlockDevice> = Arc::new(MemoryDevice::new(vec![0; 8192]));
        let log = Log::external(dev, 8);
        assert_eq!(log.superblock_at(SIZE), 2);
        assert_eq!(log.superblock_at(BlockSize::from_bytes(4096).unwrap()), 1);
        assert_eq!(log.block(7), Some(BlockNr(7)));
        assert_eq!(log.block(8), None);
    }
}
