//! Pass 3: every directory is reached from the root, and its `..` leads where its name is.

use crate::{
    Pass, Place, Result,
    bits::Bits,
    facts::Facts,
    problem::pass3::{DOTDOT, LOOPED, NO_ROOT, UNCONNECTED},
    session::Session,
};
use ext4_ondisk::inode::FileType;
use ext4_units::InodeNr;
use std::collections::BTreeSet;

/// Looks at every directory.
pub(crate) fn run(session: &mut Session<'_, '_>) -> Result<()> {
    if !session.facts.directories.contains(InodeNr::ROOT)
        && session.fix(&NO_ROOT, Place::inode(InodeNr::ROOT), "", "")?
    {
        let result = session.fill_directory(InodeNr::ROOT, InodeNr::ROOT, 0o755);
        session.tolerate(Place::inode(InodeNr::ROOT), result)?;
    }
    let result = session.lost_found().map(drop);
    session.tolerate(Place::inode(InodeNr::ROOT), result)?;
    let mut done = Bits::default();
    done.insert(InodeNr::ROOT.get().into());
    let rest = walk_down(&session.facts, &mut done);
    let total = rest.len() as u64;
    for (nr, dir) in (0..).zip(rest) {
        if nr % 4096 == 0 {
            session.gate.progress(Pass::Three, nr, total)?;
        }
        let result = connect(session, dir, &mut done).and_then(|()| dotdot(session, dir));
        session.tolerate(Place::inode(dir), result)?;
    }
    Ok(())
}

/// Adds to those that are known to be reached all whose parent is, and that lead back to it, as long as
/// parents come before what is below them, as most do. What is left is for a closer look.
fn walk_down(facts: &Facts, done: &mut Bits) -> Vec<InodeNr> {
    let mut rest = Vec::new();
    for (dir, known) in facts.directories.iter() {
        let is_reached = known.parent.is_some_and(|it| done.contains(it.get().into()));
        if is_reached && known.dotdot == known.parent && dir != InodeNr::ROOT {
            done.insert(dir.get().into());
        } else {
            rest.push(dir);
        }
    }
    rest
}

/// Follows the names upwards from a directory, up to one that is known to be reached.
fn connect(session: &mut Session<'_, '_>, dir: InodeNr, done: &mut Bits) -> Result<()> {
    let mut way = Vec::new();
    let mut on_way = BTreeSet::new();
    let mut at = dir;
    while !done.contains(at.get().into()) {
        if !on_way.insert(at) {
            // Cut where the circle closes.
            let parent = session.facts.directories.get(at).and_then(|it| it.parent);
            let found = parent.map_or_else(String::new, |it| format!("a name in {it}"));
            if session.fix(&LOOPED, Place::inode(at), found, "")? {
                if let Some(parent) = parent {
                    session.remove_names_of(parent, at)?;
                }
                reconnect(session, at)?;
            }
            break;
        }
        way.push(at);
        let parent = session.facts.directories.get(at).and_then(|it| it.parent);
        let Some(parent) = parent.filter(|it| session.facts.directories.contains(*it)) else {
            if session.fix(&UNCONNECTED, Place::inode(at), "", "")? {
                reconnect(session, at)?;
            }
            break;
        };
        at = parent;
    }
    for dir in way {
        done.insert(dir.get().into());
    }
    Ok(())
}

/// Names a directory in lost+found.
fn reconnect(session: &mut Session<'_, '_>, dir: InodeNr) -> Result<()> {
    if session.reconnect(dir, FileType::Directory)?
        && let Some(lost_found) = session.facts.lost_found
        && let Some(known) = session.facts.directories.get_mut(dir)
    {
        known.parent = Some(lost_found);
    }
    Ok(())
}

/// Compares `..` with where the name is.
fn dotdot(session: &mut Session<'_, '_>, dir: InodeNr) -> Result<()> {
    let Some(known) = session.facts.directories.get(dir) else { return Ok(()) };
    let parent = if dir == InodeNr::ROOT { Some(dir) } else { known.parent };
    let Some(parent) = parent.filter(|it| known.dotdot != Some(*it)) else { return Ok(()) };
    let found = known.dotdot.map_or("nothing".to_owned(), |it| it.to_string());
    if session.fix(&DOTDOT, Place::inode(dir), found, parent)? {
        session.set_dotdot(dir, parent)?;
    }
    Ok(())
}
