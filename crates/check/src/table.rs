//! A map by inode number that is small and fast when it is filled in the order of the numbers, as a
//! scan over the inode tables does.

use ext4_units::InodeNr;
use std::{collections::BTreeMap, iter};

/// Numbers that share an entry of [`Table::first`].
const STEP: u32 = 64;

/// What is known of inodes, by number: a sorted list, and a tree for the few that come out of order.
///
/// Four bytes and a value for each inode, and four for each 64 numbers; found by a binary search among
/// those.
#[derive(Clone, Debug)]
pub(crate) struct Table<T> {
    /// In ascending order.
    keys: Vec<InodeNr>,
    /// `None` for those that were removed.
    values: Vec<Option<T>>,
    /// Where in the list the numbers from each multiple of [`STEP`] on begin.
    first: Vec<u32>,
    /// Those that came when a greater number was there already, and have no place in the list.
    late: BTreeMap<InodeNr, T>,
}

impl<T> Default for Table<T> {
    fn default() -> Self {
        Self { keys: Vec::new(), values: Vec::new(), first: Vec::new(), late: BTreeMap::new() }
    }
}

impl<T> Table<T> {
    /// The place of a number in the list.
    fn place(&self, ino: InodeNr) -> Option<usize> {
        let step = (ino.get() / STEP) as usize;
        let from = *self.first.get(step)? as usize;
        let to = self.first.get(step + 1).map_or(self.keys.len(), |it| *it as usize);
        Some(from + self.keys.get(from..to)?.binary_search(&ino).ok()?)
    }

    pub(crate) fn get(&self, ino: InodeNr) -> Option<&T> {
        match self.place(ino) {
            Some(at) => self.values[at].as_ref(),
            None => self.late.get(&ino),
        }
    }

    pub(crate) fn get_mut(&mut self, ino: InodeNr) -> Option<&mut T> {
        match self.place(ino) {
            Some(at) => self.values[at].as_mut(),
            None => self.late.get_mut(&ino),
        }
    }

    pub(crate) fn contains(&self, ino: InodeNr) -> bool {
        self.get(ino).is_some()
    }

    pub(crate) fn insert(&mut self, ino: InodeNr, value: T) {
        if self.keys.last().is_none_or(|last| *last < ino) {
            self.push(ino, Some(value));
        } else if let Some(at) = self.place(ino) {
            self.values[at] = Some(value);
        } else {
            self.late.insert(ino, value);
        }
    }

    pub(crate) fn remove(&mut self, ino: InodeNr) {
        match self.place(ino) {
            Some(at) => self.values[at] = None,
            None => drop(self.late.remove(&ino)),
        }
    }

    /// All of them, in the order of the numbers.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (InodeNr, &T)> {
        let listed = self.keys.iter().zip(&self.values);
        let listed = listed.filter_map(|(ino, value)| Some((*ino, value.as_ref()?)));
        in_order(listed, self.late.iter().map(|(ino, value)| (*ino, value)))
    }

    /// All numbers of two tables in order, and what each of them has.
    pub(crate) fn beside<'t, U>(
        &'t self,
        other: &'t Table<U>,
    ) -> impl Iterator<Item = (InodeNr, Option<&'t T>, Option<&'t U>)> {
        let (mut a, mut b) = (self.iter().peekable(), other.iter().peekable());
        iter::from_fn(move || {
            let least =
                [a.peek().map(|it| it.0), b.peek().map(|it| it.0)].into_iter().flatten().min()?;
            let ours = a.next_if(|it| it.0 == least).map(|it| it.1);
            let theirs = b.next_if(|it| it.0 == least).map(|it| it.1);
            Some((least, ours, theirs))
        })
    }

    /// All numbers, in order.
    pub(crate) fn keys(&self) -> impl Iterator<Item = InodeNr> {
        self.iter().map(|it| it.0)
    }

    /// Adds to the list what has a greater number than all that are in it.
    fn push(&mut self, ino: InodeNr, value: Option<T>) {
        // As many as there are numbers of inodes at most.
        let here = u32::try_from(self.keys.len()).unwrap_or(u32::MAX);
        let steps = (ino.get() / STEP) as usize + 1;
        if steps > self.first.len() {
            self.first.resize(steps, here);
        }
        self.keys.push(ino);
        self.values.push(value);
    }

    /// Puts what two tables have into one; no number is in both.
    pub(crate) fn merge(&mut self, mut other: Self) {
        let mut ours = std::mem::take(self);
        self.late.append(&mut ours.late);
        self.late.append(&mut other.late);
        let [mut next, mut then] =
            [ours, other].map(|it| (it.keys.into_iter(), it.values.into_iter()));
        // Each in turn gives all that come before the first of the other: whole groups of inodes.
        while next.0.len() + then.0.len() > 0 {
            let n = match then.0.as_slice().first() {
                Some(first) => next.0.as_slice().partition_point(|it| it < first),
                None => next.0.len(),
            };
            for (ino, value) in next.0.by_ref().zip(next.1.by_ref()).take(n) {
                self.push(ino, value);
            }
            std::mem::swap(&mut next, &mut then);
        }
    }
}

/// Two ascending sequences as one.
fn in_order<T>(
    a: impl Iterator<Item = (InodeNr, T)>,
    b: impl Iterator<Item = (InodeNr, T)>,
) -> impl Iterator<Item = (InodeNr, T)> {
    let (mut a, mut b) = (a.peekable(), b.peekable());
    iter::from_fn(move || match (a.peek(), b.peek()) {
        (Some((first, _)), Some((second, _))) if first > second => b.next(),
        (Some(_), _) => a.next(),
        (None, _) => b.next(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ino(nr: u32) -> InodeNr {
        InodeNr::new(nr).unwrap()
    }

    #[test]
    fn it_is_a_map_whatever_the_order() {
        let (mut table, mut model) = (Table::default(), BTreeMap::new());
        let mut state = 7_u64;
        let mut next = |below: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            u32::try_from((state >> 33) % below).unwrap()
        };
        for step in 0..3000 {
            // The first third comes in order.
            let nr = ino(if step < 1000 { 1 + step * 2 } else { 1 + next(2500) });
            if step < 1000 || next(3) > 0 {
                table.insert(nr, step);
                model.insert(nr, step);
            } else {
                table.remove(nr);
                model.remove(&nr);
            }
            let other = ino(1 + next(2500));
            assert_eq!(table.get(other), model.get(&other));
            if let Some(value) = table.get_mut(other) {
                *value += 1;
                *model.get_mut(&other).unwrap() += 1;
            }
            assert_eq!(table.contains(nr), model.contains_key(&nr));
        }
        assert!(table.iter().eq(model.iter().map(|(nr, value)| (*nr, value))));
        let (mut odd, mut even) = (Table::default(), Table::default());
        for (nr, value) in table.iter() {
            let half = if nr.get() % 2 == 1 { &mut odd } else { &mut even };
            half.insert(nr, *value);
        }
        let both: Vec<_> = odd.beside(&even).collect();
        assert!(both.iter().map(|it| it.0).eq(table.keys()));
        for (nr, ours, theirs) in both {
            assert_eq!((ours, theirs), (odd.get(nr), even.get(nr)));
        }
        odd.merge(even);
        assert!(odd.iter().eq(table.iter()));
        assert!(odd.late.is_empty() && odd.keys().eq(model.into_keys()));
    }
}
