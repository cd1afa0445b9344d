//! The map of a file made anew: an extent tree or a block map over given runs, complete at once.

use ext4_ondisk::{
    extent::{self, Extent, Index, RawExtentHeader},
    indirect,
};
use ext4_units::{BlockNr, BlockRange, BlockSize, LogicalBlock};
use std::iter;
use zerocopy::transmute;

/// What a map consists of.
#[derive(Clone, Debug)]
pub(crate) struct Mapping {
    /// The root, in the inode.
    pub(crate) i_block: [u8; 60],
    /// Nodes or blocks of pointers, each with its bytes, without checksums.
    pub(crate) nodes: Vec<(BlockNr, Vec<u8>)>,
}

/// A run of a file's blocks, from a logical block on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Segment {
    pub(crate) lblk: u32,
    pub(crate) blocks: BlockRange,
}

/// Segments one behind the other from logical block 0.
pub(crate) fn dense(runs: &[BlockRange]) -> Vec<Segment> {
    let mut lblk = 0;
    runs.iter()
        .map(|&blocks| {
            let segment = Segment { lblk, blocks };
            lblk = lblk.saturating_add(u32::try_from(blocks.len).unwrap_or(u32::MAX));
            segment
        })
        .collect()
}

/// The extents of the segments, none longer than an extent can be.
fn extents(segments: &[Segment]) -> Vec<Extent> {
    let mut extents = Vec::new();
    for segment in segments {
        let (mut lblk, mut rest) = (segment.lblk, segment.blocks);
        while rest.len > 0 {
            let len = u32::try_from(rest.len).unwrap_or(u32::MAX).min(extent::MAX_WRITTEN_LEN);
            let lblock = LogicalBlock(lblk);
            extents.push(Extent { lblk: lblock, len, start: rest.start, unwritten: false });
            lblk += len;
            rest = BlockRange::new(rest.start.plus(u64::from(len)), rest.len - u64::from(len));
        }
    }
    extents
}

/// Blocks that the nodes of an extent tree over these segments take.
pub(crate) fn extent_nodes(segments: &[Segment], size: BlockSize) -> usize {
    let per_node = usize::from(extent::node_max(size));
    let mut level = extents(segments).len();
    let mut nodes = 0;
    while level > 4 {
        level = level.div_ceil(per_node);
        nodes += level;
    }
    nodes
}

/// The extent tree over the segments, its nodes in `blocks`, as many as [`extent_nodes`] says.
pub(crate) fn extent_tree(segments: &[Segment], blocks: &[BlockNr], size: BlockSize) -> Mapping {
    let mut free = blocks.iter().copied();
    let mut nodes = Vec::new();
    let mut level: Vec<Entry> =
        extents(segments).iter().map(|it| (it.lblk.0, transmute!(it.to_raw()))).collect();
    let mut depth = 0;
    while level.len() > 4 {
        let mut above = Vec::new();
        for entries in level.chunks(usize::from(extent::node_max(size))) {
            let blk = free.next().expect("as many blocks as extent_nodes counted");
            let mut node = vec![0; size.len()];
            fill(&mut node, entries, extent::node_max(size), depth);
            nodes.push((blk, node));
            let index = Index { lblk: LogicalBlock(entries[0].0), child: blk, unused: 0 };
            above.push((entries[0].0, transmute!(index.to_raw())));
        }
        level = above;
        depth += 1;
    }
    let mut i_block = extent::empty_root();
    fill(&mut i_block, &level, 4, depth);
    Mapping { i_block, nodes }
}

/// An entry of a node: its first logical block, and its bytes.
type Entry = (u32, [u8; 12]);

/// Writes header and entries of a node.
fn fill(node: &mut [u8], entries: &[Entry], max: u16, depth: u16) {
    let header = RawExtentHeader {
        eh_magic: extent::MAGIC.into(),
        eh_entries: u16::try_from(entries.len()).expect("at most eh_max entries").into(),
        eh_max: max.into(),
        eh_depth: depth.into(),
        eh_generation: 0.into(),
    };
    let (slots, _) = node.as_chunks_mut();
    let header: [u8; 12] = transmute!(header);
    let all = iter::once(&header).chain(entries.iter().map(|(_, bytes)| bytes));
    for (slot, bytes) in slots.iter_mut().zip(all) {
        *slot = *bytes;
    }
}

/// Blocks of pointers that a block map over these segments takes.
pub(crate) fn indirect_nodes(segments: &[Segment], size: BlockSize) -> usize {
    let mut count = 0;
    let mut last = [u32::MAX; 4];
    each_block(segments, |lblk, _| {
        let Some(path) = indirect::Path::to(LogicalBlock(lblk), size) else { return };
        count += new_nodes(&mut last, &path);
    });
    count
}

