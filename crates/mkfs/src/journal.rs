//! The journal: how large, and its superblock.

use crate::{
    error::{Error, Result, conflict},
    options::Journal,
    shape::Shape,
};
use ext4_ondisk::{
    features::Compat,
    jbd2::{JournalCompat, JournalIncompat, JournalSuperblock, MIN_LOG_BLOCKS},
};

/// The log has so many times the blocks of its fast-commit area.
pub(crate) const FAST_COMMIT_RATIO: u64 = 64;
/// Beyond this a log only costs time to replay.
const MAX_BLOCKS: u64 = 10_240_000;

/// Blocks of a log and of the fast-commit area behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Size {
    pub(crate) blocks: u64,
    pub(crate) fast_commit: u64,
}

impl Size {
    pub(crate) const fn total(self) -> u64 {
        self.blocks + self.fast_commit
    }
}

const KI: u64 = 1024;
/// Blocks of a filesystem from which on another log goes with it.
pub(crate) const STEPS: [u64; 8] =
    [2 * KI, 32 * KI, 256 * KI, 512 * KI, 4096 * KI, 8192 * KI, 16384 * KI, 32768 * KI];
/// The log from each step on.
const LOGS: [u64; 8] = [KI, 4 * KI, 8 * KI, 16 * KI, 32 * KI, 64 * KI, 128 * KI, 256 * KI];

/// The log that goes with a filesystem of so many blocks; 0 for none
/// (`ext2fs_default_journal_size`).
fn default_blocks(blocks: u64) -> u64 {
    STEPS.iter().zip(LOGS).rfind(|(from, _)| blocks >= **from).map_or(0, |(_, log)| log)
}

/// The size of this filesystem's log; 0 blocks where it is too small for one.
pub(crate) fn size(shape: &Shape, journal: &Journal) -> Result<Size> {
    let block = u64::from(shape.geo.block_size.bytes());
    let in_blocks = |mib: u32| (u64::from(mib) << 20) / block;
    let blocks = journal.mib.map_or_else(|| default_blocks(shape.geo.blocks_count), in_blocks);
    if blocks == 0 && journal.mib.is_none() {
        return Ok(Size { blocks: 0, fast_commit: 0 });
    }
    let fast_commit = match journal.fast_commit_kib {
        Some(kib) => (u64::from(kib) << 10) / block,
        None if shape.sb.features.has_compat(Compat::FAST_COMMIT) => blocks / FAST_COMMIT_RATIO,
        None => 0,
    };
    let size = Size { blocks, fast_commit };
    if blocks < u64::from(MIN_LOG_BLOCKS) || size.total() > MAX_BLOCKS {
        return conflict(format!(
            "a journal of {} blocks, expected {MIN_LOG_BLOCKS} to {MAX_BLOCKS} (of {block} bytes)",
            size.total()
        ));
    }
    if size.total() > shape.geo.blocks_count / 2 {
        return conflict(format!(
            "a journal of {} blocks is more than half of the filesystem's {}",
            size.total(),
            shape.geo.blocks_count
        ));
    }
    Ok(size)
}

/// The first block of the log: an empty one, with no feature yet, for the kernel sets those it
/// wants when it mounts.
pub(crate) fn superblock(shape: &Shape, size: Size) -> Result<Vec<u8>> {
    let number = |n: u64| u32::try_from(n).unwrap_or(u32::MAX);
    let features = (JournalCompat::empty(), JournalIncompat::empty());
    let raw = JournalSuperblock::new(
        shape.geo.block_size,
        number(size.total()),
        1,
        features,
        shape.sb.uuid,
        number(size.fast_commit),
    );
    let superblock = raw.map_err(|damage| Error::Unsound(damage.what))?;
    Ok(superblock.encode().to_vec())
}
