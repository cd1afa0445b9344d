//! What makes a node, and a tree, believable.
//!
//! Every node passes [`check_node`] when it is read, before anything follows from it.

use crate::{
    Context, NodeRead, Root,
    node::{Entries, NodeView, Place},
};
use ext4_ondisk::{
    Corrupt,
    extent::{self, Extent, MAGIC, MAX_DEPTH, ROOT_MAX, RawExtent, RawExtentHeader, RawExtentIdx},
};
use ext4_units::{BlockNr, BlockRange, LogicalBlock};
use std::{borrow::Cow, sync::Arc};
use zerocopy::FromBytes;

/// What a parent says of its child.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Expected {
    /// The child's depth; `None` for the root, which decides it.
    pub(crate) depth: Option<u16>,
    /// The child's first logical block; `None` for the root.
    pub(crate) key: Option<LogicalBlock>,
    /// Where the next sibling starts, at any level: nothing in the child may reach beyond.
    pub(crate) end: u32,
}

impl Expected {
    pub(crate) const ROOT: Self = Self { depth: None, key: None, end: u32::MAX };
}

/// Checks one node, in the kernel's order (`__ext4_ext_check`, `ext4_valid_extent_entries`): the
/// checksum last. Beyond the kernel, an extent may not reach into the next sibling, and a leaf that
/// is not the root may not be empty (`ext4_ext_map_blocks` refuses it when it gets there).
pub(crate) fn check_node<'a>(
    ctx: &Context,
    place: Place,
    bytes: &'a [u8],
    expected: Expected,
) -> Result<NodeView<'a>, Corrupt> {
    let bad = |fault: Cow<'static, str>| Corrupt::new(place.text(ctx.ino, expected.depth), fault);
    let (header, rest) = RawExtentHeader::ref_from_prefix(bytes).map_err(|_too_short| {
        bad(format!("{} bytes, expected a header of 12", bytes.len()).into())
    })?;

    let magic = header.eh_magic.get();
    if magic != MAGIC {
        return Err(bad(format!("magic {magic:#06x}, expected {MAGIC:#06x}").into()));
    }
    let depth = header.eh_depth.get();
    if expected.depth.is_some_and(|it| it != depth) || depth > MAX_DEPTH {
        let wanted = expected.depth.map_or(format!("at most {MAX_DEPTH}"), |it| it.to_string());
        return Err(bad(format!("depth {depth}, expected {wanted}").into()));
    }
    let capacity = match place {
        Place::Root => ROOT_MAX,
        Place::Block(_) => extent::node_max(ctx.block_size),
    };
    let (entries, max) = (header.eh_entries.get(), header.eh_max.get());
    if max == 0 || max > capacity {
        return Err(bad(format!("room for {max} entries, expected 1 to {capacity}").into()));
    }
    if entries > max {
        return Err(bad(format!("{entries} entries, expected at most {max}").into()));
    }
    if entries == 0 && (depth > 0 || place != Place::Root) {
        return Err(bad("no entries, expected at least 1".into()));
    }

    let n = usize::from(entries);
    let short = || bad(format!("{} bytes, too short for {n} entries", bytes.len()).into());
    let entries = if depth == 0 {
        let (entries, _) =
            <[RawExtent]>::ref_from_prefix_with_elems(rest, n).map_err(|_too_short| short())?;
        check_extents(ctx, entries, expected).map_err(bad)?;
        Entries::Leaf(entries)
    } else {
        let (entries, _) =
            <[RawExtentIdx]>::ref_from_prefix_with_elems(rest, n).map_err(|_too_short| short())?;
        check_indexes(ctx, entries, expected).map_err(bad)?;
        Entries::Index(entries)
    };

    if let (Place::Block(_), Some(seed)) = (place, ctx.csum) {
        let found = extent::stored_checksum(bytes, max).ok_or_else(short)?;
        let right = extent::checksum(seed, bytes, max).ok_or_else(short)?;
        if found != right {
            return Err(Corrupt::checksum(place.text(ctx.ino, expected.depth), found, right));
        }
    }
    Ok(NodeView { header, entries })
}

/// [`check_node`] of a block, unless these very bytes have passed it before.
pub(crate) fn check_block<'a>(
    ctx: &Context,
    blk: BlockNr,
    bytes: &'a Arc<[u8]>,
    expected: Expected,
) -> Result<NodeView<'a>, Corrupt> {
    if let Some(checked) = &ctx.checked
        && checked.knows(ctx, blk, bytes, expected)
        && let Some(node) = view(bytes)
    {
        return Ok(node);
    }
    let node = check_node(ctx, Place::Block(blk), bytes, expected)?;
    if let Some(checked) = &ctx.checked {
        checked.learn(ctx, blk, Arc::clone(bytes), expected);
    }
    Ok(node)
}

/// A node whose bytes have passed the check.
pub(crate) fn view(bytes: &[u8]) -> Option<NodeView<'_>> {
    let (header, rest) = RawExtentHeader::ref_from_prefix(bytes).ok()?;
    let n = usize::from(header.eh_entries.get());
    let entries = if header.eh_depth.get() == 0 {
        Entries::Leaf(<[RawExtent]>::ref_from_prefix_with_elems(rest, n).ok()?.0)
    } else {
        Entries::Index(<[RawExtentIdx]>::ref_from_prefix_with_elems(rest, n).ok()?.0)
    };
    Some(NodeView { header, entries })
}

