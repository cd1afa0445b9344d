//! Pass 2: directories, and the names in them.
//!
//! All directories are scanned by several threads; those with something to mend are checked again,
//! one by one in order of their number, when somebody can be asked.

mod directory;
mod entries;
mod fold;
mod index;
mod inline;
mod inode;
mod record;
mod scan;
mod view;
mod window;

use crate::{
    Error, Pass, Place, Result,
    problem::pass2::{LARGE_DIRS, LARGE_FILES},
    session::Session,
};
use ext4_ondisk::{
    features::{Incompat, RoCompat},
    group_desc::GroupFlags,
};
use ext4_units::InodeNr;
use scan::{Batch, Contents};
use view::{Report, View};
use window::Window;

/// Directories whose scan is in memory at once.
const PART: usize = 4096;

/// Blocks between two directories that are read rather than left out.
const GAP: u64 = 16;

/// Checks all directories that pass 1 found.
pub(crate) fn run(session: &mut Session<'_, '_>) -> Result<()> {
    let all: Vec<InodeNr> = session.facts.directories.keys().collect();
    let mut suspects = Vec::new();
    let total = all.len() as u64;
    // In parts, so that what the scan came to is never all in memory.
    prefetch(session, all.get(..PART).unwrap_or(&all));
    for (nr, part) in all.chunks(PART).enumerate() {
        session.gate.progress(Pass::Two, (nr * PART) as u64, total)?;
        // The host reads what comes next while this is looked at.
        prefetch(session, all.chunks(PART).nth(nr + 1).unwrap_or_default());
        let (batches, names) = scan::run(view_of(session), part, session.threads)?;
        session.facts.names.merge(names);
        for (dir, contents) in batches.iter().flat_map(Batch::iter) {
            match contents {
                Some(it) if is_first_parent(session, it.children) => merge(session, dir, it),
                _ => suspects.push(dir),
            }
        }
    }
    for dir in suspects {
        mend(session, dir)?;
    }
    features(session)
}

/// Tells the host that the blocks of these directories are read next.
fn prefetch(session: &Session<'_, '_>, dirs: &[InodeNr]) {
    let known = dirs.iter().filter_map(|it| session.facts.directories.get(*it));
    let mut runs: Vec<_> = known.flat_map(|it| it.runs.iter().map(|run| run.blocks)).collect();
    session.image.prefetch(&mut runs, GAP);
}

fn view_of<'s>(session: &'s Session<'_, '_>) -> View<'s> {
    View {
        image: &session.image,
        sb: &session.sb,
        geo: &session.geo,
        format: &session.format,
        descs: &session.descs,
        facts: &session.facts,
    }
}

/// Whether no directory in it has another parent already.
fn is_first_parent(session: &Session<'_, '_>, children: &[InodeNr]) -> bool {
    let has_none = |it: &InodeNr| {
        session.facts.directories.get(*it).is_none_or(|known| known.parent.is_none())
    };
    children.iter().all(has_none)
}

/// Takes what a directory came to into the facts.
fn merge(session: &mut Session<'_, '_>, dir: InodeNr, contents: Contents<'_>) {
    for ino in contents.names {
        session.facts.names.add(*ino);
    }
    for child in contents.children {
        if let Some(known) = session.facts.directories.get_mut(*child) {
            known.parent.get_or_insert(dir);
        }
    }
    if let Some(known) = session.facts.directories.get_mut(dir) {
        known.dotdot = contents.dotdot;
    }
}

/// Checks a directory and mends what is wrong with it.
fn mend(session: &mut Session<'_, '_>, dir: InodeNr) -> Result<()> {
    let Some(known) = session.facts.directories.get(dir).cloned() else { return Ok(()) };
    let mut report = Report::default();
    let view = View {
        image: &session.image,
        sb: &session.sb,
        geo: &session.geo,
        format: &session.format,
        descs: &session.descs,
        facts: &session.facts,
    };
    let gate = &mut *session.gate;
    let mut ask =
        |problem, place, found: String, expected: String| gate.fix(problem, place, found, expected);
    directory::check(view, dir, &known, &mut ask, &mut report, &mut Window::default())?;
    if !report.hidden.is_empty() {
        for (group, is_all) in report.hidden {
            let desc = &mut session.descs[group.0 as usize];
            desc.itable_unused = 0;
            if is_all {
                desc.flags.remove(GroupFlags::INODE_UNINIT);
            }
            session.put_descriptor(group)?;
        }
        return Err(Error::Restart);
    }
    for (blk, bytes) in &report.blocks {
        session.image.write(*blk, bytes)?;
    }
    for (ino, bytes) in &report.inodes {
        session.write_inode(*ino, bytes)?;
    }
    let children: Vec<_> = report.children.iter().copied().collect();
    let (names, dotdot) = (&*report.names, report.dotdot);
    merge(session, dir, Contents { names, children: &children, dotdot });
    for ino in &report.to_clear {
        session.clear_inode(*ino)?;
    }
    if report.is_to_rebuild {
        let result = session.rebuild_directory(dir);
        if result.is_ok() && report.names.is_empty() && !known.is_inline {
            // It had neither, and has them now.
            session.facts.names.add(dir);
            session.facts.names.add(InodeNr::ROOT);
            if let Some(known) = session.facts.directories.get_mut(dir) {
                known.dotdot = Some(InodeNr::ROOT);
            }
        }
        session.tolerate(Place::inode(dir), result)?;
    }
    Ok(())
}

/// Features that what was found needs.
fn features(session: &mut Session<'_, '_>) -> Result<()> {
    let place = || Place::what("superblock");
    let features = session.sb.features;
    if session.facts.has_large_file
        && !features.has_ro_compat(RoCompat::LARGE_FILE)
        && session.fix(&LARGE_FILES, place(), "", "")?
    {
        session.raw.change_features(|it| it.ro_compat |= RoCompat::LARGE_FILE);
        session.put_superblock()?;
    }
    if session.facts.has_large_dir
        && !features.has_incompat(Incompat::LARGEDIR)
        && session.fix(&LARGE_DIRS, place(), "", "")?
    {
        session.raw.change_features(|it| it.incompat |= Incompat::LARGEDIR);
        session.put_superblock()?;
    }
    Ok(())
}
