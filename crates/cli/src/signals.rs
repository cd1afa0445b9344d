//! Interrupts: the first asks for a clean stop between transactions, the second kills.
//!
//! Stopping cleanly is a courtesy. A killed run loses nothing that was committed either: the
//! journal is what keeps it.

use signal_hook::{
    consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1, SIGUSR2, SIGXFSZ},
    flag,
};
use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

/// Whether the run should stop at the next good place.
#[derive(Clone, Debug, Default)]
pub struct Stop(Arc<AtomicBool>);

impl Stop {
    /// Catches SIGINT, SIGTERM and SIGHUP from now on, and ignores SIGXFSZ.
    ///
    /// # Errors
    /// The system refuses the handler.
    pub fn install() -> io::Result<Self> {
        let stop = Self::default();
        for signal in [SIGINT, SIGTERM, SIGHUP] {
            // The order matters: actions of one signal run in the order they were registered, so
            // the default action of a second signal is armed by the first.
            flag::register_conditional_default(signal, Arc::clone(&stop.0))?;
            flag::register(signal, Arc::clone(&stop.0))?;
        }
        // A write beyond the host's limit on file sizes is to be an error (`EFBIG`), not the end.
        let _nobody_asks = flag::register(SIGXFSZ, Arc::default())?;
        Ok(stop)
    }

    /// Whether a signal came.
    pub fn requested(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// Asks for the stop, as a signal would.
    pub fn request(&self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// A switch that SIGUSR1 turns on and SIGUSR2 off, as progress of e2fsck(8) is.
#[derive(Clone, Debug)]
pub struct Switch(Arc<AtomicUsize>);

impl Switch {
    /// Catches both signals from now on.
    ///
    /// # Errors
    /// The system refuses the handler.
    pub fn install(is_on: bool) -> io::Result<Self> {
        let state = Arc::new(AtomicUsize::new(usize::from(is_on)));
        for (signal, value) in [(SIGUSR1, 1), (SIGUSR2, 0)] {
            flag::register_usize(signal, Arc::clone(&state), value)?;
        }
        Ok(Self(state))
    }

    /// Whether it is on.
    pub fn is_on(&self) -> bool {
        self.0.load(Ordering::Relaxed) != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_signals_turn_a_switch_on_and_off() {
        let switch = Switch::install(false).unwrap();
        assert!(!switch.is_on());
        signal_hook::low_level::raise(SIGUSR1).unwrap();
        assert!(switch.is_on());
        signal_hook::low_level::raise(SIGUSR2).unwrap();
        assert!(!switch.is_on());
    }

    #[test]
    fn the_first_signal_raises_the_flag_and_nothing_else() {
        let stop = Stop::install().unwrap();
        assert!(!stop.requested());
        signal_hook::low_level::raise(SIGTERM).unwrap();
        assert!(stop.requested());
    }
}
