//! Neighbours in a leaf become one extent, and a small single leaf moves into the inode.

use crate::{
    NodeStore,
    edit::{Edit, Path},
    leaf::join,
    node::Place,
};
use ext4_ondisk::extent::ROOT_MAX;

impl<S: NodeStore + ?Sized> Edit<'_, S> {
    /// Joins the leaf's extent at `pos` with its neighbours, corrects the keys above, then tries to
    /// pull the leaf up (`ext4_ext_try_to_merge`). Never joins across leaves. The path is not valid
    /// afterwards.
    pub(crate) fn merge(&mut self, path: &Path, pos: usize) {
        join(&mut self.node_mut(path.leaf()).extents, pos);
        self.fix_keys(path, path.depth());
        self.merge_up();
    }

    /// Moves the extents of a tree's only leaf into the inode when they fit there, and frees its block
    /// (`ext4_ext_try_to_merge_up`).
    fn merge_up(&mut self) {
        let root = self.node(Place::Root);
        let (1, [index]) = (root.depth, root.indexes.as_slice()) else { return };
        let place = Place::Block(index.child);
        if self.node(place).len() > usize::from(ROOT_MAX) {
            return;
        }
        let extents = self.node(place).extents.clone();
        let generation = self.node(place).generation;
        self.free_node(place);
        let root = self.node_mut(Place::Root);
        root.depth = 0;
        root.max = ROOT_MAX;
        root.generation = generation;
        root.indexes.clear();
        root.extents = extents;
    }
}
