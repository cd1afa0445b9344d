//! How many metadata blocks a change of a map can touch.

use crate::{Filesystem, Handle, Inode, Result};

impl Filesystem {
    /// Credits of one [`Handle::allocate`] of up to `len` blocks: the map's nodes, a bitmap and a
    /// descriptor block for each node and for the data, and the inode.
    pub fn allocate_credits(&self, inode: &Inode, len: u32) -> Result<usize> {
        let ctx = self.map_context(inode);
        let cost = inode.map_format().insert_cost(&ctx, &inode.i_block, len)?;
        Ok(cost.written + cost.freed + 2 * (cost.allocated + cost.freed + 1) + 1)
    }

    /// Credits of one [`Handle::convert`].
    pub fn convert_credits(&self, inode: &Inode) -> Result<usize> {
        let ctx = self.map_context(inode);
        let cost = inode.map_format().convert_cost(&ctx, &inode.i_block)?;
        Ok(cost.written + cost.freed + 2 * (cost.allocated + cost.freed) + 1)
    }

    /// Does `what`, and again after a commit as long as there is no space but a commit would free
    /// some, three times at most (`ext4_should_retry_alloc`).
    pub fn retrying<T>(&self, mut what: impl FnMut() -> Result<T>) -> Result<T> {
        for _ in 0..3 {
            match what() {
                Err(crate::Error::NoSpace { .. }) if self.journal().freed_in_running() > 0 => {
                    self.commit()?;
                }
                done => return self.noting(done),
            }
        }
        self.noting(what())
    }
}

impl Handle<'_> {
    /// Credits of a handle that changes nothing but an inode and sizes.
    pub const INODE_CREDITS: usize = 2;
}
