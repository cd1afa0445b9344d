//! Unwritten blocks become written, once their data is there.

use super::store::MapStore;
use crate::{Handle, Inode, Result};
use ext4_units::{BlockNr, LogicalBlock};

impl Handle<'_> {
    /// Marks the unwritten blocks of `lblk..lblk + len` written, as far as one mapping goes, and
    /// returns how many blocks from `lblk` on are dealt with, at least 1. The caller writes the
    /// inode back.
    ///
    /// Their data must have been taken by the device before: the commit of this handle's
    /// transaction flushes it first.
    pub fn convert(&mut self, inode: &mut Inode, lblk: LogicalBlock, len: u32) -> Result<u32> {
        self.note_mapped(inode.ino);
        let ctx = self.fs().map_context(inode);
        let format = inode.map_format();
        let mut root = inode.i_block;
        let mut store = MapStore::new(self, BlockNr(0));
        let done = format.convert(&ctx, &mut root, &mut store, lblk, len)?;
        let clusters = store.clusters;
        inode.disk.i_block = root;
        self.count_map_clusters(inode, clusters)?;
        Ok(done)
    }
}
