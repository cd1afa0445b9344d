//! What is known of an inode only in memory: its lock, direct IO in flight, the size its user sees,
//! and its pages.

mod lock;
mod pages;

pub use lock::{DioGuard, InodeGuard, LockMode};
pub(crate) use pages::{Counts, PageState, Pages, Shape};

use crate::Filesystem;
use ext4_units::{InodeNr, LogicalBlock};
use lock::InodeLock;
use std::{
    collections::BTreeMap,
    ops::RangeInclusive,
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

/// How many inodes nobody uses are kept before they are forgotten.
const MAX_IDLE: usize = 1024;

/// An inode in core (`ext4_inode_info`, as far as it is not on disk). One for all who use the file.
#[derive(Debug)]
pub struct InCore {
    ino: InodeNr,
    lock: InodeLock,
    pages: Mutex<Pages>,
    /// A page is no longer under writeback.
    written_back: Condvar,
    /// The size its user sees, where it may differ from the one on disk. Locked after `pages`.
    i_size: Mutex<Option<u64>>,
    no_inline: AtomicBool,
    /// Counts beginnings and ends of changes of its map by handles: odd while one stops.
    map_changes: AtomicU64,
}

impl InCore {
    fn new(ino: InodeNr) -> Self {
        Self {
            ino,
            lock: InodeLock::default(),
            pages: Mutex::default(),
            written_back: Condvar::new(),
            i_size: Mutex::new(None),
            no_inline: AtomicBool::new(false),
            map_changes: AtomicU64::new(0),
        }
    }

    /// Its number.
    pub fn ino(&self) -> InodeNr {
        self.ino
    }

    fn size(&self) -> MutexGuard<'_, Option<u64>> {
        self.i_size.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sets the size its user sees, for who holds the lock alone.
    pub(crate) fn set_i_size(&self, i_size: u64) {
        *self.size() = Some(i_size);
    }

    /// Lets an empty file get blocks with its first bytes, even where they would fit into the inode:
    /// direct IO has been tried (`EXT4_STATE_MAY_INLINE_DATA`).
    pub fn forbid_inline(&self) {
        self.no_inline.store(true, Ordering::Relaxed);
    }

    /// A handle that changed its map is about to stop, or has.
    pub(crate) fn count_map_change(&self) {
        self.map_changes.fetch_add(1, Ordering::AcqRel);
    }

    /// How often its map was changed; `None` in the middle of that.
    pub(crate) fn map_changes(&self) -> Option<u64> {
        let changes = self.map_changes.load(Ordering::Acquire);
        changes.is_multiple_of(2).then_some(changes)
    }

    /// The number is about to be free for another file.
    pub(crate) fn forget(&self) {
        self.no_inline.store(false, Ordering::Relaxed);
    }

    pub(crate) fn allows_inline(&self) -> bool {
        !self.no_inline.load(Ordering::Relaxed)
    }

    /// Its pages, for a few instructions.
    pub(crate) fn pages(&self) -> MutexGuard<'_, Pages> {
        self.pages.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells those who wait that pages are through with their writeback.
    pub(crate) fn notify_written_back(&self) {
        self.written_back.notify_all();
    }

    /// Waits until no page of these blocks is under writeback, and returns the pages, locked.
    pub(crate) fn wait_writeback(
        &self,
        blocks: &RangeInclusive<LogicalBlock>,
    ) -> MutexGuard<'_, Pages> {
        let mut pages = self.pages();
        while pages.range(blocks.clone()).any(|(_, page)| page.is_writeback()) {
            pages = self.written_back.wait(pages).unwrap_or_else(PoisonError::into_inner);
        }
        pages
    }

    fn is_idle(self: &Arc<Self>) -> bool {
        Arc::strong_count(self) == 1 && self.size().is_none() && self.pages().is_empty()
    }
}

/// How a handle moved the sizes of an inode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SizeChange {
    /// `i_size` and `i_disksize`, for who holds the inode's lock alone.
    Both(u64, u64),
    /// `i_disksize` only.
    Disk(u64),
}

/// The inodes in core, by number. Locks inside are held for a few instructions only.
#[derive(Debug, Default)]
pub(crate) struct InCoreTable(Mutex<Table>);

#[derive(Debug)]
struct Table {
    inodes: BTreeMap<InodeNr, Arc<InCore>>,
    /// With that many, those that nobody uses are forgotten.
    sweep_at: usize,
}

impl Default for Table {
    fn default() -> Self {
        Self { inodes: BTreeMap::new(), sweep_at: MAX_IDLE }
    }
}

impl InCoreTable {
    fn table(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The one for `ino`, made if there is none.
    pub(crate) fn get(&self, ino: InodeNr) -> Arc<InCore> {
        let mut table = self.table();
        if table.inodes.len() >= table.sweep_at {
            table.inodes.retain(|_, it| !it.is_idle());
            table.sweep_at = table.inodes.len() * 2 + MAX_IDLE;
        }
        Arc::clone(table.inodes.entry(ino).or_insert_with(|| Arc::new(InCore::new(ino))))
    }

    /// The one for `ino`, if there is one.
    pub(crate) fn find(&self, ino: InodeNr) -> Option<Arc<InCore>> {
        self.table().inodes.get(&ino).cloned()
    }

    /// All there are.
    pub(crate) fn all(&self) -> Vec<Arc<InCore>> {
        self.table().inodes.values().cloned().collect()
    }

    /// The size that the user of `ino` sees, if it may differ from the one on disk.
    pub(crate) fn i_size(&self, ino: InodeNr) -> Option<u64> {
        self.table().inodes.get(&ino).and_then(|it| *it.size())
    }

    /// Takes over sizes set by a handle that stopped.
    pub(crate) fn apply_sizes(&self, sizes: &[(InodeNr, SizeChange)]) {
        for &(ino, change) in sizes {
            match change {
                SizeChange::Both(i_size, i_disksize) => {
                    if i_size != i_disksize {
                        self.get(ino).set_i_size(i_size);
                    } else if let Some(it) = self.find(ino) {
                        *it.size() = None;
                    }
                }
                SizeChange::Disk(i_disksize) => {
                    if let Some(it) = self.find(ino) {
                        let mut i_size = it.size();
                        // Somebody may have written more meanwhile.
                        if *i_size == Some(i_disksize) {
                            *i_size = None;
                        }
                    }
                }
            }
        }
    }
}

impl Filesystem {
    /// The inode in core.
    pub fn incore(&self, ino: InodeNr) -> Arc<InCore> {
        self.incores().get(ino)
    }

    /// Locks an inode exclusively and waits for direct IO in flight. With a handle open this would
    /// wait for itself.
    pub(crate) fn lock_alone(&self, ino: InodeNr) -> InodeGuard {
        let guard = self.incore(ino).lock(LockMode::Exclusive);
        guard.incore().wait_dio(0);
        guard
    }
}
