//! Sets of blocks kept as runs: what transactions have freed.

use ext4_units::{BlockNr, BlockRange};
use std::collections::BTreeMap;

/// Blocks freed by transactions that are not durable yet. They must not be given to anybody: a
/// crash would bring back the old owner, with the new owner's bytes in it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PendingFree {
    /// Changes whenever the set may have changed.
    pub generation: u64,
    /// The runs, in order, not touching each other.
    pub ranges: Vec<BlockRange>,
}

/// A set of blocks as sorted runs that neither overlap nor touch.
#[derive(Clone, Debug, Default)]
pub(crate) struct RangeSet {
    /// Start to end (exclusive).
    runs: BTreeMap<u64, u64>,
}

impl RangeSet {
    pub(crate) fn insert(&mut self, range: BlockRange) {
        if range.len == 0 {
            return;
        }
        let (mut start, mut end) = (range.start.0, range.end().0);
        while let Some((&left, &right)) = self.runs.range(..=end).next_back() {
            if right < start {
                break;
            }
            self.runs.remove(&left);
            start = start.min(left);
            end = end.max(right);
        }
        self.runs.insert(start, end);
    }

    pub(crate) fn remove(&mut self, range: BlockRange) {
        let (start, end) = (range.start.0, range.end().0);
        while let Some((&left, &right)) = self.runs.range(..end).next_back() {
            if range.len == 0 || right <= start {
                break;
            }
            self.runs.remove(&left);
            if right > end {
                self.runs.insert(end, right);
            }
            if left < start {
                self.runs.insert(left, start);
            }
        }
    }

    pub(crate) fn overlaps(&self, range: BlockRange) -> bool {
        range.len > 0
            && self.runs.range(..range.end().0).next_back().is_some_and(|(_, &r)| r > range.start.0)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = BlockRange> {
        self.runs.iter().map(|(&start, &end)| BlockRange::new(BlockNr(start), end - start))
    }

    /// Blocks in the set, saturating.
    pub(crate) fn n_blocks(&self) -> u64 {
        self.iter().fold(0, |sum: u64, run| sum.saturating_add(run.len))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    fn run(start: u64, len: u64) -> BlockRange {
        BlockRange::new(BlockNr(start), len)
    }

    proptest! {
        #[test]
        fn runs_say_what_a_set_of_single_blocks_says(
            ops in prop::collection::vec((any::<bool>(), 0u64..40, 0u64..10), 0..40),
            asked in (0u64..50, 0u64..6),
        ) {
            let (mut runs, mut model) = (RangeSet::default(), BTreeSet::new());
            for (add, start, len) in ops {
                if add {
                    runs.insert(run(start, len));
                    model.extend(start..start + len);
                } else {
                    runs.remove(run(start, len));
                    model.retain(|&b| b < start || b >= start + len);
                }
            }
            let listed: Vec<u64> = runs.iter().flat_map(|r| r.iter().map(|b| b.0).collect::<Vec<_>>()).collect();
            prop_assert_eq!(&listed, &model.iter().copied().collect::<Vec<_>>());
            prop_assert_eq!(runs.n_blocks(), model.len() as u64);
            prop_assert_eq!(runs.is_empty(), model.is_empty());
            let ends: Vec<_> = runs.iter().collect();
            prop_assert!(ends.windows(2).all(|w| w[0].end() < w[1].start));
            let (start, len) = asked;
            prop_assert_eq!(
                runs.overlaps(run(start, len)),
                (start..start + len).any(|b| model.contains(&b))
            );
        }
    }
}
