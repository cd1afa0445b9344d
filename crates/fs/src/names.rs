//! Names change one operation at a time, and whoever looks for one while they do looks again.

use crate::{Error, Filesystem, Result};
use std::sync::{
    Mutex, MutexGuard, PoisonError,
    atomic::{AtomicU64, Ordering},
};

/// How often a name is looked for while names change.
const TRIES: usize = 100;

/// Held by whoever changes names, so that what he looked at before his handle still holds in it.
/// Taken after an inode's lock, before a handle.
#[derive(Debug, Default)]
pub(crate) struct NameLock {
    lock: Mutex<()>,
    /// Counts beginnings and ends of changes: odd while one is under way.
    changes: AtomicU64,
}

/// The right to change names; given back when dropped.
#[derive(Debug)]
pub(crate) struct Names<'a> {
    changes: &'a AtomicU64,
    _lock: MutexGuard<'a, ()>,
}

impl Drop for Names<'_> {
    fn drop(&mut self) {
        self.changes.fetch_add(1, Ordering::AcqRel);
    }
}

impl NameLock {
    fn lock(&self) -> Names<'_> {
        let lock = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
        self.changes.fetch_add(1, Ordering::AcqRel);
        Names { changes: &self.changes, _lock: lock }
    }

    fn steadily<T>(&self, look: impl Fn() -> Result<T>) -> Result<T> {
        for _ in 0..TRIES {
            let before = self.changes.load(Ordering::Acquire);
            let found = look();
            let is_steady =
                before.is_multiple_of(2) && before == self.changes.load(Ordering::Acquire);
            if found.is_ok() || is_steady {
                return found;
            }
            std::thread::yield_now();
        }
        look()
    }
}

impl Filesystem {
    /// Keeps others from changing names. Not for who holds it already.
    pub(crate) fn lock_names(&self) -> Result<Names<'_>> {
        Ok(self.writing().ok_or(Error::ReadOnly)?.names.lock())
    }

    /// Looks for a name, and again when it was not found and names were changing: a folder that is
    /// read block by block meanwhile may miss an entry that moved (`rename_lock` of the kernel's
    /// path lookup).
    pub(crate) fn steadily<T>(&self, look: impl Fn() -> Result<T>) -> Result<T> {
        match self.writing() {
            Some(writing) => writing.names.steadily(look),
            None => look(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    fn missing() -> Error {
        Error::NotFound { path: "x".into() }
    }

    #[test]
    fn a_name_missed_while_names_changed_is_looked_for_again() {
        let names = NameLock::default();
        let tries = Cell::new(0);
        let found = names.steadily(|| {
            tries.set(tries.get() + 1);
            if tries.get() < 3 {
                drop(names.lock());
                return Err(missing());
            }
            Ok(tries.get())
        });
        assert_eq!(found.unwrap(), 3);
    }

    #[test]
    fn a_name_that_is_not_there_is_looked_for_once_in_peace_and_not_for_ever_in_war() {
        let names = NameLock::default();
        let tries = Cell::new(0);
        let look = || -> Result<()> {
            tries.set(tries.get() + 1);
            Err(missing())
        };
        names.steadily(look).unwrap_err();
        assert_eq!(tries.get(), 1);
        let _under_way = names.lock();
        names.steadily(look).unwrap_err();
        assert_eq!(tries.get(), 2 + TRIES);
    }
}
