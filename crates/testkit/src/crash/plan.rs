//! Which states of an epoch are looked at: all where that is possible, else those that have found
//! bugs before, and some at random.

use super::{CrashState, Epoch, Kept, Kind, SECTOR};
use crate::rng::Rng;
use std::{collections::BTreeSet, ops::ControlFlow};

/// Which states are listed.
#[derive(Clone, Debug)]
pub struct Plan {
    /// All subsets of the writes of an epoch that has no more than this.
    pub subsets_up_to: usize,
    /// Pairs dropped and kept in larger epochs, at most.
    pub pairs: usize,
    /// Single writes dropped, kept and reordered in larger epochs, at most.
    pub singles: usize,
    /// Random subsets of larger epochs.
    pub random: usize,
    /// Whether of two writes in flight to the same place the earlier one may win. No device does
    /// that to writes of which one returned before the other began.
    pub reversed: bool,
    /// Whether writes are torn at all.
    pub torn: bool,
    /// Writes torn in one epoch, at most; the rest is left to `sector_masks`.
    pub torn_writes: usize,
    /// Random masks over all sectors of an epoch.
    pub sector_masks: usize,
    /// Bytes that are never torn: 512, or 4096 for a medium with such sectors.
    pub atom: usize,
    /// Which writes (offset, data) get every mask of their sectors.
    pub decides: fn(u64, &[u8]) -> bool,
    /// New states of one epoch, at most: with a budget, so that the last epoch gets its share.
    pub states_per_epoch: u64,
    /// Seed of every random choice.
    pub seed: u64,
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            subsets_up_to: 10,
            pairs: 200,
            singles: 400,
            random: 64,
            reversed: false,
            torn: true,
            torn_writes: 200,
            sector_masks: 16,
            atom: SECTOR,
            decides: is_decisive,
            states_per_epoch: u64::MAX,
            seed: 1,
        }
    }
}

impl Plan {
    /// Whole writes only.
    #[must_use]
    pub fn untorn(self) -> Self {
        Self { torn: false, ..self }
    }
}

/// Whether a write is a commit block, a journal superblock or the superblock at byte 1024: what
/// recovery believes first.
pub fn is_decisive(offset: u64, data: &[u8]) -> bool {
    const JBD2: [u8; 4] = 0xC03B_3998_u32.to_be_bytes();
    let is_single = data.len() <= 65536;
    let is_journal =
        data.starts_with(&JBD2) && data.get(4..8).is_some_and(|it| matches!(it, [0, 0, 0, 2..=4]));
    let magic = 1024_u64.checked_sub(offset).and_then(|it| usize::try_from(it).ok());
    let is_super = magic.is_some_and(|at| data.get(at + 0x38..at + 0x3A) == Some(&[0x53, 0xEF]));
    is_single && (is_journal || is_super)
}

/// Lists the states of an epoch, until `emit` breaks off.
pub fn enumerate(
    epoch: &Epoch,
    plan: &Plan,
    emit: &mut dyn FnMut(CrashState) -> ControlFlow<()>,
) -> ControlFlow<()> {
    let seed = plan.seed ^ (epoch.end as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let mut list = List { epoch, plan, rng: Rng::new(seed), emit };
    list.subsets()?;
    if plan.reversed {
        let all = epoch.in_flight.iter().rev().copied().map(Kept::whole);
        list.give(Kind::Reversed, &all.collect::<Vec<_>>())?;
    }
    if plan.torn {
        list.torn()?;
        list.masks()?;
    }
    ControlFlow::Continue(())
}

struct List<'a> {
    epoch: &'a Epoch,
    plan: &'a Plan,
    rng: Rng,
    emit: &'a mut dyn FnMut(CrashState) -> ControlFlow<()>,
}

