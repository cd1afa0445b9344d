//! Clusters that somebody claims, and those that are claimed twice.
//!
//! Made for the scan: a page of bits for each 32,768 clusters of which one is claimed, so that a claim
//! is a few words of memory wherever it falls.

use crate::bits::Bits;
use std::collections::BTreeMap;

/// Words of 64 bits in a page.
const WORDS: usize = 512;
/// Clusters of a page.
const PER_PAGE: u64 = WORDS as u64 * 64;

/// Claimed clusters.
#[derive(Debug, Default)]
pub(super) struct Claims {
    pages: BTreeMap<u64, Box<[u64; WORDS]>>,
    /// Clusters that were claimed when they were claimed already.
    pub(super) twice: Bits,
}

impl Claims {
    /// Claims a run of clusters.
    pub(super) fn add(&mut self, start: u64, len: u64) {
        let Some(end) = start.checked_add(len) else { return };
        let mut at = start;
        while at < end {
            let nr = at / PER_PAGE;
            let first = nr * PER_PAGE;
            let stop = end.min(first.saturating_add(PER_PAGE));
            let page = self.pages.entry(nr).or_insert_with(|| Box::new([0; WORDS]));
            let (mut bit, last) = (within(at - first), within(stop - first));
            while bit < last {
                let word = bit / 64;
                let upto = last.min((word + 1) * 64);
                let mask = (u64::MAX >> (64 - (upto - bit))) << (bit % 64);
                let both = page[word] & mask;
                if both != 0 {
                    note(&mut self.twice, first + word as u64 * 64, both);
                }
                page[word] |= mask;
                bit = upto;
            }
            at = stop;
        }
    }

    /// Whether somebody has claimed a cluster.
    pub(super) fn contains(&self, cluster: u64) -> bool {
        let bit = within(cluster % PER_PAGE);
        self.pages
            .get(&(cluster / PER_PAGE))
            .is_some_and(|page| page[bit / 64] >> (bit % 64) & 1 == 1)
    }

    /// Adds the claims of `other`.
    pub(super) fn merge(&mut self, other: Self) {
        for n in other.twice.iter() {
            self.twice.insert(n);
        }
        for (nr, theirs) in other.pages {
            match self.pages.entry(nr) {
                std::collections::btree_map::Entry::Vacant(entry) => {
                    entry.insert(theirs);
                }
                std::collections::btree_map::Entry::Occupied(mut entry) => {
                    let ours = entry.get_mut();
                    for (word, (a, b)) in ours.iter_mut().zip(theirs.iter()).enumerate() {
                        if *a & b != 0 {
                            note(&mut self.twice, nr * PER_PAGE + word as u64 * 64, *a & b);
                        }
                        *a |= b;
                    }
                }
            }
        }
    }

    /// All claimed clusters as the set that the other passes use. Pages are given up on the way.
    pub(super) fn into_bits(self) -> Bits {
        let mut bits = Bits::default();
        let mut run = (0, 0);
        for (nr, page) in self.pages {
            for (word, value) in (0..).zip(page.iter()) {
                let base = nr * PER_PAGE + word * 64;
                let mut rest = *value;
                while rest != 0 {
                    let at = u64::from(rest.trailing_zeros());
                    let len = u64::from((rest >> at).trailing_ones());
                    if run.0 + run.1 == base + at {
                        run.1 += len;
                    } else {
                        bits.insert_run(run.0, run.1);
                        run = (base + at, len);
                    }
                    rest = if at + len >= 64 { 0 } else { rest >> (at + len) << (at + len) };
                }
            }
        }
        bits.insert_run(run.0, run.1);
        bits
    }
}

/// A bit of a page, or the number of its bits.
#[expect(clippy::cast_possible_truncation, reason = "at most the bits of a page")]
const fn within(n: u64) -> usize {
    n as usize
}

/// Notes the clusters of a word's bits.
fn note(bits: &mut Bits, base: u64, word: u64) {
    for bit in 0..64 {
        if word >> bit & 1 == 1 {
            bits.insert(base + bit);
        }
    }
}

/// A set whose numbers mostly come in ascending order, one after the other.
#[derive(Debug, Default)]
pub(super) struct Ascending {
    bits: Bits,
    run: (u64, u64),
}

impl Ascending {
    /// Adds a number.
    pub(super) fn add(&mut self, n: u64) {
        if self.run.0 + self.run.1 == n && self.run.1 > 0 {
            self.run.1 += 1;
        } else {
            self.bits.insert_run(self.run.0, self.run.1);
            self.run = (n, 1);
        }
    }

    /// The set.
    pub(super) fn into_bits(mut self) -> Bits {
        self.bits.insert_run(self.run.0, self.run.1);
        self.bits
    }

    /// Adds what is in `other`.
    pub(super) fn merge(&mut self, other: Self) {
        for n in other.into_bits().iter() {
            self.bits.insert(n);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn claims_know_who_came_second() {
        let mut a = Claims::default();
        a.add(10, 100);
        a.add(PER_PAGE - 3, 5);
        a.add(109, 2);
        assert_eq!(a.twice.iter().collect::<Vec<_>>(), [109]);
        let mut b = Claims::default();
        b.add(PER_PAGE, 64);
        b.add(5 * PER_PAGE, PER_PAGE);
        a.merge(b);
        assert_eq!(a.twice.iter().collect::<Vec<_>>(), [109, PER_PAGE, PER_PAGE + 1]);
        assert!(a.contains(10) && !a.contains(9) && !a.contains(111));
        let bits = a.into_bits();
        assert_eq!(bits.len(), 101 + 3 + 64 + PER_PAGE);
        assert_eq!(bits.count(10, 101), 101);
        assert_eq!(bits.count(PER_PAGE - 3, 67), 67);
        assert_eq!(bits.count(5 * PER_PAGE, PER_PAGE), PER_PAGE);
    }

    #[test]
    fn numbers_out_of_order_are_kept_too() {
        let mut set = Ascending::default();
        for n in [1, 2, 3, 9, 4, 5] {
            set.add(n);
        }
        assert_eq!(set.into_bits().iter().collect::<Vec<_>>(), [1, 2, 3, 4, 5, 9]);
    }
}
