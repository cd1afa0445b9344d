//! A new extent goes into a hole.

use crate::{
    Context, NodeStore, Root,
    edit::{Edit, Path, edit},
    leaf::grown,
    quick,
};
use ext4_ondisk::extent::Extent;
use ext4_units::LogicalBlock;

/// Maps a hole, or a part of one, to `new` (`ext4_ext_insert_extent`): joined to its neighbours when the
/// merge rule allows, else as an entry of its own.
///
/// An error leaves the tree as it was; so does a part that is mapped already, which is reported as
/// damage. The blocks of `new` are the caller's to give back.
pub fn insert<S: NodeStore + ?Sized>(
    ctx: &Context,
    root: &mut Root,
    store: &mut S,
    new: Extent,
) -> Result<(), S::Error> {
    match quick::insert(ctx, root, store, &new)? {
        Some(()) => Ok(()),
        None => edit(ctx, root, store, |edit| edit.insert(new, Merge::Yes)),
    }
}

/// Whether a new extent may be joined to its neighbours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Merge {
    Yes,
    /// It was just split off and is about to be changed (`EXT4_GET_BLOCKS_PRE_IO`).
    No,
}

impl<S: NodeStore + ?Sized> Edit<'_, S> {
    pub(crate) fn insert(&mut self, new: Extent, merge: Merge) -> Result<(), S::Error> {
        let path = self.find(new.lblk)?;
        self.check_new(&path, &new)?;
        if merge == Merge::Yes
            && let Some(pos) = self.extend_near(&path, &new)
        {
            self.merge(&path, pos);
            return Ok(());
        }
        let path = self.path_with_room(path, &new)?;
        let leaf = self.node_mut(path.leaf());
        let pos = leaf.extents.partition_point(|it| it.lblk < new.lblk);
        leaf.extents.insert(pos, new);
        match merge {
            Merge::Yes => self.merge(&path, pos),
            Merge::No => self.fix_keys(&path, path.depth()),
        }
        Ok(())
    }

    /// Refuses an extent that no hole has room for, or that no tree may have.
    fn check_new(&self, path: &Path, new: &Extent) -> Result<(), S::Error> {
        let Extent { lblk, len, .. } = *new;
        let max = Extent::max_len(new.unwritten);
        if len == 0
            || len > max
            || lblk.checked_add(len).is_none()
            || !self.ctx.is_legal(new.blocks())
        {
            return Err(self.corrupt(format!(
                "new extent of {len} blocks at logical block {lblk}, blocks {}, expected 1 to {max} \
                 within {}",
                new.blocks(),
                self.ctx.blocks
            )));
        }
        let extents = &self.node(path.leaf()).extents;
        let next = extents.partition_point(|it| it.lblk < lblk);
        let from = next.checked_sub(1).and_then(|it| extents.get(it)).map_or(0, Extent::end);
        let to = extents.get(next).map_or(path.end, |it| it.lblk.0);
        if from > lblk.0 || new.end() > to {
            return Err(self.corrupt(format!(
                "new extent of {len} blocks at logical block {lblk}, expected to fit the hole from \
                 {from} to {to}"
            )));
        }
        Ok(())
    }

    /// Joins `new` to the extent it abuts, if the merge rule allows; gives that one's position.
    fn extend_near(&mut self, path: &Path, new: &Extent) -> Option<usize> {
        let (pos, longer) = grown(&self.node(path.leaf()).extents, path.pos(), new)?;
        self.node_mut(path.leaf()).extents[pos] = longer;
        Some(pos)
    }

    /// The leaf to put `new` into: its own, else the next one if `new` goes behind the whole of its own
    /// and there is room, else after making room.
    fn path_with_room(&mut self, path: Path, new: &Extent) -> Result<Path, S::Error> {
        let leaf = self.node(path.leaf());
        if !leaf.is_full() {
            return Ok(path);
        }
        let is_behind = leaf.extents.last().is_some_and(|it| it.lblk < new.lblk);
        if is_behind && path.end != u32::MAX {
            let next = self.find(LogicalBlock(path.end))?;
            if !self.node(next.leaf()).is_full() {
                return Ok(next);
            }
        }
        self.make_room(new)
    }
}
