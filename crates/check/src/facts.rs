//! What the passes of a round learn of the filesystem, kept small. From one round to the next go only the
//! overlay and what the [`Gate`](crate::gate::Gate) keeps: findings, [`Todo`](crate::todo::Todo) and
//! [`History`](crate::history::History).

use crate::{bits::Bits, names::Names, repair::LostNames, table::Table};
use ext4_units::{BlockNr, BlockRange, InodeNr};
use smallvec::SmallVec;
use std::collections::BTreeMap;

/// Facts from pass 1 on.
#[derive(Clone, Debug, Default)]
pub(crate) struct Facts {
    /// Clusters in use, by block >> cluster bits: the filesystem's own structures and what inodes map.
    pub(crate) used: Bits,
    /// Clusters that more than one of them has.
    pub(crate) shared: Bits,
    /// Blocks of the filesystem's own structures: superblocks, descriptors, bitmaps, tables.
    pub(crate) metadata: Bits,
    /// Inodes in use.
    pub(crate) inodes: Bits,
    /// Directories among them.
    pub(crate) directories: Table<Directory>,
    /// Regular files among them.
    pub(crate) regular: Bits,
    /// Symbolic links among them.
    pub(crate) symlinks: Bits,
    /// Inodes of no kind that exists, or not as one of their kind is; which pass 2 clears when it meets
    /// a name for them.
    pub(crate) bad_mode: Bits,
    /// Inodes that cannot be what their mode says: symlinks without a target, devices with a map, and
    /// those whose kind is no kind.
    pub(crate) bad_kind: Bits,
    /// Inodes with fields that pass 2 looks at when it meets a name for them (device nodes, symlinks,
    /// `i_faddr`, ...): those that do not pass at first sight.
    pub(crate) odd: Bits,
    /// `i_links_count` of each inode in use, where it is not 1.
    pub(crate) links: Table<u16>,
    /// Names that were found (pass 2).
    pub(crate) names: Names,
    /// Attribute blocks: references found, and the count in the block's header.
    pub(crate) xattr_blocks: BTreeMap<BlockNr, XattrBlock>,
    /// Attribute values in inodes of their own: references found.
    pub(crate) ea_inode_refs: BTreeMap<InodeNr, u64>,
    /// Inodes with the flag that says they hold an attribute's value.
    pub(crate) ea_inodes: Bits,
    /// Inodes in use that no directory names, and that are no attribute's value: quota of projects, the
    /// orphan file.
    pub(crate) hidden: Bits,
    /// Inodes whose maps go to so much of what others have that they are not worth being read, and were
    /// left.
    pub(crate) unread: Bits,
    /// Whether a file is so large that the feature large_file is needed.
    pub(crate) has_large_file: bool,
    /// Whether a directory is so large that the feature largedir is needed.
    pub(crate) has_large_dir: bool,
    /// No cluster before this one is free.
    pub(crate) first_free: u64,
    /// lost+found, once it was needed.
    pub(crate) lost_found: Option<InodeNr>,
    /// The names in it, once one was added.
    pub(crate) lost_names: Option<LostNames>,
    /// Space and inodes by owner, for quota: user, group, project.
    pub(crate) usage: [BTreeMap<u32, Usage>; 3],
}

impl Facts {
    /// `i_links_count` of an inode in use.
    pub(crate) fn links_of(&self, ino: InodeNr) -> u16 {
        self.links.get(ino).copied().unwrap_or(1)
    }
}

/// A directory as pass 1 found it, and as the later passes complete it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "flags of the inode")]
pub(crate) struct Directory {
    /// `i_size`.
    pub(crate) size: u64,
    /// Its blocks in logical order. Empty for one inside its inode.
    pub(crate) runs: Runs,
    /// Its entries are inside the inode.
    pub(crate) is_inline: bool,
    /// It has the flag of an index, which passed pass 1.
    pub(crate) is_indexed: bool,
    /// It is encrypted.
    pub(crate) is_encrypted: bool,
    /// Its names are case-folded.
    pub(crate) is_casefolded: bool,
    /// `i_generation`, for the checksums of its blocks.
    pub(crate) generation: u32,
    /// Where its `..` leads (pass 2); `None` before, or where there is none.
    pub(crate) dotdot: Option<InodeNr>,
    /// The directory that has a name for it (pass 2).
    pub(crate) parent: Option<InodeNr>,
}

/// The runs of a directory: most have a single one, and need no memory besides.
pub(crate) type Runs = SmallVec<[Run; 1]>;

/// A run of a directory's blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Run {
    /// The first, counted from the directory's start.
    pub(crate) lblk: u64,
    /// Where they are.
    pub(crate) blocks: BlockRange,
}

/// Adds blocks to the runs of a directory, to the last one where they continue it.
pub(crate) fn add_run(runs: &mut Runs, lblk: u64, blocks: BlockRange) {
    match runs.last_mut() {
        Some(run) if run.lblk + run.blocks.len == lblk && run.blocks.end() == blocks.start => {
            run.blocks.len += blocks.len;
        }
        _ => runs.push(Run { lblk, blocks }),
    }
}

/// An attribute block.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct XattrBlock {
    /// Inodes found that have it.
    pub(crate) found: u64,
    /// `h_refcount`.
    pub(crate) refcount: u32,
}

/// What an owner has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Usage {
    /// Inodes.
    pub(crate) inodes: u64,
    /// Bytes of space.
    pub(crate) bytes: u64,
}
