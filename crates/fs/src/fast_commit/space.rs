//! Blocks that come and go by fast commits, and what is in use in the end.

use super::Replay;
use crate::{
    Error, Inode, MapState, Result,
    alloc::{claim_clusters, free_clusters},
};
use ext4_ondisk::{extent::Extent, fast_commit::Op};
use ext4_units::{BlockNr, BlockRange, InodeNr, LogicalBlock};

/// How many runs of blocks are unmapped at once.
const RUNS: usize = 64;

impl Replay<'_> {
    /// Marks the blocks that an operation maps as in use.
    pub(super) fn claim(&mut self, op: &Op) -> Result<()> {
        let Op::AddRange { ino, start, len, .. } = *op else { return Ok(()) };
        let range = BlockRange::new(start, len.into());
        let fs = self.h.fs();
        let end = start.checked_add(len.into());
        if end.is_none() || !fs.geometry().contains_range(range) || fs.zones().hit(range).is_some()
        {
            let fault = format!("blocks {range}, expected blocks for files");
            return Err(Error::corrupt(format!("fast commit, range of inode {ino}"), fault));
        }
        if range.len > 0 {
            claim_clusters(&mut self.h, range)?;
            fs.journal().forget_cached(range);
            self.moved.push(range);
        }
        self.check_room()
    }

    /// Maps blocks, wherever something else is mapped now (`ext4_fc_replay_add_range`).
    pub(super) fn add_range(
        &mut self,
        ino: InodeNr,
        lblk: LogicalBlock,
        len: u32,
        start: BlockNr,
        unwritten: bool,
    ) -> Result<()> {
        let Some(mut inode) = self.take(ino)? else { return Ok(()) };
        if !inode.has_blocks(self.h.fs()) {
            self.put(inode);
            return Ok(());
        }
        let end = lblk.0.checked_add(len).ok_or_else(|| {
            let fault = format!("logical blocks {lblk} and {} more", len.saturating_sub(1));
            Error::corrupt(format!("fast commit, range of inode {ino}"), fault)
        })?;
        let mut at = lblk.0;
        while at < end {
            let mapping = self.h.fs().lookup(&self.h, &inode, LogicalBlock(at))?;
            let len = mapping.len.min(end - at).min(Extent::max_len(unwritten));
            let start = start.plus(u64::from(at - lblk.0));
            let wanted =
                if unwritten { MapState::Unwritten(start) } else { MapState::Written(start) };
            if mapping.state != wanted {
                self.unmap(&mut inode, at, at + len)?;
                let extent = Extent { lblk: LogicalBlock(at), len, start, unwritten };
                self.h.insert(&mut inode, extent)?;
            }
            at += len;
            self.check_room()?;
        }
        self.put(inode);
        Ok(())
    }

    /// Makes a hole (`ext4_fc_replay_del_range`).
    pub(super) fn del_range(&mut self, ino: InodeNr, lblk: LogicalBlock, len: u32) -> Result<()> {
        let Some(mut inode) = self.take(ino)? else { return Ok(()) };
        if inode.has_blocks(self.h.fs()) {
            self.unmap(&mut inode, lblk.0, lblk.0.saturating_add(len))?;
        }
        self.put(inode);
        Ok(())
    }

    /// Unmaps blocks, and leaves for the end whether they are free. Blocks of metadata are freed at
    /// once: nobody has them again before the transaction is committed.
    fn unmap(&mut self, inode: &mut Inode, from: u32, to: u32) -> Result<()> {
        let (from, to) = (LogicalBlock(from), LogicalBlock(to));
        loop {
            let done = if inode.holds_metadata() {
                self.h.unmap(inode, from, to, RUNS)?
            } else {
                let removed = self.h.cut_map(inode, from, to, RUNS)?;
                self.moved.extend(removed.freed.iter().map(|&(_, range)| range));
                removed.done
            };
            self.check_room()?;
            if done {
                return Ok(());
            }
        }
    }

    pub(super) fn unmap_all(&mut self, inode: &mut Inode) -> Result<()> {
        if inode.has_blocks(self.h.fs()) {
            self.unmap(inode, 0, u32::MAX)?;
        }
        Ok(())
    }

    /// Everything an inode has is given up, because its number has a new owner.
    pub(super) fn release(&mut self, mut inode: Inode) -> Result<()> {
        self.unmap_all(&mut inode)?;
        self.h.release_xattrs(&mut inode)?;
        Ok(())
    }

    /// Writes the inodes back, their counts made new; frees what nobody has any more
    /// (`ext4_fc_set_bitmaps_and_counters`); records those without links as orphans.
    pub(super) fn finish(mut self) -> Result<()> {
        let mut live = Vec::new();
        let mut gone = Vec::new();
        for (ino, inode) in std::mem::take(&mut self.inodes) {
            if inode.links_count == 0 {
                gone.push(inode);
            } else {
                self.map_of(&inode, &mut |range| live.push(range))?;
                self.inodes.insert(ino, inode);
            }
        }
        let live = Set::new(live);
        // Orphans from before, whose blocks may have been given away without a word.
        for &ino in &self.orphans.clone() {
            if !self.inodes.contains_key(&ino)
                && !gone.iter().any(|it| it.ino == ino)
                && let Some(orphan) = self.take(ino)?
                && orphan.links_count == 0
            {
                let mut is_hit = false;
                self.map_of(&orphan, &mut |range| is_hit |= live.overlaps(range))?;
                if is_hit {
                    gone.push(orphan);
                }
            }
        }
        let mut used = live.0.clone();
        for mut inode in gone {
            self.give_up(&mut inode, &live)?;
            self.map_of(&inode, &mut |range| used.push(range))?;
            if !self.orphans.contains(&inode.ino) {
                self.h.orphan_add(&mut inode)?;
            }
            self.inodes.insert(inode.ino, inode);
        }
        let used = Set::new(used);
        let moved = std::mem::take(&mut self.moved);
        let moved: Vec<_> = moved.into_iter().map(|range| self.clusters(range)).collect();
        for range in used.missing(&Set::new(moved)) {
            free_clusters(&mut self.h, range)?;
            self.check_room()?;
        }
        for mut inode in std::mem::take(&mut self.inodes).into_values() {
            let fs = self.h.fs();
            inode.disk.sectors = fs.count_sectors(&self.h, &inode)?;
            self.h.put_inode(&inode)?;
        }
        self.check_room()?;
        self.h.stop()?;
        Ok(())
    }

    /// The clusters of data in a map, in its order.
    fn map_of(&self, inode: &Inode, each: &mut dyn FnMut(BlockRange)) -> Result<()> {
        let fs = self.h.fs();
        if !inode.has_blocks(fs) {
            return Ok(());
        }
        let (from, to) = (LogicalBlock(0), LogicalBlock(u32::MAX));
        fs.mappings(&self.h, inode, from, to, |mapping| {
            if let Some(range) = mapping.blocks() {
                each(self.clusters(range));
            }
            Ok(())
        })
    }

    fn clusters(&self, range: BlockRange) -> BlockRange {
        let mask = u64::from(self.h.fs().geometry().cluster_ratio()) - 1;
        let start = range.start.0 & !mask;
        BlockRange::new(BlockNr(start), (range.end().0.saturating_add(mask) & !mask) - start)
    }

    /// Takes blocks that others have now out of the map of an inode that is about to be deleted.
    fn give_up(&mut self, inode: &mut Inode, others: &Set) -> Result<()> {
        let mut hits = Vec::new();
        if inode.has_blocks(self.h.fs()) {
            let (from, to) = (LogicalBlock(0), LogicalBlock(u32::MAX));
            self.h.fs().mappings(&self.h, inode, from, to, |mapping| {
                if mapping.blocks().is_some_and(|range| others.overlaps(self.clusters(range))) {
                    hits.push((mapping.lblk.0, mapping.end()));
                }
                Ok(())
            })?;
        }
        for (from, to) in hits {
            self.unmap(inode, from, to)?;
        }
        Ok(())
    }
}

