//! What one pass begins and a later one, maybe of the next round, has to finish.

use crate::part::Part;
use ext4_units::GroupNr;
use std::collections::BTreeSet;

/// What is still to be made anew.
#[derive(Clone, Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is a task of its own")]
pub(crate) struct Todo {
    /// Groups with a bitmap or table that lost its place.
    pub(crate) homeless: BTreeSet<(GroupNr, Part)>,
    /// A copy of the superblock has taken the first one's place, or was asked about.
    pub(crate) has_used_copy: bool,
    /// The journal's inode was restored from the superblock's copy of its map: once is enough, for what
    /// pass 1 took away again is not in the inode.
    pub(crate) has_restored_journal: bool,
    /// The journal was removed.
    pub(crate) journal: bool,
    /// The resize inode was cleared.
    pub(crate) resize_inode: bool,
    /// The MMP block has no place.
    pub(crate) mmp: bool,
    /// The orphan file is damaged.
    pub(crate) orphan_file: bool,
}
