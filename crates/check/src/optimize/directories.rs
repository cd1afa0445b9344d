//! Directories in as few blocks as their names need (`e2fsck_rehash_directories`).

use super::Optimized;
use crate::{Pass, Result, repair::Rebuilt, session::Session};
use ext4_units::InodeNr;

/// Looks at every directory. What pass 2 knows of them stays true.
pub(super) fn run(session: &mut Session<'_, '_>, done: &mut Optimized) -> Result<()> {
    // Its empty blocks are room for names when no block is free.
    let lost_found = session.lost_found()?;
    let mut all: Vec<InodeNr> = session.facts.directories.keys().collect();
    all.retain(|dir| Some(*dir) != lost_found);
    let total = all.len() as u64;
    for (nr, dir) in (0..).zip(all) {
        if nr % 256 == 0 {
            session.gate.progress(Pass::Three, nr, total)?;
        }
        match session.optimize_directory(dir)? {
            Rebuilt::Anew => done.directories += 1,
            Rebuilt::Same => {}
            Rebuilt::Left => done.directories_left += 1,
        }
    }
    Ok(())
}
