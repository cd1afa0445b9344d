//! The older block map: direct, indirect, double and triple.
//!
//! Where a logical block's pointer lies; not what it points at. `ext4_block_to_path` in the kernel.

use ext4_units::{BlockSize, LogicalBlock};

/// Pointers in `i_block`: 12 direct ones, then indirect, double, triple.
pub const ROOT_POINTERS: u32 = 15;
/// Direct pointers in `i_block`.
pub const N_DIRECT: u32 = 12;

/// Pointers in one block of pointers.
pub const fn per_block(size: BlockSize) -> u32 {
    size.bytes() / 4
}

/// The first logical block that the map cannot hold, at most 2^32 - 1.
pub fn end(size: BlockSize) -> u32 {
    let per = u64::from(per_block(size));
    let end = u64::from(N_DIRECT) + per + per * per + per * per * per;
    u32::try_from(end).unwrap_or(u32::MAX)
}

/// How many logical blocks one pointer stands for, `levels` blocks of pointers above the data.
pub fn span(size: BlockSize, levels: u32) -> u64 {
    u64::from(per_block(size)).pow(levels)
}

/// Where a logical block's pointer is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Path {
    slots: [u32; 4],
    /// Blocks of pointers on the way: 0 for a direct block, 3 for a triple one.
    pub levels: u32,
}

impl Path {
    /// The way to `lblk`; `None` when the map has no place for it.
    pub fn to(lblk: LogicalBlock, size: BlockSize) -> Option<Self> {
        if lblk.0 < N_DIRECT {
            return Some(Self { slots: [lblk.0, 0, 0, 0], levels: 0 });
        }
        let per = u64::from(per_block(size));
        let mut rest = u64::from(lblk.0 - N_DIRECT);
        for levels in 1..=3 {
            let held = span(size, levels);
            if rest >= held {
                rest -= held;
                continue;
            }
            let mut slots = [N_DIRECT + levels - 1, 0, 0, 0];
            for slot in slots[1..=levels as usize].iter_mut().rev() {
                *slot = u32::try_from(rest % per).expect("a remainder is less than the divisor");
                rest /= per;
            }
            return Some(Self { slots, levels });
        }
        None
    }

    /// The slot to follow in `i_block`, then in each block of pointers.
    pub fn slots(&self) -> &[u32] {
        &self.slots[..=self.levels as usize]
    }
}

/// The first logical block below a slot of `i_block`.
pub fn root_slot_start(slot: u32, size: BlockSize) -> u64 {
    match slot {
        0..N_DIRECT => u64::from(slot),
        _ => u64::from(N_DIRECT) + (1..=slot - N_DIRECT).map(|it| span(size, it)).sum::<u64>(),
    }
}

/// Blocks of pointers between a slot of `i_block` and the data.
pub const fn root_slot_levels(slot: u32) -> u32 {
    if slot < N_DIRECT { 0 } else { slot - N_DIRECT + 1 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(lblk: u64, bytes: u32) -> Option<Vec<u32>> {
        let lblk = LogicalBlock(u32::try_from(lblk).unwrap());
        Path::to(lblk, BlockSize::from_bytes(bytes).unwrap()).map(|it| it.slots().to_vec())
    }

    #[test]
    fn each_level_starts_where_the_one_before_ends() {
        assert_eq!(path(0, 1024), Some(vec![0]));
        assert_eq!(path(11, 1024), Some(vec![11]));
        assert_eq!(path(12, 1024), Some(vec![12, 0]));
        assert_eq!(path(12 + 255, 1024), Some(vec![12, 255]));
        assert_eq!(path(12 + 256, 1024), Some(vec![13, 0, 0]));
        assert_eq!(path(12 + 256 + 65535, 1024), Some(vec![13, 255, 255]));
        assert_eq!(path(12 + 256 + 65536, 1024), Some(vec![14, 0, 0, 0]));
        let last = 12 + 256 + 65536 + 16_777_216 - 1;
        assert_eq!(path(last, 1024), Some(vec![14, 255, 255, 255]));
        assert_eq!(path(last + 1, 1024), None);
        assert_eq!(u64::from(end(BlockSize::from_bytes(1024).unwrap())), last + 1);
    }

    #[test]
    fn big_blocks_hold_every_logical_block() {
        assert_eq!(path(0xFFFF_FFFE, 65536).unwrap()[0], 14);
        assert_eq!(end(BlockSize::MAX), u32::MAX);
    }

    #[test]
    fn slots_of_the_inode_start_where_their_paths_do() {
        for bytes in [1024, 4096, 65536] {
            let size = BlockSize::from_bytes(bytes).unwrap();
            for slot in 0..ROOT_POINTERS {
                let start = root_slot_start(slot, size);
                let found = Path::to(LogicalBlock(u32::try_from(start).unwrap()), size).unwrap();
                assert_eq!(found.slots()[0], slot);
                assert_eq!(found.levels, root_slot_levels(slot));
                assert!(found.slots()[1..].iter().all(|it| *it == 0));
            }
        }
    }
}
