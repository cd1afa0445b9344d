//! Room for one more entry: a full leaf splits, or the tree grows by a level.

use crate::{
    NodeStore,
    edit::{Edit, Path},
    node::Place,
};
use ext4_ondisk::extent::{Extent, Index, MAX_DEPTH, ROOT_MAX};
use ext4_units::{BlockNr, LogicalBlock};

impl<S: NodeStore + ?Sized> Edit<'_, S> {
    /// Makes room where `new` belongs (`ext4_ext_create_new_leaf`): splits below the lowest index node
    /// with a free slot; when there is none, puts a new level under the root first.
    ///
    /// Ends: growing gives the root free slots, unless they are all used by a root that was made with
    /// fewer of them, and then the depth is at its limit soon.
    pub(crate) fn make_room(&mut self, new: &Extent) -> Result<Path, S::Error> {
        loop {
            let path = self.find(new.lblk)?;
            if !self.node(path.leaf()).is_full() {
                return Ok(path);
            }
            match (0..path.depth()).rev().find(|it| !self.node(path.level(*it).0).is_full()) {
                Some(level) => self.split(&path, level, new)?,
                None => self.grow()?,
            }
        }
    }

    /// Splits the full nodes below the index node at `level` behind the path's position
    /// (`ext4_ext_split`). What lies to the right of the position moves to new nodes; when
    /// that is nothing, as when appending, the new leaf stays empty for the new extent.
    fn split(&mut self, path: &Path, level: usize, new: &Extent) -> Result<(), S::Error> {
        let goal = self.goal(path, new.lblk);
        let (leaf, pos) = (path.leaf(), path.pos());
        let extents = &self.node(leaf).extents;
        // A leaf made for a single entry has nothing to the right of an extent that goes before it.
        let cut = if extents.get(pos).is_some_and(|it| new.lblk < it.lblk) && extents.len() == 1 {
            pos
        } else {
            pos + 1
        };
        let border = extents.get(cut).map_or(new.lblk, |it| it.lblk);
        let right = self.new_node(0, goal)?;
        let moved = self.node_mut(leaf).extents.split_off(cut);
        self.node_mut(right).extents = moved;

        let mut below = right;
        for upper in (level + 1..path.depth()).rev() {
            let (left, pos) = path.level(upper);
            let right = self.new_node(self.node(left).depth, goal)?;
            let moved = self.node_mut(left).indexes.split_off(pos + 1);
            let indexes = &mut self.node_mut(right).indexes;
            indexes.push(index(border, below));
            indexes.extend(moved);
            below = right;
        }
        let (parent, pos) = path.level(level);
        self.node_mut(parent).indexes.insert(pos + 1, index(border, below));
        Ok(())
    }

    /// Moves the root's entries into a new block, the root's only child (`ext4_ext_grow_indepth`).
    fn grow(&mut self) -> Result<(), S::Error> {
        let root = self.node(Place::Root);
        let (depth, key) = (root.depth, root.key().unwrap_or_default());
        if depth >= MAX_DEPTH {
            return Err(
                self.corrupt(format!("depth {depth} and full, expected at most {MAX_DEPTH}"))
            );
        }
        let goal =
            root.indexes.first().map_or(BlockNr(0), |it| BlockNr(it.child.0.saturating_sub(1)));
        let place = self.new_node(depth, goal)?;
        let root = self.node_mut(Place::Root);
        let extents = std::mem::take(&mut root.extents);
        let indexes = std::mem::replace(&mut root.indexes, vec![index(key, place)]);
        if depth == 0 {
            root.max = ROOT_MAX;
        }
        root.depth += 1;
        let generation = root.generation;
        let child = self.node_mut(place);
        child.generation = generation;
        child.extents = extents;
        child.indexes = indexes;
        Ok(())
    }

    /// Where a block for a node would be well placed: as far from the path's extent on the disk as in the
    /// file (`ext4_ext_find_goal`).
    fn goal(&self, path: &Path, lblk: LogicalBlock) -> BlockNr {
        let Some(near) = self.node(path.leaf()).extents.get(path.pos()) else { return BlockNr(0) };
        let (from, to) = (u64::from(near.lblk.0), u64::from(lblk.0));
        BlockNr(near.start.0.saturating_add(to).saturating_sub(from))
    }
}

fn index(lblk: LogicalBlock, place: Place) -> Index {
    match place {
        Place::Block(child) => Index { lblk, child, unused: 0 },
        Place::Root => unreachable!("the root is nobody's child"),
    }
}
