//! The root and nodes of an indexed directory.
//!
//! An index block also parses as directory entries: the root as `.` and a `..` that covers the
//! rest, a node as one free record. Walking the tree and hashing names are done elsewhere.

use crate::{Corrupt, checksum::Csum};
use ext4_units::{BlockSize, InodeNr, LogicalBlock};
use zerocopy::{
    FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned,
    little_endian::{U16, U32},
};

/// `struct dx_root` up to its entries: `.` and `..` as fake entries, then the info.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct RawDxRoot {
    /// The entry of `.`: its inode.
    pub dot_inode: U32,
    /// 12.
    pub dot_rec_len: U16,
    /// 1.
    pub dot_name_len: u8,
    /// 2 with the filetype feature.
    pub dot_file_type: u8,
    /// `.` and padding.
    pub dot_name: [u8; 4],
    /// The entry of `..`: the parent's inode.
    pub dotdot_inode: U32,
    /// Block size less 12: covers the rest of the block.
    pub dotdot_rec_len: U16,
    /// 2.
    pub dotdot_name_len: u8,
    /// 2 with the filetype feature.
    pub dotdot_file_type: u8,
    /// `..` and padding.
    pub dotdot_name: [u8; 4],
    /// `struct dx_root_info`: zero.
    pub reserved_zero: U32,
    /// 0 legacy, 1 half MD4, 2 TEA, 6 siphash.
    pub hash_version: u8,
    /// Bytes of the info: 8.
    pub info_length: u8,
    /// Levels of nodes between the root and the leaves.
    pub indirect_levels: u8,
    /// Bit 0 set means a format nobody knows.
    pub unused_flags: u8,
}
const _: () = assert!(size_of::<RawDxRoot>() == 32);

/// `struct dx_node` up to its entries: one free record that covers the block.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct RawDxNode {
    /// Zero.
    pub fake_inode: U32,
    /// The block size, as `rec_len` says it.
    pub fake_rec_len: U16,
    /// Zero.
    pub fake_name_len: u8,
    /// Zero.
    pub fake_file_type: u8,
}
const _: () = assert!(size_of::<RawDxNode>() == 8);

/// `struct dx_entry`. In the first one of a block the hash's place holds limit and count
/// (`struct dx_countlimit`, two LE16).
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct RawDxEntry {
    /// The least hash below this entry; bit 0: hashes equal to it continue from the leaf before.
    pub hash: U32,
    /// Logical block of the node or leaf, in the low 28 bits.
    pub block: U32,
}
const _: () = assert!(size_of::<RawDxEntry>() == ENTRY_LEN);

/// `struct dx_tail`, after the last of `limit` entries, under metadata_csum.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct RawDxTail {
    /// Covered by the checksum, otherwise unused.
    pub dt_reserved: U32,
    /// crc32c from the inode's seed over the block to the end of `count` entries, `dt_reserved` and
    /// four zero bytes.
    pub dt_checksum: U32,
}
const _: () = assert!(size_of::<RawDxTail>() == TAIL_LEN);

const ENTRY_LEN: usize = 8;
const TAIL_LEN: usize = 8;
/// Where a root's entries start, `count_offset` in the kernel.
const ROOT_OFFSET: usize = 32;
/// Where a node's entries start.
const NODE_OFFSET: usize = 8;
/// The length of the root's info.
const INFO_LEN: u8 = 8;

/// Levels of index blocks, the root's included: 2 without INCOMPAT largedir, 3 with
/// (`ext4_dir_htree_level`).
pub const fn max_index_levels(has_largedir: bool) -> usize {
    if has_largedir { 3 } else { 2 }
}

/// The highest logical block an index entry can name.
pub const MAX_BLOCK: LogicalBlock = LogicalBlock(0x0FFF_FFFF);

/// One entry of an index block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DxEntry {
    /// The least hash found below, with the continuation bit in bit 0. 0 for a block's first entry,
    /// which has none.
    pub hash: u32,
    /// The node or leaf.
    pub block: LogicalBlock,
}

/// What only the root has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DxInfo {
    /// The hash version's byte; see [`crate::dir_hash::HashAlgorithm::from_raw`].
    pub hash_version: u8,
    /// Levels of nodes between the root and the leaves, at most 2.
    pub indirect_levels: u8,
}

