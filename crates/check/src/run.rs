//! Rounds: a check that changed something is made again, on the overlay, until it finds nothing new.

use crate::{
    Answers, Error, Finding, Optimize, Optimized, Result,
    bits::Bits,
    finish,
    gate::Gate,
    optimize,
    pass0::{self, OwnJournal},
    pass1, pass1b, pass2, pass3, pass4, pass5, pass6,
    snapshot::Snapshot,
};
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
    /// The device of a journal that is not in the filesystem, if there is one at hand.
    pub journal: Option<JournalDevice>,
    /// What is made better behind the check, when nothing is left to be mended.
    pub optimize: Optimize,
}

impl Options {
    /// A check at this time, in seconds since 1970, by one thread.
    pub const fn new(now: u64) -> Self {
        Self {
            now,
            threads: 1,
            is_preen: false,
            superblock: None,
            journal: None,
            optimize: Optimize::NONE,
        }
    }
}

/// The device that holds the journal and nothing else.
#[derive(Clone, Debug)]
pub struct JournalDevice {
    /// What is on it, and then what was mended. It is to be written after the filesystem is: what is
    /// taken out of the log is home by then.
    pub overlay: Arc<Overlay>,
    /// The number the machine knows it by (`st_rdev`), if it is a block device.
    pub number: Option<u32>,
}

/// What a check came to. The overlay holds what would be written.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// What was met, in the order it was met.
    pub findings: Vec<Finding>,
    /// Findings beyond those that are kept.
    pub not_kept: u64,
    /// Findings that are more than a remark.
    pub bad: u64,
    /// Findings that were mended.
    pub fixed: u64,
    /// Findings that were left as they are.
    pub left: u64,
    /// What was made better; `None` when nothing was to be, or something wrong was left.
    pub optimized: Option<Optimized>,
    /// Rounds that were made.
    pub rounds: u32,
    /// Whether the last round found nothing new; else more is wrong than is told.
    pub is_settled: bool,
    /// Inodes in use, and all.
    pub inodes: [u64; 2],
    /// Blocks in use, and all.
    pub blocks: [u64; 2],
    /// Clusters that were taken while nothing on the device used them, and log2 of the bytes of one.
    fresh: Bits,
    sources: Bits,
    cluster_bits: u32,
    /// The filesystem before the first change, and after the last round.
    pub(crate) before: Option<Snapshot>,
    pub(crate) after: Option<Snapshot>,
    /// The journal inside the filesystem, as repaired.
    pub(crate) journal: Option<OwnJournal>,
}

impl Outcome {
    /// Whether the byte at `offset` lies in a block that nothing on the device uses yet.
    pub(crate) fn is_fresh(&self, offset: u64) -> bool {
        self.fresh.contains(offset >> self.cluster_bits)
    }

    /// Whether it lies in a block of which copies were made.
    pub(crate) fn is_source(&self, offset: u64) -> bool {
        self.sources.contains(offset >> self.cluster_bits)
    }
}

/// Checks what is in `overlay`, and mends it there as `answers` says.
///
/// What was found goes to `outcome`, also when the check ends early.
///
/// # Errors
/// [`Error::NoSuperblock`], [`Error::Device`] and the others of [`Error`]; the overlay then holds
/// what was mended so far, which must not be written.
pub fn check(
    overlay: &Arc<Overlay>,
    options: &Options,
    answers: &mut dyn Answers,
    outcome: &mut Outcome,
) -> Result<()> {
    let mut gate = Gate::new(answers, options.is_preen);
    let before = Arc::new(overlay.fork());
    let mut result = Ok(());
    while outcome.rounds < MOST_ROUNDS && !outcome.is_settled {
        outcome.rounds += 1;
        gate.begin_round(outcome.rounds);
        match round([&before, overlay], options, &mut gate, outcome) {
            Ok(()) => outcome.is_settled = gate.fixed_in_round == 0,
            Err(Error::Restart) => {}
            Err(other) => {
                result = Err(other);
                break;
            }
        }
        let is_sound = outcome.is_settled && gate.left_in_the_end() == 0;
        if is_sound && options.optimize.is_any() && outcome.optimized.is_none() {
            match optimize::run(overlay, options, &mut gate) {
                Ok(done) => {
                    outcome.is_settled = done.is_empty();
                    outcome.optimized = Some(done);
                }
                Err(other) => {
                    result = Err(other);
                    break;
                }
            }
        }
    }
    gate.name_findings();
    outcome.left = match (outcome.is_settled, &result) {
        (true, _) => gate.left_in_the_end(),
        // Rounds without an end are no repair, whatever each of them did.
        (false, Ok(())) => gate.left + 1,
        (false, Err(_)) => gate.left,
    };
    outcome.before = gate.before;
    outcome.fresh = std::mem::take(&mut gate.history.fresh);
    outcome.sources = std::mem::take(&mut gate.history.sources);
    outcome.fixed = gate.fixed;
    outcome.bad = gate.bad;
    outcome.not_kept = gate.not_kept;
    outcome.findings = gate.findings;
    result
}

fn round(
    [before, overlay]: [&Arc<Overlay>; 2],
    options: &Options,
    gate: &mut Gate<'_>,
    outcome: &mut Outcome,
) -> Result<()> {
    let mut session = pass0::open(overlay, options, gate)?;
    if session.gate.before.is_none() {
        session.gate.before = Some(Snapshot::of(&session, before));
    }
    outcome.cluster_bits = session.geo.block_size.bits() + session.geo.cluster_ratio_bits;
    pass1::run(&mut session)?;
    pass0::settle(&mut session)?;
    pass1b::run(&mut session)?;
    pass2::run(&mut session)?;
    pass3::run(&mut session)?;
    pass4::run(&mut session)?;
    // What pass 6 takes is in the bitmaps that pass 5 compares.
    pass6::run(&mut session)?;
    pass5::run(&mut session)?;
    if session.gate.fixed_in_round == 0 && session.gate.left_in_the_end() == 0 {
        let has_repaired = session.gate.fixed > 0;
        finish::run(&mut session, has_repaired)?;
    }
    outcome.after = Some(Snapshot::of(&session, overlay));
    outcome.journal = pass0::own_journal(&session)?;
    if let Some(blk) = outcome.journal.as_ref().and_then(|it| it.log.block(0)) {
        let cluster = session.cluster(blk);
        session.gate.history.sources.insert(cluster);
    }
    let (sb, geo) = (&session.sb, &session.geo);
    let inodes = u64::from(geo.inodes_count);
    outcome.inodes = [inodes.saturating_sub(sb.free_inodes_count.into()), inodes];
    outcome.blocks = [geo.blocks_count.saturating_sub(sb.free_blocks_count), geo.blocks_count];
    Ok(())
}
