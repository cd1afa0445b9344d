//! Puts entries into the tree, each as `tar -x` would at that moment.

use super::{
    entry::{Entry, What},
    owners::{Lists, Owners},
};
use crate::{Attributes, Kind, Node, NodeId, Tree, check_path};
use std::collections::BTreeMap;

/// A hard link whose target was not there when it came.
#[derive(Debug)]
struct Waiting {
    target: Vec<u8>,
    at: u64,
}

/// Links of which each waits for the next, and the file that the last one waited for.
struct Row {
    paths: Vec<Vec<u8>>,
    id: NodeId,
}

/// A tree that is being filled.
#[derive(Debug)]
pub(super) struct Placing {
    tree: Tree,
    /// By path: components with slashes between them.
    waiting: BTreeMap<Vec<u8>, Waiting>,
    /// Lists with names that were not known when they came, and where that was.
    lists: BTreeMap<NodeId, (u64, Vec<u8>, Lists)>,
}

impl Placing {
    pub(super) fn new() -> Self {
        Self { tree: Tree::new(implied()), waiting: BTreeMap::new(), lists: BTreeMap::new() }
    }

    /// Puts an entry where its path says.
    ///
    /// # Errors
    /// Says which path cannot be, and why.
    pub(super) fn put(&mut self, entry: Entry) -> Result<(), String> {
        let Entry { at, path, attributes, lists, what } = entry;
        let shown = path.escape_ascii();
        let parts = check_path(&path).map_err(|err| err.to_string())?;
        if !self.waiting.is_empty() {
            self.waiting.remove(&parts.join(&b'/'));
        }
        let id = match what {
            What::New(kind) => self.new_file(&parts, Node { attributes, kind }),
            What::Link(target) => {
                return self
                    .hard_link(at, &parts, &target)
                    .map_err(|why| format!("{shown}: {why}"));
            }
        };
        let id = id.map_err(|why| format!("{shown}: {why}"))?;
        match lists {
            Some(lists) => drop(self.lists.insert(id, (at, path, lists))),
            None if self.lists.is_empty() => {}
            None => drop(self.lists.remove(&id)),
        }
        Ok(())
    }

    /// Puts a file in the place of what is there; a directory that is there gets new attributes.
    fn new_file(&mut self, parts: &[&[u8]], node: Node) -> Result<NodeId, String> {
        let is_dir = matches!(node.kind, Kind::Directory(_));
        let Some((name, above)) = parts.split_last() else {
            if !is_dir {
                return Err(format!("a {} as the root", node.kind.name()));
            }
            self.tree.node_mut(NodeId::ROOT).attributes = node.attributes;
            return Ok(NodeId::ROOT);
        };
        let dir = self.directory(above)?;
        if is_dir
            && let Some(id) = self.tree.child(dir, name)
            && let Kind::Directory(_) = self.tree.node(id).kind
        {
            self.tree.node_mut(id).attributes = node.attributes;
            return Ok(id);
        }
        self.clear(dir, name, node.kind.name())?;
        self.tree.add(dir, name, node).map_err(|err| err.to_string())
    }

    /// Makes a hard link, at once where the target is there.
    fn hard_link(&mut self, at: u64, parts: &[&[u8]], target: &[u8]) -> Result<(), String> {
        let target = check_path(target).map_err(|err| format!("a hard link to {err}"))?;
        let Some((name, above)) = parts.split_last() else {
            return Err("a hard link as the root".to_owned());
        };
        let dir = self.directory(above)?;
        let Some(id) = self.tree.find(&target) else {
            self.waiting.insert(parts.join(&b'/'), Waiting { target: target.join(&b'/'), at });
            return Ok(());
        };
        if self.tree.child(dir, name) == Some(id) {
            return Ok(());
        }
        self.link(dir, name, id, &target.join(&b'/'))
    }