/// An index block, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DxBlock {
    /// The root's info; `None` for a node.
    pub info: Option<DxInfo>,
    /// The entries, at least one and at most [`DxBlock::limit`].
    pub entries: Vec<DxEntry>,
    /// How many entries fit.
    pub limit: usize,
}

/// What an index block is checked against.
#[derive(Clone, Copy, Debug)]
pub struct DxContext {
    /// The directory.
    pub ino: InodeNr,
    /// The filesystem's block size.
    pub block_size: BlockSize,
    /// The directory inode's seed under metadata_csum.
    pub csum: Option<Csum>,
    /// INCOMPAT largedir.
    pub has_largedir: bool,
    /// Blocks the directory has; entries beyond are damage.
    pub n_blocks: u32,
}

impl DxContext {
    /// How many entries fit in the root (`dx_root_limit`).
    pub fn root_limit(&self) -> usize {
        self.limit_from(ROOT_OFFSET)
    }

    /// How many entries fit in a node (`dx_node_limit`).
    pub fn node_limit(&self) -> usize {
        self.limit_from(NODE_OFFSET)
    }

    fn limit_from(&self, offset: usize) -> usize {
        let tail = if self.csum.is_some() { TAIL_LEN } else { 0 };
        (self.block_size.len() - offset - tail) / ENTRY_LEN
    }

    fn place(&self, what: &str, lblk: LogicalBlock) -> String {
        format!("htree {what} in block {lblk} (inode {})", self.ino)
    }

    /// Reads logical block 0 as the root, with the checks of `dx_probe`.
    pub fn parse_root(&self, block: &[u8]) -> Result<DxBlock, Corrupt> {
        let place = || self.place("root", LogicalBlock(0));
        let fault = |fault: String| Corrupt::new(place(), fault);
        let Ok((raw, _)) = RawDxRoot::ref_from_prefix(block) else {
            return Err(fault(format!("{} bytes, expected a block", block.len())));
        };
        let dotdot = usize::from(raw.dotdot_rec_len.get());
        if raw.dot_rec_len != 12 || dotdot != self.block_size.len() - 12 {
            return Err(self.unsummable(fault(format!(
                "entries of {} and {dotdot} bytes before the index, expected 12 and {}",
                raw.dot_rec_len,
                self.block_size.len() - 12
            ))));
        }
        if raw.reserved_zero != 0 || raw.info_length != INFO_LEN {
            return Err(self.unsummable(fault(format!(
                "info length {} and reserved {}, expected 8 and 0",
                raw.info_length, raw.reserved_zero
            ))));
        }
        let info = DxInfo { hash_version: raw.hash_version, indirect_levels: raw.indirect_levels };
        let root = self.parse(block, Some(info), ROOT_OFFSET, &place)?;
        if raw.unused_flags & 1 != 0 {
            return Err(fault(format!("flags {:#04x}, expected bit 0 clear", raw.unused_flags)));
        }
        let levels = max_index_levels(self.has_largedir) - 1;
        if usize::from(raw.indirect_levels) > levels {
            return Err(fault(format!(
                "{} indirect levels, expected at most {levels}",
                raw.indirect_levels
            )));
        }
        Ok(root)
    }

    /// The fault of a block that does not say where its checksum is: under metadata_csum the kernel
    /// answers EFSBADCRC (`ext4_dx_csum_verify`).
    fn unsummable(&self, corrupt: Corrupt) -> Corrupt {
        Corrupt { is_checksum: self.csum.is_some(), ..corrupt }
    }

    /// Reads logical block `lblk` as a node.
    pub fn parse_node(&self, block: &[u8], lblk: LogicalBlock) -> Result<DxBlock, Corrupt> {
        let place = || self.place("node", lblk);
        if !is_node(block, self.block_size) {
            return Err(Corrupt::new(place(), "a leaf, expected an index block"));
        }
        self.parse(block, None, NODE_OFFSET, &place)
    }

