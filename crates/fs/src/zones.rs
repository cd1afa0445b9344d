//! Blocks that hold the filesystem itself: superblocks, descriptors, bitmaps, inode tables and the
//! journal. No file may map them (`ext4_setup_system_zone`).

use ext4_units::{BlockNr, BlockRange};
use std::sync::Arc;

/// The runs of system blocks, sorted and merged.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct SystemZones {
    runs: Arc<[BlockRange]>,
}

impl SystemZones {
    /// From runs in any order, which may overlap in a damaged filesystem.
    pub(crate) fn new(mut runs: Vec<BlockRange>) -> Self {
        runs.retain(|run| run.len > 0);
        runs.sort_unstable();
        let mut merged: Vec<BlockRange> = Vec::with_capacity(runs.len());
        for run in runs {
            match merged.last_mut() {
                Some(last) if run.start <= last.end() => {
                    let end = last.end().0.max(run.end().0);
                    last.len = end - last.start.0;
                }
                _ => merged.push(run),
            }
        }
        Self { runs: merged.into() }
    }

    /// The runs, shared: for [`ext4_extent::Context`].
    pub(crate) fn runs(&self) -> Arc<[BlockRange]> {
        Arc::clone(&self.runs)
    }

    /// A system block inside `run`, if there is one.
    pub(crate) fn hit(&self, run: BlockRange) -> Option<BlockNr> {
        let after = self.runs.partition_point(|zone| zone.end() <= run.start);
        let zone = self.runs.get(after)?;
        zone.overlaps(run).then(|| zone.start.max(run.start))
    }

    /// The zones that touch `run`.
    pub(crate) fn within(&self, run: BlockRange) -> impl Iterator<Item = BlockRange> {
        let first = self.runs.partition_point(|zone| zone.end() <= run.start);
        self.runs[first..].iter().copied().take_while(move |zone| zone.start < run.end())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(start: u64, len: u64) -> BlockRange {
        BlockRange::new(BlockNr(start), len)
    }

    #[test]
    fn a_file_block_in_a_table_is_seen_wherever_the_runs_touch() {
        let zones = SystemZones::new(vec![run(20, 5), run(0, 3), run(2, 4), run(40, 0)]);
        assert_eq!(*zones.runs, [run(0, 6), run(20, 5)]);
        assert_eq!(zones.hit(run(6, 14)), None);
        assert_eq!(zones.hit(run(6, 15)), Some(BlockNr(20)));
        assert_eq!(zones.hit(run(24, 9)), Some(BlockNr(24)));
        assert_eq!(zones.hit(run(25, 9)), None);
        assert_eq!(zones.within(run(5, 100)).count(), 2);
    }
}
