//! The inode lock (`i_rwsem`) and the count of direct IO in flight (`i_dio_count`).

use super::InCore;
use std::{
    hint,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
};

/// How often, and with how many pauses of the processor in between, a lock is tried before the thread
/// sleeps: a few microseconds in all. Who holds it mostly gives it back within that time, and to sleep
/// and to be woken take longer.
const TRIES: u32 = 16;
const PAUSES: u32 = 32;

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
    /// Threads asleep until they may share it.
    sharers_waiting: usize,
    dio: usize,
    /// Threads asleep until direct IO has ended.
    dio_waiting: usize,
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
    // Waking is a system call even when nobody sleeps, so it is done for those who do, and only for
    // who can go on.
    alone: Condvar,
    together: Condvar,
    no_dio: Condvar,
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
        let (waiting, sharers, held) = (state.waiting, state.sharers_waiting, state.shared);
        drop(state);
        if waiting > 0 {
            if held == 0 {
                lock.alone.notify_one();
            }
        } else if sharers > 0 {
            lock.together.notify_all();
        }
    }
}

/// A direct IO in flight (`inode_dio_begin`). Dropping it ends it.
#[derive(Debug)]
pub struct DioGuard(Arc<InCore>);

impl Drop for DioGuard {
    fn drop(&mut self) {
        let mut state = self.0.lock.state();
        state.dio -= 1;
        if state.dio_waiting > 0 {
            drop(state);
            self.0.lock.no_dio.notify_all();
        }
    }
}

impl InCore {
    /// Locks it, waiting for whoever holds it. Must not be called by a thread that has a handle
    /// open: locks come before handles.
    pub fn lock(self: &Arc<Self>, mode: LockMode) -> InodeGuard {
        if let Some(guard) = self.lock_soon(mode) {
            return guard;
        }
        let mut state = self.lock.state();
        match mode {
            LockMode::Exclusive => {
                state.waiting += 1;
                while !state.is_free_for(mode) {
                    state = self.lock.alone.wait(state).unwrap_or_else(PoisonError::into_inner);
                }
                state.waiting -= 1;
            }
            // Sharers queue behind those who wait to be alone, or a stream of overwrites would
            // starve a truncate.
            LockMode::Shared => {
                state.sharers_waiting += 1;
                while !state.is_free_for(mode) || state.waiting > 0 {
                    state = self.lock.together.wait(state).unwrap_or_else(PoisonError::into_inner);
                }
                state.sharers_waiting -= 1;
            }
        }
        state.take(mode);
        drop(state);
        InodeGuard { incore: Arc::clone(self), mode }
    }

    /// Locks it if that is possible now or in a few microseconds, without sleeping. Sharers do not
    /// get past those who wait to be alone.
    pub fn lock_soon(self: &Arc<Self>, mode: LockMode) -> Option<InodeGuard> {
        for _ in 0..TRIES {
            let mut state = self.lock.state();
            if state.is_free_for(mode) && (mode == LockMode::Exclusive || state.waiting == 0) {
                state.take(mode);
                return Some(InodeGuard { incore: Arc::clone(self), mode });
            }
            drop(state);
            for _ in 0..PAUSES {
                hint::spin_loop();
            }
        }
        None
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
        state.dio_waiting += 1;
        while state.dio > but {
            state = self.lock.no_dio.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.dio_waiting -= 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ext4_units::InodeNr;
    use std::sync::atomic::{AtomicUsize, Ordering};

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

    #[test]
    fn nobody_sleeps_on_when_many_take_turns() {
        const ALONE: usize = 1000;
        let inode = incore();
        let inside = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for nr in 0..8 {
                let (inode, inside) = (&inode, &inside);
                scope.spawn(move || {
                    for turn in 0..2000 {
                        let alone = (nr + turn) % 3 > 0;
                        let mode = if alone { LockMode::Exclusive } else { LockMode::Shared };
                        let n = if alone { ALONE } else { 1 };
                        let guard = inode.lock(mode);
                        let others = inside.fetch_add(n, Ordering::SeqCst);
                        assert!(if alone { others == 0 } else { others < ALONE });
                        if turn % 16 == 0 {
                            std::thread::yield_now();
                        }
                        inside.fetch_sub(n, Ordering::SeqCst);
                        drop(guard);
                    }
                });
            }
        });
        assert!(inode.try_lock(LockMode::Exclusive).is_some());
    }
}
