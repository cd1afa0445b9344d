//! A file or directory whose blocks change: its inode, its map, and the space both take.

use crate::{Error, Result, facts::add_run, session::Session};
use ext4_dir::{DirRead, DirStore};
use ext4_extent::{Context, Format, NodeRead, NodeStore, Removed, State};
use ext4_ondisk::{
    extent::Extent,
    features::{Compat, Incompat},
    inode::{Inode, InodeFlags},
};
use ext4_units::{BlockNr, BlockRange, InodeNr, LogicalBlock};
use std::sync::Arc;

/// An inode under change. [`File::close`] writes it.
#[derive(Debug)]
pub(crate) struct File<'s, 'r, 'a> {
    pub(crate) session: &'s mut Session<'r, 'a>,
    pub(crate) ino: InodeNr,
    pub(crate) inode: Inode,
    /// The filesystem's seed for what belongs to the inode is in here.
    ctx: Context,
}

impl<'s, 'r, 'a> File<'s, 'r, 'a> {
    /// An inode that pass 1 let pass.
    pub(crate) fn open(session: &'s mut Session<'r, 'a>, ino: InodeNr) -> Result<Self> {
        let bytes = session.read_inode(ino)?;
        let inode = Inode::decode_unverified(&bytes, ino, &session.format)?;
        Ok(Self::of(session, ino, inode))
    }

    /// An inode that is not on disk yet.
    pub(crate) fn of(session: &'s mut Session<'r, 'a>, ino: InodeNr, inode: Inode) -> Self {
        let ctx = session.map_context(ino, &inode);
        Self { session, ino, inode, ctx }
    }

    /// Writes the inode.
    pub(crate) fn close(self) -> Result<()> {
        let mut bytes = self.session.read_inode(self.ino)?;
        self.inode
            .encode(&mut bytes, self.ino, &self.session.format)
            .map_err(|it| Error::Damaged(format!("inode {}: {it}", self.ino)))?;
        self.session.write_inode(self.ino, &bytes)
    }

    fn format(&self) -> Format {
        Format::of(self.inode.flags)
    }

    /// An empty map of the kind that new files have.
    pub(crate) fn begin_map(&mut self) {
        self.begin_map_as(self.session.sb.features.has_incompat(Incompat::EXTENTS));
    }

    /// An empty map of this kind.
    pub(crate) fn begin_map_as(&mut self, is_extents: bool) {
        self.inode.flags.set(InodeFlags::EXTENTS, is_extents);
        self.inode.i_block = self.format().empty_root();
    }

    /// Where block `lblk` is.
    pub(crate) fn block(&self, lblk: LogicalBlock) -> Result<Option<BlockNr>> {
        let found = self.format().lookup(&self.ctx, &self.inode.i_block, &self, lblk)?;
        Ok(match found.state {
            State::Hole => None,
            State::Written(start) | State::Unwritten(start) => Some(start),
        })
    }

    /// Space of so many clusters more.
    pub(crate) fn count_clusters(&mut self, n: u64) {
        self.inode.sectors = self.inode.sectors.saturating_add(self.sectors(n));
    }

    /// Sectors of so many clusters.
    fn sectors(&self, clusters: u64) -> u64 {
        let geo = &self.session.geo;
        clusters.saturating_mul(u64::from(geo.block_size.bytes() / 512) << geo.cluster_ratio_bits)
    }

    /// Gives block `lblk`, which is a hole, a block of zeros.
    pub(crate) fn add_block(&mut self, lblk: LogicalBlock) -> Result<BlockNr> {
        let ratio = self.session.geo.cluster_ratio();
        let within = lblk.0 % ratio;
        // What is before it in the same cluster has the space already.
        let before = match lblk.0.checked_sub(1).filter(|_| within > 0) {
            Some(before) => self.block(LogicalBlock(before))?,
            None => None,
        };
        let blk = if let Some(before) = before {
            before.plus(1)
        } else {
            let goal = match lblk.0.checked_sub(1) {
                Some(before) => self.block(LogicalBlock(before))?.unwrap_or(BlockNr(0)),
                None => BlockNr(0),
            };
            let start = self.session.take_cluster(goal)?;
            self.count_clusters(1);
            start.plus(within.into())
        };
        self.session.image.write(blk, &vec![0; self.session.geo.block_size.len()])?;
        self.put_block(lblk, blk)?;
        Ok(blk)
    }

    /// Maps `lblk`, which is a hole, to a block that the inode has already.
    pub(crate) fn put_block(&mut self, lblk: LogicalBlock, blk: BlockNr) -> Result<()> {
        self.put_run(Extent { lblk, len: 1, start: blk, unwritten: false })
    }

