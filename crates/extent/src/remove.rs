//! A range becomes a hole: truncate and punch, in steps.

use crate::{
    Context, NodeStore, Root,
    edit::{Edit, Path, edit},
    insert::Merge,
    node::Place,
};
use ext4_ondisk::extent::{Extent, ROOT_MAX};
use ext4_units::{BlockRange, LogicalBlock};

/// What one step of a removal did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Removed {
    /// The blocks of data that no longer belong to the file, each run with the logical block it was
    /// mapped from; the highest logical block first. The caller frees them, in the same handle.
    pub freed: Vec<(LogicalBlock, BlockRange)>,
    /// Whether nothing in the range is mapped any more. When not, the next step goes on; between steps
    /// the tree is whole, so that each may be in a transaction of its own.
    pub done: bool,
}

/// Unmaps the logical blocks from `from` up to, not including, `to`: one step of it, from the right,
/// within one leaf and at most `budget` runs (`ext4_ext_remove_space`). 2^32 - 1 as `to` truncates.
///
/// A leaf that becomes empty is freed, and so are index nodes above it; an empty root is a leaf again.
/// As in the kernel a tree is not made lower otherwise. Needs a block only to punch inside one extent
/// when its leaf is full; an error leaves the tree as it was.
pub fn remove<S: NodeStore + ?Sized>(
    ctx: &Context,
    root: &mut Root,
    store: &mut S,
    from: LogicalBlock,
    to: LogicalBlock,
    budget: usize,
) -> Result<Removed, S::Error> {
    edit(ctx, root, store, |edit| edit.remove(from.0, to.0, budget.max(1)))
}

impl<S: NodeStore + ?Sized> Edit<'_, S> {
    fn remove(&mut self, from: u32, to: u32, budget: usize) -> Result<Removed, S::Error> {
        if from >= to {
            return Ok(Removed { done: true, ..Removed::default() });
        }
        let path = self.find(LogicalBlock(to - 1))?;
        let leaf = self.node(path.leaf());
        // Leaves to the left hold only what comes before this one's first block.
        let is_last = leaf.key().is_none_or(|key| key.0 <= from) || is_leftmost(&path);
        let mut removed = Removed { freed: Vec::new(), done: is_last };
        let mut kept: Vec<Extent> = Vec::with_capacity(leaf.len());
        let mut behind = None;
        for extent in leaf.extents.iter().rev() {
            let Some(part) = extent.within(from, to) else {
                kept.push(*extent);
                continue;
            };
            if removed.freed.len() == budget {
                removed.done = false;
                kept.push(*extent);
                continue;
            }
            removed.freed.push((part.lblk, part.blocks()));
            let (head, tail) = (extent.within(0, from), extent.within(to, u32::MAX));
            // A punch inside one extent leaves two: the second one needs an entry more.
            behind = head.and(tail);
            kept.extend(head.or(tail));
        }
        if removed.freed.is_empty() {
            return Ok(removed);
        }
        kept.reverse();
        self.node_mut(path.leaf()).extents = kept;
        if let Some(behind) = behind {
            self.insert(behind, Merge::No)?;
        } else if self.node(path.leaf()).is_empty() {
            self.remove_node(&path);
        } else {
            self.fix_keys(&path, path.depth());
        }
        Ok(removed)
    }

    /// Takes the path's empty leaf out of the tree, and each index node that becomes empty thereby
    /// (`ext4_ext_rm_idx`).
    fn remove_node(&mut self, path: &Path) {
        for level in (1..=path.depth()).rev() {
            let (place, _) = path.level(level);
            if !self.node(place).is_empty() {
                self.fix_keys(path, level);
                return;
            }
            self.free_node(place);
            let (parent, pos) = path.level(level - 1);
            self.node_mut(parent).indexes.remove(pos);
        }
        if self.node(Place::Root).is_empty() {
            let root = self.node_mut(Place::Root);
            root.depth = 0;
            root.max = ROOT_MAX;
        }
    }
}

fn is_leftmost(path: &Path) -> bool {
    (0..path.depth()).all(|level| path.level(level).1 == 0)
}
