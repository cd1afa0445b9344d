//! Looking for a run of clear bits: pure, over one group's bitmap.

use ext4_ondisk::bitmap::{next_clear, next_set};

/// A run of clear bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Run {
    pub(crate) start: u32,
    pub(crate) len: u32,
}

/// What one group has to offer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Offer {
    /// The run that starts exactly at the goal, if its first bit is clear.
    pub(crate) at_goal: Option<Run>,
    /// The first run after the goal that is long enough (going round), else the longest.
    pub(crate) best: Option<Run>,
    /// The longest run seen. When a long enough one ended the search early this is only a lower
    /// bound, so it may serve as a hint only if `is_complete`.
    pub(crate) longest: u32,
    /// Whether the whole bitmap was looked at.
    pub(crate) is_complete: bool,
}

/// Looks through the first `n_bits` of `bitmap` for `want` clear bits in a row, beginning at
/// `goal` and going round. Runs longer than `want` are cut to it.
pub(crate) fn find_run(bitmap: &[u8], n_bits: u32, goal: u32, want: u32) -> Offer {
    let goal = if goal < n_bits { goal } else { 0 };
    let mut offer = Offer { at_goal: None, best: None, longest: 0, is_complete: false };
    for (from, to) in [(goal, n_bits), (0, goal)] {
        let mut at = from;
        while let Some(start) = next_clear(bitmap, at, to) {
            // The run may pass `to` on the second round: its tail was seen on the first.
            let end = next_set(bitmap, start, n_bits).unwrap_or(n_bits);
            let len = end - start;
            let run = Run { start, len: len.min(want) };
            if start == goal {
                offer.at_goal = Some(run);
            }
            offer.longest = offer.longest.max(len);
            if offer.best.is_none_or(|best| run.len > best.len) {
                offer.best = Some(run);
            }
            if len >= want {
                return offer;
            }
            if end >= to {
                break;
            }
            at = end;
        }
    }
    offer.is_complete = true;
    offer
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bits as a string: `.` clear, `x` set.
    fn bitmap(bits: &str) -> (Vec<u8>, u32) {
        let mut bytes = vec![0; bits.len().div_ceil(8)];
        for (i, bit) in bits.bytes().enumerate() {
            if bit == b'x' {
                bytes[i / 8] |= 1 << (i % 8);
            }
        }
        (bytes, u32::try_from(bits.len()).unwrap())
    }

    #[track_caller]
    fn check(bits: &str, goal: u32, want: u32, expected: Option<(u32, u32)>) {
        let (bytes, n) = bitmap(bits);
        let best = find_run(&bytes, n, goal, want).best.map(|run| (run.start, run.len));
        assert_eq!(best, expected, "{bits} from {goal} for {want}");
    }

    #[test]
    fn the_first_long_enough_run_from_the_goal_wins_else_the_longest() {
        check("xx..x....xx.", 0, 3, Some((5, 3)));
        check("xx..x....xx.", 9, 2, Some((2, 2)));
        check("xx..x....xx.", 0, 9, Some((5, 4)));
        check("xxxx", 0, 1, None);
        check("....", 2, 4, Some((0, 4)));
        check("....", 2, 2, Some((2, 2)));
        check(".x.x.", 7, 1, Some((0, 1)));
    }

    #[test]
    fn a_run_at_the_goal_is_told_even_when_it_is_short() {
        let (bytes, n) = bitmap("x.x....x");
        let offer = find_run(&bytes, n, 1, 4);
        assert_eq!(offer.at_goal, Some(Run { start: 1, len: 1 }));
        assert_eq!(offer.best, Some(Run { start: 3, len: 4 }));
    }
}