fn check_key(key: u32, expected: Expected) -> Result<(), Cow<'static, str>> {
    match expected.key {
        Some(wanted) if wanted.0 != key => {
            Err(format!("first logical block {key}, expected {wanted} as the parent has it").into())
        }
        _ => Ok(()),
    }
}

fn check_extents(
    ctx: &Context,
    entries: &[RawExtent],
    expected: Expected,
) -> Result<(), Cow<'static, str>> {
    if let Some(first) = entries.first() {
        check_key(first.ee_block.get(), expected)?;
    }
    let mut free_from = 0;
    for raw in entries {
        let extent = Extent::from_raw(raw)?;
        let (lblk, blocks) = (extent.lblk, extent.blocks());
        if !ctx.is_legal(blocks) {
            return Err(format!(
                "extent of logical block {lblk} is at blocks {blocks}, expected free of system \
                 blocks within {}",
                ctx.blocks
            )
            .into());
        }
        if lblk.0 < free_from {
            return Err(format!(
                "extent of logical block {lblk}, expected {free_from} or more behind its neighbour"
            )
            .into());
        }
        free_from = extent.end();
    }
    if free_from > expected.end {
        return Err(format!(
            "extents reach to logical block {free_from}, expected {} where the next node starts",
            expected.end
        )
        .into());
    }
    Ok(())
}

fn check_indexes(
    ctx: &Context,
    entries: &[RawExtentIdx],
    expected: Expected,
) -> Result<(), Cow<'static, str>> {
    if let Some(first) = entries.first() {
        check_key(first.ei_block.get(), expected)?;
    }
    let mut free_from = 0;
    for raw in entries {
        let (key, child) = (raw.ei_block.get(), raw.leaf());
        if !ctx.is_legal_block(child) {
            return Err(format!(
                "index of logical block {key} points to block {child}, expected one that is free of \
                 system blocks within {}",
                ctx.blocks
            )
            .into());
        }
        if key < free_from {
            return Err(format!(
                "index of logical block {key}, expected {free_from} or more behind its neighbour"
            )
            .into());
        }
        free_from = key.checked_add(1).ok_or("index of logical block 4294967295")?;
    }
    if free_from > expected.end {
        return Err(format!(
            "index of logical block {}, expected below {} where the next node starts",
            free_from - 1,
            expected.end
        )
        .into());
    }
    Ok(())
}

/// What a whole tree, or map, consists of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Levels below the root: 0 for a tree that fits into the inode.
    pub depth: u16,
    /// Blocks of nodes, the root not counted: part of `i_blocks`.
    pub n_tree_blocks: u64,
    /// Extents, or for the older map pointers to data.
    pub n_extents: u64,
    /// Blocks of data, written or not: part of `i_blocks`.
    pub n_data_blocks: u64,
}

/// The depth of a tree, after checking its root.
pub fn depth(ctx: &Context, root: &Root) -> Result<u16, Corrupt> {
    Ok(check_node(ctx, Place::Root, root, Expected::ROOT)?.header.eh_depth.get())
}

/// Reads and checks every node of a tree.
///
/// Ends: a node's range lies within its parent's and starts with the key the parent has for it, so
/// that no block can be met twice at one depth.
pub fn validate<S: NodeRead + ?Sized>(
    ctx: &Context,
    root: &Root,
    store: &S,
) -> Result<Summary, S::Error> {
    validate_with(ctx, root, store, &mut |_| ())
}

/// As [`validate`], and shows each run of blocks that belongs to the file: nodes and data.
pub(crate) fn validate_with<S: NodeRead + ?Sized>(
    ctx: &Context,
    root: &Root,
    store: &S,
    show: &mut dyn FnMut(BlockRange),
) -> Result<Summary, S::Error> {
    let mut sum = Summary { depth: depth(ctx, root)?, ..Summary::default() };
    visit(ctx, store, Place::Root, root, Expected::ROOT, &mut sum, show)?;
    Ok(sum)
}

fn visit<S: NodeRead + ?Sized>(
    ctx: &Context,
    store: &S,
    place: Place,
    bytes: &[u8],
    expected: Expected,
    sum: &mut Summary,
    show: &mut dyn FnMut(BlockRange),
) -> Result<(), S::Error> {
    let node = check_node(ctx, place, bytes, expected)?;
    for extent in node.extents() {
        sum.n_extents += 1;
        sum.n_data_blocks += u64::from(extent.len);
        show(extent.blocks());
    }
    let Entries::Index(entries) = node.entries else { return Ok(()) };
    for raw in entries {
        if let Some(step) = node.step(LogicalBlock(raw.ei_block.get()), expected.end) {
            sum.n_tree_blocks += 1;
            show(BlockRange::new(step.child, 1));
            let block = store.read(step.child)?;
            visit(ctx, store, Place::Block(step.child), &block, step.expected, sum, show)?;
        }
    }
    Ok(())
}
