//! The common changes, which touch one leaf and nothing else, done on its bytes.
//!
//! The same as [`edit`](crate::edit) does with the whole tree decoded, and only where that comes to the
//! same bytes; the rest is left to it. Needs to know that the leaf was checked
//! ([`Context::checked`]): then only what is new has to be.

use crate::{
    Context, NodeStore, Root,
    leaf::{grown, join},
    node::{Entries, Place, Step},
    validate::{Expected, check_block, check_node},
};
use ext4_ondisk::extent::{
    Extent, ROOT_MAX, RawExtent, RawExtentHeader, set_checksum, tail_offset,
};
use ext4_units::{BlockNr, LogicalBlock};
use std::{ops::Range, sync::Arc};
use zerocopy::{FromBytes as _, IntoBytes as _};

/// A leaf below the root, checked.
struct Leaf {
    blk: BlockNr,
    bytes: Arc<[u8]>,
    expected: Expected,
    /// Whether the tree has no other.
    is_only: bool,
}

/// Maps a hole as [`insert`](crate::insert()) does. `None`: nothing was done, it takes more than this.
pub(crate) fn insert<S: NodeStore + ?Sized>(
    ctx: &Context,
    root: &Root,
    store: &mut S,
    new: &Extent,
) -> Result<Option<()>, S::Error> {
    let Some(leaf) = find(ctx, root, store, new.lblk)? else { return Ok(None) };
    let Some(entries) = leaf.entries() else { return Ok(None) };
    let next = entries.partition_point(|it| it.ee_block.get() <= new.lblk.0);
    // Ahead of the first one the keys above would change.
    if next == 0 || new.len == 0 || new.len > Extent::max_len(new.unwritten) {
        return Ok(None);
    }
    let Some(window) = Window::new(entries, next.saturating_sub(2)..next + 2) else {
        return Ok(None);
    };
    let mut extents = window.extents.clone();
    let pos = next - window.range.start;
    let end = extents.get(pos).map_or(leaf.expected.end, |it| it.lblk.0);
    let fits = new.lblk.checked_add(new.len).is_some_and(|it| it.0 <= end)
        && extents.get(pos - 1).is_some_and(|it| it.end() <= new.lblk.0)
        && ctx.is_legal(new.blocks());
    if !fits {
        return Ok(None);
    }
    match grown(&extents, pos - 1, new) {
        Some((pos, longer)) => {
            extents[pos] = longer;
            join(&mut extents, pos);
        }
        None if leaf.has_room_for(1) => {
            extents.insert(pos, *new);
            join(&mut extents, pos);
        }
        None => return Ok(None),
    }
    leaf.replace(ctx, store, &window, &extents)
}

/// Marks blocks written as [`convert`](crate::convert()) does, and gives how many; `None` as above.
pub(crate) fn convert<S: NodeStore + ?Sized>(
    ctx: &Context,
    root: &Root,
    store: &mut S,
    from: LogicalBlock,
    to: u32,
) -> Result<Option<u32>, S::Error> {
    let Some(leaf) = find(ctx, root, store, from)? else { return Ok(None) };
    let Some(entries) = leaf.entries() else { return Ok(None) };
    let next = entries.partition_point(|it| it.ee_block.get() <= from.0);
    let Some(held) = next.checked_sub(1) else { return Ok(None) };
    let Some(window) = Window::new(entries, held.saturating_sub(1)..held + 2) else {
        return Ok(None);
    };
    let pos = held - window.range.start;
    let Some((extent, part)) =
        window.extents.get(pos).and_then(|it| Some((*it, it.within(from.0, to)?)))
    else {
        return Ok(None);
    };
    if !extent.unwritten {
        return Ok(Some(part.len));
    }
    let (head, tail) = (extent.within(0, part.lblk.0), extent.within(part.end(), u32::MAX));
    if !leaf.has_room_for(usize::from(head.is_some()) + usize::from(tail.is_some())) {
        return Ok(None);
    }
    let mut extents = window.extents.clone();
    let parts = head.into_iter().chain([Extent { unwritten: false, ..part }]).chain(tail);
    extents.splice(pos..=pos, parts);
    join(&mut extents, pos + usize::from(head.is_some()));
    Ok(leaf.replace(ctx, store, &window, &extents)?.map(|()| part.len))
}