/// How many of the blocks of pointers on a path have not been met.
fn new_nodes(last: &mut [u32; 4], path: &indirect::Path) -> usize {
    let slots = path.slots();
    let (pointers, _) = slots.split_at(slots.len() - 1);
    let same = pointers.iter().zip(last.iter()).take_while(|(a, b)| a == b).count();
    let (levels, known) = (pointers.len(), same.min(pointers.len()));
    last[..levels].copy_from_slice(pointers);
    last[levels..].fill(u32::MAX);
    levels - known
}

fn each_block(segments: &[Segment], mut act: impl FnMut(u32, BlockNr)) {
    for segment in segments {
        for (lblk, blk) in (segment.lblk..).zip(segment.blocks.iter()) {
            act(lblk, blk);
        }
    }
}

/// The block map over the segments, its blocks of pointers in `blocks`, as many as
/// [`indirect_nodes`] says. What lies beyond the map's end is left out: the caller checks sizes.
pub(crate) fn block_map(segments: &[Segment], blocks: &[BlockNr], size: BlockSize) -> Mapping {
    let mut i_block = [0; 60];
    let mut nodes: Vec<(BlockNr, Vec<u8>)> = Vec::with_capacity(blocks.len());
    // The blocks of pointers on the way to the last block, by level, as indices of `nodes`.
    let mut way = [usize::MAX; 4];
    let mut last = [u32::MAX; 4];
    each_block(segments, |lblk, blk| {
        let Some(path) = indirect::Path::to(LogicalBlock(lblk), size) else { return };
        let slots = path.slots();
        let n_new = new_nodes(&mut last, &path);
        let n_nodes = slots.len() - 1;
        for level in n_nodes - n_new..n_nodes {
            let (at, idx) = (blocks[nodes.len()], nodes.len());
            nodes.push((at, vec![0; size.len()]));
            match level {
                0 => put(&mut i_block, slots[0], at),
                _ => put(&mut nodes[way[level - 1]].1, slots[level], at),
            }
            way[level] = idx;
        }
        match n_nodes {
            0 => put(&mut i_block, slots[0], blk),
            _ => put(&mut nodes[way[n_nodes - 1]].1, slots[n_nodes], blk),
        }
    });
    Mapping { i_block, nodes }
}

/// Writes a pointer. Blocks beyond 32 bits never get here: a filesystem of files without extents
/// is smaller.
fn put(block: &mut [u8], slot: u32, to: BlockNr) {
    let at = slot as usize * 4;
    let pointer = u32::try_from(to.0).expect("a block map is of a filesystem below 2^32 blocks");
    block[at..at + 4].copy_from_slice(&pointer.to_le_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use zerocopy::FromBytes as _;

    fn segment(lblk: u32, start: u64, len: u64) -> Segment {
        Segment { lblk, blocks: BlockRange::new(BlockNr(start), len) }
    }

    fn header(node: &[u8]) -> (u16, u16) {
        let (header, _) = RawExtentHeader::read_from_prefix(node).unwrap();
        (header.eh_entries.get(), header.eh_depth.get())
    }

    #[test]
    fn a_tree_grows_levels_as_it_needs_them() {
        let size = BlockSize::MIN;
        let one = [segment(0, 100, 40_000)];
        assert_eq!(extent_nodes(&one, size), 0);
        assert_eq!(header(&extent_tree(&one, &[], size).i_block), (2, 0));
        let many: Vec<_> = (0..500).map(|i| segment(i * 2, u64::from(i) * 3 + 1000, 1)).collect();
        assert_eq!(extent_nodes(&many, size), 6 + 1);
        let blocks: Vec<_> = (1..=7).map(BlockNr).collect();
        let tree = extent_tree(&many, &blocks, size);
        assert_eq!(header(&tree.i_block), (1, 2));
        assert_eq!(header(&tree.nodes[0].1), (84, 0));
        assert_eq!(header(&tree.nodes[6].1), (6, 1));
    }

    #[test]
    fn a_map_has_a_block_of_pointers_for_each_256_blocks() {
        let size = BlockSize::MIN;
        let file = [segment(0, 1000, 12 + 256 + 300)];
        assert_eq!(indirect_nodes(&file, size), 1 + 1 + 2);
        let blocks: Vec<_> = (1..=4).map(BlockNr).collect();
        let map = block_map(&file, &blocks, size);
        let word = |bytes: &[u8], slot: usize| {
            u32::from_le_bytes(bytes[slot * 4..slot * 4 + 4].try_into().unwrap())
        };
        assert_eq!(word(&map.i_block, 11), 1011);
        assert_eq!((word(&map.i_block, 12), word(&map.i_block, 13)), (1, 2));
        assert_eq!(word(&map.nodes[0].1, 255), 1000 + 267);
        assert_eq!((word(&map.nodes[1].1, 0), word(&map.nodes[1].1, 1)), (3, 4));
        assert_eq!(word(&map.nodes[3].1, 43), 1000 + 567);
    }
}