/// Blocks as sorted runs that neither overlap nor touch.
struct Set(Vec<BlockRange>);

impl Set {
    fn new(mut runs: Vec<BlockRange>) -> Self {
        runs.sort_unstable();
        let mut merged: Vec<BlockRange> = Vec::with_capacity(runs.len());
        for run in runs.into_iter().filter(|run| run.len > 0) {
            match merged.last_mut() {
                Some(last) if run.start <= last.end() => {
                    last.len = last.end().max(run.end()).0 - last.start.0;
                }
                _ => merged.push(run),
            }
        }
        Self(merged)
    }

    fn overlaps(&self, range: BlockRange) -> bool {
        let after = self.0.partition_point(|run| run.end() <= range.start);
        self.0.get(after).is_some_and(|run| run.overlaps(range))
    }

    /// The parts of `other` that are not in this set.
    fn missing(&self, other: &Self) -> Vec<BlockRange> {
        let mut parts = Vec::new();
        for run in &other.0 {
            let mut at = run.start;
            let first = self.0.partition_point(|own| own.end() <= run.start);
            for own in self.0.iter().skip(first).take_while(|own| own.start < run.end()) {
                if own.start > at {
                    parts.push(BlockRange::new(at, own.start.0 - at.0));
                }
                at = own.end().max(at);
            }
            if at < run.end() {
                parts.push(BlockRange::new(at, run.end().0 - at.0));
            }
        }
        parts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(start: u64, len: u64) -> BlockRange {
        BlockRange::new(BlockNr(start), len)
    }

    #[test]
    fn what_is_missing_is_found_at_both_ends_and_between() {
        let own = Set::new(vec![run(30, 5), run(10, 10), run(15, 10)]);
        assert_eq!(own.0, [run(10, 15), run(30, 5)]);
        let other = Set::new(vec![run(5, 40), run(50, 2)]);
        assert_eq!(own.missing(&other), [run(5, 5), run(25, 5), run(35, 10), run(50, 2)]);
        assert_eq!(own.missing(&Set::new(vec![run(12, 3)])), []);
        assert!(own.overlaps(run(24, 1)) && !own.overlaps(run(25, 5)));
    }
}
