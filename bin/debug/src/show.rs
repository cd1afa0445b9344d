//! What can be shown: one file for each question.

pub(crate) mod block;
pub(crate) mod contents;
pub(crate) mod dump;
pub(crate) mod extents;
pub(crate) mod folder;
pub(crate) mod groups;
pub(crate) mod inode;
pub(crate) mod journal;
pub(crate) mod orphans;
pub(crate) mod sizes;
pub(crate) mod stat;
pub(crate) mod superblock;
pub(crate) mod xattrs;

use ext4_cli::Exit;

/// The exit code of a run that came to its end.
pub(crate) const fn exit(has_damage: bool) -> Exit {
    if has_damage { Exit::UNCORRECTED } else { Exit::OK }
}
