//! Opening for writing, and closing: the two ends between which `needs_recovery` is set.

use crate::{Error, Filesystem, Handle, Inode, Result, mmp, names::NameLock, pages::Delayed};
use ext4_jbd2::{Clock, MetaRead};
use ext4_ondisk::{
    features::{Compat, Incompat, RoCompat},
    superblock::{RawSuperblock, State},
    time::Timestamp,
};
use ext4_units::InodeNr;
use std::sync::{Mutex, PoisonError};
use zerocopy::IntoBytes as _;

/// Nanoseconds between two times that an inode can have: a tick of 250 Hz. Changes within one need
/// no new times.
const TICK: u32 = 4_000_000;

/// What a filesystem open for writing has on top of one open for reading.
#[derive(Debug)]
pub(crate) struct Writing {
    clock: Clock,
    /// Whether the superblock says, durably, that the filesystem is in use.
    is_marked: Mutex<bool>,
    pub(crate) delayed: Delayed,
    pub(crate) names: NameLock,
}

impl Writing {
    pub(crate) fn new(clock: Clock, is_marked: bool, delayed: Delayed) -> Self {
        Self { clock, is_marked: Mutex::new(is_marked), delayed, names: NameLock::default() }
    }

    /// Now, by the clock that was given at open, in ticks (`ktime_get_coarse_real_ts64`).
    pub(crate) fn now(&self) -> Timestamp {
        let now = self.clock.now();
        let nsec = now.subsec_nanos();
        Timestamp {
            sec: i64::try_from(now.as_secs()).unwrap_or(i64::MAX),
            nsec: nsec - nsec % TICK,
        }
    }
}

