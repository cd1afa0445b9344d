//! Pass 6: journal, orphan file and quota made anew.

mod journal;
mod orphan_file;
mod quota;

use crate::{Result, session::Session};

/// Runs the pass.
pub(crate) fn run(session: &mut Session<'_, '_>) -> Result<()> {
    journal::renew(session)?;
    orphan_file::check(session)?;
    if session.gate.fixed_in_round > 0 {
        // What owners have is counted by pass 1, before others removed or added anything.
        return Ok(());
    }
    quota::check(session)
}
