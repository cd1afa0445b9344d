//! Rounds: a check that changed something is made again, on the overlay, until it finds nothing new.

use crate::{Answers, Error, Finding, Result, gate::Gate, pass0};
use ext4_blockdev::Overlay;
use std::sync::Arc;

/// Most images take two: one that mends, one that finds nothing any more.
const MOST_ROUNDS: u32 = 8;

/// How a check is made.
#[derive(Clone, Debug)]
pub struct Options {
    /// Seconds since 1970: the time that is set, and that times on disk are judged by.
    pub now: u64,
    /// Threads that scan; the result is the same for any number.
    pub threads: usize,
    /// Unattended: what needs a decision ends the run.
    pub is_preen: bool,
    /// The block of the superblock copy to use instead of the first one (`-b`), and the block size it
    /// is counted in (`-B`).
    pub superblock: Option<(u64, Option<u32>)>,
}

/// What a check came to. The overlay holds what would be written.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// What was met, in the order it was met.
    pub findings: Vec<Finding>,
    /// Findings beyond those that are kept.
    pub not_kept: u64,
    /// Findings that were mended.
    pub fixed: u64,
    /// Findings that were left as they are.
    pub left: u64,
    /// Rounds that were made.
    pub rounds: u32,
}

/// Checks what is in `overlay`, and mends it there as `answers` says.
///
/// # Errors
/// [`Error::NoSuperblock`], [`Error::Device`] and the others of [`Error`]; the overlay then holds
/// what was mended so far, which must not be written.
pub fn check(
    overlay: &Arc<Overlay>,
    options: &Options,
    answers: &mut dyn Answers,
) -> Result<Outcome> {
    let mut gate = Gate::new(answers, options.is_preen);
    let mut rounds = 0;
    while rounds < MOST_ROUNDS {
        rounds += 1;
        gate.round = rounds;
        gate.fixed = 0;
        match round(overlay, options, &mut gate) {
            Ok(()) if gate.fixed == 0 => break,
            Ok(()) | Err(Error::Restart) => {}
            Err(other) => return Err(other),
        }
    }
    let fixed = gate.findings.iter().filter(|it| it.is_fixed).count() as u64;
    Ok(Outcome { fixed, left: gate.left, not_kept: gate.not_kept, findings: gate.findings, rounds })
}

fn round(overlay: &Arc<Overlay>, options: &Options, gate: &mut Gate<'_>) -> Result<()> {
    let _session = pass0::open(overlay, options, gate)?;
    Ok(())
}
