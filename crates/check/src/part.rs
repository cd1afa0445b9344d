//! The structures that every group has, wherever its descriptor says that they are: with flex_bg also in
//! another group.

use ext4_ondisk::{geometry::Geometry, group_desc::GroupDesc};
use ext4_units::{BlockNr, BlockRange};

/// A structure of a group. In the order in which they are looked at and get new places: the longest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Part {
    /// The inode table.
    InodeTable,
    /// The block bitmap.
    BlockBitmap,
    /// The inode bitmap.
    InodeBitmap,
}

impl Part {
    /// All three.
    pub(crate) const ALL: [Self; 3] = [Self::InodeTable, Self::BlockBitmap, Self::InodeBitmap];

    /// Where it begins, by its group's descriptor.
    pub(crate) const fn start(self, desc: &GroupDesc) -> BlockNr {
        match self {
            Self::InodeTable => desc.inode_table,
            Self::BlockBitmap => desc.block_bitmap,
            Self::InodeBitmap => desc.inode_bitmap,
        }
    }

    /// The same, to be changed.
    pub(crate) const fn start_mut(self, desc: &mut GroupDesc) -> &mut BlockNr {
        match self {
            Self::InodeTable => &mut desc.inode_table,
            Self::BlockBitmap => &mut desc.block_bitmap,
            Self::InodeBitmap => &mut desc.inode_bitmap,
        }
    }

    /// Its blocks.
    pub(crate) fn run(self, desc: &GroupDesc, geo: &Geometry) -> BlockRange {
        let len = if self == Self::InodeTable { geo.itable_blocks().into() } else { 1 };
        BlockRange::new(self.start(desc), len)
    }
}
