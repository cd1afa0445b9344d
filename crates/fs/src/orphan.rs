//! Inodes that a crash must not leave as they are: unlinked but in use, or with blocks beyond
//! their size.
//!
//! A record is made before what it protects, and goes with what makes it needless, in one handle.

mod cleanup;
mod file;
mod list;

pub use cleanup::{Orphan, OrphanFate};

use crate::{Filesystem, Handle, Inode, Result};
use ext4_ondisk::features::Compat;
use ext4_units::InodeNr;
use std::{
    collections::BTreeMap,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

/// Where an orphan is recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Record {
    /// In the list from `s_last_orphan` through `i_dtime`.
    List,
    /// In a slot of the orphan file.
    File(file::Slot),
    /// Nowhere on disk, without a log: a filesystem that is closed with one is not valid.
    Memory,
}

/// One change of the set, applied when the handle that made it stops.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OrphanChange {
    ino: InodeNr,
    /// The new record, or that there is none any more.
    record: Option<Record>,
}

/// The orphans of an open filesystem.
#[derive(Debug, Default)]
pub(crate) struct OrphanSet {
    records: Mutex<BTreeMap<InodeNr, Record>>,
    /// Whether the orphan file holds records that could not be followed.
    has_leftovers: AtomicBool,
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

    /// Whether there are none, on disk too.
    pub(crate) fn is_empty(&self) -> bool {
        !self.has_leftovers.load(Ordering::Relaxed)
            && self.records.lock().unwrap_or_else(PoisonError::into_inner).is_empty()
    }

    /// Remembers that records stay in the orphan file.
    pub(crate) fn keep_leftovers(&self) {
        self.has_leftovers.store(true, Ordering::Relaxed);
    }

    /// Takes a record found on disk into the set; one that is known stays as it is.
    pub(crate) fn found(&self, ino: InodeNr, record: Record) {
        let mut records = self.records.lock().unwrap_or_else(PoisonError::into_inner);
        records.entry(ino).or_insert(record);
    }

    /// The list was dropped: what was on it has no record any more.
    pub(crate) fn forget_list(&self) {
        let mut records = self.records.lock().unwrap_or_else(PoisonError::into_inner);
        records.retain(|_, record| *record != Record::List);
    }

    fn record(&self, ino: InodeNr) -> Option<Record> {
        self.records.lock().unwrap_or_else(PoisonError::into_inner).get(&ino).copied()
    }
}

impl Filesystem {
    /// Whether `ino` has an orphan record, in the view of stopped handles.
    pub fn is_orphan(&self, ino: InodeNr) -> bool {
        self.orphans().record(ino).is_some()
    }
}

impl Handle<'_> {
    /// Credits of [`orphan_add`](Self::orphan_add) and of [`orphan_del`](Self::orphan_del): the
    /// inode, and the superblock or a block of the orphan file, and the list's predecessor.
    pub const ORPHAN_CREDITS: usize = 3;

    /// Records `inode`, so that recovery after a crash truncates it to its size, or deletes it when
    /// it has no links (`ext4_orphan_add`). Nothing to do when it is recorded already; without a log
    /// the record is in memory only. The caller writes the inode back, in this handle.
    pub fn orphan_add(&mut self, inode: &mut Inode) -> Result<()> {
        if self.orphan_record(inode.ino).is_some() {
            return Ok(());
        }
        let record = if !self.fs().journal().has_log() {
            Record::Memory
        } else if self.fs().superblock().features.has_compat(Compat::ORPHAN_FILE)
            && let Some(slot) = file::take(self, inode.ino)?
        {
            Record::File(slot)
        } else {
            list::push(self, inode)?;
            Record::List
        };
        self.note_orphan(OrphanChange { ino: inode.ino, record: Some(record) });
        Ok(())
    }

    /// Removes the record of `inode`, if there is one (`ext4_orphan_del`). The caller writes the
    /// inode back, in this handle.
    pub fn orphan_del(&mut self, inode: &mut Inode) -> Result<()> {
        match self.orphan_record(inode.ino) {
            None => return Ok(()),
            Some(Record::File(slot)) => file::give_back(self, slot)?,
            Some(Record::List) => list::remove(self, inode)?,
            Some(Record::Memory) => {}
        }
        self.note_orphan(OrphanChange { ino: inode.ino, record: None });
        Ok(())
    }

    /// Where `ino` is recorded, with the changes of this handle.
    fn orphan_record(&self, ino: InodeNr) -> Option<Record> {
        match self.orphan_changes().iter().rev().find(|change| change.ino == ino) {
            Some(change) => change.record,
            None => self.fs().orphans().record(ino),
        }
    }
}
