//! A directory's blocks from all its entries at once: for a new filesystem, and for a directory
//! that is made anew.
//!
//! One block is enough: entries in a row. More, with dir_index: an index over leaves in order of
//! hash, as `e2fsck -D` leaves it. Never looks at blocks that are there.

use crate::{BlockKind, Context, Error, area::NewEntry, error::escape, leaf::Item};
use ext4_ondisk::{
    dir_entry::{FileType, rec_len_for},
    dir_hash::DirHash,
    htree::{DxBlock, DxEntry, DxInfo, max_index_levels},
};
use ext4_units::{InodeNr, LogicalBlock};
use std::ops::Range;

/// One name of a directory that is built.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Member<'a> {
    /// The name; not `.` or `..`, which are added.
    pub name: &'a [u8],
    /// What it names.
    pub ino: InodeNr,
    /// Its kind; stored only with the feature filetype.
    pub file_type: FileType,
}

/// How full the blocks of an indexed directory become. Linear ones are always full: a new name
/// goes into the first gap, and one more block at the end costs nothing but itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fill {
    /// Four fifths, as `e2fsck -D` does it: where all leaves are full each of the first names added
    /// splits one, and soon the directory is twice as large. For directories that will be written
    /// to. As [`Fill::Full`] where an index would not hold all the leaves.
    #[default]
    Roomy,
    /// To the last byte: for images that are only read, or must be as small as can be.
    Full,
}

impl Fill {
    const fn of(self, all: usize) -> usize {
        match self {
            Self::Roomy => all - all / 5,
            Self::Full => all,
        }
    }
}

/// One block of a directory that was built.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BuiltBlock {
    /// What it is, for [`seal_block`](crate::seal_block).
    pub kind: BlockKind,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

/// A directory that was built.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Built {
    /// Its blocks, from logical block 0 on. When indexed: the root, other nodes by level from the
    /// top, then the leaves in order of hash, so that `readdir` reads them one after another.
    pub blocks: Vec<BuiltBlock>,
    /// What the inode's `EXT4_INDEX_FL` must be.
    pub is_indexed: bool,
}

