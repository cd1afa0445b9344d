//! Reading metadata blocks: the one view of them that code outside and inside a handle shares.

use crate::Result;
use ext4_units::{BlockNr, BlockRange, BlockSize};
use std::sync::Arc;

/// One filesystem block: a snapshot that never changes. Cloning it copies a pointer.
pub type Block = Arc<[u8]>;

/// Whoever can tell what a metadata block holds now.
///
/// [`Journal`](crate::Journal) answers with the newest version whose handle was stopped,
/// [`Handle`](crate::Handle) with its own changes on top of that.
pub trait MetaRead {
    /// The newest version of `blk`.
    fn read(&self, blk: BlockNr) -> Result<Block>;

    /// The newest versions of a run of blocks, read in as few transfers as possible. For bitmaps
    /// and inode tables that will be walked through; the caller bounds the length.
    fn read_run(&self, run: BlockRange) -> Result<Vec<Block>> {
        run.iter().map(|blk| self.read(blk)).collect()
    }

    /// The size of every block.
    fn block_size(&self) -> BlockSize;
}
