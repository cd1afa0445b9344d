//! Taking blocks away, a bounded step at a time.

use super::store::MapStore;
use crate::{Error, Handle, Inode, Result, alloc::free_clusters};
use ext4_extent::Removed;
use ext4_units::{BlockNr, BlockRange, LogicalBlock};
use std::collections::BTreeSet;

impl Handle<'_> {
    /// Unmaps blocks of `from..to` and frees them, the highest first and at most `budget` runs of
    /// them. Returns whether nothing is left there. The caller writes the inode back, in this
    /// handle.
    ///
    /// Blocks that hold metadata ([`Inode::holds_metadata`]) are revoked.
    pub(crate) fn unmap(
        &mut self,
        inode: &mut Inode,
        from: LogicalBlock,
        to: LogicalBlock,
        budget: usize,
    ) -> Result<bool> {
        let removed = self.cut_map(inode, from, to, budget)?;
        let freed = self.whole_clusters(inode, &removed.freed)?;
        let must_revoke = inode.holds_metadata();
        let mut blocks = 0;
        for range in freed {
            free_clusters(self, range)?;
            if must_revoke {
                range.iter().for_each(|blk| self.revoke(blk));
            }
            blocks += range.len;
        }
        let sectors = blocks << (self.fs().geometry().block_size.bits() - 9);
        inode.disk.sectors = inode.sectors.checked_sub(sectors).ok_or_else(|| {
            let fault = format!("i_blocks {}, fewer than were just freed", inode.sectors);
            Error::corrupt(format!("inode {}", inode.ino), fault)
        })?;
        Ok(removed.done)
    }

    /// As [`unmap`](Self::unmap), but what was mapped stays in use, and counted in `i_blocks`.
    pub(crate) fn cut_map(
        &mut self,
        inode: &mut Inode,
        from: LogicalBlock,
        to: LogicalBlock,
        budget: usize,
    ) -> Result<Removed> {
        self.note_mapped(inode.ino);
        let ctx = self.fs().map_context(inode);
        let format = inode.map_format();
        let mut root = inode.i_block;
        let mut store = MapStore::new(self, BlockNr(0));
        let removed = format.remove(&ctx, &mut root, &mut store, from, to, budget)?;
        let clusters = store.clusters;
        inode.disk.i_block = root;
        self.count_map_clusters(inode, clusters)?;
        Ok(removed)
    }

    /// Which clusters nothing maps any more. With bigalloc a cluster at the border stays while
    /// another block of its logical cluster is mapped.
    fn whole_clusters(
        &self,
        inode: &Inode,
        freed: &[(LogicalBlock, BlockRange)],
    ) -> Result<Vec<BlockRange>> {
        let ratio = self.fs().geometry().cluster_ratio();
        if ratio == 1 {
            return Ok(freed.iter().map(|&(_, range)| range).collect());
        }
        let size = u64::from(ratio);
        let mut clusters = BTreeSet::new();
        for &(lblk, range) in freed {
            let end = u64::from(lblk.0) + range.len;
            let mut at = u64::from(lblk.0) / size * size;
            while at < end {
                let is_whole = at >= u64::from(lblk.0) && at + size <= end;
                let logical = LogicalBlock(u32::try_from(at).unwrap_or(u32::MAX));
                if is_whole || self.cluster_of_mapped(inode, logical)?.is_none() {
                    let physical = (range.start.0 + at).wrapping_sub(u64::from(lblk.0));
                    clusters.insert(BlockNr(physical));
                }
                at += size;
            }
        }
        Ok(clusters.into_iter().map(|start| BlockRange::new(start, size)).collect())
    }
}
