//! The inode of a file of the tree: its fields from what the tree says and where it was placed.

use super::{
    data,
    kept::{self, Set},
    names::type_of,
};
use crate::{
    mapping::{self, Segment},
    shape::{EXTRA_ISIZE, Shape},
};
use ext4_dir::inline::Inline;
use ext4_ondisk::{
    features::Incompat,
    inode::{Inode, InodeFlags, InodeFormat, encode_device},
    time::Timestamp,
};
use ext4_tree::{Kind, Node, NodeId, Time};
use ext4_units::{BlockNr, BlockSize};
use std::ops::Range;

/// Bytes that a symlink may have in its inode, and a NUL behind them (`ext4_symlink`).
const FAST_SYMLINK: usize = 60;

/// What inodes of one filesystem have in common.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Frame {
    pub(crate) format: InodeFormat,
    pub(crate) size: BlockSize,
    /// Blocks in a cluster.
    pub(crate) ratio: u64,
    pub(crate) is_extents: bool,
}

/// Where a file is. Small, for there are many.
#[derive(Clone, Debug)]
pub(crate) struct Placed {
    pub(crate) node: NodeId,
    /// Its part of all segments.
    pub(crate) segments: Range<u32>,
    pub(crate) links: u16,
    pub(crate) is_indexed: bool,
    /// It is inside its inode, with so many bytes behind the first 60.
    pub(crate) inline: Option<u16>,
    /// Its attributes, or `NONE`.
    pub(crate) set: u32,
    /// Its block of attributes, or `NONE`.
    pub(crate) block: u32,
}

/// The root of a map that needs more than the inode.
#[derive(Clone, Debug)]
pub(crate) struct Root {
    pub(crate) i_block: [u8; 60],
    /// Blocks of the map.
    pub(crate) n_nodes: u64,
}

/// What was decided about a file.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Made<'a> {
    pub(crate) links: u16,
    pub(crate) is_indexed: bool,
    pub(crate) segments: &'a [Segment],
    pub(crate) root: Option<&'a Root>,
    pub(crate) set: Option<&'a Set>,
    pub(crate) file_acl: Option<BlockNr>,
    pub(crate) inline: Option<u16>,
    pub(crate) inline_directory: Option<&'a Inline>,
}

impl Made<'_> {
    /// How many of its attributes' values are inodes.
    pub(crate) fn n_values(&self) -> u64 {
        self.set.map_or(0, |it| it.n_values)
    }
}

/// Whether a symlink's target is in its inode.
pub(crate) const fn is_fast(target: &[u8]) -> bool {
    target.len() < FAST_SYMLINK
}

impl Frame {
    pub(crate) fn new(shape: &Shape, format: InodeFormat) -> Self {
        Self {
            format,
            size: shape.geo.block_size,
            ratio: u64::from(shape.geo.cluster_ratio()),
            is_extents: shape.sb.features.has_incompat(Incompat::EXTENTS),
        }
    }

    /// Blocks that the map of these segments takes.
    pub(crate) fn map_nodes(&self, segments: &[Segment]) -> usize {
        if self.is_extents {
            mapping::extent_nodes(segments, self.size)
        } else {
            mapping::indirect_nodes(segments, self.size)
        }
    }

    /// Bytes of an inode behind its fields.
    pub(crate) fn body_len(&self) -> usize {
        self.format.inode_size().saturating_sub(128 + usize::from(EXTRA_ISIZE))
    }

    /// Space taken by segments and their map, in units of 512 bytes.
    pub(crate) fn sectors_of(&self, segments: &[Segment], root: Option<&Root>) -> u64 {
        let nodes = root.map_or(0, |it| it.n_nodes) * self.ratio;
        (data::blocks_taken(segments, self.ratio) + nodes) << (self.size.bits() - 9)
    }

    /// All space the file is charged for: of attributes, the block, which others may share, and
    /// values that are inodes (`ext4_xattr_inode_alloc_quota`).
    pub(crate) fn sectors(&self, made: &Made<'_>) -> u64 {
        let block = if made.file_acl.is_some() { self.ratio } else { 0 };
        let blocks = block + made.set.map_or(0, |it| it.charged_blocks);
        self.sectors_of(made.segments, made.root) + (blocks << (self.size.bits() - 9))
    }

    /// The time as an inode can hold it: clamped as the kernel does (`timestamp_truncate`).
    fn time(inode: &Inode, time: Time) -> Timestamp {
        let has_extra = inode.crtime.is_some();
        let last = if has_extra { Timestamp::MAX_SEC } else { i64::from(i32::MAX) };
        let sec = time.sec.clamp(Timestamp::MIN.sec, last);
        // At the ends of what can be said there is nothing behind the second.
        let is_end = sec == last || sec == Timestamp::MIN.sec;
        inode.storable(Timestamp { sec, nsec: if is_end { 0 } else { time.nsec } })
    }

    /// The inode. Its generation is 0, as mke2fs has it: nobody holds a handle on an older file of
    /// that number.
    pub(crate) fn inode(&self, node: &Node, made: &Made<'_>) -> Inode {
        let attributes = &node.attributes;
        let mode = type_of(&node.kind).mode_bits() | attributes.perms & 0o7777;
        let mut inode = Inode::new(mode, EXTRA_ISIZE, &self.format);
        (inode.uid, inode.gid) = (attributes.uid, attributes.gid);
        inode.links_count = made.links;
        let time = Self::time(&inode, attributes.mtime);
        (inode.atime, inode.mtime, inode.ctime) = (time, time, time);
        inode.crtime = inode.crtime.map(|_| time);
        inode.sectors = self.sectors(made);
        inode.file_acl = made.file_acl;
        let data = made.inline.map(|len| vec![0; len.into()]);
        let data = made.inline_directory.map(|it| it.value.as_slice()).or(data.as_deref());
        inode.ibody = kept::body(self.body_len(), made.set, data);
        inode.flags.set(InodeFlags::INLINE_DATA, made.inline.is_some());
        match &node.kind {
            Kind::Directory(_) if let Some(inline) = made.inline_directory => {
                inode.size = (inline.body.len() + inline.value.len()) as u64;
                inode.i_block = inline.body;
            }
            Kind::Regular(contents) if made.inline.is_some() => inode.size = contents.size,
            Kind::Directory(_) => {
                let blocks: u64 = made.segments.iter().map(|it| it.blocks.len).sum();
                inode.size = blocks << self.size.bits();
                inode.flags.set(InodeFlags::INDEX, made.is_indexed);
                self.map(&mut inode, made.segments, made.root);
            }
            Kind::Regular(contents) => {
                inode.size = contents.size;
                self.map(&mut inode, made.segments, made.root);
            }
            Kind::Symlink(target) => {
                inode.size = target.len() as u64;
                if is_fast(target) {
                    inode.i_block[..target.len()].copy_from_slice(target);
                } else {
                    self.map(&mut inode, made.segments, made.root);
                }
            }
            Kind::CharDevice { major, minor } | Kind::BlockDevice { major, minor } => {
                inode.i_block = encode_device(*major, *minor).unwrap_or([0; 60]);
            }
            Kind::Fifo | Kind::Socket => {}
        }
        inode
    }

    /// Puts a file's map into its inode.
    pub(crate) fn map(&self, inode: &mut Inode, segments: &[Segment], root: Option<&Root>) {
        inode.flags.set(InodeFlags::EXTENTS, self.is_extents);
        inode.i_block = match root {
            Some(root) => root.i_block,
            None if self.is_extents => mapping::extent_tree(segments, &[], self.size).i_block,
            None => mapping::block_map(segments, &[], self.size).i_block,
        };
    }
}
