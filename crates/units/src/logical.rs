//! Logical block numbers: blocks of a file, counted from its start.

use crate::BlockSize;
use std::fmt;

/// A block of a file. `ext4_lblk_t`: 32 bits, and the last one, 0xFFFFFFFF, is never used
/// (`EXT_MAX_BLOCKS`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LogicalBlock(pub u32);

impl LogicalBlock {
    /// The highest logical block that can be mapped, `EXT4_MAX_LOGICAL_BLOCK`.
    pub const MAX: Self = Self(0xFFFF_FFFE);

    /// The file's byte where this block starts.
    pub const fn byte(self, size: BlockSize) -> u64 {
        (self.0 as u64) << size.bits()
    }

    /// The block which holds the file's byte `offset`; `None` beyond [`LogicalBlock::MAX`].
    pub fn of_byte(offset: u64, size: BlockSize) -> Option<Self> {
        let lblk = Self(u32::try_from(offset >> size.bits()).ok()?);
        (lblk <= Self::MAX).then_some(lblk)
    }

    /// The block `n` further on. `None` on overflow.
    pub const fn checked_add(self, n: u32) -> Option<Self> {
        match self.0.checked_add(n) {
            Some(nr) => Some(Self(nr)),
            None => None,
        }
    }
}

impl fmt::Display for LogicalBlock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
