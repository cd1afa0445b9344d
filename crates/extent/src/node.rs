//! A node that was checked, seen in place.

use crate::validate::Expected;
use ext4_ondisk::extent::{Extent, Index, RawExtent, RawExtentHeader, RawExtentIdx};
use ext4_units::{BlockNr, InodeNr, LogicalBlock};

/// Where a node lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Place {
    /// In the inode.
    Root,
    /// In a block.
    Block(BlockNr),
}

impl Place {
    /// The address for messages.
    pub(crate) fn text(self, ino: InodeNr, depth: Option<u16>) -> String {
        match (self, depth) {
            (Self::Root, _) => format!("extent root (inode {ino})"),
            (Self::Block(blk), None) => format!("extent node at block {blk} (inode {ino})"),
            (Self::Block(blk), Some(depth)) => {
                format!("extent node at block {blk} (inode {ino}, depth {depth})")
            }
        }
    }
}

/// The entries in use.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Entries<'a> {
    Leaf(&'a [RawExtent]),
    Index(&'a [RawExtentIdx]),
}

/// A node whose bytes passed [`check_node`](crate::validate::check_node), which alone makes one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NodeView<'a> {
    pub(crate) header: &'a RawExtentHeader,
    pub(crate) entries: Entries<'a>,
}

/// The child to go to next.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Step {
    pub(crate) child: BlockNr,
    pub(crate) expected: Expected,
}

impl NodeView<'_> {
    /// The way down from an index node towards `lblk`: the last child that starts at or before it, else
    /// the first (`ext4_ext_binsearch_idx`). `end` is where the node's own range ends. `None` for a leaf.
    pub(crate) fn step(&self, lblk: LogicalBlock, end: u32) -> Option<Step> {
        let Entries::Index(entries) = self.entries else { return None };
        let pos = entries.partition_point(|it| it.ei_block.get() <= lblk.0).saturating_sub(1);
        let index = Index::from_raw(entries.get(pos)?);
        let end = entries.get(pos + 1).map_or(end, |next| next.ei_block.get());
        let depth = self.header.eh_depth.get().checked_sub(1)?;
        let expected = Expected { depth: Some(depth), key: Some(index.lblk), end };
        Some(Step { child: index.child, expected })
    }

    /// All extents of a leaf, in order; nothing for an index node.
    pub(crate) fn extents(&self) -> impl Iterator<Item = Extent> {
        let entries = match self.entries {
            Entries::Leaf(entries) => entries,
            Entries::Index(_) => &[],
        };
        // The check has refused what does not decode.
        entries.iter().filter_map(|raw| Extent::from_raw(raw).ok())
    }

    /// The extent of a leaf that holds `lblk`, and where the first one behind `lblk` starts.
    pub(crate) fn around(&self, lblk: LogicalBlock) -> (Option<Extent>, Option<u32>) {
        let Entries::Leaf(entries) = self.entries else { return (None, None) };
        let pos = entries.partition_point(|it| it.ee_block.get() <= lblk.0);
        let held = pos
            .checked_sub(1)
            .and_then(|it| Extent::from_raw(entries.get(it)?).ok())
            .filter(|it| it.contains(lblk));
        (held, entries.get(pos).map(|it| it.ee_block.get()))
    }

    /// The last extent of a leaf that starts at or before `lblk`, else the first.
    pub(crate) fn near(&self, lblk: LogicalBlock) -> Option<Extent> {
        let Entries::Leaf(entries) = self.entries else { return None };
        let pos = entries.partition_point(|it| it.ee_block.get() <= lblk.0).saturating_sub(1);
        Extent::from_raw(entries.get(pos)?).ok()
    }
}