/// The blocks of a directory with `.`, `..` and `members`, in their order where it is linear.
///
/// The context's `is_indexed` does not matter. Blocks have room for a checksum when the context has
/// a seed, and are sealed with it; whoever does not know the seed yet gives any, and seals them
/// with [`seal_block`](crate::seal_block) later.
///
/// # Errors
/// [`Error::BadName`] and [`Error::NameTooLong`] for names that cannot be, [`Error::Exists`] for one
/// that is there twice; [`Error::TooMany`] when no index holds them all, [`Error::TooBig`] when they
/// are more blocks than a directory may have; [`Error::Unsupported`] for case-folded directories and
/// hash versions that are not known.
pub fn build(
    context: &Context,
    parent: InodeNr,
    members: &[Member<'_>],
    fill: Fill,
) -> Result<Built, Error> {
    context.check_writable()?;
    check_names(context, members)?;
    let entry = |it: &Member<'_>| rec_len_for(it.name.len());
    let dots = context.dots(parent);
    let dots_len: usize = dots.iter().map(|it| rec_len_for(it.name.len())).sum();
    let len = context.leaf_len();
    let is_indexed =
        context.has_dir_index && dots_len + members.iter().map(entry).sum::<usize>() > len;
    if is_indexed {
        return context.build_indexed(parent, members, fill);
    }
    let mut all: Vec<_> = dots.iter().map(Item::as_new).collect();
    all.extend(members.iter().map(|it| context.new_entry(it)));
    let leaves = cut(&all, len);
    context.check_blocks(leaves.len())?;
    let blocks = leaves.into_iter().map(|part| context.built_leaf(&all[part]));
    Ok(Built { blocks: blocks.collect::<Result<_, _>>()?, is_indexed })
}

/// Refuses names that cannot be, and those that are there twice.
fn check_names(context: &Context, members: &[Member<'_>]) -> Result<(), Error> {
    for Member { name, .. } in members {
        if !context.is_encrypted {
            context.check_name(name)?;
            continue;
        }
        // Ciphertext may have any bytes.
        context.check_len(name)?;
        if matches!(*name, b"" | b"." | b"..") {
            return Err(Error::BadName { dir: context.ino, name: escape(name) });
        }
    }
    if members.is_sorted_by(|a, b| a.name < b.name) {
        return Ok(());
    }
    let mut names: Vec<_> = members.iter().map(|it| it.name).collect();
    names.sort_unstable();
    match names.windows(2).find(|pair| pair[0] == pair[1]) {
        Some(twice) => Err(context.exists(twice[0])),
        None => Ok(()),
    }
}

/// Cuts entries into leaves of at most `len` bytes, which is enough for any one of them.
fn cut(entries: &[NewEntry<'_>], len: usize) -> Vec<Range<usize>> {
    let (mut start, mut used) = (0, 0);
    let mut leaves = Vec::new();
    for (nr, entry) in entries.iter().enumerate() {
        let needed = rec_len_for(entry.name.len());
        if used + needed > len {
            leaves.push(start..nr);
            (start, used) = (nr, 0);
        }
        used += needed;
    }
    leaves.push(start..entries.len());
    leaves
}

/// Entries in order of hash, and how they are cut into leaves and leaves into nodes.
struct Index {
    /// From the root down: the nodes of a level, each as its children's places in the next one.
    levels: Vec<Vec<Range<usize>>>,
    /// The leaves, which the last level leads to: what of the entries each holds.
    leaves: Vec<Range<usize>>,
    /// The hash of each leaf's index entry, with the continuation bit.
    hashes: Vec<u32>,
}

impl Context {
    fn new_entry<'a>(&self, member: &Member<'a>) -> NewEntry<'a> {
        let raw_type = self.raw_type(member.file_type);
        NewEntry { name: member.name, ino: member.ino, raw_type }
    }

    fn built_leaf(&self, entries: &[NewEntry<'_>]) -> Result<BuiltBlock, Error> {
        Ok(BuiltBlock { kind: BlockKind::Leaf, bytes: self.pack(entries.iter().copied())? })
    }

    fn build_indexed(
        &self,
        parent: InodeNr,
        members: &[Member<'_>],
        fill: Fill,
    ) -> Result<Built, Error> {
        let hasher = self.hasher(self.default_hash_version)?;
        let mut hashed: Vec<_> =
            members.iter().map(|it| (hasher.hash(it.name), self.new_entry(it))).collect();
        hashed.sort_unstable_by_key(|(hash, it)| (*hash, it.name));
        let (hashes, entries): (Vec<DirHash>, Vec<_>) = hashed.into_iter().unzip();
        let index = match self.arrange(&entries, &hashes, fill) {
            Err(Error::TooMany { .. }) => self.arrange(&entries, &hashes, Fill::Full)?,
            index => index?,
        };
        let n_nodes: usize = index.levels.iter().map(Vec::len).sum();
        self.check_blocks(n_nodes + index.leaves.len())?;
        let mut blocks = self.index_blocks(parent, &index)?;
        for part in index.leaves {
            blocks.push(self.built_leaf(&entries[part])?);
        }
        Ok(Built { blocks, is_indexed: true })
    }

    /// Chooses the leaves and the nodes over them, as few levels as hold them.
    fn arrange(
        &self,
        entries: &[NewEntry<'_>],
        hashes: &[DirHash],
        fill: Fill,
    ) -> Result<Index, Error> {
        let dx = self.dx(0);
        let leaves = cut(entries, fill.of(self.leaf_len()));
        let mut levels = Vec::new();
        let mut n_below = leaves.len();
        while n_below > dx.root_limit() {
            let n_nodes = n_below.div_ceil(fill.of(dx.node_limit()));
            // As many in each, so that none is nearly empty and none fuller than it need be.
            let start = |nr: usize| nr * n_below / n_nodes;
            levels.push((0..n_nodes).map(|nr| start(nr)..start(nr + 1)).collect());
            n_below = n_nodes;
        }
        levels.push(std::iter::once(0..n_below).collect());
        levels.reverse();
        let max_levels = max_index_levels(self.has_largedir);
        if levels.len() > max_levels {
            let below = (1..max_levels).fold(dx.root_limit(), |n, _| n * dx.node_limit());
            return Err(Error::TooMany {
                dir: self.ino,
                n_entries: entries.len(),
                n_leaves: leaves.len(),
                max_leaves: below,
                levels: max_levels,
            });
        }
        let leaf_hash = |part: &Range<usize>| {
            let first = hashes[part.start].hash;
            let before = part.start.checked_sub(1).map(|before| hashes[before].hash);
            first | u32::from(before == Some(first))
        };
        let hashes = leaves.iter().map(leaf_hash).collect();
        Ok(Index { levels, leaves, hashes })
    }

    /// The root and the nodes, which come before the leaves.
    fn index_blocks(&self, parent: InodeNr, index: &Index) -> Result<Vec<BuiltBlock>, Error> {
        let dx = self.dx(0);
        let indirect_levels = u8::try_from(index.levels.len() - 1).unwrap_or(u8::MAX);
        let hash_version = self.default_hash_version;
        let mut blocks = Vec::new();
        let mut first_below = 0;
        for (level, nodes) in index.levels.iter().enumerate() {
            first_below += nodes.len();
            for children in nodes {
                let entry = |child: usize| {
                    let nr = u32::try_from(first_below + child).unwrap_or(u32::MAX);
                    let hash =
                        if child == children.start { 0 } else { index.hash(level + 1, child) };
                    DxEntry { hash, block: LogicalBlock(nr) }
                };
                let entries = children.clone().map(entry).collect();
                let (kind, info, limit, mut bytes) = if level == 0 {
                    let info = DxInfo { hash_version, indirect_levels };
                    (BlockKind::Root, Some(info), dx.root_limit(), self.root(&self.dots(parent))?)
                } else {
                    (BlockKind::Node, None, dx.node_limit(), dx.new_node())
                };
                dx.put(&mut bytes, &DxBlock { info, entries, limit })?;
                blocks.push(BuiltBlock { kind, bytes });
            }
        }
        Ok(blocks)
    }

    /// Refuses more blocks than sizes and index entries can say.
    fn check_blocks(&self, n_blocks: usize) -> Result<(), Error> {
        let n_blocks_said = u32::try_from(n_blocks).unwrap_or(u32::MAX);
        self.check_growth(0, n_blocks)
            .map_err(|_none| Error::TooBig { dir: self.ino, n_blocks: n_blocks_said })
    }
}

impl Index {
    /// The hash of the first leaf below a node; of a leaf, when `level` is one below the last.
    fn hash(&self, level: usize, nr: usize) -> u32 {
        let below = self.levels.get(level..).unwrap_or_default();
        let leaf = below.iter().fold(nr, |nr, nodes| nodes[nr].start);
        self.hashes[leaf]
    }
}
