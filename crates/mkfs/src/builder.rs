//! The filesystem as it grows in memory: blocks taken, inodes made, contents to be written.

use crate::{
    copy::FileData,
    error::{Error, Result},
    mapping::{self, Mapping, Segment},
    populate::Population,
    runs::Runs,
    seal::{Block, Seal},
    shape::{EXTRA_ISIZE, Shape},
    tables::GroupTables,
};
use ext4_ondisk::{
    features::{Compat, Incompat, RoCompat},
    inode::{FileType, Inode, InodeFlags, InodeFormat},
    time::Timestamp,
};
use ext4_units::{BlockNr, BlockRange, InodeNr};
use std::collections::BTreeMap;

/// Files from this size on need the feature large_file (`ext4_update_inode_size`).
const LARGE_FILE: u64 = 1 << 31;

/// Everything that is decided so far.
#[derive(Debug)]
pub(crate) struct Builder {
    pub(crate) shape: Shape,
    pub(crate) format: InodeFormat,
    pub(crate) used: Runs,
    pub(crate) tables: Vec<GroupTables>,
    pub(crate) time: Timestamp,
    /// Inodes in use, with their bytes, whose checksums are made when they are written.
    pub(crate) inodes: BTreeMap<InodeNr, Vec<u8>>,
    /// Directories among them.
    pub(crate) directories: Vec<InodeNr>,
    /// Blocks to write, not sealed; what one has too few bytes for is zeros.
    pub(crate) blocks: Vec<Block>,
    /// Runs that must read as zeros, though nothing else is written there.
    pub(crate) zeros: Vec<BlockRange>,
    /// What the special inodes are, for the plan.
    pub(crate) files: Vec<SpecialFile>,
    /// Files whose contents are copied when the filesystem is written, in order of their inodes.
    pub(crate) data: Vec<FileData>,
    /// Where the blocks of the tree's files are, each file's one behind the other.
    pub(crate) segments: Vec<Segment>,
    /// The files of the tree, whose inodes are not among `inodes`.
    pub(crate) population: Option<Population>,
}

/// A file that mkfs makes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpecialFile {
    /// What it is.
    pub name: &'static str,
    /// Its inode.
    pub ino: InodeNr,
    /// Its blocks, without those of its map.
    pub blocks: Vec<BlockRange>,
}

impl Builder {
    pub(crate) fn is_extents(&self) -> bool {
        self.shape.sb.features.has_incompat(Incompat::EXTENTS)
    }

    pub(crate) fn block_len(&self) -> u64 {
        u64::from(self.shape.geo.block_size.bytes())
    }

    /// Takes `n` blocks, whole clusters of them: one run at or after `goal` if there is one, else
    /// one before it, else pieces.
    pub(crate) fn allocate(
        &mut self,
        goal: BlockNr,
        n: u64,
        what: &str,
    ) -> Result<Vec<BlockRange>> {
        let geo = &self.shape.geo;
        let (first, end) = (geo.first_data_block.0, geo.blocks_count);
        let ratio = u64::from(geo.cluster_ratio());
        let whole = n.next_multiple_of(ratio);
        let one = self
            .used
            .first_free(goal.0.max(first), end, whole, ratio)
            .or_else(|| self.used.first_free(first, end, whole, ratio));
        if let Some(start) = one {
            self.used.insert(BlockRange::new(start, whole));
            return Ok(vec![BlockRange::new(start, n)]);
        }
        let mut runs = Vec::new();
        let mut left = whole;
        let mut at = goal.0.max(first);
        let mut from_start = at == first;
        while left > 0 {
            let Some(run) = self.used.next_free(at, end, left, ratio).filter(|it| it.len > 0)
            else {
                if from_start {
                    return Err(Error::NoRoom { what: what.to_owned(), blocks: n });
                }
                (at, from_start) = (first, true);
                continue;
            };
            self.used.insert(run);
            at = run.end().0;
            left -= run.len;
            runs.push(run);
        }
        if let Some(last) = runs.last_mut() {
            last.len -= whole - n;
        }
        Ok(runs)
    }

    /// A new inode with this type, permissions and number of links, and nothing else.
    pub(crate) fn new_inode(&self, kind: FileType, perms: u16, links: u16) -> Inode {
        let mut inode = Inode::new(kind.mode_bits() | perms, EXTRA_ISIZE, &self.format);
        inode.links_count = links;
        (inode.atime, inode.mtime, inode.ctime) = (self.time, self.time, self.time);
        inode.crtime = inode.crtime.map(|_| self.time);
        inode
    }

