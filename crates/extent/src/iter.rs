//! The mappings and holes of a range, in order.

use crate::{Context, Mapping, NodeRead, Root, lookup::of_extent, path::with_leaf};
use ext4_ondisk::extent::Extent;
use ext4_units::LogicalBlock;

/// The mappings of a range of logical blocks, holes included: without gaps, cut off at both ends.
///
/// One extent is one mapping. Reads each node on the way once per leaf. Ends after an error. Ends in any
/// case: each item starts where the one before it ended.
#[derive(Debug)]
pub struct Mappings<'a, S: ?Sized> {
    ctx: &'a Context,
    root: &'a Root,
    store: &'a S,
    pos: u32,
    to: u32,
    leaf: Leaf,
}

#[derive(Debug, Default)]
struct Leaf {
    extents: Vec<Extent>,
    end: u32,
}

impl<'a, S: NodeRead + ?Sized> Mappings<'a, S> {
    /// The mappings from `from` up to, not including, `to`.
    pub fn new(
        ctx: &'a Context,
        root: &'a Root,
        store: &'a S,
        from: LogicalBlock,
        to: LogicalBlock,
    ) -> Self {
        Self { ctx, root, store, pos: from.0, to: to.0, leaf: Leaf::default() }
    }

    fn load(&mut self) -> Result<(), S::Error> {
        self.leaf = with_leaf(self.ctx, self.root, self.store, LogicalBlock(self.pos), {
            |leaf, end| Leaf { extents: leaf.extents().collect(), end }
        })?;
        Ok(())
    }
}

impl<S: NodeRead + ?Sized> Iterator for Mappings<'_, S> {
    type Item = Result<Mapping, S::Error>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.pos >= self.to {
            return None;
        }
        if self.pos >= self.leaf.end
            && let Err(err) = self.load()
        {
            self.pos = self.to;
            return Some(Err(err));
        }
        let lblk = LogicalBlock(self.pos);
        let Leaf { extents, end } = &self.leaf;
        let next = extents.partition_point(|it| it.end() <= self.pos);
        let held = extents.get(next).copied();
        let mapping = of_extent(held.filter(|it| it.contains(lblk)), lblk)
            .unwrap_or_else(|| Mapping::hole(lblk, held.map_or(*end, |it| it.lblk.0)))
            .until(self.to);
        self.pos = mapping.end();
        Some(Ok(mapping))
    }
}
