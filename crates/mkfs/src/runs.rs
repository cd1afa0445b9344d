//! The blocks in use, as runs: a new filesystem of any size has only a few of them a group.

use ext4_units::{BlockNr, BlockRange};
use std::collections::BTreeMap;

/// A set of blocks, kept as runs that neither touch nor overlap.
#[derive(Clone, Debug, Default)]
pub(crate) struct Runs {
    /// Start to end (one past the last).
    runs: BTreeMap<u64, u64>,
}

impl Runs {
    /// Adds a run; parts that are in already stay in.
    pub(crate) fn insert(&mut self, range: BlockRange) {
        if range.len == 0 {
            return;
        }
        let (mut start, mut end) = (range.start.0, range.end().0);
        while let Some((&from, &to)) = self.runs.range(..=end).next_back() {
            if to < start {
                break;
            }
            (start, end) = (start.min(from), end.max(to));
            self.runs.remove(&from);
        }
        self.runs.insert(start, end);
    }

    /// Takes one block out.
    pub(crate) fn remove(&mut self, blk: BlockNr) {
        let Some((&from, &to)) = self.runs.range(..=blk.0).next_back() else { return };
        if blk.0 >= to {
            return;
        }
        self.runs.remove(&from);
        if from < blk.0 {
            self.runs.insert(from, blk.0);
        }
        if blk.0 + 1 < to {
            self.runs.insert(blk.0 + 1, to);
        }
    }

    /// Whether no block of the run is in the set.
    pub(crate) fn is_free(&self, range: BlockRange) -> bool {
        self.runs.range(..range.end().0).next_back().is_none_or(|(_, &to)| to <= range.start.0)
    }

    /// The first run of `len` blocks at or after `from`, a multiple of `align`, that ends at or
    /// before `to` and has no block in the set.
    pub(crate) fn first_free(&self, from: u64, to: u64, len: u64, align: u64) -> Option<BlockNr> {
        let mut at = from.next_multiple_of(align);
        loop {
            let end = at.checked_add(len).filter(|&end| end <= to)?;
            match self.runs.range(..end).next_back() {
                // Each turn passes at least one run, of which there are finitely many.
                Some((_, &taken)) if taken > at => at = taken.next_multiple_of(align),
                _ => return Some(BlockNr(at)),
            }
        }
    }

    /// The first free run at or after `from`, at most `len` blocks and not past `to`; aligned.
    pub(crate) fn next_free(&self, from: u64, to: u64, len: u64, align: u64) -> Option<BlockRange> {
        let start = self.first_free(from, to, align, align)?.0;
        let limit = self.runs.range(start..).next().map_or(to, |(&taken, _)| taken.min(to));
        let room = (limit - start) / align * align;
        Some(BlockRange::new(BlockNr(start), room.min(len)))
    }

    /// The parts of the runs that lie in `within`, in order.
    pub(crate) fn in_range(&self, within: BlockRange) -> impl Iterator<Item = BlockRange> + '_ {
        let (start, end) = (within.start.0, within.end().0);
        let before = self.runs.range(..start).next_back();
        before.into_iter().chain(self.runs.range(start..end)).filter_map(move |(&from, &to)| {
            let (from, to) = (from.max(start), to.min(end));
            (from < to).then(|| BlockRange::new(BlockNr(from), to - from))
        })
    }

    /// All runs, in order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = BlockRange> + '_ {
        self.runs.iter().map(|(&from, &to)| BlockRange::new(BlockNr(from), to - from))
    }

    /// The same set with each run grown to whole clusters of `1 << bits` blocks.
    pub(crate) fn in_clusters(&self, bits: u32) -> Self {
        let mut grown = Self::default();
        for (&from, &to) in &self.runs {
            let (from, to) = (from >> bits << bits, to.next_multiple_of(1 << bits));
            grown.insert(BlockRange::new(BlockNr(from), to - from));
        }
        grown
    }

    /// How many clusters of `1 << bits` blocks the set touches.
    pub(crate) fn clusters(&self, bits: u32) -> u64 {
        self.in_clusters(bits).runs.iter().map(|(from, to)| (to - from) >> bits).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(start: u64, len: u64) -> BlockRange {
        BlockRange::new(BlockNr(start), len)
    }

    fn runs(ranges: &[(u64, u64)]) -> Runs {
        let mut runs = Runs::default();
        for &(start, len) in ranges {
            runs.insert(range(start, len));
        }
        runs
    }

    #[test]
    fn runs_that_touch_become_one() {
        let mut it = runs(&[(10, 5), (20, 5), (15, 5), (40, 1)]);
        assert_eq!(it.runs, BTreeMap::from([(10, 25), (40, 41)]));
        it.insert(range(5, 100));
        assert_eq!(it.runs, BTreeMap::from([(5, 105)]));
        it.remove(BlockNr(50));
        it.remove(BlockNr(5));
        it.remove(BlockNr(200));
        assert_eq!(it.runs, BTreeMap::from([(6, 50), (51, 105)]));
    }

    #[test]
    fn the_first_fit_passes_what_is_too_short() {
        let it = runs(&[(0, 10), (12, 8), (30, 70)]);
        assert_eq!(it.first_free(0, 200, 2, 1), Some(BlockNr(10)));
        assert_eq!(it.first_free(0, 200, 3, 1), Some(BlockNr(20)));
        assert_eq!(it.first_free(0, 200, 8, 8), Some(BlockNr(104)));
        assert_eq!(it.first_free(0, 100, 11, 1), None);
        assert_eq!(it.next_free(0, 200, 50, 1), Some(range(10, 2)));
        assert_eq!(it.next_free(11, 200, 50, 4), Some(range(20, 8)));
        assert!(it.is_free(range(20, 10)));
        assert!(!it.is_free(range(20, 11)));
        assert!(!it.is_free(range(35, 1)));
    }

    #[test]
    fn parts_and_clusters_are_counted() {
        let it = runs(&[(0, 10), (12, 1), (40, 8)]);
        let parts: Vec<_> = it.in_range(range(5, 40)).collect();
        assert_eq!(parts, [range(5, 5), range(12, 1), range(40, 5)]);
        assert_eq!(it.clusters(2), 6);
        assert_eq!(it.in_clusters(2).runs, BTreeMap::from([(0, 16), (40, 48)]));
    }
}
