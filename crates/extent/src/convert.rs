//! A range changes from unwritten to written, or back, once its data is in place.

use crate::{
    Context, NodeStore, Root,
    edit::{Edit, Path, edit, edit_or_else},
    insert::Merge,
    quick,
};
use ext4_ondisk::extent::Extent;
use ext4_units::LogicalBlock;

/// Marks `len` blocks from `from` on as written, as far as their extent goes, when a direct write to them
/// has completed; gives how many blocks from `from` on are written now
/// (`ext4_convert_unwritten_extents_endio`). What is written already stays as it is. A hole is damage.
///
/// The part is split off as the kernel does before the write, changes state, and is joined to its
/// neighbours. Splitting can need a block for a node. If that cannot be had, the blocks are handed to a
/// neighbour that they abut. If there is none, the tree is as it was, and the caller may zero the rest of
/// the extent ([`to_zero`]) on the disk and then call [`convert_whole`], which needs no block.
pub fn convert<S: NodeStore + ?Sized>(
    ctx: &Context,
    root: &mut Root,
    store: &mut S,
    from: LogicalBlock,
    len: u32,
) -> Result<u32, S::Error> {
    let to = from.0.saturating_add(len);
    if let Some(n) = quick::convert(ctx, root, store, from, to)? {
        return Ok(n);
    }
    edit_or_else(
        ctx,
        root,
        store,
        |edit| edit.set_state(from, to, false, Split::First),
        |edit| edit.hand_over(from, to, false),
    )
}

/// As [`convert`], for blocks behind the end of the file that are about to be written: the orphan record
/// protects them (`ext4_ext_convert_to_initialized`, without its zeroing of short rests, which only
/// applies inside the file).
///
/// Hands the blocks to a neighbour if possible, and only else splits.
pub fn initialize<S: NodeStore + ?Sized>(
    ctx: &Context,
    root: &mut Root,
    store: &mut S,
    from: LogicalBlock,
    len: u32,
) -> Result<u32, S::Error> {
    let to = from.0.saturating_add(len);
    edit(ctx, root, store, |edit| match edit.hand_over(from, to, false)? {
        Some(n) => Ok(n),
        None => edit.set_state(from, to, false, Split::Changed),
    })
}

/// Marks `len` blocks from `from` on as unwritten, as far as their extent goes and at most 32767; gives
/// how many blocks from `from` on are unwritten now (`convert_initialized_extent`).
pub fn mark_unwritten<S: NodeStore + ?Sized>(
    ctx: &Context,
    root: &mut Root,
    store: &mut S,
    from: LogicalBlock,
    len: u32,
) -> Result<u32, S::Error> {
    let to = from.0.saturating_add(len.min(Extent::max_len(true)));
    edit(ctx, root, store, |edit| edit.set_state(from, to, true, Split::Changed))
}

/// Marks the whole extent that holds `lblk` as written. Needs no new block, so it cannot fail for lack of
/// space. Every block of the extent must hold data, or zeros, on the disk by now.
pub fn convert_whole<S: NodeStore + ?Sized>(
    ctx: &Context,
    root: &mut Root,
    store: &mut S,
    lblk: LogicalBlock,
) -> Result<(), S::Error> {
    edit(ctx, root, store, |edit| {
        let (_, extent) = edit.held(lblk)?;
        edit.set_state(extent.lblk, extent.end(), false, Split::First).map(|_| ())
    })
}

/// The parts of an unwritten extent outside `from..to`: to be zeroed on the disk before
/// [`convert_whole`] (`ext4_ext_zeroout`).
pub fn to_zero(
    extent: &Extent,
    from: LogicalBlock,
    to: LogicalBlock,
) -> impl Iterator<Item = Extent> {
    [extent.within(0, from.0), extent.within(to.0, u32::MAX)].into_iter().flatten()
}

/// The part to change is split off its extent either way; the difference shows when a leaf is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Split {
    /// The part is first an extent of its own, in the old state.
    First,
    /// The part is inserted in its new state, and so may join a neighbour without needing an entry.
    Changed,
}

