//! The blocks of a directory that a handle changes.

use super::DirBlocks;
use crate::{Error, Filesystem, Handle, Inode, MapState, Result};
use ext4_dir::{DirRead, DirStore, insert_appends, insert_blocks};
use ext4_jbd2::Block;
use ext4_ondisk::Corrupt;
use ext4_units::LogicalBlock;

/// Reads, writes and appends blocks; appending changes the directory's inode, which the caller
/// writes back.
pub(super) struct Blocks<'a, 'fs> {
    pub(super) h: &'a mut Handle<'fs>,
    pub(super) dir: &'a mut Inode,
}

impl DirRead for Blocks<'_, '_> {
    type Error = Error;

    fn read(&self, lblk: LogicalBlock) -> Result<Block> {
        DirBlocks { fs: self.h.fs(), meta: self.h, dir: self.dir }.read(lblk)
    }

    fn n_blocks(&self) -> u32 {
        DirBlocks { fs: self.h.fs(), meta: self.h, dir: self.dir }.n_blocks()
    }
}

impl DirStore for Blocks<'_, '_> {
    fn write(&mut self, lblk: LogicalBlock, block: Vec<u8>) -> Result<()> {
        match self.h.fs().lookup(self.h, self.dir, lblk)?.state {
            MapState::Written(blk) => self.h.write(blk, block),
            MapState::Hole | MapState::Unwritten(_) => {
                let place = format!("directory inode {}", self.dir.ino);
                Err(Corrupt::new(place, format!("logical block {lblk} is a hole")).into())
            }
        }
    }

    fn append(&mut self) -> Result<LogicalBlock> {
        let lblk = LogicalBlock(self.n_blocks());
        let size = self.h.fs().geometry().block_size;
        let mapping = self.h.allocate(self.dir, lblk, 1, false)?;
        if let Some(range) = mapping.blocks() {
            self.h.write(range.start, vec![0; size.len()])?;
        }
        self.h.set_size(self.dir, LogicalBlock(lblk.0.saturating_add(1)).byte(size))?;
        Ok(lblk)
    }
}

impl Filesystem {
    /// Credits of one insertion into `dir`, its inode included: blocks of entries and of the index,
    /// and for each new one what its map, a bitmap and a descriptor need.
    pub(crate) fn dir_insert_credits(&self, dir: &Inode) -> Result<usize> {
        let ctx = self.dir_context(dir);
        let format = dir.map_format();
        // An inline directory gets an empty map when it moves out of its inode.
        let empty = format.empty_root();
        let root = if dir.has_inline_data() { &empty } else { &dir.i_block };
        let cost = format.insert_cost(&self.map_context(dir), root, 1)?;
        let appends = insert_appends(&ctx) + 1;
        Ok(insert_blocks(&ctx) + 3 + appends * (cost.written + 2 * cost.allocated + 2))
    }
}