    fn parse(
        &self,
        block: &[u8],
        info: Option<DxInfo>,
        offset: usize,
        place: &dyn Fn() -> String,
    ) -> Result<DxBlock, Corrupt> {
        let fault = |fault: String| Corrupt::new(place(), fault);
        if block.len() != self.block_size.len() {
            return Err(fault(format!("{} bytes, expected {}", block.len(), self.block_size)));
        }
        let expected_limit = self.limit_from(offset);
        let entries = block.get(offset..).unwrap_or_default();
        let (raw, _) = <[RawDxEntry]>::ref_from_prefix_with_elems(entries, expected_limit)
            .map_err(|e| fault(format!("too short for its entries: {e}")))?;
        let [l0, l1, c0, c1] = raw.first().map_or([0; 4], |first| first.hash.to_bytes());
        let limit = usize::from(u16::from_le_bytes([l0, l1]));
        let count = usize::from(u16::from_le_bytes([c0, c1]));
        if limit != expected_limit {
            let fault = fault(format!("limit {limit}, expected {expected_limit}"));
            return Err(self.unsummable(fault));
        }
        if count == 0 || count > limit {
            return Err(self.unsummable(fault(format!("count {count}, expected 1 to {limit}"))));
        }
        if let Some(seed) = self.csum {
            let (found, expected) = checksum(block, seed, offset, count, limit)
                .ok_or_else(|| fault("too short for its tail".into()))?;
            if found != expected {
                return Err(Corrupt::checksum(place(), found, expected));
            }
        }
        let entries: Vec<DxEntry> = raw[..count]
            .iter()
            .enumerate()
            .map(|(nr, entry)| DxEntry {
                hash: if nr == 0 { 0 } else { entry.hash.get() },
                block: LogicalBlock(entry.block.get() & MAX_BLOCK.0),
            })
            .collect();
        // Block 0 is the root itself: nothing may lead back to it.
        let stray = entries.iter().find(|e| e.block.0 == 0 || e.block.0 >= self.n_blocks);
        if let Some(entry) = stray {
            let last = self.n_blocks.saturating_sub(1);
            return Err(fault(format!("points to block {}, expected 1 to {last}", entry.block)));
        }
        Ok(DxBlock { info, entries, limit })
    }

    /// An empty block for a node: the fake record, no entries yet.
    pub fn new_node(&self) -> Vec<u8> {
        let mut block = vec![0; self.block_size.len()];
        let rec_len = crate::dir_entry::rec_len_to_disk(self.block_size.len(), self.block_size);
        let raw = RawDxNode {
            fake_inode: 0.into(),
            fake_rec_len: rec_len.unwrap_or(u16::MAX).into(),
            fake_name_len: 0,
            fake_file_type: 0,
        };
        if let Some(start) = block.first_chunk_mut::<NODE_OFFSET>() {
            *start = zerocopy::transmute!(raw);
        }
        block
    }

    /// Writes `index` into `block`, which has its fake entries already; the info too when it is the
    /// root, the checksum when there is one, and zeroes what follows the entries. Fails when the
    /// entries are none, too many or the block has the wrong size.
    pub fn put(&self, block: &mut [u8], index: &DxBlock) -> Result<(), Corrupt> {
        let offset = if index.info.is_some() { ROOT_OFFSET } else { NODE_OFFSET };
        let limit = self.limit_from(offset);
        let wrong = || {
            Corrupt::new(
                format!("htree index of inode {}", self.ino),
                format!("{} entries to write, expected 1 to {limit}", index.entries.len()),
            )
        };
        let count = index.entries.len();
        if count == 0 || count > limit || block.len() != self.block_size.len() {
            return Err(wrong());
        }
        if let Some(info) = index.info
            && let Ok((raw, _)) = RawDxRoot::mut_from_prefix(&mut *block)
        {
            raw.reserved_zero = 0.into();
            raw.hash_version = info.hash_version;
            raw.info_length = INFO_LEN;
            raw.indirect_levels = info.indirect_levels;
        }
        let area = block.get_mut(offset..).ok_or_else(wrong)?;
        area.fill(0);
        let both = u32::try_from(count << 16 | limit).ok().ok_or_else(wrong)?;
        for (nr, (entry, bytes)) in
            index.entries.iter().zip(area.as_chunks_mut::<ENTRY_LEN>().0).enumerate()
        {
            let hash = if nr == 0 { both } else { entry.hash };
            *bytes =
                zerocopy::transmute!(RawDxEntry { hash: hash.into(), block: entry.block.0.into() });
        }
        self.seal(block, offset, count).ok_or_else(wrong)
    }

