//! What one inode brings, and what all of them brought together.

use super::map::OldMap;
use crate::{
    bits::Bits,
    facts::{Directory, Facts, Usage, XattrBlock},
    part::Part,
    table::Table,
};
use ext4_units::{BlockNr, GroupNr, InodeNr};
use std::collections::BTreeMap;

/// What one inode brings.
#[derive(Debug, Default, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a set that the inode is in, or not")]
pub(super) struct Found {
    /// The inode is in use.
    pub(super) is_used: bool,
    /// A regular file.
    pub(super) is_regular: bool,
    /// A symbolic link.
    pub(super) is_symlink: bool,
    /// Pass 2 looks at it again.
    pub(super) is_odd: bool,
    /// No kind that exists.
    pub(super) is_bad_mode: bool,
    /// It cannot be what its mode says.
    pub(super) is_bad_kind: bool,
    /// No directory names it.
    pub(super) is_hidden: bool,
    /// It holds an attribute's value.
    pub(super) is_ea_inode: bool,
    /// So large that it needs the feature large_file.
    pub(super) is_large: bool,
    /// A directory so large that it needs the feature largedir.
    pub(super) is_large_dir: bool,
    /// Its map was left as it is without being read to the end.
    pub(super) is_unread: bool,
    /// `i_links_count`.
    pub(super) links: u16,
    /// Runs of clusters it claims: start and length.
    pub(super) claims: Vec<(u64, u64)>,
    /// Clusters that it uses in a way that needs another copy.
    pub(super) misaligned: Vec<u64>,
    /// A directory.
    pub(super) directory: Option<Directory>,
    /// Its attribute block, and what that one brings.
    pub(super) xattr_block: Option<(BlockNr, Attributes)>,
    /// Inodes that hold the values of its own attributes.
    pub(super) ea_refs: Vec<InodeNr>,
    /// A map of blocks that is to be one of extents.
    pub(super) old_map: Option<OldMap>,
    /// Structures that lie on bad blocks.
    pub(super) moves: Vec<(GroupNr, Part)>,
    /// Owners, and what they have of it.
    pub(super) usage: Option<([u32; 3], Usage)>,
    /// What the walks over its map, and over those before, have not paid yet.
    pub(super) owed: u64,
}

impl Found {
    /// Claims a run of clusters.
    pub(super) fn claim(&mut self, start: u64, len: u64) {
        match self.claims.last_mut() {
            Some((first, n)) if *first + *n == start => *n += len,
            _ => self.claims.push((start, len)),
        }
    }

    /// Forgets everything but the room and the debt.
    pub(super) fn clear(&mut self) {
        self.is_used = false;
        self.is_regular = false;
        self.is_symlink = false;
        self.is_odd = false;
        self.is_bad_mode = false;
        self.is_bad_kind = false;
        self.is_hidden = false;
        self.is_ea_inode = false;
        self.is_large = false;
        self.is_large_dir = false;
        self.is_unread = false;
        self.links = 0;
        self.claims.clear();
        self.misaligned.clear();
        self.directory = None;
        self.xattr_block = None;
        self.ea_refs.clear();
        self.old_map = None;
        self.moves.clear();
        self.usage = None;
    }
}

/// What a block of attributes brings to the first of its inodes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Attributes {
    /// `h_refcount`.
    pub(super) refcount: u32,
    /// Inodes that have it.
    pub(super) found: u64,
    /// Inodes that hold values.
    pub(super) ea_refs: Vec<InodeNr>,
    /// Clusters that count for the inode's space: its own, and those of values.
    pub(super) clusters: u64,
    /// Inodes that count for the inode's owner.
    pub(super) inodes: u64,
    /// It has an encryption context.
    pub(super) has_context: bool,
}

/// What all inodes brought.
#[derive(Debug, Default)]
pub(super) struct Harvest {
    /// Clusters that somebody claims.
    pub(super) claims: Bits,
    /// Clusters that were claimed when they were claimed already.
    twice: Bits,
    pub(super) attributes: BTreeMap<BlockNr, Attributes>,
    pub(super) suspects: Vec<InodeNr>,
    pub(super) moves: Vec<(GroupNr, Part)>,
    pub(super) old_maps: Vec<(InodeNr, OldMap)>,
    inodes: Bits,
    regular: Bits,
    symlinks: Bits,
    odd: Bits,
    bad_mode: Bits,
    bad_kind: Bits,
    hidden: Bits,
    ea_inodes: Bits,
    unread: Bits,
    has_large: bool,
    has_large_dir: bool,
    links: Table<u16>,
    directories: Table<Directory>,
    ea_refs: BTreeMap<InodeNr, u64>,
    usage: [BTreeMap<u32, Usage>; 3],
}

impl Harvest {
    /// Claims a run of clusters.
    pub(super) fn claim(&mut self, start: u64, len: u64) {
        self.claims.claim(start, len, &mut self.twice);
    }

