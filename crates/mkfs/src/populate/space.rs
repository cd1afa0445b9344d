//! The free space as files take it, one behind the other: what is passed over is kept for files
//! that fit there, so that nothing is searched twice.

use crate::runs::Runs;
use ext4_units::{BlockNr, BlockRange};
use std::collections::BTreeSet;

/// Free runs, from the cursor on and behind it.
#[derive(Clone, Debug)]
pub(crate) struct Space {
    /// Runs ahead, the last one first.
    ahead: Vec<BlockRange>,
    /// By place in `ahead`: the longest of it and all that follow on the disk.
    longest: Vec<u64>,
    /// What was passed over: length and start.
    passed: BTreeSet<(u64, u64)>,
    /// Blocks in a cluster, of which only whole ones are taken.
    ratio: u64,
    free: u64,
}

impl Space {
    /// What `used` leaves free in `within`. With clusters, all runs in use are whole clusters.
    pub(crate) fn new(used: &Runs, within: BlockRange, ratio: u64) -> Self {
        let mut ahead = Vec::new();
        let mut at = within.start.0;
        let end = within.end().0;
        let ends = std::iter::once(BlockRange::new(within.end(), 0));
        for taken in used.in_range(within).chain(ends) {
            let free = BlockRange::new(BlockNr(at), (taken.start.0 - at) / ratio * ratio);
            if free.len > 0 {
                ahead.push(free);
            }
            at = taken.end().0.min(end);
        }
        ahead.reverse();
        let longest = ahead
            .iter()
            .scan(0, |longest, run| {
                *longest = run.len.max(*longest);
                Some(*longest)
            })
            .collect();
        let free = ahead.iter().map(|it| it.len).sum();
        Self { ahead, longest, passed: BTreeSet::new(), ratio, free }
    }

    /// Takes `n` blocks, in whole clusters, and appends their runs to `to`: one run if there is one
    /// so long, else pieces in the order of the disk. False, and nothing taken, when there are not
    /// so many.
    pub(crate) fn take(&mut self, n: u64, to: &mut Vec<BlockRange>) -> bool {
        let Some(whole) = n.checked_next_multiple_of(self.ratio) else { return false };
        if whole > self.free {
            return false;
        }
        if n == 0 {
            return true;
        }
        self.free -= whole;
        let one = self.at_cursor(whole).or_else(|| self.in_passed(whole)).or_else(|| {
            // The last one is of the cursor's own run, which is too short.
            let is_ahead = self.longest.iter().nth_back(1).is_some_and(|&it| it >= whole);
            if is_ahead { self.farther_on(whole) } else { None }
        });
        match one {
            Some(run) => to.push(run),
            None => self.take_pieces(whole, to),
        }
        if let Some(last) = to.last_mut() {
            last.len -= whole - n;
        }
        true
    }

    fn at_cursor(&mut self, n: u64) -> Option<BlockRange> {
        let run = self.ahead.last_mut().filter(|it| it.len >= n)?;
        let taken = BlockRange::new(run.start, n);
        *run = BlockRange::new(taken.end(), run.len - n);
        if run.len == 0 {
            self.step();
        }
        Some(taken)
    }

    /// The shortest run that was passed and is long enough.
    fn in_passed(&mut self, n: u64) -> Option<BlockRange> {
        let (len, start) = *self.passed.range((n, 0)..).next()?;
        self.passed.remove(&(len, start));
        if len > n {
            self.passed.insert((len - n, start + n));
        }
        Some(BlockRange::new(BlockNr(start), n))
    }

    /// Passes over what is too short. Each run is passed once.
    fn farther_on(&mut self, n: u64) -> Option<BlockRange> {
        while self.ahead.last().is_some_and(|it| it.len < n) {
            if let Some(run) = self.step() {
                self.passed.insert((run.len, run.start.0));
            }
        }
        self.at_cursor(n)
    }

    /// No run is long enough: first what is at the cursor, then the longest that was passed.
    fn take_pieces(&mut self, n: u64, to: &mut Vec<BlockRange>) {
        let mut left = n;
        while left > 0 {
            let piece = match (self.ahead.last(), self.passed.last()) {
                (Some(run), _) => self.at_cursor(run.len.min(left)),
                (None, Some(&(len, _))) => self.in_passed(len.min(left)),
                (None, None) => None,
            };
            let piece = piece.expect("as many blocks are free as were counted");
            left -= piece.len;
            to.push(piece);
        }
    }

    fn step(&mut self) -> Option<BlockRange> {
        self.longest.pop();
        self.ahead.pop()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(start: u64, len: u64) -> BlockRange {
        BlockRange::new(BlockNr(start), len)
    }

    fn space(used: &[(u64, u64)], ratio: u64) -> Space {
        let mut runs = Runs::default();
        for &(start, len) in used {
            runs.insert(range(start, len));
        }
        Space::new(&runs, range(0, 100), ratio)
    }

    fn taken(space: &mut Space, n: u64) -> Vec<BlockRange> {
        let mut runs = Vec::new();
        assert!(space.take(n, &mut runs));
        runs
    }

    #[test]
    fn files_follow_each_other_and_small_ones_fill_what_was_passed() {
        let mut it = space(&[(0, 10), (20, 10), (60, 10)], 1);
        assert_eq!(taken(&mut it, 4), [range(10, 4)]);
        assert_eq!(taken(&mut it, 25), [range(30, 25)], "too long for the first run");
        assert_eq!(taken(&mut it, 5), [range(55, 5)]);
        assert_eq!(taken(&mut it, 28), [range(70, 28)]);
        assert_eq!(taken(&mut it, 3), [range(14, 3)], "passed before");
        assert_eq!(taken(&mut it, 5), [range(98, 2), range(17, 3)], "nothing is one run");
        assert!(!it.take(1, &mut Vec::new()));
    }

    #[test]
    fn a_file_longer_than_any_run_takes_pieces() {
        let mut it = space(&[(10, 10), (40, 10)], 1);
        assert_eq!(taken(&mut it, 70), [range(0, 10), range(20, 20), range(50, 40)]);
    }

    #[test]
    fn clusters_are_taken_whole() {
        let mut it = space(&[(0, 16), (32, 16)], 16);
        assert_eq!(taken(&mut it, 1), [range(16, 1)]);
        assert_eq!(taken(&mut it, 17), [range(48, 17)]);
        assert_eq!(taken(&mut it, 16), [range(80, 16)]);
        assert!(!it.take(1, &mut Vec::new()), "four blocks are no cluster");
    }
}