    /// Computes the root's checksum anew after its fake entries changed (a `..` that names another
    /// parent). Does nothing without metadata_csum. The block must have been parsed before.
    pub fn reseal_root(&self, block: &mut [u8]) -> Result<(), Corrupt> {
        let count = block.get(ROOT_OFFSET + 2..ROOT_OFFSET + 4).and_then(|b| b.try_into().ok());
        let count = usize::from(count.map_or(0, u16::from_le_bytes));
        self.seal(block, ROOT_OFFSET, count).ok_or_else(|| {
            let place = self.place("root", LogicalBlock(0));
            Corrupt::new(place, format!("count {count}, expected 1 to {}", self.root_limit()))
        })
    }

    /// Computes the checksum of an index block made by [`put`](Self::put) anew, for another
    /// seed. Does nothing without metadata_csum. A root is told by the inode of its `.`, which is
    /// not zero; a node begins with a record of none.
    ///
    /// # Errors
    /// When the block has no entries, or more than fit.
    pub fn reseal(&self, block: &mut [u8]) -> Result<(), Corrupt> {
        if block.get(..4).is_some_and(|ino| ino != [0; 4]) {
            return self.reseal_root(block);
        }
        let count = block.get(NODE_OFFSET + 2..NODE_OFFSET + 4).and_then(|b| b.try_into().ok());
        let count = usize::from(count.map_or(0, u16::from_le_bytes));
        self.seal(block, NODE_OFFSET, count).ok_or_else(|| {
            let limit = self.node_limit();
            Corrupt::new(
                format!("htree node (inode {})", self.ino),
                format!("count {count}, expected 1 to {limit}"),
            )
        })
    }

    fn seal(&self, block: &mut [u8], offset: usize, count: usize) -> Option<()> {
        let Some(seed) = self.csum else { return Some(()) };
        let limit = self.limit_from(offset);
        if count == 0 || count > limit {
            return None;
        }
        let (_, sum) = checksum(block, seed, offset, count, limit)?;
        let at = offset + limit * ENTRY_LEN + 4;
        block.get_mut(at..at + 4)?.copy_from_slice(&sum.to_le_bytes());
        Some(())
    }
}

/// Whether a block that is not logical block 0 of an indexed directory is a node rather than a
/// leaf: its first record covers it all (`__ext4_read_dirblock`). Without metadata_csum an empty
/// leaf looks the same; as neither holds names, readers need not care.
pub fn is_node(block: &[u8], size: BlockSize) -> bool {
    RawDxNode::ref_from_prefix(block).is_ok_and(|(raw, _)| {
        raw.fake_inode == 0
            && raw.fake_name_len == 0
            && crate::dir_entry::rec_len_from_disk(raw.fake_rec_len.get(), size) == size.len()
    })
}

