//! Files by name, from the root down. A file may have several names; a directory has one.

use crate::{Attributes, Error, Kind, Node, Result, check_name};
use std::collections::BTreeMap;

/// A node's number in its tree; the root's is [`NodeId::ROOT`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(pub u32);

impl NodeId {
    /// The directory everything is in.
    pub const ROOT: Self = Self(0);

    /// Its place in a list of all nodes.
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

/// A tree of files.
#[derive(Clone, Debug)]
pub struct Tree {
    nodes: Vec<Node>,
}

impl Tree {
    /// A tree of an empty root directory.
    pub fn new(root: Attributes) -> Self {
        Self { nodes: vec![Node { attributes: root, kind: Kind::Directory(BTreeMap::new()) }] }
    }

    /// All nodes that were ever added; some may have lost their last name since.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// A node.
    ///
    /// # Panics
    /// On a number of another tree.
    pub fn node(&self, id: NodeId) -> &Node {
        &self.nodes[id.index()]
    }

    /// A node, to be changed.
    ///
    /// # Panics
    /// On a number of another tree.
    pub fn node_mut(&mut self, id: NodeId) -> &mut Node {
        &mut self.nodes[id.index()]
    }

    /// The names in a directory; none in anything else.
    pub fn names(&self, id: NodeId) -> impl Iterator<Item = (&[u8], NodeId)> {
        let names = match &self.node(id).kind {
            Kind::Directory(names) => Some(names),
            _ => None,
        };
        names.into_iter().flatten().map(|(name, id)| (&**name, *id))
    }

    /// What a directory has by that name.
    pub fn child(&self, dir: NodeId, name: &[u8]) -> Option<NodeId> {
        match &self.node(dir).kind {
            Kind::Directory(names) => names.get(name).copied(),
            _ => None,
        }
    }

    /// The node at a path of these components.
    pub fn find(&self, path: &[&[u8]]) -> Option<NodeId> {
        path.iter().try_fold(NodeId::ROOT, |dir, name| self.child(dir, name))
    }

    /// Adds a node under a new name.
    ///
    /// # Errors
    /// [`Error::Name`] for a name that cannot be, [`Error::Conflict`] when `dir` is no directory,
    /// has the name already, or there are too many nodes.
    pub fn add(&mut self, dir: NodeId, name: &[u8], node: Node) -> Result<NodeId> {
        let Ok(id) = u32::try_from(self.nodes.len()).map(NodeId) else {
            return Err(conflict(name, "more than 4294967295 files"));
        };
        self.put_name(dir, name, id)?;
        self.nodes.push(node);
        Ok(id)
    }

    /// Gives a node that is no directory one more name: a hard link.
    ///
    /// # Errors
    /// As [`add`](Self::add), and [`Error::Conflict`] for a directory.
    pub fn link(&mut self, dir: NodeId, name: &[u8], target: NodeId) -> Result<()> {
        if matches!(self.node(target).kind, Kind::Directory(_)) {
            return Err(conflict(name, "a hard link to a directory"));
        }
        self.put_name(dir, name, target)
    }

    /// Takes a name away, and with it what has no other.
    pub fn remove(&mut self, dir: NodeId, name: &[u8]) -> Option<NodeId> {
        match &mut self.nodes[dir.index()].kind {
            Kind::Directory(names) => names.remove(name),
            _ => None,
        }
    }

    fn put_name(&mut self, dir: NodeId, name: &[u8], id: NodeId) -> Result<()> {
        check_name(name)?;
        match &mut self.nodes[dir.index()].kind {
            Kind::Directory(names) if !names.contains_key(name) => {
                names.insert(name.into(), id);
                Ok(())
            }
            Kind::Directory(_) => Err(conflict(name, "there already")),
            other => Err(conflict(name, format!("inside a {}", other.name()))),
        }
    }
}

fn conflict(name: &[u8], why: impl Into<String>) -> Error {
    Error::Conflict { path: name.escape_ascii().to_string(), why: why.into() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Contents;

    fn file() -> Node {
        Node { attributes: Attributes::default(), kind: Kind::Regular(Contents::bytes(*b"x")) }
    }

    #[test]
    fn a_hard_link_is_a_second_name_of_one_node() {
        let mut tree = Tree::new(Attributes::default());
        let a = tree.add(NodeId::ROOT, b"a", file()).expect("new");
        tree.link(NodeId::ROOT, b"b", a).expect("new");
        let names: Vec<_> = tree.names(NodeId::ROOT).collect();
        assert_eq!(names, [(&b"a"[..], a), (&b"b"[..], a)]);
    }

    #[test]
    fn a_name_is_taken_once() {
        let mut tree = Tree::new(Attributes::default());
        let a = tree.add(NodeId::ROOT, b"a", file()).expect("new");
        assert!(tree.add(NodeId::ROOT, b"a", file()).is_err());
        assert!(tree.add(a, b"below", file()).is_err(), "a file holds no names");
        assert!(
            tree.link(NodeId::ROOT, b"again", NodeId::ROOT).is_err(),
            "a directory has one name"
        );
        assert_eq!(tree.nodes().len(), 2);
    }
}