    /// Adds what an inode brings.
    pub(super) fn take(&mut self, ino: InodeNr, found: &mut Found) {
        let nr = u64::from(ino.get());
        for (start, len) in found.claims.drain(..) {
            self.claim(start, len);
        }
        for cluster in found.misaligned.drain(..) {
            self.twice.insert(cluster);
        }
        if !found.is_used {
            return;
        }
        self.moves.append(&mut found.moves);
        self.old_maps.extend(found.old_map.take().map(|map| (ino, map)));
        for (is_in, set) in [
            (true, &mut self.inodes),
            (found.is_regular, &mut self.regular),
            (found.is_symlink, &mut self.symlinks),
            (found.is_ea_inode, &mut self.ea_inodes),
            (found.is_odd, &mut self.odd),
            (found.is_bad_mode, &mut self.bad_mode),
            (found.is_bad_kind, &mut self.bad_kind),
            (found.is_hidden, &mut self.hidden),
            (found.is_unread, &mut self.unread),
        ] {
            if is_in {
                set.insert(nr);
            }
        }
        self.has_large |= found.is_large;
        self.has_large_dir |= found.is_large_dir;
        if found.links != 1 {
            self.links.insert(ino, found.links);
        }
        if let Some(directory) = found.directory.take() {
            self.directories.insert(ino, directory);
        }
        if let Some((blk, attributes)) = found.xattr_block.take() {
            let known = self.attributes.entry(blk).or_insert(attributes);
            known.found += 1;
        }
        for ea in found.ea_refs.drain(..) {
            *self.ea_refs.entry(ea).or_insert(0) += 1;
        }
        if let Some((owners, usage)) = found.usage.take() {
            for (all, owner) in self.usage.iter_mut().zip(owners) {
                add_usage(all.entry(owner).or_default(), usage);
            }
        }
    }

    /// Adds what another thread harvested.
    pub(super) fn merge(&mut self, other: Self) {
        self.claims.merge(other.claims, &mut self.twice);
        for (blk, theirs) in other.attributes {
            let found = theirs.found;
            let known = self.attributes.entry(blk).or_insert(Attributes { found: 0, ..theirs });
            known.found += found;
        }
        self.suspects.extend(other.suspects);
        self.moves.extend(other.moves);
        self.old_maps.extend(other.old_maps);
        let mut both = Bits::default();
        for (ours, theirs) in [
            (&mut self.twice, other.twice),
            (&mut self.inodes, other.inodes),
            (&mut self.regular, other.regular),
            (&mut self.symlinks, other.symlinks),
            (&mut self.ea_inodes, other.ea_inodes),
            (&mut self.odd, other.odd),
            (&mut self.bad_mode, other.bad_mode),
            (&mut self.bad_kind, other.bad_kind),
            (&mut self.hidden, other.hidden),
            (&mut self.unread, other.unread),
        ] {
            ours.merge(theirs, &mut both);
        }
        self.has_large |= other.has_large;
        self.has_large_dir |= other.has_large_dir;
        self.links.merge(other.links);
        self.directories.merge(other.directories);
        for (ino, refs) in other.ea_refs {
            *self.ea_refs.entry(ino).or_insert(0) += refs;
        }
        for (ours, theirs) in self.usage.iter_mut().zip(other.usage) {
            for (owner, usage) in theirs {
                add_usage(ours.entry(owner).or_default(), usage);
            }
        }
    }

    /// Gives all of it to the passes that follow. `ratio_bits`: blocks of a cluster.
    pub(super) fn into_facts(mut self, facts: &mut Facts, ratio_bits: u32) {
        for (blk, attributes) in &mut self.attributes {
            self.claims.claim(blk.0 >> ratio_bits, 1, &mut self.twice);
            for ea in attributes.ea_refs.drain(..) {
                *self.ea_refs.entry(ea).or_insert(0) += 1;
            }
            let Attributes { found, refcount, .. } = *attributes;
            facts.xattr_blocks.insert(*blk, XattrBlock { found, refcount });
        }
        facts.shared = self.twice;
        facts.used = self.claims;
        facts.inodes = self.inodes;
        facts.regular = self.regular;
        facts.symlinks = self.symlinks;
        facts.odd = self.odd;
        facts.bad_mode = self.bad_mode;
        facts.bad_kind = self.bad_kind;
        facts.hidden = self.hidden;
        facts.ea_inodes = self.ea_inodes;
        facts.unread = self.unread;
        facts.has_large_file = self.has_large;
        facts.has_large_dir = self.has_large_dir;
        facts.links = self.links;
        facts.directories = self.directories;
        facts.ea_inode_refs = self.ea_refs;
        facts.usage = self.usage;
    }
}

fn add_usage(total: &mut Usage, more: Usage) {
    total.inodes = total.inodes.saturating_add(more.inodes);
    total.bytes = total.bytes.saturating_add(more.bytes);
}
