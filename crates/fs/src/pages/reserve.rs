//! Blocks promised to pages: everybody else sees that many fewer (`ext4_da_reserve_space`).

use crate::{Error, Filesystem, Handle, InCore, Result, alloc::data_reserve};
use ext4_units::LogicalBlock;

impl Filesystem {
    /// Checks that there is room for `clusters` more, beside all that is promised already. The
    /// handle keeps others from taking it until the pages that need it are there.
    pub(super) fn check_room(&self, h: &Handle<'_>, clusters: u64) -> Result<()> {
        let taken = self.page_cache().reserved().saturating_add(data_reserve(self));
        let free = h.free_clusters()?.saturating_sub(taken);
        if clusters > free {
            return Err(Error::NoSpace { what: "blocks" });
        }
        Ok(())
    }

    /// A handle that stopped has mapped these blocks: pages there need no promise any more.
    pub(crate) fn forget_promise(&self, incore: &InCore, lblk: LogicalBlock, len: u32) {
        self.change_pages(incore, |pages| pages.set_mapped(lblk, len));
    }
}