impl<S: NodeStore + ?Sized> Edit<'_, S> {
    /// The extent that holds `lblk`, and the way to it.
    fn held(&mut self, lblk: LogicalBlock) -> Result<(Path, Extent), S::Error> {
        let path = self.find(lblk)?;
        match self.node(path.leaf()).extents.get(path.pos()) {
            Some(extent) if extent.contains(lblk) => Ok((path.clone(), *extent)),
            _ => Err(self.corrupt(format!("hole at logical block {lblk}, expected an extent"))),
        }
    }

    /// Gives the state to the part of an extent from `from` to `to`; gives the part's length.
    fn set_state(
        &mut self,
        from: LogicalBlock,
        to: u32,
        unwritten: bool,
        split: Split,
    ) -> Result<u32, S::Error> {
        let (_, extent) = self.held(from)?;
        let Some(part) = extent.within(from.0, to) else { return Ok(0) };
        if extent.unwritten == unwritten {
            return Ok(part.len);
        }
        if part.end() < extent.end() {
            self.split_extent(LogicalBlock(part.end()), extent.unwritten, Merge::No)?;
        }
        if part.lblk > extent.lblk {
            match split {
                Split::First => self.split_extent(part.lblk, extent.unwritten, Merge::No)?,
                Split::Changed => {
                    self.split_extent(part.lblk, unwritten, Merge::Yes)?;
                    return Ok(part.len);
                }
            }
        }
        let path = self.find(part.lblk)?;
        self.node_mut(path.leaf()).extents[path.pos()].unwritten = unwritten;
        self.merge(&path, path.pos());
        Ok(part.len)
    }

    /// Moves the border between an extent and the neighbour that has the state already, instead of
    /// splitting: the part from `from` to `to` must be one end of the extent, not all of it, and the
    /// neighbour must abut it in the file and on the disk, in the same leaf, and stay below the
    /// longest length. Gives the part's length; `None` when it cannot be done.
    fn hand_over(
        &mut self,
        from: LogicalBlock,
        to: u32,
        unwritten: bool,
    ) -> Result<Option<u32>, S::Error> {
        let (path, extent) = self.held(from)?;
        let pos = path.pos();
        let Some(part) = extent.within(from.0, to) else { return Ok(None) };
        if extent.unwritten == unwritten || part.len == extent.len {
            return Ok(None);
        }
        let fits = |it: &Extent| {
            it.unwritten == unwritten && it.len + part.len < Extent::max_len(unwritten)
        };
        let leaf = &self.node(path.leaf()).extents;
        if part.lblk == extent.lblk
            && let Some(left) = pos.checked_sub(1)
            && let Some(prev) = leaf.get(left)
            && fits(prev)
            && prev.end() == part.lblk.0
            && prev.blocks().end() == part.start
        {
            let leaf = &mut self.node_mut(path.leaf()).extents;
            leaf[left].len += part.len;
            leaf[pos].lblk = LogicalBlock(part.end());
            leaf[pos].start = part.blocks().end();
            leaf[pos].len -= part.len;
            return Ok(Some(part.len));
        }
        if part.end() == extent.end()
            && let Some(next) = leaf.get(pos + 1)
            && fits(next)
            && part.end() == next.lblk.0
            && part.blocks().end() == next.start
        {
            let next = Extent { len: part.len + next.len, unwritten, ..part };
            let leaf = &mut self.node_mut(path.leaf()).extents;
            leaf[pos + 1] = next;
            leaf[pos].len -= part.len;
            return Ok(Some(part.len));
        }
        Ok(None)
    }

    /// Splits the extent that holds `at` there, behind its first block; the second part gets a state.
    fn split_extent(
        &mut self,
        at: LogicalBlock,
        unwritten: bool,
        merge: Merge,
    ) -> Result<(), S::Error> {
        let (path, extent) = self.held(at)?;
        let Some(second) = extent.within(at.0, u32::MAX) else { return Ok(()) };
        self.node_mut(path.leaf()).extents[path.pos()].len -= second.len;
        self.insert(Extent { unwritten, ..second }, merge)
    }
}
