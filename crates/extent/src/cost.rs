//! How many blocks of a map an operation can touch, to reserve credits before it starts.

use crate::{Context, Format, Root, depth};
use ext4_ondisk::{
    Corrupt,
    indirect::{per_block, span},
};

/// The most blocks of nodes that one call can touch. The root, which is the inode, is not counted, nor
/// are bitmaps and group descriptors: each block allocated or freed may need one of both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cost {
    /// Blocks written, new ones included.
    pub written: usize,
    /// Blocks allocated.
    pub allocated: usize,
    /// Blocks freed, and so revoked.
    pub freed: usize,
}

impl Format {
    /// One [`Format::insert`] of `n_blocks`.
    pub fn insert_cost(self, ctx: &Context, root: &Root, n_blocks: u32) -> Result<Cost, Corrupt> {
        match self {
            Self::Extents => {
                // At most: every level splits below a new level under the root; or the next leaf takes the
                // extent, and the keys above it change.
                let depth = usize::from(depth(ctx, root)?);
                let allocated = depth + 1;
                Ok(Cost { written: 2 * depth + allocated, allocated, freed: 1 })
            }
            Self::Indirect => {
                // A run may begin and end inside a block of pointers at each level.
                let blocks = |per: u64| u64::from(n_blocks) / per + 2;
                let n = blocks(u64::from(per_block(ctx.block_size)))
                    + blocks(span(ctx.block_size, 2))
                    + 1;
                let n = usize::try_from(n).unwrap_or(usize::MAX);
                Ok(Cost { written: n, allocated: n, freed: 0 })
            }
        }
    }

    /// One [`Format::convert`], [`Format::initialize`] or [`mark_unwritten`](crate::mark_unwritten).
    pub fn convert_cost(self, ctx: &Context, root: &Root) -> Result<Cost, Corrupt> {
        match self {
            Self::Extents => {
                // Two inserts, the second into a tree that may have grown by the first.
                let depth = usize::from(depth(ctx, root)?);
                let allocated = 2 * depth + 3;
                Ok(Cost { written: 2 * depth + allocated, allocated, freed: 1 })
            }
            Self::Indirect => Ok(Cost { written: 0, allocated: 0, freed: 0 }),
        }
    }

    /// One step of [`Format::remove`], the blocks of data not counted.
    pub fn remove_cost(self, ctx: &Context, root: &Root) -> Result<Cost, Corrupt> {
        match self {
            Self::Extents => {
                // A punch inside one extent is an insert; else one path is shortened.
                let depth = usize::from(depth(ctx, root)?);
                let allocated = depth + 1;
                Ok(Cost { written: 2 * depth + allocated, allocated, freed: depth })
            }
            Self::Indirect => Ok(Cost { written: 3, allocated: 0, freed: 3 }),
        }
    }
}
