//! Sets of blocks and inodes that stay small where numbers come in runs.
//!
//! Pages of 4,096 bits, of which one that is empty or full takes no room of its own: 16 bytes for
//! each 4,096 numbers up to the greatest one that was added, and at most 520 for each page that is
//! neither empty nor full. To look a number up or to add one is two steps in memory, wherever it is.

use ext4_units::InodeNr;
use std::iter;

/// Words of a page, and bits.
const WORDS: usize = 64;
const PER_PAGE: usize = WORDS * 64;

/// A set of numbers: blocks, clusters or inodes.
#[derive(Clone, Debug, Default)]
pub(crate) struct Bits {
    pages: Vec<Page>,
    len: u64,
}

#[derive(Clone, Debug, Default)]
enum Page {
    #[default]
    Empty,
    Full,
    Some(Box<Part>),
}

/// A page with some of its bits set.
#[derive(Clone, Debug)]
struct Part {
    words: [u64; WORDS],
    /// How many bits are set.
    n: usize,
}

impl Page {
    const fn word(&self, nr: usize) -> u64 {
        match self {
            Self::Empty => 0,
            Self::Full => u64::MAX,
            Self::Some(part) => part.words[nr % WORDS],
        }
    }

    const fn len(&self) -> usize {
        match self {
            Self::Empty => 0,
            Self::Full => PER_PAGE,
            Self::Some(part) => part.n,
        }
    }

    /// The page with room for its bits.
    fn part(&mut self) -> &mut Part {
        let of = |word, n| Self::Some(Box::new(Part { words: [word; WORDS], n }));
        match self {
            Self::Empty => *self = of(0, 0),
            Self::Full => *self = of(u64::MAX, PER_PAGE),
            Self::Some(_) => {}
        }
        match self {
            Self::Some(part) => part,
            Self::Empty | Self::Full => unreachable!("it was just made"),
        }
    }

    /// Gives up room that is not needed any more.
    fn settle(&mut self) {
        match self.len() {
            0 => *self = Self::Empty,
            PER_PAGE => *self = Self::Full,
            _ => {}
        }
    }
}

/// Page and bit of a number.
fn place(n: u64) -> (usize, usize) {
    let page = n / PER_PAGE as u64;
    #[expect(clippy::cast_possible_truncation, reason = "a remainder below 4,096")]
    let bit = (n % PER_PAGE as u64) as usize;
    (usize::try_from(page).unwrap_or(usize::MAX), bit)
}

/// The bits of word `nr` of a page that lie in `from..to`.
const fn mask(nr: usize, from: usize, to: usize) -> u64 {
    let (first, end) = (nr * 64, nr * 64 + 64);
    let low = if from > first { u64::MAX << (from - first) } else { u64::MAX };
    let high = if to < end { u64::MAX >> (end - to) } else { u64::MAX };
    low & high
}

/// The parts of a run that lie in one page each: page, first bit and end. None for a run that does
/// not end.
fn pieces(start: u64, len: u64) -> impl Iterator<Item = (usize, usize, usize)> {
    let end = start.checked_add(len).unwrap_or(start);
    let mut at = start;
    iter::from_fn(move || {
        if at >= end {
            return None;
        }
        let (page, from) = place(at);
        let n = (end - at).min((PER_PAGE - from) as u64);
        at += n;
        #[expect(clippy::cast_possible_truncation, reason = "at most the bits of a page")]
        Some((page, from, from + n as usize))
    })
}

impl Bits {
    fn page_mut(&mut self, nr: usize) -> &mut Page {
        if nr >= self.pages.len() {
            self.pages.resize(nr.saturating_add(1), Page::Empty);
        }
        &mut self.pages[nr]
    }

    /// The word that a number is in.
    fn word(&self, n: u64) -> u64 {
        let (page, bit) = place(n);
        self.pages.get(page).map_or(0, |it| it.word(bit / 64))
    }

    /// Adds a number; false when it was there.
    pub(crate) fn insert(&mut self, n: u64) -> bool {
        let (page, bit) = place(n);
        self.add(page, bit / 64, 1 << (bit % 64), 1) == 0
    }

