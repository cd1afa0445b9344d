//! Sets of blocks and inodes that stay small where numbers come in runs.

use ext4_units::{BlockNr, BlockRange};
use roaring::RoaringTreemap;

/// A set of numbers: blocks, clusters or inodes.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Bits(RoaringTreemap);

impl Bits {
    /// Adds a number; false when it was there.
    pub(crate) fn insert(&mut self, n: u64) -> bool {
        self.0.insert(n)
    }

    /// Adds all numbers of a run, and gives back how many were new.
    pub(crate) fn insert_run(&mut self, start: u64, len: u64) -> u64 {
        match start.checked_add(len) {
            Some(end) if len > 0 => self.0.insert_range(start..end),
            _ => 0,
        }
    }

    /// Takes a number away; false when it was not there.
    pub(crate) fn remove(&mut self, n: u64) -> bool {
        self.0.remove(n)
    }

    /// Takes all numbers of a run away.
    pub(crate) fn remove_run(&mut self, start: u64, len: u64) {
        if let Some(end) = start.checked_add(len) {
            self.0.remove_range(start..end);
        }
    }

    /// Whether a number is there.
    pub(crate) fn contains(&self, n: u64) -> bool {
        self.0.contains(n)
    }

    /// The numbers of `from..to` that are there, in order.
    pub(crate) fn range(&self, from: u64, to: u64) -> impl Iterator<Item = u64> + '_ {
        let mut iter = self.0.iter();
        iter.advance_to(from);
        iter.take_while(move |n| *n < to)
    }

    /// How many numbers are there.
    pub(crate) fn len(&self) -> u64 {
        self.0.len()
    }

    /// Whether there are none.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All numbers, in order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = u64> + '_ {
        self.0.iter()
    }

    /// The first number of `from..to` that is not there.
    pub(crate) fn first_absent(&self, from: u64, to: u64) -> Option<u64> {
        if from >= to {
            return None;
        }
        let mut expected = from;
        let mut iter = self.0.iter();
        iter.advance_to(from);
        for n in iter {
            if n != expected || expected >= to {
                break;
            }
            expected += 1;
        }
        (expected < to).then_some(expected)
    }

    /// How many numbers of a run are there.
    pub(crate) fn count(&self, start: u64, len: u64) -> u64 {
        let below = |n: u64| n.checked_sub(1).map_or(0, |last| self.0.rank(last));
        match start.checked_add(len) {
            Some(end) => below(end) - below(start),
            None => 0,
        }
    }

    /// Adds what `other` has, and to `shared` what both had.
    pub(crate) fn merge(&mut self, other: Self, shared: &mut Self) {
        shared.0 |= &self.0 & &other.0;
        self.0 |= other.0;
    }
}

/// Adds a run of blocks.
pub(crate) fn insert_blocks(bits: &mut Bits, run: BlockRange) -> u64 {
    bits.insert_run(run.start.0, run.len)
}

/// The block of a number.
pub(crate) const fn block(n: u64) -> BlockNr {
    BlockNr(n)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_merge_tells_what_both_had() {
        let (mut a, mut b, mut shared) = (Bits::default(), Bits::default(), Bits::default());
        assert_eq!(a.insert_run(10, 5), 5);
        assert_eq!(b.insert_run(14, 3), 3);
        assert!(!b.insert(15));
        a.merge(b, &mut shared);
        assert_eq!(shared.iter().collect::<Vec<_>>(), [14]);
        assert_eq!((a.first_absent(10, 20), a.first_absent(10, 17)), (Some(17), None));
        assert_eq!((a.first_absent(0, 20), a.first_absent(17, 17)), (Some(0), None));
        assert_eq!((a.len(), a.count(10, 5), a.count(15, 100), a.count(0, 10)), (7, 5, 2, 0));
    }
}
