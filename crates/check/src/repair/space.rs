//! Free clusters and inodes: what pass 1 did not find in use.
//!
//! Bitmaps, counts and flags of the groups follow in pass 5, which makes them from the same facts.

use crate::{Error, Result, session::Session};
use ext4_ondisk::group_desc::GroupFlags;
use ext4_units::{BlockNr, BlockRange, GroupNr, InodeNr};
use std::ops::Range;

impl Session<'_, '_> {
    /// The cluster of a block.
    pub(crate) fn cluster(&self, blk: BlockNr) -> u64 {
        blk.0 >> self.geo.cluster_ratio_bits
    }

    /// The clusters that may be given to somebody: one that the filesystem's end cuts short is not there
    /// to be had.
    pub(crate) fn clusters(&self) -> Range<u64> {
        let bits = self.geo.cluster_ratio_bits;
        let end = self.geo.blocks_count.min(self.image.n_blocks()) >> bits;
        self.geo.first_data_block.0.div_ceil(1 << bits).min(end)..end
    }

    /// Takes a free cluster, the first one at `goal` or behind it, else the first of all; gives its
    /// first block. Contents are what was there: the caller writes them.
    pub(crate) fn take_cluster(&mut self, goal: BlockNr) -> Result<BlockNr> {
        let Range { start: first, end } = self.clusters();
        let goal = self.cluster(goal).max(self.facts.first_free).clamp(first, end);
        let found = self.free_cluster(goal, end).or_else(|| self.free_cluster(first, goal));
        let is_fresh = found.is_some();
        // What a repair gave back is taken again only when nothing else is free.
        let found = found.or_else(|| self.facts.used.first_absent(first, end));
        let cluster = found.ok_or(Error::NoSpace("block"))?;
        if is_fresh {
            self.gate.history.fresh.insert(cluster);
        }
        if goal <= first.max(self.facts.first_free) {
            self.facts.first_free = cluster;
        }
        self.facts.used.insert(cluster);
        Ok(BlockNr(cluster << self.geo.cluster_ratio_bits))
    }

    /// The first cluster of `from..to` that neither is in use nor was before repairs.
    fn free_cluster(&self, mut from: u64, to: u64) -> Option<u64> {
        loop {
            let found = self.facts.used.first_absent(from, to)?;
            if !self.gate.history.given.contains(found) {
                return Some(found);
            }
            from = found + 1;
        }
    }

    /// Gives a cluster back that nothing has any more.
    pub(crate) fn give_cluster(&mut self, blk: BlockNr) {
        let cluster = self.cluster(blk);
        if !self.facts.shared.contains(cluster) && !self.facts.metadata.contains(blk.0) {
            self.facts.used.remove(cluster);
            if !self.gate.history.fresh.contains(cluster) {
                self.gate.history.given.insert(cluster);
            }
            self.facts.first_free = self.facts.first_free.min(cluster);
        }
    }

    /// Gives back the clusters of a run that nothing else has.
    pub(crate) fn give_run(&mut self, start: BlockNr, len: u64) {
        let bits = self.geo.cluster_ratio_bits;
        let last = start.0.saturating_add(len.saturating_sub(1));
        for cluster in start.0 >> bits..=last >> bits {
            self.give_cluster(BlockNr(cluster << bits));
        }
    }

    /// Takes a free inode, in the first group that has one and whose table was ever used, else in a
    /// group that is used from now on. Its bytes are zeros.
    pub(crate) fn take_inode(&mut self) -> Result<InodeNr> {
        let geo = self.geo;
        let has_flags = self.sb.features.has_group_desc_csum();
        for group in geo.groups() {
            let desc = &self.descs[group.0 as usize];
            let is_uninit = has_flags && desc.flags.contains(GroupFlags::INODE_UNINIT);
            for index in 0..geo.inodes_per_group {
                let Some(ino) = geo.inode_at(group, index) else { break };
                let nr = ino.get();
                if nr < geo.first_ino || self.facts.inodes.contains(nr.into()) {
                    continue;
                }
                if !self.has_place(ino) {
                    break;
                }
                if has_flags {
                    self.begin_to_use(group, index, is_uninit)?;
                }
                self.facts.inodes.insert(nr.into());
                self.write_inode(ino, &vec![0; self.format.inode_size()])?;
                return Ok(ino);
            }
        }
        Err(Error::NoSpace("inode"))
    }

    /// Makes the table of a group good up to `index`: what was never used reads as anything.
    fn begin_to_use(&mut self, group: GroupNr, index: u32, is_uninit: bool) -> Result<()> {
        let geo = self.geo;
        let desc = self.descs[group.0 as usize];
        let old =
            if is_uninit { 0 } else { geo.inodes_per_group.saturating_sub(desc.itable_unused) };
        if index < old && !is_uninit {
            return Ok(());
        }
        if !desc.flags.contains(GroupFlags::INODE_ZEROED) {
            let per_block = geo.inodes_per_block();
            let from = old.div_ceil(per_block);
            let run = BlockRange::new(
                desc.inode_table.plus(from.into()),
                u64::from((index / per_block + 1).saturating_sub(from)),
            );
            for blk in run.iter() {
                self.image.write(blk, &vec![0; geo.block_size.len()])?;
            }
        }
        let desc = &mut self.descs[group.0 as usize];
        desc.itable_unused = geo.inodes_per_group.saturating_sub(index + 1);
        desc.flags.remove(GroupFlags::INODE_UNINIT);
        self.put_descriptor(group)
    }
}