/// The checksum found and the one expected (`ext4_dx_csum`). `None` when the block is too short.
fn checksum(
    block: &[u8],
    seed: Csum,
    offset: usize,
    count: usize,
    limit: usize,
) -> Option<(u32, u32)> {
    let covered = block.get(..offset + count * ENTRY_LEN)?;
    let tail = block.get(offset + limit * ENTRY_LEN..)?;
    let (tail, _) = RawDxTail::ref_from_prefix(tail).ok()?;
    let expected = seed.over(covered).over(tail.dt_reserved.as_bytes()).over(&[0; 4]);
    Some((tail.dt_checksum.get(), expected.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn context(bytes: u32, csum: Option<Csum>) -> DxContext {
        DxContext {
            ino: InodeNr::ROOT,
            block_size: BlockSize::from_bytes(bytes).unwrap(),
            csum,
            has_largedir: false,
            n_blocks: 1000,
        }
    }

    fn entries(n: u32) -> Vec<DxEntry> {
        (0..n).map(|nr| DxEntry { hash: nr * 64, block: LogicalBlock(nr + 1) }).collect()
    }

    fn root_block(context: &DxContext) -> Vec<u8> {
        let mut block = vec![0; context.block_size.len()];
        let (raw, _) = RawDxRoot::mut_from_prefix(&mut block).unwrap();
        raw.dot_inode = 2.into();
        raw.dot_rec_len = 12.into();
        raw.dotdot_rec_len = u16::try_from(context.block_size.len() - 12).unwrap().into();
        block
    }

    #[test]
    fn limits_are_those_of_the_kernel() {
        let limits = |c: DxContext| (c.root_limit(), c.node_limit());
        assert_eq!(limits(context(4096, None)), (508, 511));
        assert_eq!(limits(context(4096, Some(Csum(1)))), (507, 510));
        assert_eq!(limits(context(1024, Some(Csum(1)))), (123, 126));
    }

    #[test]
    fn roots_and_nodes_are_read_as_written() {
        for (bytes, csum) in [(1024, None), (4096, Some(Csum(9))), (65536, Some(Csum(9)))] {
            let context = context(bytes, csum);
            let info = Some(DxInfo { hash_version: 1, indirect_levels: 1 });
            let root = DxBlock { info, entries: entries(100), limit: context.root_limit() };
            let mut block = root_block(&context);
            context.put(&mut block, &root).unwrap();
            assert_eq!(context.parse_root(&block).unwrap(), root);

            let node = DxBlock { info: None, entries: entries(7), limit: context.node_limit() };
            let mut block = context.new_node();
            context.put(&mut block, &node).unwrap();
            assert_eq!(context.parse_node(&block, LogicalBlock(5)).unwrap(), node);
            assert!(is_node(&block, context.block_size));
        }
    }

    #[test]
    fn damage_is_refused_by_what_is_wrong() {
        let context = context(1024, None);
        let mut block = root_block(&context);
        let info = Some(DxInfo { hash_version: 1, indirect_levels: 0 });
        let root = DxBlock { info, entries: entries(3), limit: context.root_limit() };
        context.put(&mut block, &root).unwrap();
        let damaged = |at: usize, byte: u8| {
            let mut block = block.clone();
            block[at] = byte;
            context.parse_root(&block).unwrap_err().to_string()
        };
        let at = "htree root in block 0 (inode 2): ";
        assert_eq!(damaged(30, 2), format!("{at}2 indirect levels, expected at most 1"));
        assert_eq!(damaged(31, 1), format!("{at}flags 0x01, expected bit 0 clear"));
        assert_eq!(damaged(32, 9), format!("{at}limit 9, expected 124"));
        assert_eq!(damaged(34, 0), format!("{at}count 0, expected 1 to 124"));
        assert_eq!(damaged(34, 125), format!("{at}count 125, expected 1 to 124"));
        assert_eq!(damaged(36, 0), format!("{at}points to block 0, expected 1 to 999"));
        assert!(context.parse_node(&block, LogicalBlock(0)).is_err());
    }

    #[test]
    fn a_checksum_covers_the_entries_in_use_and_no_more() {
        let context = context(1024, Some(Csum(3)));
        let mut block = context.new_node();
        let node = DxBlock { info: None, entries: entries(4), limit: context.node_limit() };
        context.put(&mut block, &node).unwrap();
        block[8 + 4 * 8] ^= 1;
        assert_eq!(context.parse_node(&block, LogicalBlock(1)).unwrap(), node);
        block[8 + 3 * 8] ^= 1;
        assert!(context.parse_node(&block, LogicalBlock(1)).unwrap_err().is_checksum);
    }

    #[test]
    fn a_root_with_a_new_parent_is_resealed() {
        let context = context(1024, Some(Csum(3)));
        let mut block = root_block(&context);
        let info = Some(DxInfo { hash_version: 1, indirect_levels: 0 });
        let root = DxBlock { info, entries: entries(3), limit: context.root_limit() };
        context.put(&mut block, &root).unwrap();
        block[12] = 77;
        assert!(context.parse_root(&block).unwrap_err().is_checksum);
        context.reseal_root(&mut block).unwrap();
        assert_eq!(context.parse_root(&block).unwrap(), root);
    }

    #[test]
    fn root_and_node_go_over_to_another_seed() {
        let (made, wanted) = (context(1024, Some(Csum(3))), context(1024, Some(Csum(4))));
        let mut root = root_block(&made);
        let info = Some(DxInfo { hash_version: 1, indirect_levels: 0 });
        let index = DxBlock { info, entries: entries(3), limit: made.root_limit() };
        made.put(&mut root, &index).unwrap();
        wanted.reseal(&mut root).unwrap();
        assert_eq!(wanted.parse_root(&root).unwrap(), index);
        let mut node = made.new_node();
        let index = DxBlock { info: None, entries: entries(4), limit: made.node_limit() };
        made.put(&mut node, &index).unwrap();
        wanted.reseal(&mut node).unwrap();
        assert_eq!(wanted.parse_node(&node, LogicalBlock(1)).unwrap(), index);
    }
}
