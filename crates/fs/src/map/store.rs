//! The blocks of one inode's map, allocated and freed under a handle and counted in the inode.

use crate::{
    Error, Handle, Result,
    alloc::{Use, allocate_clusters, free_clusters},
};
use ext4_extent::{NodeRead, NodeStore};
use ext4_jbd2::MetaRead;
use ext4_units::{BlockNr, BlockRange};
use std::sync::Arc;

/// Reads, writes, allocates and frees nodes. A node takes a whole cluster.
#[derive(Debug)]
pub(crate) struct MapStore<'h, 'fs> {
    h: &'h mut Handle<'fs>,
    goal: BlockNr,
    /// Clusters allocated (positive) or freed for nodes.
    pub(crate) clusters: i64,
}

impl<'h, 'fs> MapStore<'h, 'fs> {
    /// A store whose nodes go near `goal` unless their neighbours say otherwise.
    pub(crate) fn new(h: &'h mut Handle<'fs>, goal: BlockNr) -> Self {
        Self { h, goal, clusters: 0 }
    }
}

impl NodeRead for MapStore<'_, '_> {
    type Error = Error;

    fn read(&self, blk: BlockNr) -> Result<Arc<[u8]>> {
        Ok(self.h.read(blk)?)
    }
}

impl NodeStore for MapStore<'_, '_> {
    fn write(&mut self, blk: BlockNr, data: Arc<[u8]>) -> Result<()> {
        self.h.write(blk, data)
    }

    fn alloc(&mut self, goal: BlockNr) -> Result<BlockNr> {
        let goal = if goal == BlockNr(0) { self.goal } else { goal };
        let range = allocate_clusters(self.h, goal, 1, Use::Metadata)?;
        self.clusters += 1;
        Ok(range.start)
    }

    fn free(&mut self, blk: BlockNr) -> Result<()> {
        let ratio = u64::from(self.h.fs().geometry().cluster_ratio());
        let first = BlockNr(blk.0 & !(ratio - 1));
        free_clusters(self.h, cluster_of(self.h, blk, first, ratio))?;
        self.h.revoke(blk);
        self.clusters -= 1;
        Ok(())
    }
}

/// The whole cluster of a node. Without bigalloc that is the block, whatever it is aligned to.
fn cluster_of(h: &Handle<'_>, blk: BlockNr, first: BlockNr, ratio: u64) -> BlockRange {
    match h.fs().geometry().cluster_ratio_bits {
        0 => BlockRange::new(blk, 1),
        _ => BlockRange::new(first, ratio),
    }
}
