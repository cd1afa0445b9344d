//! The inode lock (`i_rwsem`) and the count of direct IO in flight (`i_dio_count`).

use super::InCore;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

/// How an inode is locked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LockMode {
    /// Together with other writers that neither allocate nor extend.
    Shared,
    /// Alone.
    Exclusive,
}

/// Who holds the lock, who waits for it, what is in flight.
#[derive(Debug, Default)]
struct State {
    shared: usize,
    is_exclusive: bool,
    /// Threads waiting for the exclusive lock: no new sharers get past them.
    waiting: usize,
    dio: usize,
}

impl State {
    fn is_free_for(&self, mode: LockMode) -> bool {
        match mode {
            LockMode::Shared => !self.is_exclusive,
            LockMode::Exclusive => !self.is_exclusive && self.shared == 0,
        }
    }

    fn take(&mut self, mode: LockMode) {
        match mode {
            LockMode::Shared => self.shared += 1,
            LockMode::Exclusive => self.is_exclusive = true,
        }
    }
}

/// A lock that does not belong to a thread: who holds a guard may hand it on, and who steps through
/// several operations in one thread may try it for each.
#[derive(Debug, Default)]
pub(super) struct InodeLock {
    state: Mutex<State>,
    changed: Condvar,
}

impl InodeLock {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The lock of an inode, held. Dropping it gives it back.
#[derive(Debug)]
pub struct InodeGuard {
    incore: Arc<InCore>,
    mode: LockMode,
}

impl InodeGuard {
    /// How it is held.
    pub fn mode(&self) -> LockMode {
        self.mode
    }

    /// The inode it locks.
    pub fn incore(&self) -> &Arc<InCore> {
        &self.incore
    }

    /// The inode it locks, for what must be alone with it.
    pub(crate) fn alone(&self) -> &Arc<InCore> {
        let ino = self.incore.ino;
        assert_eq!(self.mode, LockMode::Exclusive, "inode {ino}: the lock must be exclusive");
        &self.incore
    }
}

impl Drop for InodeGuard {
    fn drop(&mut self) {
        let lock = &self.incore.lock;
        let mut state = lock.state();
        match self.mode {
            LockMode::Shared => state.shared -= 1,
            LockMode::Exclusive => state.is_exclusive = false,
        }
        drop(state);
        lock.changed.notify_all();
    }
}

/// A direct IO in flight (`inode_dio_begin`). Dropping it ends it.
#[derive(Debug)]
pub struct DioGuard(Arc<InCore>);

impl Drop for DioGuard {
    fn drop(&mut self) {
        self.0.lock.state().dio -= 1;
        self.0.lock.changed.notify_all();
    }
}

impl InCore {
    /// Locks it, waiting for whoever holds it. Must not be called by a thread that has a handle
    /// open: locks come before handles.
    pub fn lock(self: &Arc<Self>, mode: LockMode) -> InodeGuard {
        let mut state = self.lock.state();
        if mode == LockMode::Exclusive {
            state.waiting += 1;
        }
        // Sharers queue behind those who wait to be alone, or a stream of overwrites would starve
        // a truncate.
        while !state.is_free_for(mode) || mode == LockMode::Shared && state.waiting > 0 {
            state = self.lock.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        if mode == LockMode::Exclusive {
            state.waiting -= 1;
        }
        state.take(mode);
        drop(state);
        self.lock.changed.notify_all();
        InodeGuard { incore: Arc::clone(self), mode }
    }

    /// Locks it if nobody holds it in a way that forbids it.
    pub fn try_lock(self: &Arc<Self>, mode: LockMode) -> Option<InodeGuard> {
        let mut state = self.lock.state();
        if !state.is_free_for(mode) {
            return None;
        }
        state.take(mode);
        Some(InodeGuard { incore: Arc::clone(self), mode })
    }

    /// Counts a direct IO in, until the guard is dropped. The lock must be held at this moment, not
    /// to the end of the IO.
    pub fn begin_dio(self: &Arc<Self>) -> DioGuard {
        self.lock.state().dio += 1;
        DioGuard(Arc::clone(self))
    }

    /// How many direct IOs are in flight.
    pub fn dio_in_flight(&self) -> usize {
        self.lock.state().dio
    }

    /// Waits until at most `but` direct IOs are in flight (`inode_dio_wait`; 0 for all, 1 for whoever
    /// has one himself). Meaningful with the exclusive lock, which lets no new one begin. Somebody
    /// else must be taking their completions.
    pub fn wait_dio(&self, but: usize) {
        let mut state = self.lock.state();
        while state.dio > but {
            state = self.lock.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ext4_units::InodeNr;

    fn incore() -> Arc<InCore> {
        Arc::new(InCore::new(InodeNr::ROOT))
    }

    #[test]
    fn sharers_share_and_the_exclusive_one_is_alone() {
        let inode = incore();
        let one = inode.try_lock(LockMode::Shared).expect("free");
        let two = inode.try_lock(LockMode::Shared).expect("shared");
        assert!(inode.try_lock(LockMode::Exclusive).is_none());
        drop((one, two));
        let alone = inode.try_lock(LockMode::Exclusive).expect("free again");
        assert!(inode.try_lock(LockMode::Shared).is_none());
        drop(alone);
        assert!(inode.try_lock(LockMode::Shared).is_some());
    }

    #[test]
    fn who_waits_to_be_alone_gets_his_turn_and_waits_for_direct_io() {
        let inode = incore();
        let held = inode.lock(LockMode::Shared);
        let io = inode.begin_dio();
        std::thread::scope(|scope| {
            let waiter = scope.spawn(|| {
                let guard = inode.lock(LockMode::Exclusive);
                inode.wait_dio(0);
                assert_eq!(inode.dio_in_flight(), 0);
                drop(guard);
            });
            drop(held);
            drop(io);
            waiter.join().expect("it got the lock");
        });
        assert!(inode.try_lock(LockMode::Shared).is_some());
    }
}