    /// Maps `segments` to the file and counts its blocks, those of the map included.
    pub(crate) fn map(
        &mut self,
        ino: InodeNr,
        inode: &mut Inode,
        segments: &[Segment],
    ) -> Result<()> {
        let size = self.shape.geo.block_size;
        let n_nodes = if self.is_extents() {
            mapping::extent_nodes(segments, size)
        } else {
            mapping::indirect_nodes(segments, size)
        };
        let goal = segments.first().map_or(BlockNr(0), |it| it.blocks.start);
        let mut nodes = Vec::with_capacity(n_nodes);
        let ratio = u64::from(self.shape.geo.cluster_ratio());
        for _ in 0..n_nodes {
            let runs = self.allocate(goal, 1, "the map of a file")?;
            nodes.extend(runs.iter().map(|it| it.start));
        }
        let (Mapping { i_block, nodes }, seal) = if self.is_extents() {
            inode.flags |= InodeFlags::EXTENTS;
            (mapping::extent_tree(segments, &nodes, size), Seal::ExtentNode(ino))
        } else {
            (mapping::block_map(segments, &nodes, size), Seal::None)
        };
        inode.i_block = i_block;
        let data: u64 = segments.iter().map(|it| it.blocks.len.next_multiple_of(ratio)).sum();
        let blocks = data + nodes.len() as u64 * ratio;
        inode.sectors = blocks * (self.block_len() / 512);
        self.blocks.extend(nodes.into_iter().map(|(at, bytes)| Block::new(at, bytes, seal)));
        Ok(())
    }

    /// Keeps an inode's bytes.
    pub(crate) fn put_inode(&mut self, ino: InodeNr, inode: &Inode) -> Result<()> {
        let mut bytes = vec![0; self.format.inode_size()];
        inode.encode(&mut bytes, ino, &self.format)?;
        self.note_size(inode.size);
        self.inodes.insert(ino, bytes);
        if inode.file_type() == FileType::Directory {
            self.directories.push(ino);
        }
        Ok(())
    }

    /// A file of that size brings large_file with it: the kernel turns it on with the first one too.
    pub(crate) fn note_size(&mut self, size: u64) {
        if size >= LARGE_FILE {
            let raw = &mut self.shape.raw;
            let ro_compat = raw.s_feature_ro_compat.get() | RoCompat::LARGE_FILE.bits();
            raw.s_feature_ro_compat.set(ro_compat);
        }
    }

    /// Files with attributes bring `ext_attr` with them (`ext4_xattr_update_super_block`).
    pub(crate) fn note_attributes(&mut self) {
        let raw = &mut self.shape.raw;
        raw.s_feature_compat.set(raw.s_feature_compat.get() | Compat::EXT_ATTR.bits());
    }

    /// Keeps an inode of zeros.
    pub(crate) fn put_empty_inode(&mut self, ino: InodeNr) {
        self.inodes.insert(ino, vec![0; self.format.inode_size()]);
    }

    /// Keeps contents for the blocks of `runs`, the last one filled up with zeros.
    pub(crate) fn put_contents(&mut self, runs: &[BlockRange], contents: &[u8], seal: Seal) {
        let len = self.shape.geo.block_size.len();
        let blocks = runs.iter().flat_map(|it| it.iter());
        for (blk, chunk) in blocks.zip(contents.chunks(len)) {
            let mut block = chunk.to_vec();
            block.resize(len, 0);
            self.blocks.push(Block::new(blk, block, seal));
        }
    }

    /// A file with these contents, in the first free blocks, which are sealed as `seal` says.
    pub(crate) fn put_file(
        &mut self,
        (name, ino): (&'static str, InodeNr),
        mut inode: Inode,
        (contents, seal): (&[u8], Seal),
    ) -> Result<()> {
        inode.size = contents.len() as u64;
        let blocks = self.shape.geo.block_size.blocks_for(inode.size);
        let runs = self.allocate(BlockNr(0), blocks, name)?;
        self.map(ino, &mut inode, &mapping::dense(&runs))?;
        self.put_contents(&runs, contents, seal);
        self.put_inode(ino, &inode)?;
        self.files.push(SpecialFile { name, ino, blocks: runs });
        Ok(())
    }
}
