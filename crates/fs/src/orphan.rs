//! Inodes that a crash must not leave as they are: unlinked but in use, or with blocks beyond
//! their size.

use ext4_units::InodeNr;
use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};

/// Where an orphan is recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Record {
    /// In the list from `s_last_orphan` through `i_dtime`.
    List,
    /// In a slot of the orphan file: block of the file, slot of the block.
    File { block: u32, slot: usize },
}

/// One change of the set, applied when the handle that made it stops.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OrphanChange {
    pub(crate) ino: InodeNr,
    /// The new record, or that there is none any more.
    pub(crate) record: Option<Record>,
}

/// The orphans of an open filesystem.
#[derive(Debug, Default)]
pub(crate) struct OrphanSet {
    records: Mutex<BTreeMap<InodeNr, Record>>,
}

impl OrphanSet {
    /// Takes over what a stopped handle did.
    pub(crate) fn apply(&self, changes: &[OrphanChange]) {
        let mut records = self.records.lock().unwrap_or_else(PoisonError::into_inner);
        for change in changes {
            match change.record {
                Some(record) => records.insert(change.ino, record),
                None => records.remove(&change.ino),
            };
        }
    }

    /// Where `ino` is recorded.
    pub(crate) fn record(&self, ino: InodeNr) -> Option<Record> {
        self.records.lock().unwrap_or_else(PoisonError::into_inner).get(&ino).copied()
    }
}
