//! A change to a map, planned in memory. Never writes before [`edit`] publishes.

use super::table::Table;
use crate::{Context, NodeStore, Root};
use ext4_ondisk::{Corrupt, indirect::per_block};
use ext4_units::BlockNr;
use std::collections::{BTreeMap, BTreeSet};

/// Does `change` to a map: all of it, or nothing; see [`crate::edit::edit`].
pub(super) fn edit<S: NodeStore + ?Sized, R>(
    ctx: &Context,
    root: &mut Root,
    store: &mut S,
    change: impl FnOnce(&mut Edit<'_, S>) -> Result<R, S::Error>,
) -> Result<R, S::Error> {
    let top = Table::of_root(ctx, root)?;
    let (tables, dirty) = (BTreeMap::from([(None, top)]), BTreeSet::new());
    let mut edit =
        Edit { ctx, store, tables, dirty, allocated: Vec::new(), freed: BTreeSet::new() };
    match change(&mut edit) {
        Ok(res) => {
            *root = edit.publish(root)?;
            Ok(res)
        }
        Err(err) => {
            for blk in edit.allocated {
                // The first error is the one to report; the caller abandons the handle either way.
                let _: Result<(), S::Error> = edit.store.free(blk);
            }
            Err(err)
        }
    }
}

/// Where a table lies: in a block, or in the inode.
pub(super) type Place = Option<BlockNr>;

/// A map while it is changed.
#[derive(Debug)]
pub(super) struct Edit<'a, S: ?Sized> {
    pub(super) ctx: &'a Context,
    store: &'a mut S,
    tables: BTreeMap<Place, Table>,
    dirty: BTreeSet<Place>,
    allocated: Vec<BlockNr>,
    freed: BTreeSet<BlockNr>,
}

impl<S: NodeStore + ?Sized> Edit<'_, S> {
    /// A fault in the map, for messages.
    pub(super) fn corrupt(&self, fault: String) -> S::Error {
        Corrupt::new(format!("block map (inode {})", self.ctx.ino), fault).into()
    }

    /// Reads the block of pointers at `blk`, `levels` blocks of pointers above the data.
    pub(super) fn load(&mut self, blk: BlockNr, levels: u32) -> Result<Place, S::Error> {
        if self.freed.contains(&blk) {
            return Err(self.met_twice(Some(blk)));
        }
        if !self.tables.contains_key(&Some(blk)) {
            let table = Table::read(self.ctx, &*self.store, blk, levels)?;
            self.tables.insert(Some(blk), table);
        }
        Ok(Some(blk))
    }

    /// A table that was loaded. It can be gone only when the map points to its block more than once.
    pub(super) fn table(&self, place: Place) -> Result<&Table, S::Error> {
        self.tables.get(&place).ok_or_else(|| self.met_twice(place))
    }

    /// The pointer in a slot; `None` for a hole.
    pub(super) fn get(&self, place: Place, slot: u32) -> Result<Option<BlockNr>, S::Error> {
        Ok(self.table(place)?.get(slot))
    }

    /// Makes a slot point to a block, or a hole.
    pub(super) fn set(
        &mut self,
        place: Place,
        slot: u32,
        to: Option<BlockNr>,
    ) -> Result<(), S::Error> {
        let pointer = match to {
            None => 0,
            Some(blk) if self.ctx.is_legal_block(blk) => {
                u32::try_from(blk.0).map_err(|_too_high| self.not_legal(blk))?
            }
            Some(blk) => return Err(self.not_legal(blk)),
        };
        match self.tables.get_mut(&place) {
            Some(table) => table.set(slot, pointer),
            None => return Err(self.met_twice(place)),
        }
        self.dirty.insert(place);
        Ok(())
    }

    /// A new table of holes in a block of its own, put into a slot of its parent.
    pub(super) fn new_table(
        &mut self,
        parent: Place,
        slot: u32,
        goal: BlockNr,
    ) -> Result<Place, S::Error> {
        let blk = self.store.alloc(goal)?;
        self.allocated.push(blk);
        if self.tables.contains_key(&Some(blk)) {
            return Err(self.met_twice(Some(blk)));
        }
        self.set(parent, slot, Some(blk))?;
        self.tables.insert(Some(blk), Table::holes_only(per_block(self.ctx.block_size)));
        self.dirty.insert(Some(blk));
        Ok(Some(blk))
    }

    /// Frees a block of pointers.
    pub(super) fn free_table(&mut self, blk: BlockNr) -> Result<(), S::Error> {
        self.tables.remove(&Some(blk));
        self.dirty.remove(&Some(blk));
        if self.freed.insert(blk) { Ok(()) } else { Err(self.met_twice(Some(blk))) }
    }

    fn not_legal(&self, blk: BlockNr) -> S::Error {
        self.corrupt(format!(
            "block {blk} to point to, expected free of system blocks within {} and below 2^32",
            self.ctx.blocks
        ))
    }

    fn met_twice(&self, place: Place) -> S::Error {
        self.corrupt(format!("points to block {} more than once", place.unwrap_or_default()))
    }

    /// Writes what was changed and frees what is no longer used; gives the new pointers of the inode.
    fn publish(self, root: &Root) -> Result<Root, S::Error> {
        let mut new_root = *root;
        for place in self.dirty {
            let Some(table) = self.tables.get(&place) else { continue };
            let bytes = table.encode();
            match place {
                None => new_root.copy_from_slice(&bytes),
                Some(blk) => self.store.write(blk, bytes.into())?,
            }
        }
        for blk in self.freed {
            self.store.free(blk)?;
        }
        Ok(new_root)
    }
}
