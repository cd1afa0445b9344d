//! What is known of an inode only in memory: its lock, direct IO in flight, the size its user sees.

mod lock;

pub use lock::{DioGuard, InodeGuard, LockMode};

use crate::Filesystem;
use ext4_units::InodeNr;
use lock::InodeLock;
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// How many inodes nobody uses are kept before they are forgotten.
const MAX_IDLE: usize = 1024;

/// An inode in core (`ext4_inode_info`, as far as it is not on disk). One for all who use the file.
#[derive(Debug)]
pub struct InCore {
    ino: InodeNr,
    lock: InodeLock,
    /// The size its user sees, where it may differ from the one on disk.
    i_size: Mutex<Option<u64>>,
}

impl InCore {
    fn new(ino: InodeNr) -> Self {
        Self { ino, lock: InodeLock::default(), i_size: Mutex::new(None) }
    }

    /// Its number.
    pub fn ino(&self) -> InodeNr {
        self.ino
    }

    fn size(&self) -> MutexGuard<'_, Option<u64>> {
        self.i_size.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The inodes in core, by number. Locks inside are held for a few instructions only.
#[derive(Debug, Default)]
pub(crate) struct InCoreTable(Mutex<BTreeMap<InodeNr, Arc<InCore>>>);

impl InCoreTable {
    fn table(&self) -> MutexGuard<'_, BTreeMap<InodeNr, Arc<InCore>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The one for `ino`, made if there is none.
    pub(crate) fn get(&self, ino: InodeNr) -> Arc<InCore> {
        let mut table = self.table();
        if table.len() >= MAX_IDLE {
            table.retain(|_, it| Arc::strong_count(it) > 1 || it.size().is_some());
        }
        Arc::clone(table.entry(ino).or_insert_with(|| Arc::new(InCore::new(ino))))
    }

    /// The size that the user of `ino` sees, if it may differ from the one on disk.
    pub(crate) fn i_size(&self, ino: InodeNr) -> Option<u64> {
        self.table().get(&ino).and_then(|it| *it.size())
    }

    /// Sizes set by a handle that stopped: `(ino, i_size, i_disksize)`.
    pub(crate) fn apply_sizes(&self, sizes: &[(InodeNr, u64, u64)]) {
        for &(ino, i_size, i_disksize) in sizes {
            if i_size != i_disksize || self.i_size(ino).is_some() {
                *self.get(ino).size() = (i_size != i_disksize).then_some(i_size);
            }
        }
    }
}

impl Filesystem {
    /// The inode in core.
    pub fn incore(&self, ino: InodeNr) -> Arc<InCore> {
        self.incores().get(ino)
    }
}
