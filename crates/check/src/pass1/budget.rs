//! How much all maps together may name, so that the time and the memory of a check depend on the size of
//! the device and not on what is written on it.
//!
//! Inodes may name each other's blocks and blocks of maps, and then each walk over them is a walk over
//! the same again: as many times as there are inodes. Where nothing is damaged the maps of all inodes
//! name each block once. The walks are free until they have come to [`TIMES`] as much; from then on an
//! inode whose map goes to more than [`AGAIN`] clusters that were named before is not worth the walk.

use crate::bits::Bits;
use std::sync::{
    Mutex, PoisonError,
    atomic::{AtomicU64, Ordering},
};

/// Entries, blocks of maps and clusters for each block of the device before anybody is judged. Without
/// damage there are at most two: a block, and the entry that names it.
const TIMES: u64 = 8;
/// Clusters that a map may have that others have too, once it matters.
const AGAIN: u64 = 64;
/// What a thread owes before it pays: paying at each step, the threads would wait for each other.
const CREDIT: u64 = 4096;

/// What is left for the walks.
#[derive(Debug)]
pub(super) struct Budget {
    spent: AtomicU64,
    limit: u64,
    /// Clusters that were named. `None` while several threads scan, whose order says nothing.
    named: Option<Mutex<Bits>>,
}

/// What a walk is to do after a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// It goes on.
    Free,
    /// So many of the clusters were named before; more than [`Budget::AGAIN`] of them are too many.
    Again(u64),
    /// The scan is to be made again, by one thread.
    Over,
}

impl Budget {
    pub(super) const AGAIN: u64 = AGAIN;

    /// For a scan by several threads of a device of so many blocks.
    pub(super) const fn of_scan(blocks: u64) -> Self {
        let limit = blocks.saturating_mul(TIMES);
        Self { spent: AtomicU64::new(0), limit, named: None }
    }

    /// For inodes one after the other. `named` is what those had that were scanned; `is_over` says that
    /// the scan by several threads was over its limit.
    pub(super) const fn in_order(blocks: u64, named: Bits, is_over: bool) -> Self {
        let limit = if is_over { 0 } else { blocks.saturating_mul(TIMES) };
        Self { spent: AtomicU64::new(0), limit, named: Some(Mutex::new(named)) }
    }

    /// Whether inodes are looked at one after the other, and their maps compared.
    pub(super) const fn is_in_order(&self) -> bool {
        self.named.is_some()
    }

    /// Charges for an entry or a block of a map that names a run of clusters. `owed` is what a thread
    /// has not paid yet; at the end of its scan it has to [`Budget::pay`] that.
    pub(super) fn spend(&self, owed: &mut u64, start: u64, len: u64) -> Step {
        *owed = owed.saturating_add(len).saturating_add(1);
        let Some(named) = &self.named else {
            let is_over = *owed >= CREDIT && !self.pay(std::mem::take(owed));
            return if is_over { Step::Over } else { Step::Free };
        };
        let is_over = !self.pay(std::mem::take(owed));
        let new = named.lock().unwrap_or_else(PoisonError::into_inner).insert_run(start, len);
        if is_over { Step::Again(len - new) } else { Step::Free }
    }

    /// Pays what is owed, if anything; false when all have come to more than there is.
    pub(super) fn pay(&self, owed: u64) -> bool {
        if owed == 0 {
            return true;
        }
        let spent = self.spent.fetch_add(owed, Ordering::Relaxed);
        spent.saturating_add(owed) <= self.limit
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_who_names_what_was_named_pays_and_only_when_it_matters() {
        let mut owed = 0;
        let scan = Budget::of_scan(10);
        assert_eq!(scan.spend(&mut owed, 0, 79), Step::Free);
        assert!(owed == 80 && scan.pay(80) && !scan.pay(1));
        assert_eq!(scan.spend(&mut owed, 0, CREDIT), Step::Over);
        owed = 0;
        let early = Budget::in_order(10, Bits::default(), false);
        assert_eq!(early.spend(&mut owed, 3, 79), Step::Free);
        assert_eq!(early.spend(&mut owed, 0, 10), Step::Again(7));
        let late = Budget::in_order(10, Bits::default(), true);
        assert_eq!(late.spend(&mut owed, 3, 5), Step::Again(0));
        assert_eq!(late.spend(&mut owed, 0, 10), Step::Again(5));
    }
}
