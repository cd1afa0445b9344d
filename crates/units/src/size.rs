//! The block size: a power of two by construction.

use std::fmt;

/// The size of a filesystem block in bytes: a power of two from 1 KiB to 64 KiB.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BlockSize {
    bits: u8,
}

impl BlockSize {
    /// 1 KiB, the smallest.
    pub const MIN: Self = Self { bits: 10 };
    /// 64 KiB, the largest.
    pub const MAX: Self = Self { bits: 16 };

    /// From the logarithm; `None` outside 10..=16.
    pub const fn from_bits(bits: u32) -> Option<Self> {
        match bits {
            10 => Some(Self { bits: 10 }),
            11 => Some(Self { bits: 11 }),
            12 => Some(Self { bits: 12 }),
            13 => Some(Self { bits: 13 }),
            14 => Some(Self { bits: 14 }),
            15 => Some(Self { bits: 15 }),
            16 => Some(Self { bits: 16 }),
            _ => None,
        }
    }

    /// From bytes; `None` unless a power of two from 1024 to 65536.
    pub const fn from_bytes(bytes: u32) -> Option<Self> {
        if !bytes.is_power_of_two() {
            return None;
        }
        Self::from_bits(bytes.trailing_zeros())
    }

    /// Bytes in a block.
    pub const fn bytes(self) -> u32 {
        1 << self.bits
    }

    /// Bytes in a block, as a length in memory.
    pub const fn len(self) -> usize {
        1 << self.bits
    }

    /// Never: a block has at least 1024 bytes.
    pub const fn is_empty(self) -> bool {
        false
    }

    /// log2 of the size.
    pub const fn bits(self) -> u32 {
        self.bits as u32
    }

    /// `offset` rounded down to a block's start.
    pub const fn round_down(self, offset: u64) -> u64 {
        offset >> self.bits << self.bits
    }

    /// `offset` rounded up to a block's start; saturates near 2^64.
    pub const fn round_up(self, offset: u64) -> u64 {
        self.round_down(offset.saturating_add(self.bytes() as u64 - 1))
    }

    /// The offset inside its block.
    #[expect(clippy::cast_possible_truncation, reason = "masked to at most 16 bits")]
    pub const fn within(self, offset: u64) -> u32 {
        (offset & (self.bytes() as u64 - 1)) as u32
    }

    /// How many blocks `bytes` take, rounded up.
    pub const fn blocks_for(self, bytes: u64) -> u64 {
        (bytes >> self.bits) + (self.within(bytes) != 0) as u64
    }
}

impl fmt::Display for BlockSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.bytes().fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounding_goes_the_way_its_name_says() {
        let size = BlockSize::from_bytes(4096).unwrap();
        assert_eq!(size.round_down(4097), 4096);
        assert_eq!(size.round_up(4097), 8192);
        assert_eq!(size.round_up(4096), 4096);
        assert_eq!(size.within(4097), 1);
        assert_eq!(size.blocks_for(0), 0);
        assert_eq!(size.blocks_for(4097), 2);
        assert_eq!(BlockSize::from_bytes(3000), None);
        assert_eq!(BlockSize::from_bytes(512), None);
    }
}
