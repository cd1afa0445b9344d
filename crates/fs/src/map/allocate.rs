//! Giving blocks to holes.

use super::{Nodes, store::MapStore};
use crate::{
    Error, Handle, Inode, Result,
    alloc::{Use, allocate_clusters, goal_for_inode},
};
use ext4_extent::{Mapping, State};
use ext4_ondisk::extent::Extent;
use ext4_units::{BlockNr, BlockRange, LogicalBlock};

impl Handle<'_> {
    /// Maps a hole: new blocks for up to `len` blocks from `lblk`, `unwritten` or written at once.
    /// Returns what was mapped, which may be shorter. The caller writes the inode back.
    ///
    /// All of `lblk..lblk + len` must be a hole ([`crate::Filesystem::lookup`] says how far it
    /// goes). Indirect maps know no unwritten blocks. On an error nothing of the inode has changed,
    /// and the handle must be dropped.
    pub fn allocate(
        &mut self,
        inode: &mut Inode,
        lblk: LogicalBlock,
        len: u32,
        unwritten: bool,
    ) -> Result<Mapping> {
        let (ino, len) = (inode.ino, len.max(1));
        if lblk.0 == u32::MAX {
            return Err(Error::NoSuchBlock { ino, lblk });
        }
        let (BlockRange { start, len }, new_blocks) = self.blocks_for(inode, lblk, len)?;
        let len = u32::try_from(len).unwrap_or(u32::MAX);
        // Nobody may find old metadata of these blocks in the cache once they hold data.
        self.fs().journal().forget_cached(BlockRange::new(start, u64::from(len)));
        let extent = Extent { lblk, len, start, unwritten };
        self.insert(inode, extent)?;
        self.note_allocated(inode.ino, lblk, len);
        inode.disk.sectors += new_blocks << (self.block_bits() - 9);
        let state = if unwritten { State::Unwritten(start) } else { State::Written(start) };
        Ok(Mapping { lblk, len, state })
    }

    /// Maps blocks that are known, into a hole: what a fast commit says.
    pub(crate) fn insert(&mut self, inode: &mut Inode, extent: Extent) -> Result<()> {
        self.note_mapped(inode.ino);
        let ctx = self.fs().map_context(inode);
        let format = inode.map_format();
        let mut root = inode.i_block;
        let mut store = MapStore::new(self, extent.start);
        format.insert(&ctx, &mut root, &mut store, extent)?;
        let clusters = store.clusters;
        inode.disk.i_block = root;
        self.count_map_clusters(inode, clusters)
    }

    /// Blocks for `lblk` and up to `len - 1` behind it, and how many blocks in new clusters that
    /// took. With bigalloc a cluster that has a mapped block already lends its other blocks, and
    /// new clusters are taken whole (`ext4_ext_map_blocks`, `get_implied_cluster_alloc`).
    fn blocks_for(
        &mut self,
        inode: &Inode,
        lblk: LogicalBlock,
        len: u32,
    ) -> Result<(BlockRange, u64)> {
        let ratio = self.fs().geometry().cluster_ratio();
        if ratio == 1 {
            let goal = self.goal(inode, lblk)?;
            let range = allocate_clusters(self, goal, len, Use::Data)?;
            return Ok((range, range.len));
        }
        let within = lblk.0 % ratio;
        if let Some(cluster) = self.cluster_of_mapped(inode, lblk)? {
            let lent = BlockRange::new(cluster.plus(within.into()), len.min(ratio - within).into());
            return Ok((lent, 0));
        }
        // The last cluster may be there already, lent to what lies behind the hole.
        let end = lblk.0.saturating_add(len);
        let last = LogicalBlock(end - 1);
        let end =
            if last.0 / ratio != lblk.0 / ratio && self.cluster_of_mapped(inode, last)?.is_some() {
                last.0 / ratio * ratio
            } else {
                end
            };
        let clusters = (end - (lblk.0 - within)).div_ceil(ratio);
        let goal = self.goal(inode, lblk)?;
        let range = allocate_clusters(self, goal, clusters, Use::Data)?;
        let len = u64::from(end - lblk.0).min(range.len - u64::from(within));
        Ok((BlockRange::new(range.start.plus(within.into()), len), range.len))
    }

    /// The first block of the physical cluster behind `lblk`'s logical cluster, if any block of it
    /// is mapped.
    pub(crate) fn cluster_of_mapped(
        &self,
        inode: &Inode,
        lblk: LogicalBlock,
    ) -> Result<Option<BlockNr>> {
        let ratio = self.fs().geometry().cluster_ratio();
        let first = lblk.0 / ratio * ratio;
        let end = first.saturating_add(ratio);
        let mut found = None;
        self.fs().mappings(self, inode, LogicalBlock(first), LogicalBlock(end), |mapping| {
            if let Some(range) = mapping.blocks() {
                let within = u64::from(mapping.lblk.0 - first);
                let start =
                    range.start.0.checked_sub(within).filter(|nr| nr % u64::from(ratio) == 0);
                let start = start.ok_or_else(|| {
                    let place = format!("inode {}, logical block {}", inode.ino, mapping.lblk);
                    let fault = format!("block {} is not at its place in a cluster", range.start);
                    Error::corrupt(place, fault)
                })?;
                found.get_or_insert(BlockNr(start));
            }
            Ok(())
        })?;
        Ok(found)
    }

    /// Where a new block for `lblk` would best lie: where the file goes on, or near its inode
    /// (`ext4_ext_find_goal`).
    fn goal(&self, inode: &Inode, lblk: LogicalBlock) -> Result<BlockNr> {
        if inode.has_extents() {
            let ctx = self.fs().map_context(inode);
            let goal = ext4_extent::goal(&ctx, &inode.i_block, &Nodes(self), lblk)?;
            let goal = goal.filter(|&goal| self.fs().geometry().contains(goal));
            return Ok(goal.unwrap_or_else(|| goal_for_inode(self, inode)));
        }
        if let Some(before) = lblk.0.checked_sub(1) {
            let mapping = self.fs().lookup(self, inode, LogicalBlock(before))?;
            if let Some(range) = mapping.blocks() {
                return Ok(range.start.plus(1));
            }
        }
        Ok(goal_for_inode(self, inode))
    }

    /// Nodes that a map gained or lost count in `i_blocks`.
    pub(crate) fn count_map_clusters(&self, inode: &mut Inode, clusters: i64) -> Result<()> {
        let sectors = clusters * self.fs().cluster_sectors().cast_signed();
        inode.disk.sectors = inode.sectors.checked_add_signed(sectors).ok_or_else(|| {
            let fault = format!("i_blocks {}, fewer than its map has blocks", inode.sectors);
            Error::corrupt(format!("inode {}", inode.ino), fault)
        })?;
        Ok(())
    }

    fn block_bits(&self) -> u32 {
        self.fs().geometry().block_size.bits()
    }
}
