//! Logical to physical: which blocks of the device hold which blocks of a file.

mod allocate;
mod convert;
mod credits;
mod remove;
mod steady;
mod store;

use crate::{Error, Filesystem, Inode, Result};
use ext4_extent::{Context, Format, Mapping, NodeRead};
use ext4_jbd2::MetaRead;
use ext4_units::{BlockNr, LogicalBlock};
use std::sync::Arc;

/// The nodes of a map, read through `meta`.
pub(crate) struct Nodes<'a>(pub(crate) &'a dyn MetaRead);

impl NodeRead for Nodes<'_> {
    type Error = Error;

    fn read(&self, blk: BlockNr) -> Result<Arc<[u8]>> {
        Ok(self.0.read(blk)?)
    }
}

impl Inode {
    /// How its blocks are mapped.
    pub(crate) fn map_format(&self) -> Format {
        if self.has_extents() { Format::Extents } else { Format::Indirect }
    }
}

impl Filesystem {
    /// What must be known to walk the map of `inode`.
    pub(crate) fn map_context(&self, inode: &Inode) -> Context {
        Context {
            ino: inode.ino,
            block_size: self.geometry().block_size,
            csum: inode.seed(self),
            blocks: self.geometry().all_blocks(),
            zones: self.zones_for(inode.ino).runs(),
            checked: Some(Arc::clone(self.checked_nodes())),
        }
    }

    /// What `lblk` of `inode` is mapped to and how far that goes at least. The inode must have
    /// blocks ([`Inode::has_blocks`]).
    pub fn lookup(
        &self,
        meta: &dyn MetaRead,
        inode: &Inode,
        lblk: LogicalBlock,
    ) -> Result<Mapping> {
        let ctx = self.map_context(inode);
        inode.map_format().lookup(&ctx, &inode.i_block, &Nodes(meta), lblk)
    }

    /// The mappings and holes of `inode` from `from` up to, not including, `to`, in order.
    /// Neighbouring runs that continue each other may come as one or as several.
    pub fn mappings(
        &self,
        meta: &dyn MetaRead,
        inode: &Inode,
        from: LogicalBlock,
        to: LogicalBlock,
        mut each: impl FnMut(Mapping) -> Result<()>,
    ) -> Result<()> {
        let ctx = self.map_context(inode);
        let nodes = Nodes(meta);
        for mapping in inode.map_format().iter(&ctx, &inode.i_block, &nodes, from, to) {
            each(mapping?)?;
        }
        Ok(())
    }
}
