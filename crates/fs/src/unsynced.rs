//! Which files cannot be read to the full before a commit: `i_datasync_tid`.

use crate::Filesystem;
use ext4_jbd2::Journal;
use ext4_units::{InodeNr, Tid};
use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};

/// The transactions that last changed a map or a size, as far as they are not durable.
#[derive(Debug, Default)]
pub(crate) struct Unsynced(Mutex<BTreeMap<InodeNr, Tid>>);

impl Unsynced {
    /// Remembers that `tid` changed these inodes, and forgets what has become durable.
    pub(crate) fn note(&self, journal: &Journal, tid: Tid, inodes: &[InodeNr]) {
        if inodes.is_empty() || !journal.has_log() {
            return;
        }
        let mut tids = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if tids.first_key_value().is_some_and(|(_, &first)| first != tid) {
            tids.retain(|_, &mut tid| !journal.is_durable(tid));
        }
        tids.extend(inodes.iter().map(|&ino| (ino, tid)));
    }

    fn tid(&self, ino: InodeNr) -> Option<Tid> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&ino).copied()
    }
}

impl Filesystem {
    /// Whether the map and the size of `ino` are durable, so that data written to its blocks is
    /// safe as soon as the device has it: `O_DSYNC` needs no commit then (`i_datasync_tid`).
    pub fn is_map_durable(&self, ino: InodeNr) -> bool {
        self.unsynced().tid(ino).is_none_or(|tid| self.journal().is_durable(tid))
    }
}
