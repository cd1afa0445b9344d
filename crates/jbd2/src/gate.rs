//! One handle at a time.

use crate::{Error, Result};
use std::{
    marker::PhantomData,
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    thread::{self, ThreadId},
};

/// A lock that knows who holds it, so that a thread which would wait for itself is told so.
#[derive(Debug, Default)]
pub(crate) struct Gate {
    holder: Mutex<Option<ThreadId>>,
    freed: Condvar,
}

/// The right to change metadata; given back when dropped. Stays on its thread, or
/// [`Error::HandleOpen`] would be told to the wrong one.
#[derive(Debug)]
pub(crate) struct Pass<'a> {
    gate: &'a Gate,
    _on_this_thread: PhantomData<MutexGuard<'static, ()>>,
}

impl Gate {
    pub(crate) fn enter(&self) -> Result<Pass<'_>> {
        let me = thread::current().id();
        let mut holder = self.holder.lock().unwrap_or_else(PoisonError::into_inner);
        while let Some(other) = *holder {
            if other == me {
                return Err(Error::HandleOpen);
            }
            holder = self.freed.wait(holder).unwrap_or_else(PoisonError::into_inner);
        }
        *holder = Some(me);
        Ok(Pass { gate: self, _on_this_thread: PhantomData })
    }
}

impl Drop for Pass<'_> {
    fn drop(&mut self) {
        *self.gate.holder.lock().unwrap_or_else(PoisonError::into_inner) = None;
        self.gate.freed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_handle_on_one_thread_is_an_error_and_on_another_waits() {
        let gate = Gate::default();
        let pass = gate.enter().unwrap();
        assert!(matches!(gate.enter(), Err(Error::HandleOpen)));
        thread::scope(|scope| {
            let other = scope.spawn(|| drop(gate.enter().unwrap()));
            drop(pass);
            other.join().unwrap();
        });
        assert!(gate.enter().is_ok());
    }
}
