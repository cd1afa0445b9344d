//! Where a directory's blocks come from and go to.

use crate::Error;
use ext4_units::LogicalBlock;
use std::sync::Arc;

/// The blocks of one directory.
pub trait DirRead {
    /// The error of the layer that knows blocks; a directory's own errors become one too.
    type Error: From<Error>;

    /// The block `lblk`, exactly one filesystem block. A hole in a directory is an error
    /// ("Directory hole found" in `__ext4_read_dirblock`).
    fn read(&self, lblk: LogicalBlock) -> Result<Arc<[u8]>, Self::Error>;

    /// Blocks the directory has: `i_size` in blocks.
    fn n_blocks(&self) -> u32;
}

/// A directory that can change: everything goes into one running transaction, which the caller
/// abandons when an operation fails.
pub trait DirStore: DirRead {
    /// Replaces block `lblk`, which exists.
    fn write(&mut self, lblk: LogicalBlock, block: Vec<u8>) -> Result<(), Self::Error>;

    /// Adds a zeroed block at the end (`ext4_append`): allocated and mapped, the directory's size
    /// one block larger. [`DirRead::n_blocks`] counts it from now on.
    fn append(&mut self) -> Result<LogicalBlock, Self::Error>;
}

impl<T: DirRead + ?Sized> DirRead for &T {
    type Error = T::Error;

    fn read(&self, lblk: LogicalBlock) -> Result<Arc<[u8]>, Self::Error> {
        (**self).read(lblk)
    }

    fn n_blocks(&self) -> u32 {
        (**self).n_blocks()
    }
}