impl Filesystem {
    /// Starts a handle which will change at most `credits` metadata blocks.
    ///
    /// The first one marks the filesystem as in use, durably, so that an open that never changes
    /// anything writes nothing.
    pub fn start(&self, credits: usize) -> Result<Handle<'_>> {
        let writing = self.writing().ok_or(Error::ReadOnly)?;
        let mut is_marked = writing.is_marked.lock().unwrap_or_else(PoisonError::into_inner);
        if !*is_marked {
            self.mark_in_use()?;
            *is_marked = true;
        }
        drop(is_marked);
        // One block more for the superblock, whose counts follow every allocation.
        let blocks = self.journal().start(credits + 1)?;
        Ok(Handle::new(self, blocks, writing.now()))
    }

    /// As [`start`](Self::start), with as many credits as `credits` says. What it goes by may change
    /// before the handle is open; so it is asked again, in the handle's view, until it agrees.
    pub fn start_for(
        &self,
        credits: impl Fn(&dyn MetaRead) -> Result<usize>,
    ) -> Result<Handle<'_>> {
        let mut asked = self.noting(credits(self.meta()))?;
        loop {
            let h = self.start(asked)?;
            let needed = self.noting(credits(&h))?;
            if needed <= asked {
                return Ok(h);
            }
            asked = needed;
        }
    }

    /// Whether writing is possible at all: open for it, and nothing has failed.
    pub fn check_writable(&self) -> Result<()> {
        self.writing().ok_or(Error::ReadOnly)?;
        Ok(self.journal().check_alive()?)
    }

    /// Whether the times of `inode` are those a change would give it now, so that it needs none
    /// (`inode_needs_update_time`).
    pub fn is_modified_now(&self, inode: &Inode) -> bool {
        // The first change has to mark the filesystem as in use, and claim it where there is MMP.
        let is_marked =
            |it: &&Writing| *it.is_marked.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(writing) = self.writing().filter(is_marked) else { return false };
        let now = writing.now();
        let now = inode.storable(now);
        (inode.mtime, inode.ctime) == (now, now)
    }

    /// A handle for changes of one file, and the file's inode as it sees it. `credits` tells how
    /// many blocks the changes can touch, which may follow the depth of the file's map; it is asked
    /// again inside the handle, since others may have changed the map before.
    pub fn start_on(
        &self,
        ino: InodeNr,
        credits: impl Fn(&Inode) -> Result<usize>,
    ) -> Result<(Handle<'_>, Inode)> {
        let first = self.inode(self.meta(), ino).and_then(|inode| credits(&inode));
        let mut asked = self.noting(first)?;
        loop {
            let h = self.start(asked)?;
            let inode = self.noting(h.inode(ino))?;
            let needed = self.noting(credits(&inode))?;
            if needed <= asked {
                return Ok((h, inode));
            }
            asked = needed;
        }
    }

    /// Makes all metadata changed so far durable, and data that is on the device, even if no metadata
    /// was changed for it. Pages that were not written back stay in memory: [`fsync`](Self::fsync),
    /// [`sync`](Self::sync).
    pub fn commit(&self) -> Result<()> {
        self.record_damage();
        Ok(self.journal().sync()?)
    }

    /// Ends writing: pages are written back, the log is emptied, and the superblock says that the
    /// filesystem is clean. Dropping a filesystem instead leaves it as a power cut would; so does
    /// an error, and what is lost by it is in the error.
    pub fn close(self) -> Result<()> {
        if self.writing().is_none() {
            return Ok(());
        }
        self.noting(self.write_all_back())?;
        self.record_damage();
        // Crash here: needs_recovery is set and the log is whole, or already empty.
        self.journal().checkpoint()?;
        let has_orphans = !self.orphans().is_empty();
        let has_log = self.journal().has_log();
        self.change_superblock_in_place(|raw| {
            clear(&mut raw.s_feature_incompat, Incompat::RECOVER.bits());
            if !has_orphans {
                clear(&mut raw.s_feature_ro_compat, RoCompat::ORPHAN_PRESENT.bits());
            }
            // Without a log, nobody will finish what a failure has left; e2fsck has to look.
            if has_log || !has_orphans {
                let valid = (self.superblock().state & State::VALID).bits();
                raw.s_state.set(raw.s_state.get() | valid);
            }
        })?;
        mmp::release(&**self.device(), self.superblock())
    }

    /// `needs_recovery` must be durable before the first block of the log is written: with the flag
    /// clear, a log that is not empty is thrown away. Without a log, the filesystem is no longer
    /// valid until it is closed (`ext4_setup_super`).
    fn mark_in_use(&self) -> Result<()> {
        mmp::claim(&**self.device(), self.superblock())?;
        let has_log = self.journal().has_log();
        let has_orphan_file = self.superblock().features.has_compat(Compat::ORPHAN_FILE);
        self.change_superblock_in_place(|raw| {
            if has_log {
                set(&mut raw.s_feature_incompat, Incompat::RECOVER.bits());
                if has_orphan_file {
                    set(&mut raw.s_feature_ro_compat, RoCompat::ORPHAN_PRESENT.bits());
                }
            } else {
                raw.s_state.set(raw.s_state.get() & !State::VALID.bits());
            }
        })
    }

    /// Changes the superblock around the log, durably. Only bytes of its first 512 may change, and
    /// the checksum in the last 512: a write torn between the two is told from the flags that can
    /// have changed ([`crate::superblock`]).
    fn change_superblock_in_place(&self, change: impl FnOnce(&mut RawSuperblock)) -> Result<()> {
        let (blk, offset) = self.geometry().superblock_place();
        let mut block = self.meta().read(blk)?.to_vec();
        let raw = block.get_mut(offset..).and_then(RawSuperblock::of_mut);
        let raw = raw.ok_or_else(|| Error::corrupt("superblock", "does not fit its block"))?;
        let before = raw.clone();
        change(raw);
        raw.update_checksum();
        if raw.as_bytes() == before.as_bytes() {
            return Ok(());
        }
        self.journal().write_through(blk, block)?;
        Ok(self.journal().sync_data()?)
    }
}

fn set(word: &mut zerocopy::little_endian::U32, bits: u32) {
    word.set(word.get() | bits);
}

fn clear(word: &mut zerocopy::little_endian::U32, bits: u32) {
    word.set(word.get() & !bits);
}