    /// Does what had to wait: hard links that came before their targets, and lists that came before
    /// their names.
    ///
    /// # Errors
    /// Says where the entry is, and what cannot be done.
    pub(super) fn finish(mut self, owners: &Owners) -> Result<Tree, (u64, String)> {
        for (id, (at, path, lists)) in &self.lists {
            let node = self.tree.node_mut(*id);
            let is_dir = matches!(node.kind, Kind::Directory(_));
            let applied = owners.apply(lists, &mut node.attributes, is_dir);
            applied.map_err(|why| (*at, format!("{}: {why}", path.escape_ascii())))?;
        }
        while let Some(first) = self.waiting.keys().next().cloned() {
            let Row { paths, id } = self.row(first)?;
            for path in paths.into_iter().rev() {
                let Some(Waiting { target, at }) = self.waiting.remove(&path) else { continue };
                let parts: Vec<_> = path.split(|it| *it == b'/').collect();
                let Some((name, above)) = parts.split_last() else { continue };
                let made = self.directory(above).and_then(|dir| self.link(dir, name, id, &target));
                made.map_err(|why| (at, format!("{}: {why}", path.escape_ascii())))?;
            }
        }
        Ok(self.tree)
    }

    /// A link that waits, the link that it is to, and so on to the one whose target is there; and
    /// that target.
    fn row(&self, first: Vec<u8>) -> Result<Row, (u64, String)> {
        let mut paths = Vec::new();
        let mut path = first;
        while let Some(Waiting { target, at }) = self.waiting.get(&path) {
            let parts: Vec<_> = target.split(|it| *it == b'/').collect();
            let found = self.tree.find(&parts);
            if found.is_none()
                && (!self.waiting.contains_key(target) || paths.len() >= self.waiting.len())
            {
                let (path, target) = (path.escape_ascii(), target.escape_ascii());
                return Err((*at, format!("{path}: a hard link to {target}, which is nowhere")));
            }
            paths.push(std::mem::replace(&mut path, target.clone()));
            if let Some(id) = found {
                return Ok(Row { paths, id });
            }
        }
        Err((0, format!("{}: a hard link that is nowhere", path.escape_ascii())))
    }

    fn link(&mut self, dir: NodeId, name: &[u8], id: NodeId, target: &[u8]) -> Result<(), String> {
        if let Kind::Directory(_) = self.tree.node(id).kind {
            return Err(format!("a hard link to the directory {}", target.escape_ascii()));
        }
        self.clear(dir, name, "hard link")?;
        self.tree.link(dir, name, id).map_err(|err| err.to_string())
    }

    /// Takes what has the name away for something that is no directory.
    fn clear(&mut self, dir: NodeId, name: &[u8], what: &str) -> Result<(), String> {
        if let Some(id) = self.tree.child(dir, name)
            && let Kind::Directory(names) = &self.tree.node(id).kind
            && !names.is_empty()
        {
            return Err(format!("a {what} in the place of a directory that is not empty"));
        }
        self.tree.remove(dir, name);
        Ok(())
    }

    /// The directory of this path, made when it is not there.
    fn directory(&mut self, parts: &[&[u8]]) -> Result<NodeId, String> {
        let mut dir = NodeId::ROOT;
        for (i, name) in parts.iter().enumerate() {
            let next = if let Some(next) = self.tree.child(dir, name) {
                next
            } else {
                let kind = Kind::Directory(BTreeMap::new());
                let node = Node { attributes: implied(), kind };
                self.tree.add(dir, name, node).map_err(|err| err.to_string())?
            };
            match &self.tree.node(next).kind {
                Kind::Directory(_) => dir = next,
                other => {
                    let path = shown(parts.get(..=i).unwrap_or_default());
                    return Err(format!("its parent {path} is a {}", other.name()));
                }
            }
        }
        Ok(dir)
    }
}

/// What a directory has that only the paths of others tell of.
fn implied() -> Attributes {
    Attributes { perms: 0o755, ..Attributes::default() }
}

fn shown(path: &[&[u8]]) -> String {
    path.join(&b'/').escape_ascii().to_string()
}
