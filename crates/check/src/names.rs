//! How many names inodes have, kept small.

use crate::{bits::Bits, table::Table};
use ext4_units::InodeNr;

/// How many names inodes have: a bit for each, as most have one.
#[derive(Clone, Debug, Default)]
pub(crate) struct Names {
    /// Inodes with at least one.
    pub(crate) some: Bits,
    /// How many, where they are more than one.
    pub(crate) more: Table<u32>,
}

impl Names {
    /// Counts one more.
    pub(crate) fn add(&mut self, ino: InodeNr) {
        if !self.some.insert(ino.get().into()) {
            match self.more.get_mut(ino) {
                Some(names) => *names = names.saturating_add(1),
                None => self.more.insert(ino, 2),
            }
        }
    }

    /// Counts one less.
    pub(crate) fn remove(&mut self, ino: InodeNr) {
        match self.more.get_mut(ino) {
            Some(names) if *names > 2 => *names -= 1,
            Some(_) => self.more.remove(ino),
            None => {
                self.some.remove(ino.get().into());
            }
        }
    }

    /// How many an inode has.
    pub(crate) fn of(&self, ino: InodeNr) -> u32 {
        let one = u32::from(self.some.contains(ino.get().into()));
        self.more.get(ino).copied().unwrap_or(one)
    }

    /// Adds what was counted elsewhere.
    pub(crate) fn merge(&mut self, other: Self) {
        let mut both = Bits::default();
        self.some.merge(other.some, &mut both);
        // In the order of the numbers, which the table is made for.
        let mut several = both.clone();
        for ino in other.more.keys() {
            several.insert(ino.get().into());
        }
        for ino in several.inodes() {
            let of = |names: &Table<u32>| names.get(ino).copied().unwrap_or(1);
            let ours = if both.contains(ino.get().into()) { of(&self.more) } else { 0 };
            self.more.insert(ino, ours.saturating_add(of(&other.more)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[test]
    fn what_is_counted_apart_is_as_if_it_were_counted_at_once() {
        let ino = |nr: u32| InodeNr::new(nr).unwrap();
        let mut state = 5_u64;
        let mut next = |below: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            u32::try_from((state >> 33) % below).unwrap()
        };
        let mut parts = [Names::default(), Names::default()];
        let mut model = BTreeMap::new();
        for _ in 0..2000 {
            let nr = ino(1 + next(1500));
            parts[next(2) as usize].add(nr);
            *model.entry(nr).or_insert(0) += 1;
        }
        let [mut all, other] = parts;
        all.merge(other);
        for _ in 0..500 {
            let nr = ino(1 + next(1500));
            all.remove(nr);
            model.entry(nr).and_modify(|it| *it -= u32::from(*it > 0));
        }
        for nr in (1..=1500).map(ino) {
            assert_eq!(all.of(nr), model.get(&nr).copied().unwrap_or(0), "{nr}");
        }
    }
}
