//! The way down to a leaf, each node checked.

use crate::{
    Context, NodeRead, Root,
    node::{NodeView, Place},
    validate::{Expected, check_block, check_node},
};
use ext4_units::LogicalBlock;

/// Goes down to the leaf that holds `lblk`, or would (`ext4_find_extent`), and shows it with the logical
/// block where its range ends: the next leaf's first key.
///
/// Ends, because each child must be one level lower and the root is at most 5.
pub(crate) fn with_leaf<S: NodeRead + ?Sized, R>(
    ctx: &Context,
    root: &Root,
    store: &S,
    lblk: LogicalBlock,
    show: impl FnOnce(&NodeView<'_>, u32) -> R,
) -> Result<R, S::Error> {
    let top = check_node(ctx, Place::Root, root, Expected::ROOT)?;
    let mut step = top.step(lblk, Expected::ROOT.end);
    while let Some(down) = step {
        let block = store.read(down.child)?;
        let node = check_block(ctx, down.child, &block, down.expected)?;
        step = node.step(lblk, down.expected.end);
        if step.is_none() {
            return Ok(show(&node, down.expected.end));
        }
    }
    Ok(show(&top, Expected::ROOT.end))
}
