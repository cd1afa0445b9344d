//! Extent headers, index entries, extents and the tail of a node.
//!
//! One node's bytes and one entry's meaning; what makes a whole tree valid is said where trees are
//! walked. Facts from the kernel's `ext4_extents.h` and `Documentation/filesystems/ext4/ifork.rst`.

use crate::checksum::Csum;
use ext4_units::{BlockNr, BlockRange, BlockSize, LogicalBlock};
use std::borrow::Cow;
use zerocopy::{
    FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned,
    little_endian::{U16, U32},
};

/// `EXT4_EXT_MAGIC`, in the header of each node.
pub const MAGIC: u16 = 0xF30A;
/// Bytes of `i_block`, which holds the root node.
pub const ROOT_LEN: usize = 60;
/// Entries that fit into the root.
pub const ROOT_MAX: u16 = 4;
/// The deepest tree the kernel reads or writes, `EXT4_MAX_EXTENT_DEPTH`.
pub const MAX_DEPTH: u16 = 5;
/// Blocks in the longest written extent, `EXT_INIT_MAX_LEN`.
pub const MAX_WRITTEN_LEN: u32 = 1 << 15;
/// Blocks in the longest unwritten extent, `EXT_UNWRITTEN_MAX_LEN`.
pub const MAX_UNWRITTEN_LEN: u32 = MAX_WRITTEN_LEN - 1;
/// Physical blocks are 48 bits wide: the first number that does not fit.
pub const PHYSICAL_END: u64 = 1 << 48;

/// The header of a node, `struct ext4_extent_header`.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct RawExtentHeader {
    /// [`MAGIC`].
    pub eh_magic: U16,
    /// Entries in use.
    pub eh_entries: U16,
    /// Entries that fit; the tail's checksum lies behind that many.
    pub eh_max: U16,
    /// Levels below this node: 0 is a leaf.
    pub eh_depth: U16,
    /// Used by Lustre, kept as found.
    pub eh_generation: U32,
}
const _: () = assert!(size_of::<RawExtentHeader>() == 12);

/// An entry of an index node, `struct ext4_extent_idx`.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct RawExtentIdx {
    /// First logical block below.
    pub ei_block: U32,
    /// The child's block, low 32 bits.
    pub ei_leaf_lo: U32,
    /// The child's block, high 16 bits.
    pub ei_leaf_hi: U16,
    /// Kept as found.
    pub ei_unused: U16,
}
const _: () = assert!(size_of::<RawExtentIdx>() == 12);

/// An entry of a leaf, `struct ext4_extent`.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct RawExtent {
    /// First logical block.
    pub ee_block: U32,
    /// 1..=32768: written, so long. 32769..=65535: unwritten, longer than real by 32768.
    pub ee_len: U16,
    /// First physical block, high 16 bits.
    pub ee_start_hi: U16,
    /// First physical block, low 32 bits.
    pub ee_start_lo: U32,
}
const _: () = assert!(size_of::<RawExtent>() == 12);

const HEADER_LEN: usize = size_of::<RawExtentHeader>();
const ENTRY_LEN: usize = size_of::<RawExtent>();

/// Entries that fit into a node of one block, `ext4_ext_space_block`: 84 with 1 KiB, 340 with 4 KiB.
#[expect(clippy::cast_possible_truncation, reason = "at most 65524 / 12 = 5460")]
pub const fn node_max(size: BlockSize) -> u16 {
    ((size.len() - HEADER_LEN) / ENTRY_LEN) as u16
}

/// Where a node's tail, the checksum, lies: behind `eh_max` entries, whatever the block size.
pub const fn tail_offset(eh_max: u16) -> usize {
    HEADER_LEN + ENTRY_LEN * eh_max as usize
}

/// A node's checksum as stored in its tail; `None` when the tail lies outside the block.
pub fn stored_checksum(block: &[u8], eh_max: u16) -> Option<u32> {
    let tail = block.get(tail_offset(eh_max)..)?.first_chunk()?;
    Some(u32::from_le_bytes(*tail))
}

/// The checksum a node should have, `ext4_extent_block_csum`: from the inode's seed, over header and
/// all `eh_max` entries, used or not. `None` when they do not fit into the block.
pub fn checksum(inode_seed: Csum, block: &[u8], eh_max: u16) -> Option<u32> {
    Some(inode_seed.over(block.get(..tail_offset(eh_max))?).0)
}

/// Stores the right checksum in a node's tail. Does nothing when the tail lies outside the block.
pub fn set_checksum(inode_seed: Csum, block: &mut [u8], eh_max: u16) {
    if let Some(sum) = checksum(inode_seed, block, eh_max)
        && let Some(tail) = block.get_mut(tail_offset(eh_max)..).and_then(|it| it.get_mut(..4))
    {
        tail.copy_from_slice(&sum.to_le_bytes());
    }
}

