//! A tree of files put into the filesystem: inodes, directories, maps and places of contents. The
//! contents themselves stay where they are until the plan is written.

mod attributes;
mod data;
mod digest;
mod file;
mod kept;
mod names;
mod order;
mod placing;
mod space;

pub(crate) use attributes::{Attributes, Room};
use file::Frame;
pub(crate) use order::Order;
pub use placing::Counts;

use crate::{copy::segments_of, mapping::Segment, plan::Plan, quota::Usage};
use ext4_dir::inline::Inline;
use ext4_tree::Tree;
use ext4_units::InodeNr;
use file::{Made, Placed, Root};
use kept::Kept;
use std::{borrow::Cow, collections::BTreeMap, ops::Range, sync::Arc};

/// The files of a tree as they are placed. Their inodes are made from this when they are due: of a
/// million files the bytes alone would take 256 MB.
#[derive(Clone, Debug)]
pub(crate) struct Population {
    pub(crate) tree: Arc<Tree>,
    pub(crate) counts: Counts,
    frame: Frame,
    /// The number of the first of `files`.
    first: u32,
    files: Vec<Placed>,
    /// By place: roots of maps that need more than the inode.
    roots: BTreeMap<u32, Root>,
    /// By place: directories inside their inodes.
    inline_directories: BTreeMap<u32, Inline>,
    attributes: Kept,
    /// Values that are inodes which root and lost+found are charged for.
    values_of_fixed: BTreeMap<InodeNr, u64>,
}

impl Population {
    /// The inodes it has, as numbers.
    pub(crate) fn numbers(&self) -> Range<u32> {
        let len = u32::try_from(self.files.len()).unwrap_or(u32::MAX);
        self.first..self.first.saturating_add(len)
    }

    fn made<'a>(&'a self, segments: &'a [Segment], placed: &Placed, place: u32) -> Made<'a> {
        Made {
            links: placed.links,
            is_indexed: placed.is_indexed,
            segments: segments_of(segments, &placed.segments),
            root: self.roots.get(&place),
            set: self.attributes.set(placed.set),
            file_acl: self.attributes.block(placed.block),
            inline: placed.inline,
            inline_directory: self.inline_directories.get(&place),
        }
    }

    /// An inode's bytes, without checksum; `None` for one that is not of the tree.
    fn inode(&self, segments: &[Segment], ino: InodeNr) -> Option<Vec<u8>> {
        let place = ino.get().checked_sub(self.first)?;
        let placed = self.files.get(place as usize)?;
        let made = self.made(segments, placed, place);
        let inode = self.frame.inode(self.tree.node(placed.node), &made);
        let mut bytes = vec![0; self.frame.format.inode_size()];
        inode.encode(&mut bytes, ino, &self.frame.format).expect("limits were checked before");
        Some(bytes)
    }

    /// Owner and group of each inode, and what they are charged for it.
    pub(crate) fn usage<'a>(
        &'a self,
        segments: &'a [Segment],
    ) -> impl Iterator<Item = (u32, u32, Usage)> + 'a {
        self.files.iter().zip(0..).map(move |(placed, place)| {
            let attributes = &self.tree.node(placed.node).attributes;
            let made = self.made(segments, placed, place);
            let bytes = self.frame.sectors(&made) * 512;
            (attributes.uid, attributes.gid, Usage { inodes: 1 + made.n_values(), bytes })
        })
    }

    /// Values that are inodes which root or lost+found is charged for.
    pub(crate) fn values_of(&self, ino: InodeNr) -> u64 {
        self.values_of_fixed.get(&ino).copied().unwrap_or(0)
    }
}

impl Plan {
    /// An inode's bytes, without checksum; `None` for one that is not in use.
    pub(crate) fn inode(&self, ino: InodeNr) -> Option<Cow<'_, [u8]>> {
        if let Some(bytes) = self.inodes.get(&ino) {
            return Some(Cow::Borrowed(bytes));
        }
        self.population.as_ref()?.inode(&self.segments, ino).map(Cow::Owned)
    }
}
