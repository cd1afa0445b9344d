//! What is not wrong and could be better, made so on request: behind a round that found nothing, before
//! one that has to find nothing again.
//!
//! It happens in rounds of its own, about which nobody is asked and of which no finding is told: that
//! bitmaps and quota are behind is their own doing. Anything else that they meet is left to the round
//! behind them.

mod directories;
mod maps;

use crate::{
    Answer, Answers, Error, Finding, Options, Pass, Result, gate::Gate, pass0, pass1, pass1b,
    pass2, pass5, pass6, problem::pass1::SHARED, session::Session,
};
use ext4_blockdev::Overlay;
use ext4_ondisk::features::{Incompat, RoCompat};
use std::sync::Arc;

/// What is to be made better.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch")]
pub struct Optimize {
    /// Directories: as few blocks as their names need, in order, with an index over more than one.
    pub directories: bool,
    /// Trees of extents that fit into fewer blocks.
    pub extents: bool,
    /// Maps of blocks become trees of extents.
    pub block_maps: bool,
    /// Blocks that files share become copies, and the feature `shared_blocks` goes.
    pub shared_blocks: bool,
}

impl Optimize {
    /// Nothing is.
    pub const NONE: Self =
        Self { directories: false, extents: false, block_maps: false, shared_blocks: false };

    /// Whether anything is.
    pub const fn is_any(self) -> bool {
        self.directories || self.extents || self.block_maps || self.shared_blocks
    }
}

/// What was made better.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Optimized {
    /// Directories that were made anew.
    pub directories: u64,
    /// Directories that were left, because the hash of their names cannot be worked out.
    pub directories_left: u64,
    /// Trees of extents that were made smaller.
    pub extents: u64,
    /// Maps of blocks that became trees of extents.
    pub block_maps: u64,
    /// Files that got copies of what they shared.
    pub unshared: u64,
    /// Whether the feature `shared_blocks` was taken away.
    pub is_feature_cleared: bool,
}

impl Optimized {
    /// Whether nothing was changed.
    pub const fn is_empty(&self) -> bool {
        self.directories + self.extents + self.block_maps + self.unshared == 0
            && !self.is_feature_cleared
    }
}

/// Yes to what follows from the work itself, no to all others.
struct Quiet<'a>(&'a mut dyn Answers);

impl Answers for Quiet<'_> {
    fn answer(&mut self, finding: &Finding) -> Answer {
        let is_own = matches!(finding.problem.pass, Pass::Five | Pass::Six);
        if is_own || *finding.problem == SHARED { Answer::Yes } else { Answer::No }
    }

    fn goes_on(&mut self, pass: Pass, done: u64, total: u64) -> bool {
        self.0.goes_on(pass, done, total)
    }
}

/// Makes better what is asked for, on an overlay in which a check finds nothing.
///
/// # Errors
/// [`Error::NoSpace`] when copies have no room, and those of [`check`](crate::check); nothing of the
/// overlay may be written then.
pub(crate) fn run(
    overlay: &Arc<Overlay>,
    options: &Options,
    outer: &mut Gate<'_>,
) -> Result<Optimized> {
    let history = std::mem::take(&mut outer.history);
    let mut quiet = Quiet(&mut *outer.answers);
    let mut gate = Gate::new(&mut quiet, false);
    gate.history = history;
    let mut done = Optimized::default();
    let mut result = improve(overlay, options, &mut gate, &mut done);
    if result.is_ok() && !done.is_empty() {
        result = account(overlay, options, &mut gate);
    }
    let history = std::mem::take(&mut gate.history);
    outer.history = history;
    result.map(|()| done)
}

fn improve(
    overlay: &Arc<Overlay>,
    options: &Options,
    gate: &mut Gate<'_>,
    done: &mut Optimized,
) -> Result<()> {
    let wanted = options.optimize;
    let mut session = pass0::open(overlay, options, gate)?;
    if wanted.block_maps && !session.sb.features.has_incompat(Incompat::EXTENTS) {
        let why = "maps of blocks stay: the filesystem does not have the feature extent";
        return Err(Error::Unsupported(why.to_owned()));
    }
    pass1::run(&mut session)?;
    pass0::settle(&mut session)?;
    if wanted.shared_blocks && session.sb.features.has_ro_compat(RoCompat::SHARED_BLOCKS) {
        unshare(&mut session, done)?;
    }
    pass2::run(&mut session)?;
    if wanted.directories {
        directories::run(&mut session, done)?;
    }
    if wanted.extents || wanted.block_maps {
        maps::run(&mut session, wanted, done)?;
    }
    pass5::run(&mut session)
}

/// Gives every file blocks of its own.
fn unshare(session: &mut Session<'_, '_>, done: &mut Optimized) -> Result<()> {
    session.raw.change_features(|it| it.ro_compat -= RoCompat::SHARED_BLOCKS);
    session.put_superblock()?;
    let before = (session.gate.fixed, session.gate.left);
    pass1b::run(session)?;
    if session.gate.left > before.1 {
        return Err(Error::NoSpace("block"));
    }
    done.unshared = session.gate.fixed - before.0;
    done.is_feature_cleared = true;
    Ok(())
}

/// Brings quota and the descriptors up to what was done: from facts that are learned anew.
fn account(overlay: &Arc<Overlay>, options: &Options, gate: &mut Gate<'_>) -> Result<()> {
    let mut session = pass0::open(overlay, options, gate)?;
    pass1::run(&mut session)?;
    pass0::settle(&mut session)?;
    pass2::run(&mut session)?;
    pass5::run(&mut session)?;
    pass6::run(&mut session)
}