    /// Adds the numbers of these `n` bits of a word, and gives back those that were there.
    fn add(&mut self, page: usize, word: usize, bits: u64, n: usize) -> u64 {
        let page = self.page_mut(page);
        if matches!(page, Page::Full) {
            return bits;
        }
        let part = page.part();
        let old = part.words[word] & bits;
        part.words[word] |= bits;
        let new = if old == 0 { n } else { n - old.count_ones() as usize };
        part.n += new;
        if part.n == PER_PAGE {
            *page = Page::Full;
        }
        self.len += new as u64;
        old
    }

    /// Adds all numbers of a run, and gives back how many were new.
    pub(crate) fn insert_run(&mut self, start: u64, len: u64) -> u64 {
        let before = self.len;
        for (nr, from, to) in pieces(start, len) {
            let page = self.page_mut(nr);
            let old = page.len();
            if to - from == PER_PAGE {
                *page = Page::Full;
            } else if old < PER_PAGE {
                let part = page.part();
                for word in from / 64..to.div_ceil(64) {
                    let new = mask(word, from, to) & !part.words[word];
                    part.words[word] |= new;
                    part.n += new.count_ones() as usize;
                }
                page.settle();
            }
            let new = page.len() - old;
            self.len += new as u64;
        }
        self.len - before
    }

    /// Adds all numbers of a run, and to `twice` those that were there.
    pub(crate) fn claim(&mut self, start: u64, len: u64, twice: &mut Self) {
        let (page, bit) = place(start);
        // Most runs are short.
        if let Ok(n @ 1..=64) = usize::try_from(len)
            && bit % 64 + n <= 64
        {
            let mut old = self.add(page, bit / 64, u64::MAX >> (64 - n) << (bit % 64), n);
            while old != 0 {
                twice.insert(start - start % 64 + u64::from(old.trailing_zeros()));
                old &= old - 1;
            }
            return;
        }
        if self.count(start, len) > 0 {
            for n in self.range(start, start.saturating_add(len)) {
                twice.insert(n);
            }
        }
        self.insert_run(start, len);
    }

    /// Takes a number away; false when it was not there.
    pub(crate) fn remove(&mut self, n: u64) -> bool {
        let is_there = self.contains(n);
        if is_there {
            self.remove_run(n, 1);
        }
        is_there
    }

    /// Takes all numbers of a run away.
    pub(crate) fn remove_run(&mut self, start: u64, len: u64) {
        for (nr, from, to) in pieces(start, len) {
            let Some(page) = self.pages.get_mut(nr) else { return };
            let old = page.len();
            if to - from == PER_PAGE {
                *page = Page::Empty;
            } else if old > 0 {
                let part = page.part();
                for word in from / 64..to.div_ceil(64) {
                    let gone = mask(word, from, to) & part.words[word];
                    part.words[word] &= !gone;
                    part.n -= gone.count_ones() as usize;
                }
                page.settle();
            }
            let gone = old - page.len();
            self.len -= gone as u64;
        }
    }

    /// Whether a number is there.
    pub(crate) fn contains(&self, n: u64) -> bool {
        self.word(n) >> (n % 64) & 1 == 1
    }