    /// Maps a hole to a run of blocks that the inode has already.
    pub(crate) fn put_run(&mut self, extent: Extent) -> Result<()> {
        let (ctx, format) = (self.ctx.clone(), self.format());
        let mut root = self.inode.i_block;
        format.insert(&ctx, &mut root, self, extent)?;
        self.inode.i_block = root;
        Ok(())
    }

    /// Gives a block back that is no longer mapped, and with it its cluster.
    pub(crate) fn give_block(&mut self, blk: BlockNr) {
        let cluster = self.session.cluster(blk);
        if self.session.facts.used.contains(cluster) {
            self.session.give_cluster(blk);
            self.inode.sectors = self.inode.sectors.saturating_sub(self.sectors(1));
        }
    }

    /// One step of unmapping what is from `from` up to `to`; blocks of data stay taken.
    pub(crate) fn remove_step(&mut self, from: LogicalBlock, to: u32) -> Result<Removed> {
        let (ctx, format) = (self.ctx.clone(), self.format());
        let mut root = self.inode.i_block;
        let removed = format.remove(&ctx, &mut root, self, from, LogicalBlock(to), 1024)?;
        self.inode.i_block = root;
        Ok(removed)
    }

    /// What the directory crate must know.
    pub(crate) fn dir_context(&self) -> ext4_dir::Context {
        let sb = &self.session.sb;
        let flags = self.inode.flags;
        ext4_dir::Context {
            ino: self.ino,
            block_size: self.session.geo.block_size,
            inodes_count: self.session.geo.inodes_count,
            csum: self.ctx.csum,
            has_filetype: sb.features.has_incompat(Incompat::FILETYPE),
            has_dir_index: sb.features.has_compat(Compat::DIR_INDEX),
            has_largedir: sb.features.has_incompat(Incompat::LARGEDIR),
            is_indexed: flags.contains(InodeFlags::INDEX),
            is_casefolded: flags.contains(InodeFlags::CASEFOLD),
            is_encrypted: flags.contains(InodeFlags::ENCRYPT),
            default_hash_version: sb.def_hash_version,
            has_unsigned_hash: sb.unsigned_hash,
            hash_seed: sb.hash_seed,
        }
    }
}

impl NodeRead for File<'_, '_, '_> {
    type Error = Error;

    fn read(&self, blk: BlockNr) -> Result<Arc<[u8]>> {
        Ok(self.session.image.read(blk)?.into())
    }
}

impl NodeStore for File<'_, '_, '_> {
    fn write(&mut self, blk: BlockNr, data: Arc<[u8]>) -> Result<()> {
        self.session.image.write(blk, &data)
    }

    fn alloc(&mut self, goal: BlockNr) -> Result<BlockNr> {
        let blk = self.session.take_cluster(goal)?;
        self.count_clusters(1);
        Ok(blk)
    }

    fn free(&mut self, blk: BlockNr) -> Result<()> {
        self.give_block(blk);
        Ok(())
    }
}

impl DirRead for File<'_, '_, '_> {
    type Error = Error;

    fn read(&self, lblk: LogicalBlock) -> Result<Arc<[u8]>> {
        let blk = self.block(lblk)?.ok_or_else(|| {
            Error::Damaged(format!("directory {}: hole at block {lblk}", self.ino))
        })?;
        Ok(self.session.image.read(blk)?.into())
    }

    fn n_blocks(&self) -> u32 {
        u32::try_from(self.session.geo.block_size.blocks_for(self.inode.size)).unwrap_or(u32::MAX)
    }
}

impl DirStore for File<'_, '_, '_> {
    fn write(&mut self, lblk: LogicalBlock, block: Vec<u8>) -> Result<()> {
        let blk = self.block(lblk)?.ok_or_else(|| {
            Error::Damaged(format!("directory {}: hole at block {lblk}", self.ino))
        })?;
        self.session.image.write(blk, &block)
    }

    fn append(&mut self) -> Result<LogicalBlock> {
        let lblk = LogicalBlock(self.n_blocks());
        let blk = self.add_block(lblk)?;
        self.inode.size += u64::from(self.session.geo.block_size.bytes());
        let size = self.inode.size;
        if let Some(known) = self.session.facts.directories.get_mut(self.ino) {
            known.size = size;
            add_run(&mut known.runs, lblk.0.into(), BlockRange::new(blk, 1));
        }
        Ok(lblk)
    }
}
