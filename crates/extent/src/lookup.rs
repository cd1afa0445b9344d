//! One logical block's mapping.

use crate::{Context, Mapping, NodeRead, Root, State, path::with_leaf};
use ext4_ondisk::extent::Extent;
use ext4_units::{BlockNr, LogicalBlock};

/// What `lblk` is mapped to, and how far that goes: to the end of its extent, or of the hole
/// (`ext4_ext_map_blocks`, `ext4_ext_determine_hole`). A hole behind the last extent ends at 2^32 - 1.
pub fn lookup<S: NodeRead + ?Sized>(
    ctx: &Context,
    root: &Root,
    store: &S,
    lblk: LogicalBlock,
) -> Result<Mapping, S::Error> {
    with_leaf(ctx, root, store, lblk, |leaf, end| {
        let (held, next) = leaf.around(lblk);
        of_extent(held, lblk).unwrap_or_else(|| Mapping::hole(lblk, next.unwrap_or(end)))
    })
}

/// The whole extent that holds `lblk`; `None` in a hole.
pub fn extent_at<S: NodeRead + ?Sized>(
    ctx: &Context,
    root: &Root,
    store: &S,
    lblk: LogicalBlock,
) -> Result<Option<Extent>, S::Error> {
    with_leaf(ctx, root, store, lblk, |leaf, _| leaf.around(lblk).0)
}

/// Where on the disk `lblk`, a hole, would lie if it went on as the extent before it does, else as the
/// one behind it: where its block is best looked for, so that a file filled at random becomes one run
/// (`ext4_ext_find_goal`). `None` when the file has no extent near.
pub fn goal<S: NodeRead + ?Sized>(
    ctx: &Context,
    root: &Root,
    store: &S,
    lblk: LogicalBlock,
) -> Result<Option<BlockNr>, S::Error> {
    let near = with_leaf(ctx, root, store, lblk, |leaf, _| leaf.near(lblk))?;
    Ok(near.and_then(|it| {
        let ahead = i64::from(lblk.0) - i64::from(it.lblk.0);
        Some(BlockNr(it.start.0.checked_add_signed(ahead)?))
    }))
}

/// The rest of an extent, from `lblk` on.
pub(crate) fn of_extent(extent: Option<Extent>, lblk: LogicalBlock) -> Option<Mapping> {
    let rest = extent?.within(lblk.0, u32::MAX)?;
    let state =
        if rest.unwritten { State::Unwritten(rest.start) } else { State::Written(rest.start) };
    Some(Mapping { lblk: rest.lblk, len: rest.len, state })
}