/// The leaf that holds `lblk`, or would; `None` if that is the root, or if nothing is remembered.
fn find<S: NodeStore + ?Sized>(
    ctx: &Context,
    root: &Root,
    store: &S,
    lblk: LogicalBlock,
) -> Result<Option<Leaf>, S::Error> {
    if ctx.checked.is_none() {
        return Ok(None);
    }
    let top = check_node(ctx, Place::Root, root, Expected::ROOT)?;
    let is_only = top.header.eh_entries.get() == 1;
    let mut step = top.step(lblk, Expected::ROOT.end);
    while let Some(Step { child, expected }) = step {
        let bytes = store.read(child)?;
        step = check_block(ctx, child, &bytes, expected)?.step(lblk, expected.end);
        if step.is_none() {
            return Ok(Some(Leaf { blk: child, bytes, expected, is_only }));
        }
    }
    Ok(None)
}

/// Entries next to each other, decoded: as far as a change can reach.
struct Window {
    range: Range<usize>,
    extents: Vec<Extent>,
    /// The entry behind them.
    behind: Option<Extent>,
}

impl Window {
    fn new(entries: &[RawExtent], range: Range<usize>) -> Option<Self> {
        let range = range.start..range.end.min(entries.len());
        let decode = |raw: &RawExtent| Extent::from_raw(raw).ok();
        let mut extents = Vec::with_capacity(range.len() + 2);
        for raw in entries.get(range.clone())? {
            extents.push(decode(raw)?);
        }
        let behind = entries.get(range.end).map(decode);
        Some(Self { range, extents, behind: behind.flatten() })
    }
}

impl Leaf {
    fn header(&self) -> Option<&RawExtentHeader> {
        Some(RawExtentHeader::ref_from_prefix(&self.bytes).ok()?.0)
    }

    fn entries(&self) -> Option<&[RawExtent]> {
        match crate::validate::view(&self.bytes)?.entries {
            Entries::Leaf(entries) => Some(entries),
            Entries::Index(_) => None,
        }
    }

    fn has_room_for(&self, n: usize) -> bool {
        self.header()
            .is_some_and(|it| usize::from(it.eh_entries.get()) + n <= usize::from(it.eh_max.get()))
    }

    /// Writes the leaf with `new` in place of the window. `None` where more than that would follow.
    fn replace<S: NodeStore + ?Sized>(
        &self,
        ctx: &Context,
        store: &mut S,
        window: &Window,
        new: &[Extent],
    ) -> Result<Option<()>, S::Error> {
        let Some(header) = self.header() else { return Ok(None) };
        let (n, max) = (usize::from(header.eh_entries.get()), header.eh_max.get());
        let n_new = n - window.range.len() + new.len();
        let goes_on = match (new.last(), &window.behind) {
            (Some(last), Some(behind)) => last.can_merge(behind),
            _ => false,
        };
        // A small only leaf moves into the inode.
        if goes_on || self.is_only && n_new <= usize::from(ROOT_MAX) || n_new > usize::from(max) {
            return Ok(None);
        }
        let (Ok(n), Ok(n_new)) = (u16::try_from(n), u16::try_from(n_new)) else { return Ok(None) };
        let index = |at: usize| u16::try_from(at).ok().map(tail_offset);
        let (Some(from), Some(to), Some(moved)) = (
            index(window.range.start),
            index(window.range.end),
            index(window.range.start + new.len()),
        ) else {
            return Ok(None);
        };
        let mut bytes: Arc<[u8]> = Arc::from(&*self.bytes);
        let Some(block) = Arc::get_mut(&mut bytes) else { return Ok(None) };
        block.copy_within(to..tail_offset(n), moved);
        let (slots, _) = block[from..].as_chunks_mut::<{ size_of::<RawExtent>() }>();
        for (slot, extent) in slots.iter_mut().zip(new) {
            slot.copy_from_slice(extent.to_raw().as_bytes());
        }
        // Slots that held entries before and hold none now become zeros.
        if n_new < n {
            block[tail_offset(n_new)..tail_offset(n)].fill(0);
        }
        if let Ok((header, _)) = RawExtentHeader::mut_from_prefix(block) {
            header.eh_entries = n_new.into();
        }
        if let Some(seed) = ctx.csum {
            set_checksum(seed, block, max);
        }
        debug_assert!(check_node(ctx, Place::Block(self.blk), block, self.expected).is_ok());
        store.write(self.blk, Arc::clone(&bytes))?;
        if let Some(checked) = &ctx.checked {
            checked.learn(ctx, self.blk, bytes, self.expected);
        }
        Ok(Some(()))
    }
}
