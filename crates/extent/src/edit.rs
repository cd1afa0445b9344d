//! A change to a tree, planned in memory.
//!
//! Nodes are decoded, changed here, and written only when the whole operation is known to work: a
//! failed allocation leaves the tree as it was. Never writes before [`edit`] publishes.

use crate::{
    Context, NodeStore, Root,
    node::{Entries, NodeView, Place, Step},
    validate::{Expected, check_block, check_node},
};
use ext4_ondisk::{
    Corrupt,
    extent::{
        Extent, Index, MAGIC, RawExtent, RawExtentHeader, node_max, set_checksum, tail_offset,
    },
};
use ext4_units::{BlockNr, LogicalBlock};
use std::collections::BTreeMap;
use zerocopy::{FromBytes, IntoBytes};

/// Does `change` to a tree: all of it, or nothing.
///
/// When `change` fails, the blocks it had allocated are given back and nothing was written. When
/// the store then fails to write or to free, some nodes have been replaced and some have not: the handle
/// must be abandoned. `root` is changed last, and only when all went well.
pub(crate) fn edit<S: NodeStore + ?Sized, R>(
    ctx: &Context,
    root: &mut Root,
    store: &mut S,
    change: impl FnOnce(&mut Edit<'_, S>) -> Result<R, S::Error>,
) -> Result<R, S::Error> {
    let (edit, res) = plan(ctx, root, store, change)?;
    *root = edit.publish(root)?;
    Ok(res)
}

/// As [`edit`], with another way to try when `change` cannot be planned; `None` from that one reports the
/// first error.
pub(crate) fn edit_or_else<S: NodeStore + ?Sized, R>(
    ctx: &Context,
    root: &mut Root,
    store: &mut S,
    change: impl FnOnce(&mut Edit<'_, S>) -> Result<R, S::Error>,
    or_else: impl FnOnce(&mut Edit<'_, S>) -> Result<Option<R>, S::Error>,
) -> Result<R, S::Error> {
    let (edit, res) = match plan(ctx, root, store, change) {
        Ok(it) => it,
        Err(err) => plan(ctx, root, store, |edit| or_else(edit)?.ok_or(err))?,
    };
    *root = edit.publish(root)?;
    Ok(res)
}

/// Plans `change`, or gives back what it had allocated.
fn plan<'a, S: NodeStore + ?Sized, R>(
    ctx: &'a Context,
    root: &Root,
    store: &'a mut S,
    change: impl FnOnce(&mut Edit<'a, S>) -> Result<R, S::Error>,
) -> Result<(Edit<'a, S>, R), S::Error> {
    let top = check_node(ctx, Place::Root, root, Expected::ROOT)?;
    let nodes = BTreeMap::from([(Place::Root, Node::decode(&top, root))]);
    let mut edit = Edit { ctx, store, nodes, allocated: Vec::new(), freed: Vec::new() };
    // Checked again before anything is written: neither a fault of ours nor a block that the tree
    // points to twice may spread.
    let res = change(&mut edit).and_then(|res| Ok(edit.check().map(|()| res)?));
    match res {
        Ok(res) => Ok((edit, res)),
        Err(err) => {
            for blk in edit.allocated {
                // The first error is the one to report; the caller abandons the handle either way.
                let _: Result<(), S::Error> = edit.store.free(blk);
            }
            Err(err)
        }
    }
}

/// A node, decoded. A leaf has only extents, an index node only indexes.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) depth: u16,
    pub(crate) max: u16,
    pub(crate) generation: u32,
    pub(crate) extents: Vec<Extent>,
    pub(crate) indexes: Vec<Index>,
    /// As read: what is not header, entries or tail is kept.
    bytes: Vec<u8>,
    is_dirty: bool,
}

impl Node {
    fn decode(view: &NodeView<'_>, bytes: &[u8]) -> Self {
        let indexes = match view.entries {
            Entries::Leaf(_) => Vec::new(),
            Entries::Index(entries) => entries.iter().map(Index::from_raw).collect(),
        };
        Self {
            depth: view.header.eh_depth.get(),
            max: view.header.eh_max.get(),
            generation: view.header.eh_generation.get(),
            extents: view.extents().collect(),
            indexes,
            bytes: bytes.to_vec(),
            is_dirty: false,
        }
    }

    /// Entries in use.
    pub(crate) fn len(&self) -> usize {
        self.extents.len() + self.indexes.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(crate) fn is_full(&self) -> bool {
        self.len() >= usize::from(self.max)
    }

    /// The first logical block, which the parent repeats.
    pub(crate) fn key(&self) -> Option<LogicalBlock> {
        self.extents.first().map(|it| it.lblk).or(self.indexes.first().map(|it| it.lblk))
    }

    /// The last entry that starts at or before `lblk`, else the first.
    fn position(&self, lblk: LogicalBlock) -> usize {
        let after = if self.depth == 0 {
            self.extents.partition_point(|it| it.lblk <= lblk)
        } else {
            self.indexes.partition_point(|it| it.lblk <= lblk)
        };
        after.saturating_sub(1)
    }

    fn encode(&self, ctx: &Context, place: Place) -> Vec<u8> {
        let mut bytes = self.bytes.clone();
        let n = u16::try_from(self.len()).expect("a node has no more entries than eh_max");
        debug_assert!(n <= self.max);
        let header = RawExtentHeader {
            eh_magic: MAGIC.into(),
            eh_entries: n.into(),
            eh_max: self.max.into(),
            eh_depth: self.depth.into(),
            eh_generation: self.generation.into(),
        };
        // Slots that held entries before and hold none now become zeros.
        let vacated = match RawExtentHeader::ref_from_prefix(&bytes) {
            Ok((old, _)) if old.eh_magic.get() == MAGIC => old.eh_entries.get().max(n),
            _ => n,
        };
        bytes[tail_offset(n)..tail_offset(vacated)].fill(0);
        let (head, rest) = bytes.split_at_mut(size_of::<RawExtentHeader>());
        head.copy_from_slice(header.as_bytes());
        let (slots, _) = rest.as_chunks_mut::<{ size_of::<RawExtent>() }>();
        for (slot, extent) in slots.iter_mut().zip(&self.extents) {
            slot.copy_from_slice(extent.to_raw().as_bytes());
        }
        for (slot, index) in slots.iter_mut().zip(&self.indexes) {
            slot.copy_from_slice(index.to_raw().as_bytes());
        }
        if let (Place::Block(_), Some(seed)) = (place, ctx.csum) {
            set_checksum(seed, &mut bytes, self.max);
        }
        bytes
    }
}

/// The nodes from the root down to a leaf, each with the position followed in it.
#[derive(Clone, Debug)]
pub(crate) struct Path {
    levels: Vec<(Place, usize)>,
    /// Where the leaf's range ends: the next leaf's first key.
    pub(crate) end: u32,
}

impl Path {
    /// The leaf.
    pub(crate) fn leaf(&self) -> Place {
        self.levels[self.depth()].0
    }

    /// The position in the leaf.
    pub(crate) fn pos(&self) -> usize {
        self.levels[self.depth()].1
    }

    /// Levels below the root.
    pub(crate) fn depth(&self) -> usize {
        self.levels.len() - 1
    }

    /// The node at a level, and the position followed in it; the root is level 0.
    pub(crate) fn level(&self, level: usize) -> (Place, usize) {
        self.levels[level]
    }
}

/// A tree while it is changed.
#[derive(Debug)]
pub(crate) struct Edit<'a, S: ?Sized> {
    pub(crate) ctx: &'a Context,
    store: &'a mut S,
    nodes: BTreeMap<Place, Node>,
    allocated: Vec<BlockNr>,
    freed: Vec<BlockNr>,
}

impl<S: NodeStore + ?Sized> Edit<'_, S> {
    /// A fault in the whole tree, for messages.
    pub(crate) fn corrupt(&self, fault: String) -> S::Error {
        Corrupt::new(format!("extent tree (inode {})", self.ctx.ino), fault).into()
    }

    /// A node that a path has led to.
    pub(crate) fn node(&self, place: Place) -> &Node {
        self.nodes.get(&place).expect("paths lead only to nodes that were loaded")
    }

    /// The same, to be changed.
    pub(crate) fn node_mut(&mut self, place: Place) -> &mut Node {
        let node = self.nodes.get_mut(&place).expect("paths lead only to nodes that were loaded");
        node.is_dirty = true;
        node
    }

    /// The way down to the leaf that holds `lblk`, or would.
    pub(crate) fn find(&mut self, lblk: LogicalBlock) -> Result<Path, S::Error> {
        let mut place = Place::Root;
        let mut path = Path { levels: Vec::new(), end: Expected::ROOT.end };
        loop {
            let node = self.node(place);
            let pos = node.position(lblk);
            path.levels.push((place, pos));
            let Some(index) = node.indexes.get(pos) else { return Ok(path) };
            path.end = node.indexes.get(pos + 1).map_or(path.end, |next| next.lblk.0);
            let expected =
                Expected { depth: Some(node.depth - 1), key: Some(index.lblk), end: path.end };
            let step = Step { child: index.child, expected };
            place = Place::Block(step.child);
            self.load(step)?;
        }
    }

    /// Reads a child, unless it is at hand. What its parent expects is checked either way: a damaged tree
    /// may point to one block from two places, even from below.
    fn load(&mut self, step: Step) -> Result<(), S::Error> {
        let place = Place::Block(step.child);
        let Expected { depth, key, .. } = step.expected;
        match self.nodes.get(&place) {
            Some(node)
                if Some(node.depth) != depth || (node.key().is_some() && node.key() != key) =>
            {
                Err(self.corrupt(format!("points to block {} more than once", step.child)))
            }
            Some(_) => Ok(()),
            None => {
                let block = self.store.read(step.child)?;
                let view = check_block(self.ctx, step.child, &block, step.expected)?;
                let node = Node::decode(&view, &block);
                self.nodes.insert(place, node);
                Ok(())
            }
        }
    }

    /// A new, empty node in a block of its own.
    pub(crate) fn new_node(&mut self, depth: u16, goal: BlockNr) -> Result<Place, S::Error> {
        let blk = self.store.alloc(goal)?;
        self.allocated.push(blk);
        let place = Place::Block(blk);
        if !self.ctx.is_legal_block(blk) || self.nodes.contains_key(&place) {
            return Err(self.corrupt(format!(
                "block {blk} was allocated for a node, expected a free one within {}",
                self.ctx.blocks
            )));
        }
        let node = Node {
            depth,
            max: node_max(self.ctx.block_size),
            generation: 0,
            extents: Vec::new(),
            indexes: Vec::new(),
            bytes: vec![0; self.ctx.block_size.len()],
            is_dirty: true,
        };
        self.nodes.insert(place, node);
        Ok(place)
    }

    /// Takes a node out of the tree and frees its block.
    pub(crate) fn free_node(&mut self, place: Place) {
        self.nodes.remove(&place);
        if let Place::Block(blk) = place {
            self.freed.push(blk);
        }
    }

    /// Corrects the keys above a node whose first entry may have changed (`ext4_ext_correct_indexes`):
    /// in its parent, and further up as long as the changed entry is the first one there.
    pub(crate) fn fix_keys(&mut self, path: &Path, level: usize) {
        for upper in (0..level).rev() {
            let (child, _) = path.level(upper + 1);
            let (parent, pos) = path.level(upper);
            let Some(key) = self.node(child).key() else { return };
            if self.node(parent).indexes.get(pos).is_none_or(|it| it.lblk == key) {
                return;
            }
            self.node_mut(parent).indexes[pos].lblk = key;
            if pos != 0 {
                return;
            }
        }
    }

    /// Checks the nodes at hand as if they had been read.
    fn check(&self) -> Result<(), Corrupt> {
        self.check_below(Place::Root, Expected::ROOT)
    }

    fn check_below(&self, place: Place, expected: Expected) -> Result<(), Corrupt> {
        let Some(node) = self.nodes.get(&place) else { return Ok(()) };
        let bytes = node.encode(self.ctx, place);
        let view = check_node(self.ctx, place, &bytes, expected)?;
        for index in &node.indexes {
            if let Some(step) = view.step(index.lblk, expected.end) {
                self.check_below(Place::Block(step.child), step.expected)?;
            }
        }
        Ok(())
    }

    /// Writes what was changed and frees what is no longer used; gives the new root.
    fn publish(self, root: &Root) -> Result<Root, S::Error> {
        let mut new_root = *root;
        for (place, node) in self.nodes.iter().filter(|(_, node)| node.is_dirty) {
            let bytes = node.encode(self.ctx, *place);
            match place {
                Place::Root => new_root.copy_from_slice(&bytes),
                Place::Block(blk) => self.store.write(*blk, bytes.into())?,
            }
        }
        for blk in self.freed {
            self.store.free(blk)?;
        }
        Ok(new_root)
    }
}