/// The root of an empty tree, `ext4_ext_tree_init`.
pub fn empty_root() -> [u8; ROOT_LEN] {
    let mut root = [0; ROOT_LEN];
    let header = RawExtentHeader {
        eh_magic: U16::new(MAGIC),
        eh_entries: U16::ZERO,
        eh_max: U16::new(ROOT_MAX),
        eh_depth: U16::ZERO,
        eh_generation: U32::ZERO,
    };
    root[..HEADER_LEN].copy_from_slice(header.as_bytes());
    root
}

impl RawExtentIdx {
    /// The child's block.
    pub fn leaf(&self) -> BlockNr {
        BlockNr(u64::from(self.ei_leaf_hi.get()) << 32 | u64::from(self.ei_leaf_lo.get()))
    }
}

impl RawExtent {
    /// The real length in blocks; 0 is not valid.
    pub fn len(&self) -> u32 {
        match u32::from(self.ee_len.get()) {
            len @ 0..=MAX_WRITTEN_LEN => len,
            len => len - MAX_WRITTEN_LEN,
        }
    }

    /// Whether the extent is empty, which no valid one is.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether the extent is allocated but reads as zeros.
    pub fn is_unwritten(&self) -> bool {
        u32::from(self.ee_len.get()) > MAX_WRITTEN_LEN
    }

    /// First physical block.
    pub fn start(&self) -> BlockNr {
        BlockNr(u64::from(self.ee_start_hi.get()) << 32 | u64::from(self.ee_start_lo.get()))
    }
}

/// A checked extent: `len` blocks of a file, from `lblk`, at `start`.
///
/// Not empty, not longer than its state allows, and it ends at or before logical block 2^32 - 1,
/// which no extent holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// First logical block.
    pub lblk: LogicalBlock,
    /// Length in blocks.
    pub len: u32,
    /// First physical block.
    pub start: BlockNr,
    /// Allocated, but reads as zeros.
    pub unwritten: bool,
}

impl Extent {
    /// The extent the bytes describe; else what is wrong with them (`ext4_valid_extent`).
    pub fn from_raw(raw: &RawExtent) -> Result<Self, Cow<'static, str>> {
        let extent = Self {
            lblk: LogicalBlock(raw.ee_block.get()),
            len: raw.len(),
            start: raw.start(),
            unwritten: raw.is_unwritten(),
        };
        if extent.len == 0 {
            return Err(format!("extent of logical block {} has length 0", extent.lblk).into());
        }
        if extent.lblk.checked_add(extent.len).is_none() {
            let Self { lblk, len, .. } = extent;
            return Err(format!(
                "extent of {len} blocks from logical block {lblk} ends beyond 4294967294"
            )
            .into());
        }
        Ok(extent)
    }

    /// The bytes of this extent.
    pub fn to_raw(&self) -> RawExtent {
        debug_assert!((1..=Self::max_len(self.unwritten)).contains(&self.len));
        let flag = if self.unwritten { MAX_WRITTEN_LEN } else { 0 };
        let len =
            u16::try_from(self.len + flag).expect("an extent is not longer than its state allows");
        let (ee_start_lo, ee_start_hi) = split48(self.start);
        RawExtent {
            ee_block: U32::new(self.lblk.0),
            ee_len: U16::new(len),
            ee_start_hi,
            ee_start_lo,
        }
    }

    /// The longest extent of a state, in blocks.
    pub const fn max_len(unwritten: bool) -> u32 {
        if unwritten { MAX_UNWRITTEN_LEN } else { MAX_WRITTEN_LEN }
    }

    /// The logical block just past the extent.
    pub const fn end(&self) -> u32 {
        self.lblk.0.saturating_add(self.len)
    }

    /// Whether `lblk` is one of the extent's blocks.
    pub const fn contains(&self, lblk: LogicalBlock) -> bool {
        lblk.0 >= self.lblk.0 && lblk.0 < self.end()
    }

    /// The physical blocks.
    pub const fn blocks(&self) -> BlockRange {
        BlockRange::new(self.start, self.len as u64)
    }

    /// The part of the extent within the logical blocks `from..to`; `None` when there is none.
    #[must_use]
    pub fn within(&self, from: u32, to: u32) -> Option<Self> {
        let from = from.max(self.lblk.0);
        let to = to.min(self.end());
        (from < to).then(|| Self {
            lblk: LogicalBlock(from),
            len: to - from,
            start: self.start.plus(u64::from(from - self.lblk.0)),
            unwritten: self.unwritten,
        })
    }

    /// Whether `next` continues this extent and the two may be one: same state, adjacent in the file
    /// and on the disk, together not too long (`ext4_can_extents_be_merged`).
    pub fn can_merge(&self, next: &Self) -> bool {
        self.unwritten == next.unwritten
            && self.end() == next.lblk.0
            && self.blocks().end() == next.start
            && self.len + next.len <= Self::max_len(self.unwritten)
    }
}

/// A checked index entry: the child which holds the logical blocks from `lblk` on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Index {
    /// First logical block below, the child's own first key.
    pub lblk: LogicalBlock,
    /// The child's block.
    pub child: BlockNr,
    /// The unused half word, kept as found.
    pub unused: u16,
}