    /// The numbers of `from..to` that are there, in order.
    pub(crate) fn range(&self, from: u64, to: u64) -> impl Iterator<Item = u64> + '_ {
        let end = to.min((self.pages.len() * PER_PAGE) as u64);
        // The number that the word in hand begins with, and what of it is still to come.
        let mut base = from / 64 * 64;
        let mut rest = self.word(from) & (u64::MAX << (from % 64));
        iter::from_fn(move || {
            while rest == 0 {
                base = self.next_word(base);
                if base >= end {
                    return None;
                }
                rest = self.word(base);
            }
            let n = base + u64::from(rest.trailing_zeros());
            rest &= rest - 1;
            (n < end).then_some(n)
        })
    }

    /// The word after the one that begins with `base`, behind pages that are empty.
    fn next_word(&self, base: u64) -> u64 {
        let next = base.saturating_add(64);
        let (page, bit) = place(next);
        if bit != 0 {
            return next;
        }
        let empty = self.pages.get(page..).unwrap_or_default().iter();
        let n = empty.take_while(|it| matches!(it, Page::Empty)).count();
        next.saturating_add((n * PER_PAGE) as u64)
    }

    /// How many numbers are there.
    pub(crate) const fn len(&self) -> u64 {
        self.len
    }

    /// Whether there are none.
    pub(crate) const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// All numbers, in order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = u64> + '_ {
        self.range(0, u64::MAX)
    }

    /// All numbers that can be those of inodes, in order.
    pub(crate) fn inodes(&self) -> impl Iterator<Item = InodeNr> + '_ {
        self.iter().filter_map(|nr| InodeNr::new(u32::try_from(nr).ok()?))
    }

    /// All numbers as runs that do not touch, in order: start and length.
    pub(crate) fn runs(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        let end = (self.pages.len() * PER_PAGE) as u64;
        let mut at = 0;
        iter::from_fn(move || {
            let start = self.range(at, end).next()?;
            at = self.first_absent(start, end).unwrap_or(end);
            Some((start, at - start))
        })
    }

    /// The first number of `from..to` that is not there.
    pub(crate) fn first_absent(&self, from: u64, to: u64) -> Option<u64> {
        let mut at = from;
        while at < to {
            let (page, bit) = place(at);
            if matches!(self.pages.get(page), Some(Page::Full)) {
                at = at.saturating_add((PER_PAGE - bit) as u64);
                continue;
            }
            let n = u64::from((self.word(at) >> (at % 64)).trailing_ones());
            if n < 64 - at % 64 {
                let found = at + n;
                return (found < to).then_some(found);
            }
            at = at.saturating_add(n);
        }
        None
    }

    /// The numbers of `from..to` that are not there as runs that do not touch, in order: start and
    /// length.
    pub(crate) fn absent_runs(&self, from: u64, to: u64) -> impl Iterator<Item = (u64, u64)> + '_ {
        let mut at = from;
        iter::from_fn(move || {
            let start = self.first_absent(at, to)?;
            at = self.range(start, to).next().unwrap_or(to);
            Some((start, at - start))
        })
    }

    /// The first of `n` numbers in a row of `from..to` that are not there.
    pub(crate) fn first_room(&self, from: u64, to: u64, n: u64) -> Option<u64> {
        self.absent_runs(from, to).find(|it| it.1 >= n).map(|it| it.0)
    }

    /// How many numbers of a run are there.
    pub(crate) fn count(&self, start: u64, len: u64) -> u64 {
        let of_piece = |(nr, from, to): (usize, usize, usize)| match self.pages.get(nr) {
            None | Some(Page::Empty) => 0,
            Some(Page::Full) => (to - from) as u64,
            Some(Page::Some(part)) => {
                let words = from / 64..to.div_ceil(64);
                let bits = words.map(|it| (part.words[it] & mask(it, from, to)).count_ones());
                bits.sum::<u32>().into()
            }
        };
        pieces(start, len).map(of_piece).sum()
    }

    /// Adds what `other` has, and to `shared` what both had.
    pub(crate) fn merge(&mut self, other: Self, shared: &mut Self) {
        for (nr, theirs) in other.pages.into_iter().enumerate() {
            if matches!(theirs, Page::Empty) {
                continue;
            }
            let ours = self.page_mut(nr);
            let old = ours.len();
            if old == 0 {
                *ours = theirs;
            } else {
                let base = (nr * PER_PAGE) as u64;
                let part = ours.part();
                for (word, mine) in part.words.iter_mut().enumerate() {
                    let its = theirs.word(word);
                    let mut both = *mine & its;
                    while both != 0 {
                        shared.insert(base + (word * 64) as u64 + u64::from(both.trailing_zeros()));
                        both &= both - 1;
                    }
                    *mine |= its;
                }
                part.n = part.words.iter().map(|it| it.count_ones() as usize).sum();
                ours.settle();
            }
            let new = ours.len() - old;
            self.len += new as u64;
        }
    }

    /// What is here and not in `other`.
    pub(crate) fn without(&self, other: &Self) -> Self {
        let mut left = Self::default();
        for (nr, page) in self.pages.iter().enumerate() {
            let base = (nr * PER_PAGE) as u64;
            for word in 0..if page.len() == 0 { 0 } else { WORDS } {
                let first = base + (word * 64) as u64;
                let mut rest = page.word(word) & !other.word(first);
                while rest != 0 {
                    left.insert(first + u64::from(rest.trailing_zeros()));
                    rest &= rest - 1;
                }
            }
        }
        left
    }

    /// Sets in `bitmap` the bits of the numbers of `first..first + n`; bit 0 is for `first`.
    pub(crate) fn copy_to(&self, first: u64, n: u32, bitmap: &mut [u8]) {
        if self.count(first, n.into()) == 0 {
            return;
        }
        let shift = first % 64;
        for (nr, bytes) in (0..u64::from(n).div_ceil(64)).zip(bitmap.chunks_mut(8)) {
            let at = first + nr * 64;
            let high = if shift == 0 { 0 } else { self.word(at + 64) << (64 - shift) };
            let left = u64::from(n) - nr * 64;
            let kept = if left < 64 { u64::MAX >> (64 - left) } else { u64::MAX };
            let word = (self.word(at) >> shift | high) & kept;
            for (byte, more) in bytes.iter_mut().zip(word.to_le_bytes()) {
                *byte |= more;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    const PAGE: u64 = PER_PAGE as u64;

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

    #[test]
    fn claims_know_who_came_second() {
        let (mut bits, mut twice) = (Bits::default(), Bits::default());
        bits.claim(10, 100, &mut twice);
        bits.claim(PAGE - 3, 5, &mut twice);
        bits.claim(109, 2, &mut twice);
        bits.claim(5 * PAGE, PAGE, &mut twice);
        bits.claim(6 * PAGE - 1, 2, &mut twice);
        assert_eq!(twice.iter().collect::<Vec<_>>(), [109, 6 * PAGE - 1]);
        let runs: Vec<_> = bits.runs().collect();
        assert_eq!(runs, [(10, 101), (PAGE - 3, 5), (5 * PAGE, PAGE + 1)]);
    }

    #[test]
    fn a_run_without_an_end_is_none() {
        let mut bits = Bits::default();
        assert_eq!(bits.insert_run(u64::MAX - 3, 5), 0);
        assert_eq!((bits.count(u64::MAX, 2), bits.contains(u64::MAX)), (0, false));
        assert_eq!(bits.range(7, u64::MAX).next(), None);
    }

    #[test]
    fn a_bitmap_begins_with_any_number() {
        let mut bits = Bits::default();
        bits.insert_run(8193, 3);
        bits.insert(8193 + 70);
        let mut bitmap = [0; 16];
        bits.copy_to(8193, 71, &mut bitmap);
        assert_eq!(bitmap, [7, 0, 0, 0, 0, 0, 0, 0, 0x40, 0, 0, 0, 0, 0, 0, 0]);
        let mut shorter = [0; 16];
        bits.copy_to(8193, 70, &mut shorter);
        assert_eq!(shorter[8], 0);
    }

    #[test]
    fn pages_that_fill_and_empty_keep_what_is_in_them() {
        let (mut bits, mut model) = (Bits::default(), BTreeSet::new());
        let mut state = 1_u64;
        let mut next = |below: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 33) % below
        };
        for _ in 0..2000 {
            let (start, len) = (next(3 * PAGE), next(2 * PAGE));
            if next(2) == 0 {
                let new = (start..start + len).filter(|it| model.insert(*it)).count();
                assert_eq!(bits.insert_run(start, len), new as u64);
            } else {
                bits.remove_run(start, len);
                model.retain(|it| !(start..start + len).contains(it));
            }
            let n = next(3 * PAGE);
            assert_eq!(bits.remove(n), model.remove(&n));
            assert_eq!(bits.insert(n), model.insert(n));
            assert_eq!(bits.len(), model.len() as u64);
            let (from, to) = (next(3 * PAGE), next(5 * PAGE));
            let absent = (from..to).find(|it| !model.contains(it));
            assert_eq!(bits.first_absent(from, to), absent);
            let lacks = |from: u64, to: u64| (from..to).filter(|it| !model.contains(it));
            let runs = bits.absent_runs(from, to).flat_map(|(start, len)| start..start + len);
            assert!(runs.eq(lacks(from, to)));
            let n = 1 + next(40);
            let room =
                lacks(from, to).find(|it| it + n <= to && lacks(*it, it + n).count() as u64 == n);
            assert_eq!(bits.first_room(from, to, n), room);
            if from < to {
                assert!(bits.range(from, to).eq(model.range(from..to).copied()));
                assert_eq!(bits.count(from, to - from), model.range(from..to).count() as u64);
            }
        }
        let mut other = Bits::default();
        other.insert_run(PAGE / 2, 2 * PAGE);
        let left = bits.without(&other);
        assert!(left.iter().eq(bits.iter().filter(|it| !other.contains(*it))));
        let runs = bits.runs().map(|it| it.1).sum::<u64>();
        assert_eq!(runs, bits.len());
        assert!(bits.iter().eq(model));
    }
}
