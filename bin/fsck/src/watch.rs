//! How long the passes take (`-t`).

use ext4_check::Pass;
use serde::Serialize;
use std::{
    fmt,
    time::{Duration, Instant},
};

/// Passes 0 to 6.
const PASSES: usize = 7;

/// Measures. Made when the run begins.
#[derive(Debug)]
pub(crate) struct Watch {
    start: Instant,
    /// The pass under way, since when.
    at: Option<(Pass, Instant)>,
    passes: [Duration; PASSES],
}

impl Watch {
    pub(crate) fn new() -> Self {
        Self { start: Instant::now(), at: None, passes: [Duration::ZERO; PASSES] }
    }

    /// A pass is under way.
    pub(crate) fn enter(&mut self, pass: Pass) {
        if self.at.is_some_and(|(it, _)| it == pass) {
            return;
        }
        self.leave();
        self.at = Some((pass, Instant::now()));
    }

    /// None is any more.
    pub(crate) fn leave(&mut self) {
        if let Some((pass, since)) = self.at.take() {
            self.passes[usize::from(pass.number())] += since.elapsed();
        }
    }

    /// What it came to, with the passes when `detail` says so.
    pub(crate) fn timing(&self, detail: bool) -> Timing {
        let seconds = self.start.elapsed().as_secs_f64();
        let passes = self.passes.map(|it| it.as_secs_f64());
        Timing { seconds, passes: detail.then_some(passes) }
    }
}

/// Seconds.
#[derive(Clone, Debug, Serialize)]
pub struct Timing {
    /// Of the whole run up to here.
    seconds: f64,
    /// Of passes 0 to 6, in all rounds together.
    #[serde(skip_serializing_if = "Option::is_none")]
    passes: Option<[f64; PASSES]>,
}

impl fmt::Display for Timing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (nr, seconds) in self.passes.iter().flatten().enumerate() {
            writeln!(f, "pass {nr}: {seconds:.3} s")?;
        }
        write!(f, "in all: {:.3} s", self.seconds)
    }
}
