//! Which inode each file of the tree gets: a directory, then its files, then its subdirectories,
//! names in the order of their bytes, so that what is read together lies together.

use super::digest::digest;
use crate::error::{Error, Result};
use ext4_tree::{Kind, NodeId, Tree};
use ext4_units::InodeNr;

/// Links that an inode can count (`EXT4_LINK_MAX`).
const MAX_LINKS: u32 = 65_000;
/// The name of the directory that every filesystem has.
pub(crate) const LOST_AND_FOUND: &[u8] = b"lost+found";

/// A directory of the tree, and the one it is in; the root is in itself.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Directory {
    pub(crate) node: NodeId,
    pub(crate) parent: NodeId,
}

/// The files of a tree in the order of their inodes. Root and lost+found, whose numbers are the
/// same in every filesystem, are not among them.
#[derive(Clone, Debug)]
pub(crate) struct Order {
    /// The file at each place.
    pub(crate) files: Vec<NodeId>,
    /// All directories, each before those in it; root and lost+found too.
    pub(crate) directories: Vec<Directory>,
    /// The tree's lost+found.
    pub(crate) lost_and_found: Option<NodeId>,
    /// By node: its place, [`NOWHERE`] for what has no name, [`FIXED`] for those with fixed numbers.
    places: Vec<u32>,
    /// By node: names, and for a directory the links its own name and its subdirectories give it.
    links: Vec<u32>,
    /// Of all of the tree but contents.
    pub(crate) digest: [u8; 32],
}

const NOWHERE: u32 = u32::MAX;
const FIXED: u32 = u32::MAX - 1;

impl Order {
    /// Of the files of `tree`.
    ///
    /// # Errors
    /// When `lost+found` is no directory, or a file has more links than an inode can count.
    pub(crate) fn new(tree: &Tree) -> Result<Self> {
        let lost_and_found = tree.child(NodeId::ROOT, LOST_AND_FOUND);
        if let Some(node) = lost_and_found
            && !is_directory(tree, node)
        {
            let kind = tree.node(node).kind.name();
            return refused(tree, node, format_args!("found a {kind}, expected a directory"));
        }
        let n_nodes = tree.nodes().len();
        let mut it = Self {
            files: Vec::with_capacity(n_nodes),
            directories: Vec::new(),
            lost_and_found,
            places: vec![NOWHERE; n_nodes],
            links: vec![0; n_nodes],
            digest: [0; 32],
        };
        it.places[NodeId::ROOT.index()] = FIXED;
        if let Some(node) = lost_and_found {
            it.places[node.index()] = FIXED;
        }
        // Not by recursion: a tree may be deeper than a stack.
        let mut to_visit = vec![Directory { node: NodeId::ROOT, parent: NodeId::ROOT }];
        while let Some(dir) = to_visit.pop() {
            it.visit(tree, dir, &mut to_visit)?;
        }
        // The one that is made when the tree has none.
        it.links[NodeId::ROOT.index()] += u32::from(lost_and_found.is_none());
        it.digest = digest(tree, &it);
        Ok(it)
    }

    fn visit(&mut self, tree: &Tree, dir: Directory, to_visit: &mut Vec<Directory>) -> Result<()> {
        self.give_place(dir.node);
        self.links[dir.node.index()] += 2;
        self.directories.push(dir);
        let first = to_visit.len();
        for (_, node) in tree.names(dir.node) {
            if is_directory(tree, node) {
                self.links[dir.node.index()] += 1;
                to_visit.push(Directory { node, parent: dir.node });
                continue;
            }
            self.give_place(node);
            let links = &mut self.links[node.index()];
            *links += 1;
            if *links > MAX_LINKS {
                return refused(tree, node, format_args!("more links than {MAX_LINKS}"));
            }
        }
        to_visit[first..].reverse();
        Ok(())
    }

    fn give_place(&mut self, node: NodeId) {
        let place = &mut self.places[node.index()];
        if *place == NOWHERE {
            // There are fewer nodes than 2^32 - 2: inodes have 32 bits, and more are refused.
            *place = u32::try_from(self.files.len()).unwrap_or(NOWHERE);
            self.files.push(node);
        }
    }

    /// Root, and the tree's lost+found.
    pub(crate) fn fixed(&self) -> impl Iterator<Item = NodeId> {
        std::iter::once(NodeId::ROOT).chain(self.lost_and_found)
    }