impl Index {
    /// The entry the bytes describe. Whether the child's block is a legal one is not known here.
    pub fn from_raw(raw: &RawExtentIdx) -> Self {
        Self {
            lblk: LogicalBlock(raw.ei_block.get()),
            child: raw.leaf(),
            unused: raw.ei_unused.get(),
        }
    }

    /// The bytes of this entry.
    pub fn to_raw(&self) -> RawExtentIdx {
        let (ei_leaf_lo, ei_leaf_hi) = split48(self.child);
        RawExtentIdx {
            ei_block: U32::new(self.lblk.0),
            ei_leaf_lo,
            ei_leaf_hi,
            ei_unused: U16::new(self.unused),
        }
    }
}

/// A 48-bit block number as its low 32 and high 16 bits.
#[expect(clippy::cast_possible_truncation, reason = "the number is cut into its halves here")]
fn split48(blk: BlockNr) -> (U32, U16) {
    debug_assert!(blk.0 < PHYSICAL_END);
    (U32::new(blk.0 as u32), U16::new((blk.0 >> 32) as u16))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(lblk: u32, len: u16, start: u64) -> RawExtent {
        let (ee_start_lo, ee_start_hi) = split48(BlockNr(start));
        RawExtent { ee_block: U32::new(lblk), ee_len: U16::new(len), ee_start_hi, ee_start_lo }
    }

    fn extent(lblk: u32, len: u32, start: u64, unwritten: bool) -> Extent {
        Extent { lblk: LogicalBlock(lblk), len, start: BlockNr(start), unwritten }
    }

    #[test]
    fn length_32768_is_written_and_one_more_is_one_unwritten_block() {
        let full = Extent::from_raw(&raw(0, 32768, 100)).unwrap();
        assert_eq!((full.len, full.unwritten), (32768, false));
        let one = Extent::from_raw(&raw(0, 32769, 100)).unwrap();
        assert_eq!((one.len, one.unwritten), (1, true));
        let longest = Extent::from_raw(&raw(0, 65535, 100)).unwrap();
        assert_eq!((longest.len, longest.unwritten), (32767, true));
        for it in [full, one, longest] {
            assert_eq!(Extent::from_raw(&it.to_raw()).unwrap(), it);
        }
    }

    #[test]
    fn physical_blocks_have_48_bits() {
        let high = Extent::from_raw(&raw(7, 1, 0xABCD_1234_5678)).unwrap();
        assert_eq!(high.start, BlockNr(0xABCD_1234_5678));
        assert_eq!(high.to_raw().as_bytes(), raw(7, 1, 0xABCD_1234_5678).as_bytes());
        let index = Index { lblk: LogicalBlock(7), child: BlockNr(0xABCD_1234_5678), unused: 9 };
        assert_eq!(Index::from_raw(&index.to_raw()), index);
    }

    #[test]
    fn empty_and_wrapping_extents_are_refused() {
        assert!(Extent::from_raw(&raw(0, 0, 100)).is_err());
        assert!(Extent::from_raw(&raw(0xFFFF_FFFF, 1, 100)).is_err());
        assert!(Extent::from_raw(&raw(0xFFFF_FFFE, 1, 100)).is_ok());
    }

    #[test]
    fn extents_merge_up_to_their_longest_length() {
        let merge = |a: u32, b: u32, unwritten| {
            extent(0, a, 100, unwritten).can_merge(&extent(a, b, 100 + u64::from(a), unwritten))
        };
        assert!(!merge(32767, 1, true));
        assert!(merge(32766, 1, true));
        assert!(merge(32767, 1, false));
        assert!(!merge(32768, 1, false));
        assert!(!extent(0, 1, 100, false).can_merge(&extent(1, 1, 101, true)), "states differ");
        assert!(!extent(0, 1, 100, false).can_merge(&extent(1, 1, 102, false)), "gap on the disk");
        assert!(!extent(0, 1, 100, false).can_merge(&extent(2, 1, 101, false)), "gap in the file");
    }

    #[test]
    fn the_tail_fits_behind_a_full_node_of_every_block_size() {
        for bits in 10..=16 {
            let size = BlockSize::from_bits(bits).unwrap();
            assert!(tail_offset(node_max(size)) + 4 <= size.len());
        }
        assert_eq!(node_max(BlockSize::from_bytes(1024).unwrap()), 84);
        assert_eq!(node_max(BlockSize::from_bytes(4096).unwrap()), 340);
    }

    #[test]
    fn the_checksum_lies_behind_eh_max_entries() {
        let mut block = vec![0; 1024];
        set_checksum(Csum::START, &mut block, 3);
        assert_eq!(stored_checksum(&block, 3), Some(Csum::START.over(&[0; 48]).0));
        assert_eq!(stored_checksum(&block, 84), Some(0));
        assert_eq!(stored_checksum(&block, 85), None);
        assert_eq!(checksum(Csum::START, &block, 85), None);
    }
}
