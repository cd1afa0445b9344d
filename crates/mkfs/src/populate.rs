//! A tree of files put into the filesystem: inodes, directories, maps and places of contents. The
//! contents themselves stay where they are until the plan is written.

mod data;
mod digest;
mod file;
mod names;
mod order;
mod placing;
mod space;

pub(crate) use digest::digest;
use file::Frame;
pub(crate) use order::Order;
pub use placing::Counts;

use crate::{mapping::Segment, plan::Plan};
use ext4_tree::Tree;
use ext4_units::InodeNr;
use file::{Made, Placed, Root};
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
    segments: Vec<Segment>,
    /// By place: roots of maps that need more than the inode.
    roots: BTreeMap<u32, Root>,
}

impl Population {
    /// The inodes it has, as numbers.
    pub(crate) fn numbers(&self) -> Range<u32> {
        let len = u32::try_from(self.files.len()).unwrap_or(u32::MAX);
        self.first..self.first.saturating_add(len)
    }

    fn made(&self, placed: &Placed, place: u32) -> Made<'_> {
        Made {
            links: placed.links,
            is_indexed: placed.is_indexed,
            segments: self.segments_of(placed),
            root: self.roots.get(&place),
        }
    }

    fn segments_of(&self, placed: &Placed) -> &[Segment] {
        let first = placed.first_segment as usize;
        &self.segments[first..first + placed.n_segments as usize]
    }

    /// An inode's bytes, without checksum; `None` for one that is not of the tree.
    pub(crate) fn inode(&self, ino: InodeNr) -> Option<Vec<u8>> {
        let place = ino.get().checked_sub(self.first)?;
        let placed = self.files.get(place as usize)?;
        let inode = self.frame.inode(self.tree.node(placed.node), &self.made(placed, place));
        let mut bytes = vec![0; self.frame.format.inode_size()];
        inode.encode(&mut bytes, ino, &self.frame.format).expect("limits were checked before");
        Some(bytes)
    }

    /// Owner, group and sectors of each inode.
    pub(crate) fn usage(&self) -> impl Iterator<Item = (u32, u32, u64)> + '_ {
        self.files.iter().zip(0..).map(|(placed, place)| {
            let attributes = &self.tree.node(placed.node).attributes;
            let sectors = self.frame.sectors(&self.made(placed, place));
            (attributes.uid, attributes.gid, sectors)
        })
    }
}

impl Plan {
    /// An inode's bytes, without checksum; `None` for one that is not in use.
    pub(crate) fn inode(&self, ino: InodeNr) -> Option<Cow<'_, [u8]>> {
        if let Some(bytes) = self.inodes.get(&ino) {
            return Some(Cow::Borrowed(bytes));
        }
        self.population.as_ref()?.inode(ino).map(Cow::Owned)
    }
}