    /// Names of a file; of a directory, what `i_links_count` counts.
    pub(crate) fn links(&self, node: NodeId) -> u32 {
        self.links[node.index()]
    }

    /// Where in [`files`](Self::files) a node is; `None` for root and lost+found.
    pub(crate) fn place(&self, node: NodeId) -> Option<u32> {
        let place = self.places[node.index()];
        (place < FIXED).then_some(place)
    }
}

/// The number of links an inode says it has: 1 for a directory with more than it can count, which
/// needs dir_nlink (`ext4_inc_count`).
pub(crate) fn links_count(links: u32, has_dir_nlink: bool) -> Option<u16> {
    match u16::try_from(links) {
        Ok(count) if links <= MAX_LINKS => Some(count),
        _ if has_dir_nlink => Some(1),
        _ => None,
    }
}

fn is_directory(tree: &Tree, node: NodeId) -> bool {
    matches!(tree.node(node).kind, Kind::Directory(_))
}

/// The first path of a node, for messages.
pub(crate) fn path_of(tree: &Tree, wanted: NodeId) -> String {
    let mut above = vec![None; tree.nodes().len()];
    let mut to_visit = vec![NodeId::ROOT];
    while let Some(dir) = to_visit.pop() {
        for (name, node) in tree.names(dir) {
            if above[node.index()].is_none() {
                above[node.index()] = Some((dir, name));
                to_visit.push(node);
            }
        }
    }
    let mut names = Vec::new();
    let mut at = wanted;
    while let Some((dir, name)) = above[at.index()] {
        names.push(name.escape_ascii().to_string());
        at = dir;
    }
    names.reverse();
    format!("/{}", names.join("/"))
}

/// A refusal that names the file.
pub(crate) fn refused<T>(tree: &Tree, node: NodeId, why: impl std::fmt::Display) -> Result<T> {
    Err(Error::File { path: path_of(tree, node), why: why.to_string() })
}

/// The inode at a place when the first one is `first`. Plans check that there are so many.
pub(crate) fn number(first: u32, place: u32) -> Option<InodeNr> {
    InodeNr::new(first.checked_add(place)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ext4_tree::{Attributes, Contents, Node};

    fn add(tree: &mut Tree, dir: NodeId, name: &str, kind: Kind) -> NodeId {
        let node = Node { attributes: Attributes::default(), kind };
        tree.add(dir, name.as_bytes(), node).unwrap()
    }

    fn directory() -> Kind {
        Tree::new(Attributes::default()).node(NodeId::ROOT).kind.clone()
    }

    #[test]
    fn a_directory_comes_before_its_files_and_those_before_its_subdirectories() {
        let mut tree = Tree::new(Attributes::default());
        let file = || Kind::Regular(Contents::bytes(*b"x"));
        let z = add(&mut tree, NodeId::ROOT, "z", file());
        let a = add(&mut tree, NodeId::ROOT, "a", directory());
        let below = add(&mut tree, a, "below", directory());
        let f = add(&mut tree, a, "f", file());
        let b = add(&mut tree, NodeId::ROOT, "b", directory());
        tree.link(b, b"again", z).unwrap();
        let order = Order::new(&tree).unwrap();
        assert_eq!(order.files, [z, a, f, below, b]);
        assert_eq!([z, a, NodeId::ROOT].map(|it| order.links(it)), [2, 3, 5]);
        assert_eq!(path_of(&tree, f), "/a/f");
    }

    #[test]
    fn lost_and_found_keeps_its_number_and_has_to_be_a_directory() {
        let mut tree = Tree::new(Attributes::default());
        let it = add(&mut tree, NodeId::ROOT, "lost+found", directory());
        let below = add(&mut tree, it, "x", Kind::Fifo);
        let order = Order::new(&tree).unwrap();
        assert_eq!((order.place(it), order.files.as_slice()), (None, &[below][..]));
        assert_eq!(order.links(NodeId::ROOT), 3);

        let mut tree = Tree::new(Attributes::default());
        add(&mut tree, NodeId::ROOT, "lost+found", Kind::Fifo);
        let said = Order::new(&tree).unwrap_err().to_string();
        assert_eq!(said, "/lost+found: found a fifo, expected a directory");
    }

    #[test]
    fn more_links_than_can_be_counted_are_told_or_refused() {
        assert_eq!(links_count(65_000, false), Some(65_000));
        assert_eq!(links_count(65_001, true), Some(1));
        assert_eq!(links_count(65_001, false), None);
        assert_eq!(links_count(70_000, false), None);
    }
}
