//! One handle at a time.

use crate::{Error, Result};
use std::{
    hint,
    marker::PhantomData,
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    thread::{self, ThreadId},
};

/// How often, and with how many pauses of the processor in between, a thread tries before it sleeps.
const TRIES: u32 = 16;
const PAUSES: u32 = 32;

/// A lock that knows who holds it, so that a thread which would wait for itself is told so.
#[derive(Debug, Default)]
pub(crate) struct Gate {
    state: Mutex<State>,
    freed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    holder: Option<ThreadId>,
    n_waiting: usize,
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
        // Most handles are over sooner than a thread could be put to sleep and woken.
        for _ in 0..TRIES {
            let mut state = self.state();
            match state.holder {
                None => {
                    state.holder = Some(me);
                    return Ok(Pass { gate: self, _on_this_thread: PhantomData });
                }
                Some(other) if other == me => return Err(Error::HandleOpen),
                Some(_) => drop(state),
            }
            for _ in 0..PAUSES {
                hint::spin_loop();
            }
        }
        let mut state = self.state();
        while let Some(other) = state.holder {
            if other == me {
                return Err(Error::HandleOpen);
            }
            state.n_waiting += 1;
            state = self.freed.wait(state).unwrap_or_else(PoisonError::into_inner);
            state.n_waiting -= 1;
        }
        state.holder = Some(me);
        Ok(Pass { gate: self, _on_this_thread: PhantomData })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Pass<'_> {
    fn drop(&mut self) {
        let mut state = self.gate.state();
        state.holder = None;
        // Waking nobody is a system call all the same.
        if state.n_waiting > 0 {
            drop(state);
            self.gate.freed.notify_one();
        }
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
