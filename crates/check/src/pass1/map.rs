//! What the walk over an inode's map learns, whichever form the map has.

use super::{
    budget::{Budget, Step},
    inode::Check,
};
use crate::{
    Error, Place, Result,
    facts::{Runs, add_run},
    problem::pass1::MISALIGNED,
};
use ext4_ondisk::{extent::Extent, inode::FileType};
use ext4_units::{BlockNr, BlockRange, LogicalBlock};

/// What the walk over an inode's map learns.
#[derive(Debug, Default)]
pub(super) struct Map {
    /// Clusters it has, those of the map included.
    pub(super) clusters: u64,
    /// The last logical block that is mapped.
    pub(super) last: Option<u64>,
    /// The last one that is mapped and written.
    pub(super) last_written: Option<u64>,
    /// Where logical block 0 is.
    pub(super) first: Option<BlockNr>,
    /// Clusters that other maps had named, while that is counted.
    pub(super) again: u64,
    /// The device's block that was claimed last; 0 before the first.
    pub(super) previous: u64,
    /// The runs of a directory.
    pub(super) runs: Runs,
    /// What a map of blocks comes to as extents, where it is to be made one of extents.
    pub(super) blocks: OldMap,
}

/// A map of blocks, for one that makes it a map of extents.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct OldMap {
    /// What is mapped.
    pub(crate) extents: Vec<Extent>,
    /// Blocks of pointers.
    pub(crate) nodes: Vec<BlockNr>,
}

impl OldMap {
    /// Adds a block behind the last one.
    pub(super) fn add(&mut self, lblk: u64, start: BlockNr) {
        let Ok(lblk) = u32::try_from(lblk) else { return };
        self.add_run(Extent { lblk: LogicalBlock(lblk), len: 1, start, unwritten: false });
    }

    /// Adds a run behind the last one.
    pub(crate) fn add_run(&mut self, run: Extent) {
        match self.extents.last_mut() {
            Some(last) if last.can_merge(&run) => last.len += run.len,
            _ => self.extents.push(run),
        }
    }
}

impl Map {
    /// Logical blocks up to the last one that is mapped.
    pub(super) fn end(&self) -> u64 {
        self.last.map_or(0, |last| last.saturating_add(1))
    }
}

impl Check<'_> {
    /// Claims a run of clusters.
    pub(super) fn claim(&mut self, start: u64, len: u64) {
        self.found.claim(start, len);
    }

    /// Pays for a block or an entry of the map that names these clusters.
    pub(super) fn spend(&mut self, map: &mut Map, start: u64, len: u64) -> Result<()> {
        match self.world.budget.spend(&mut self.found.owed, start, len) {
            Step::Free => Ok(()),
            Step::Over => Err(Error::TooMuch),
            Step::Again(n) => {
                map.again += n;
                if map.again > Budget::AGAIN { Err(Error::NotWorthIt) } else { Ok(()) }
            }
        }
    }

    /// Claims a block of the map itself.
    pub(super) fn claim_node(&mut self, map: &mut Map, blk: BlockNr) {
        self.claim(self.world.cluster(blk.0), 1);
        map.clusters += 1;
    }

    /// Claims a run of contents, which lies inside the filesystem.
    pub(super) fn claim_run(
        &mut self,
        map: &mut Map,
        lblk: u64,
        start: u64,
        len: u64,
        is_written: bool,
    ) -> Result<()> {
        if len == 0 {
            return Ok(());
        }
        let end = start + len;
        if self.is_misaligned(map, lblk, start) {
            let place = Place::inode(self.ino).at_lblk(lblk).at_block(BlockNr(start));
            self.gate.doubt()?;
            self.fix_at(&MISALIGNED, place, "", "")?;
            let clusters = self.world.cluster(start)..=self.world.cluster(end - 1);
            self.found.misaligned.extend(clusters);
        }
        let (mut first, last) = (self.world.cluster(start), self.world.cluster(end - 1));
        // The run before may end in the cluster where this one begins.
        if self.world.geo.cluster_ratio_bits > 0
            && map.previous != 0
            && self.world.cluster(map.previous) == first
        {
            first += 1;
        }
        self.spend(map, first, (last + 1).saturating_sub(first))?;
        if first <= last {
            self.claim(first, last - first + 1);
            map.clusters += last - first + 1;
        }
        map.previous = end - 1;
        map.last = Some(lblk + len - 1);
        if is_written {
            map.last_written = map.last;
        }
        if lblk == 0 {
            map.first = Some(BlockNr(start));
        }
        if self.kind() == FileType::Directory {
            add_run(&mut map.runs, lblk, BlockRange::new(BlockNr(start), len));
        }
        Ok(())
    }

    /// Whether a block is elsewhere in its cluster than it should be, or the clusters of one logical
    /// cluster are two (`has_unaligned_cluster_map`).
    fn is_misaligned(&self, map: &Map, lblk: u64, blk: u64) -> bool {
        let bits = self.world.geo.cluster_ratio_bits;
        let mask = (1u64 << bits) - 1;
        if bits == 0 {
            return false;
        }
        if lblk & mask != blk & mask {
            return true;
        }
        map.previous != 0
            && lblk & mask != 0
            && map.last.is_some_and(|last| last >> bits == lblk >> bits)
            && blk >> bits != map.previous >> bits
    }
}
