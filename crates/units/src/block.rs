//! Physical block numbers and runs of them. Never a byte offset: that needs a [`BlockSize`].

use crate::BlockSize;
use std::fmt;

/// A physical block of the filesystem, counted in filesystem blocks from the start of the device.
///
/// On disk at most 48 bits (extents) or 64 bits (superblock, journal tags).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BlockNr(pub u64);

impl BlockNr {
    /// The byte where this block starts. `None` when that is beyond 2^64.
    pub const fn checked_byte(self, size: BlockSize) -> Option<u64> {
        self.0.checked_mul(size.bytes() as u64)
    }

    /// The byte where this block starts, for a block already known to lie inside the filesystem.
    pub const fn byte(self, size: BlockSize) -> u64 {
        self.0 << size.bits()
    }

    /// The block `n` further on. `None` on overflow.
    pub const fn checked_add(self, n: u64) -> Option<Self> {
        match self.0.checked_add(n) {
            Some(nr) => Some(Self(nr)),
            None => None,
        }
    }

    /// The block `n` further on, for ranges already known not to overflow.
    #[must_use]
    pub const fn plus(self, n: u64) -> Self {
        Self(self.0 + n)
    }
}

impl fmt::Display for BlockNr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A run of physical blocks: `start`, then `len` blocks. May be empty.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BlockRange {
    /// First block of the run.
    pub start: BlockNr,
    /// Number of blocks.
    pub len: u64,
}

impl BlockRange {
    /// The run of `len` blocks from `start`.
    pub const fn new(start: BlockNr, len: u64) -> Self {
        Self { start, len }
    }

    /// The block just past the run, saturating at the top of the number space.
    pub const fn end(self) -> BlockNr {
        BlockNr(self.start.0.saturating_add(self.len))
    }

    /// Whether `blk` is one of the run's blocks.
    pub const fn contains(self, blk: BlockNr) -> bool {
        blk.0 >= self.start.0 && blk.0 < self.end().0
    }

    /// Whether the two runs share a block.
    pub const fn overlaps(self, other: Self) -> bool {
        self.start.0 < other.end().0 && other.start.0 < self.end().0
    }

    /// Each block of the run, in order.
    pub fn iter(self) -> impl DoubleEndedIterator<Item = BlockNr> {
        (self.start.0..self.end().0).map(BlockNr)
    }
}

impl fmt::Display for BlockRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.len {
            1 => write!(f, "{}", self.start),
            _ => write!(f, "{}-{}", self.start, self.end().0.saturating_sub(1)),
        }
    }
}
