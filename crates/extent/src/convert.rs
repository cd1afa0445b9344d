//! A range changes from unwritten to written, or back, once its data is in place.

use crate::{
    Context, NodeStore, Root,
    edit::{Edit, Path, edit},
    insert::Merge,
};
use ext4_ondisk::extent::Extent;
use ext4_units::LogicalBlock;

/// Marks `len` blocks from `from` on as written, as far as their extent goes; gives how many blocks
/// from `from` on are written now (`ext4_convert_unwritten_extents_endio`,
/// `ext4_ext_convert_to_initialized`). What is written already stays as it is. A hole is damage.
///
/// The part changes state in place when it is a whole extent, is handed to a neighbour in the same leaf
/// that it abuts, or else is split off, which can need a block for a node. If that cannot be had, the
/// tree is as it was, and the caller may zero the rest of the extent ([`to_zero`]) on the disk and then
/// call [`convert_whole`], which needs no block.
pub fn convert<S: NodeStore + ?Sized>(
    ctx: &Context,
    root: &mut Root,
    store: &mut S,
    from: LogicalBlock,
    len: u32,
) -> Result<u32, S::Error> {
    edit(ctx, root, store, |edit| edit.set_state(from, from.0.saturating_add(len), false))
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
    edit(ctx, root, store, |edit| edit.set_state(from, to, true))
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
        edit.set_state(extent.lblk, extent.end(), false).map(|_| ())
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

impl<S: NodeStore + ?Sized> Edit<'_, S> {
    /// The extent that holds `lblk`, and the way to it.
    fn held(&mut self, lblk: LogicalBlock) -> Result<(Path, Extent), S::Error> {
        let path = self.find(lblk)?;
        match self.node(path.leaf()).extents.get(path.pos()) {
            Some(extent) if extent.contains(lblk) => Ok((path.clone(), *extent)),
            _ => Err(self.corrupt(format!("hole at logical block {lblk}, expected an extent"))),
        }
    }

    fn set_state(&mut self, from: LogicalBlock, to: u32, unwritten: bool) -> Result<u32, S::Error> {
        let (path, extent) = self.held(from)?;
        let Some(part) = extent.within(from.0, to) else { return Ok(0) };
        if extent.unwritten == unwritten || self.hand_over(&path, &extent, &part) {
            return Ok(part.len);
        }
        if part.end() < extent.end() {
            self.split_extent(LogicalBlock(part.end()), extent.unwritten, Merge::No)?;
        }
        if part.lblk > extent.lblk {
            self.split_extent(part.lblk, unwritten, Merge::Yes)?;
        } else {
            let path = self.find(part.lblk)?;
            self.node_mut(path.leaf()).extents[path.pos()].unwritten = unwritten;
            self.merge(&path, path.pos());
        }
        Ok(part.len)
    }

    /// Moves the border between an extent and the neighbour whose state `part` is to have, instead of
    /// splitting: `part` must be one end of the extent, not all of it, and the neighbour must abut it
    /// in the file and on the disk, in the same leaf, and stay below the longest length.
    fn hand_over(&mut self, path: &Path, extent: &Extent, part: &Extent) -> bool {
        let pos = path.pos();
        let leaf = &mut self.node_mut(path.leaf()).extents;
        let fits = |it: &Extent| {
            it.unwritten != extent.unwritten && it.len + part.len < Extent::max_len(it.unwritten)
        };
        if part.len == extent.len {
            false
        } else if part.lblk == extent.lblk
            && let Some(left) = pos.checked_sub(1)
            && let Some(prev) = leaf.get(left)
            && fits(prev)
            && prev.end() == part.lblk.0
            && prev.blocks().end() == part.start
        {
            leaf[left].len += part.len;
            leaf[pos] = rest_behind(extent, part);
            true
        } else if part.end() == extent.end()
            && let Some(next) = leaf.get(pos + 1)
            && fits(next)
            && part.end() == next.lblk.0
            && part.blocks().end() == next.start
        {
            leaf[pos + 1] = Extent { len: part.len + next.len, unwritten: next.unwritten, ..*part };
            leaf[pos].len -= part.len;
            true
        } else {
            false
        }
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

/// What of `extent` lies behind its first part.
fn rest_behind(extent: &Extent, part: &Extent) -> Extent {
    Extent {
        lblk: LogicalBlock(part.end()),
        len: extent.len - part.len,
        start: part.blocks().end(),
        unwritten: extent.unwritten,
    }
}
