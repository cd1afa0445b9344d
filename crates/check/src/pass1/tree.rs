//! Nodes of trees of extents, read without any belief, and packed trees written anew.

use crate::{Error, Result, image::Image};
use ext4_ondisk::{
    checksum::Csum,
    extent::{self, Extent, RawExtent, RawExtentHeader, RawExtentIdx},
};
use ext4_units::{BlockNr, BlockSize, LogicalBlock};
use zerocopy::{
    FromBytes as _, IntoBytes as _,
    little_endian::{U16, U32},
};

const HEADER: usize = size_of::<RawExtentHeader>();
const ENTRY: usize = size_of::<RawExtent>();

/// The header of a node, when it can be one (`ext2fs_extent_header_verify`); else what is wrong.
pub(super) fn header(node: &[u8]) -> std::result::Result<RawExtentHeader, &'static str> {
    let (raw, _) = RawExtentHeader::read_from_prefix(node).map_err(|_short| "too short")?;
    let room = (node.len().saturating_sub(HEADER)) / ENTRY;
    let max = usize::from(raw.eh_max.get());
    if raw.eh_magic.get() != extent::MAGIC {
        return Err("another magic");
    }
    if raw.eh_entries.get() > raw.eh_max.get() {
        return Err("more entries than fit");
    }
    if max > room || max + 2 < room {
        return Err("another number of entries that fit");
    }
    Ok(raw)
}

/// An entry of a leaf.
pub(super) fn leaf_entry(node: &[u8], nr: usize) -> Option<RawExtent> {
    RawExtent::read_from_prefix(node.get(HEADER + nr * ENTRY..)?).ok().map(|(raw, _)| raw)
}

/// An entry of an index.
pub(super) fn index_entry(node: &[u8], nr: usize) -> Option<RawExtentIdx> {
    RawExtentIdx::read_from_prefix(node.get(HEADER + nr * ENTRY..)?).ok().map(|(raw, _)| raw)
}

/// The child that an index entry leads to.
pub(super) fn child(node: &[u8], nr: usize) -> Option<BlockNr> {
    index_entry(node, nr).map(|it| it.leaf())
}

/// The deepest tree that a file can need (`ext2fs_max_extent_depth`).
pub(super) fn max_depth(size: BlockSize) -> u16 {
    let per_block = (size.len() - HEADER) / ENTRY;
    u16::try_from(1 + (31 - 2) / per_block.ilog2()).unwrap_or(u16::MAX)
}

/// Blocks that a packed tree of so many extents takes.
pub(crate) fn tree_blocks(mut n: usize, size: BlockSize) -> usize {
    let mut blocks = 0;
    while n > usize::from(extent::ROOT_MAX) {
        n = n.div_ceil(usize::from(extent::node_max(size)));
        blocks += n;
    }
    blocks
}

/// Writes a packed tree of these extents, which are in order. Gives the root, and how many of
/// `blocks` it takes.
pub(super) fn write_tree(
    image: &Image,
    seed: Option<Csum>,
    extents: &[Extent],
    blocks: &[BlockNr],
) -> Result<([u8; extent::ROOT_LEN], usize)> {
    let size = image.size;
    let max = extent::node_max(size);
    let mut level: Vec<(u32, [u8; ENTRY])> =
        extents.iter().map(|it| (it.lblk.0, bytes_of(it.to_raw().as_bytes()))).collect();
    let (mut depth, mut used) = (0, 0);
    while level.len() > usize::from(extent::ROOT_MAX) {
        let mut above = Vec::new();
        for entries in level.chunks(usize::from(max)) {
            let blk = *blocks.get(used).ok_or(Error::NoSpace("block"))?;
            used += 1;
            let mut node = vec![0; size.len()];
            fill(&mut node, entries, max, depth);
            if let Some(seed) = seed {
                extent::set_checksum(seed, &mut node, max);
            }
            image.write(blk, &node)?;
            let lblk = LogicalBlock(entries.first().map_or(0, |it| it.0));
            let index = extent::Index { lblk, child: blk, unused: 0 };
            above.push((lblk.0, bytes_of(index.to_raw().as_bytes())));
        }
        level = above;
        depth += 1;
    }
    let mut root = extent::empty_root();
    fill(&mut root, &level, extent::ROOT_MAX, depth);
    Ok((root, used))
}

fn bytes_of(bytes: &[u8]) -> [u8; ENTRY] {
    let mut entry = [0; ENTRY];
    entry.copy_from_slice(bytes);
    entry
}

/// Writes a node's header and entries.
fn fill(node: &mut [u8], entries: &[(u32, [u8; ENTRY])], max: u16, depth: u16) {
    let header = RawExtentHeader {
        eh_magic: U16::new(extent::MAGIC),
        eh_entries: U16::new(u16::try_from(entries.len()).unwrap_or(0)),
        eh_max: U16::new(max),
        eh_depth: U16::new(depth),
        eh_generation: U32::ZERO,
    };
    node[..HEADER].copy_from_slice(header.as_bytes());
    for (place, (_, entry)) in node[HEADER..].chunks_exact_mut(ENTRY).zip(entries) {
        place.copy_from_slice(entry);
    }
}
