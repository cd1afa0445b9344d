//! Paths of inodes, found from the root downwards.
//!
//! They are those of the filesystem before the first repair: what a person knows a file by, also where
//! the repair takes the name away.

use crate::{
    Result,
    bits::Bits,
    snapshot::{Directories, Snapshot},
};
use ext4_ondisk::inode::FileType;
use ext4_units::InodeNr;
use std::collections::BTreeMap;

/// No call takes a longer one (`PATH_MAX`, without its end).
const LONGEST: usize = 4095;

/// A directory that was reached: its own number, the one it was found in, and its name there.
struct Reached {
    ino: InodeNr,
    parent: usize,
    name: Box<[u8]>,
}

/// The path of each of these inodes that has one; of several the first, directories nearest to the root
/// first. Reads directories until all are found; each is read once, whatever names lead to it.
pub(crate) fn of(snapshot: &Snapshot, mut wanted: Bits) -> Result<BTreeMap<InodeNr, Box<[u8]>>> {
    let mut found = BTreeMap::new();
    if wanted.remove(InodeNr::ROOT.get().into()) {
        found.insert(InodeNr::ROOT, (*b"/").into());
    }
    let mut directories = Directories::of(snapshot);
    let mut seen = Bits::default();
    seen.insert(InodeNr::ROOT.get().into());
    let mut reached = vec![Reached { ino: InodeNr::ROOT, parent: 0, name: Box::default() }];
    let mut next = 0;
    while let Some(dir) = reached.get(next).filter(|_| !wanted.is_empty()).map(|it| it.ino) {
        let here = next;
        next += 1;
        let Some(inode) = snapshot.inode(dir)? else { continue };
        if inode.file_type() != FileType::Directory {
            continue;
        }
        directories.parts(dir, &inode, |part| {
            snapshot.names_in(&part, |it| {
                let nr = u64::from(it.ino.get());
                if it.name.contains(&b'/') {
                    return;
                }
                if wanted.remove(nr)
                    && let Some(path) = path(&reached, here, it.name)
                {
                    found.insert(it.ino, path);
                }
                let may_be_one = matches!(it.kind, FileType::Directory | FileType::Unknown);
                if may_be_one && seen.insert(nr) {
                    reached.push(Reached { ino: it.ino, parent: here, name: it.name.into() });
                }
            });
            Ok(())
        })?;
    }
    Ok(found)
}

/// The path of a name in a directory that was reached; `None` when it is too long.
fn path(reached: &[Reached], dir: usize, name: &[u8]) -> Option<Box<[u8]>> {
    let (mut names, mut len, mut at) = (vec![name], name.len() + 1, dir);
    // A directory was reached after the one it is in.
    while let Some(it) = reached.get(at).filter(|_| at > 0) {
        len += it.name.len() + 1;
        if len > LONGEST {
            return None;
        }
        names.push(&it.name);
        at = it.parent;
    }
    let slash = |it: &&[u8]| [b"/", *it].concat();
    Some(names.iter().rev().flat_map(slash).collect())
}