impl List<'_> {
    fn give(&mut self, kind: Kind, kept: &[Kept]) -> ControlFlow<()> {
        for cut in self.epoch.cuts(kept) {
            (self.emit)(self.epoch.state(kind, cut, kept.to_vec()))?;
        }
        ControlFlow::Continue(())
    }

    /// Whole writes, chosen by their place among those in flight.
    fn chosen(&mut self, kind: Kind, is_in: impl Fn(usize) -> bool) -> ControlFlow<()> {
        let writes = self.epoch.in_flight.iter().enumerate();
        let kept: Vec<Kept> =
            writes.filter(|(i, _)| is_in(*i)).map(|(_, &step)| Kept::whole(step)).collect();
        self.give(kind, &kept)
    }

    /// At most `limit` numbers below `n`: all, or as many drawn.
    fn some(&mut self, n: usize, limit: usize) -> Vec<usize> {
        if n <= limit {
            return (0..n).collect();
        }
        let drawn: BTreeSet<usize> = (0..limit).map(|_| self.rng.below(n)).collect();
        drawn.into_iter().collect()
    }

    fn subsets(&mut self) -> ControlFlow<()> {
        let w = self.epoch.in_flight.len();
        for n in 0..=w {
            self.chosen(Kind::Prefix, |i| i < n)?;
        }
        if w <= self.plan.subsets_up_to.min(24) {
            for set in 0..1_u32 << w {
                self.chosen(Kind::Subset, |i| set >> i & 1 == 1)?;
            }
            return ControlFlow::Continue(());
        }
        for one in self.some(w, self.plan.singles) {
            self.chosen(Kind::Drop, |i| i != one)?;
            self.chosen(Kind::Keep, |i| i == one)?;
            let later = one + 1 + self.rng.below(w - one);
            self.chosen(Kind::Reordered, |i| i < one || i == later)?;
        }
        for pair in self.some(w * (w - 1) / 2, self.plan.pairs) {
            let (a, b) = unpair(pair);
            self.chosen(Kind::Keep, |i| i == a || i == b)?;
            self.chosen(Kind::Drop, |i| i != a && i != b)?;
        }
        for _ in 0..self.plan.random {
            let share = *self.rng.pick(&[20, 50, 80]);
            let set: BTreeSet<usize> = (0..w).filter(|_| self.rng.percent(share)).collect();
            self.chosen(Kind::Random, |i| set.contains(&i))?;
        }
        ControlFlow::Continue(())
    }

    /// Sectors `set` of the write at place `one`, with others whole.
    fn give_torn(
        &mut self,
        kind: Kind,
        one: usize,
        set: &[u32],
        others: impl Fn(usize) -> bool,
    ) -> ControlFlow<()> {
        let writes = self.epoch.in_flight.iter().enumerate();
        let kept: Vec<Kept> = writes
            .filter_map(|(i, &step)| {
                if i == one {
                    Some(Kept { step, sectors: Some(set.to_vec()) })
                } else {
                    others(i).then_some(Kept::whole(step))
                }
            })
            .collect();
        self.give(kind, &kept)
    }

    /// How many pieces that tear apart a write has, and how many sectors a piece.
    fn atoms(&self, one: usize) -> (u32, u32) {
        let (_, data) = self.epoch.write(self.epoch.in_flight[one]);
        let per = (self.plan.atom / SECTOR).max(1);
        let n = data.len().div_ceil(SECTOR * per);
        (u32::try_from(n).unwrap_or(u32::MAX), u32::try_from(per).unwrap_or(1))
    }

    fn torn(&mut self) -> ControlFlow<()> {
        let w = self.epoch.in_flight.len();
        for one in self.some(w, self.plan.torn_writes) {
            let (n, per) = self.atoms(one);
            if n < 2 {
                continue;
            }
            let mut shapes: Vec<Vec<u32>> = Vec::new();
            let cuts: Vec<u32> = match n {
                ..=16 => (1..n).collect(),
                _ => (0..4).map(|_| 1 + self.draw(n - 1)).collect(),
            };
            for cut in cuts {
                shapes.push((0..cut).collect());
                shapes.push((cut..n).collect());
            }
            let (a, b) = (self.draw(n), self.draw(n));
            shapes.push((0..n).filter(|it| *it < a.min(b) || *it > a.max(b)).collect());
            for _ in 0..2 {
                shapes.push((0..n).filter(|_| self.rng.percent(50)).collect());
            }
            for shape in shapes {
                let set: Vec<u32> = shape.iter().flat_map(|it| it * per..(it + 1) * per).collect();
                self.give_torn(Kind::Torn, one, &set, |i| i < one)?;
                self.give_torn(Kind::Torn, one, &set, |_| true)?;
                self.give_torn(Kind::Torn, one, &set, |_| false)?;
            }
        }
        for _ in 0..self.plan.sector_masks {
            let share = *self.rng.pick(&[30, 50, 90]);
            let mut kept = Vec::new();
            for one in 0..w {
                let (n, per) = self.atoms(one);
                let atoms = (0..n).filter(|_| self.rng.percent(share)).collect::<Vec<_>>();
                let set: Vec<u32> = atoms.iter().flat_map(|it| it * per..(it + 1) * per).collect();
                kept.push(Kept { step: self.epoch.in_flight[one], sectors: Some(set) });
            }
            self.give(Kind::Sectors, &kept)?;
        }
        ControlFlow::Continue(())
    }

    fn masks(&mut self) -> ControlFlow<()> {
        for one in 0..self.epoch.in_flight.len() {
            let (offset, data) = self.epoch.write(self.epoch.in_flight[one]);
            if !(self.plan.decides)(offset, data) {
                continue;
            }
            let (n, per) = self.atoms(one);
            let masks: Vec<u64> = match n {
                ..=8 => (1..(1 << n) - 1).collect(),
                _ => (0..255).map(|_| self.rng.next_u64()).collect(),
            };
            for mask in masks {
                let atoms = (0..n).filter(|it| mask >> (it % 64) & 1 == 1);
                let set: Vec<u32> = atoms.flat_map(|it| it * per..(it + 1) * per).collect();
                self.give_torn(Kind::Mask, one, &set, |_| true)?;
                self.give_torn(Kind::Mask, one, &set, |i| i < one)?;
            }
        }
        ControlFlow::Continue(())
    }

    fn draw(&mut self, n: u32) -> u32 {
        u32::try_from(self.rng.below(n as usize)).expect("below a u32")
    }
}

/// The `nr`-th pair (a, b) with a < b, in the order (0,1) (0,2) (1,2) (0,3) ...
fn unpair(nr: usize) -> (usize, usize) {
    let (mut b, mut rest) = (1, nr);
    while rest >= b {
        rest -= b;
        b += 1;
    }
    (rest, b)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_are_numbered_without_gaps() {
        let pairs: Vec<_> = (0..6).map(unpair).collect();
        assert_eq!(pairs, [(0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3)]);
    }
}
