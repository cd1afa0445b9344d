//! The blocks a map consists of, and nothing else of the filesystem.

use ext4_ondisk::Corrupt;
use ext4_units::BlockNr;
use std::sync::Arc;

/// Reads blocks of metadata.
pub trait NodeRead {
    /// What can go wrong; damage found in a node is put into it.
    type Error: From<Corrupt>;

    /// The newest contents of a block.
    fn read(&self, blk: BlockNr) -> Result<Arc<[u8]>, Self::Error>;
}

/// Writes, allocates and frees blocks of metadata: a handle, with an allocator.
///
/// The blocks which an operation allocates and frees belong to the inode (`i_blocks`, quota): the
/// implementation counts them.
pub trait NodeStore: NodeRead {
    /// Replaces the contents of a block.
    fn write(&mut self, blk: BlockNr, data: Arc<[u8]>) -> Result<(), Self::Error>;

    /// Allocates one block of metadata, near `goal` if possible; [`BlockNr`] 0 means near the inode
    /// (`ext4_inode_to_goal_block`). Its contents don't matter: it is written before it is read.
    fn alloc(&mut self, goal: BlockNr) -> Result<BlockNr, Self::Error>;

    /// Frees one block of metadata: it must be revoked and not used again before the commit. Also
    /// gives back a block that [`NodeStore::alloc`] returned and that was never written.
    fn free(&mut self, blk: BlockNr) -> Result<(), Self::Error>;
}

impl<S: NodeRead + ?Sized> NodeRead for &S {
    type Error = S::Error;

    fn read(&self, blk: BlockNr) -> Result<Arc<[u8]>, Self::Error> {
        (**self).read(blk)
    }
}
