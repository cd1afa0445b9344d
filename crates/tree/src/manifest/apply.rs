//! From an entry to the tree: what is there is changed, what is not is made.

use super::{
    Entry,
    keywords::{Keywords, Type},
};
use crate::{Attributes, Contents, Error, Kind, Node, NodeId, Time, Tree, acl};
use std::{collections::BTreeMap, path::Path};

type Res<T> = Result<T, String>;

/// Carries out one entry.
pub(super) fn apply(entry: &Entry, tree: &mut Tree, folder: &Path, time: Time) -> Res<()> {
    let path = entry.path.to_string();
    let named = |why: String| format!("{path}: {why}");
    let Some(names) = entry.path.names() else {
        return to_many(entry, tree, folder).map_err(named);
    };
    let keywords = &entry.keywords;
    let found = tree.find(&names);
    let done = match found {
        _ if keywords.remove => match (found, names.split_last()) {
            (_, None) => Err("the root cannot be removed".to_owned()),
            (None, _) if !keywords.optional => Err("nothing is there to remove".to_owned()),
            (_, Some((name, above))) => {
                if let Some(dir) = tree.find(above) {
                    tree.remove(dir, name);
                }
                Ok(())
            }
        },
        Some(id) => change(tree, id, keywords, folder),
        None if keywords.optional => Ok(()),
        None if keywords.nochange => Err("nothing is there, expected it (nochange)".to_owned()),
        None => make(tree, &names, keywords, folder, time),
    };
    done.map_err(named)
}

/// Carries out an entry with a pattern; of what it matches, only what is of the type that is given.
fn to_many(entry: &Entry, tree: &mut Tree, folder: &Path) -> Res<()> {
    let keywords = &entry.keywords;
    let one = [
        ("contents", keywords.contents.is_some()),
        ("hardlink", keywords.hardlink.is_some()),
        ("link", keywords.link.is_some()),
        ("device", keywords.device.is_some()),
    ];
    if let Some((word, _)) = one.iter().find(|it| it.1) {
        return Err(format!("{word}= with a pattern, expected a path"));
    }
    let mut places: Vec<_> = entry.path.find(tree).into_iter().collect();
    places.retain(|(dir, name)| {
        let kind = tree.child(*dir, name).map(|id| type_of(&tree.node(id).kind));
        keywords.kind.is_none() || kind == keywords.kind
    });
    if places.is_empty() && !keywords.optional {
        return Err("nothing of that pattern is there".to_owned());
    }
    for (dir, name) in places {
        if keywords.remove {
            tree.remove(dir, &name);
        } else if let Some(id) = tree.child(dir, &name) {
            let changed = change(tree, id, keywords, folder);
            changed.map_err(|why| format!("{}: {why}", name.escape_ascii()))?;
        }
    }
    Ok(())
}

fn change(tree: &mut Tree, id: NodeId, keywords: &Keywords, folder: &Path) -> Res<()> {
    if keywords.nochange {
        return Ok(());
    }
    if let Some(target) = &keywords.hardlink
        && target.names().and_then(|it| tree.find(&it)) != Some(id)
    {
        return Err(format!("there already, and not the same file as hardlink={target}"));
    }
    let node = tree.node_mut(id);
    if let Some(kind) = keywords.kind
        && kind != type_of(&node.kind)
    {
        return Err(format!("found a {}, expected type={}", node.kind.name(), kind.name()));
    }
    let misplaced = |word: &str, kind: &Kind| Err(format!("{word}= on a {}", kind.name()));
    if let Some(target) = &keywords.link {
        match &mut node.kind {
            Kind::Symlink(it) => it.clone_from(target),
            other => return misplaced("link", other),
        }
    }
    if let Some(device) = keywords.device {
        match &mut node.kind {
            Kind::CharDevice { major, minor } | Kind::BlockDevice { major, minor } => {
                (*major, *minor) = device;
            }
            other => return misplaced("device", other),
        }
    }
    if let Some(path) = &keywords.contents {
        match &mut node.kind {
            Kind::Regular(contents) => *contents = of_host(&folder.join(path))?,
            other => return misplaced("contents", other),
        }
    }
    attributes(node, keywords)
}

fn make(
    tree: &mut Tree,
    names: &[&[u8]],
    keywords: &Keywords,
    folder: &Path,
    time: Time,
) -> Res<()> {
    let Some((name, above)) = names.split_last() else {
        return Err("the root is always there".to_owned());
    };
    let said = |err: Error| match err {
        Error::Conflict { why, .. } | Error::Name { why, .. } => why,
        other => other.to_string(),
    };
    if let Some(target) = &keywords.hardlink {
        let Some(id) = target.names().and_then(|it| tree.find(&it)) else {
            return Err(format!("no hardlink={target} is there"));
        };
        let dir = directory(tree, above, time)?;
        tree.link(dir, name, id).map_err(said)?;
        return change(tree, id, keywords, folder);
    }
    let mut node = new(keywords, folder, time)?;
    attributes(&mut node, keywords)?;
    let dir = directory(tree, above, time)?;
    tree.add(dir, name, node).map_err(said)?;
    Ok(())
}

/// The directory of these names; those that are not there are made, as tar(1) does.
fn directory(tree: &mut Tree, names: &[&[u8]], time: Time) -> Res<NodeId> {
    let mut dir = NodeId::ROOT;
    for (i, name) in names.iter().enumerate() {
        let child = tree.child(dir, name);
        if let Some(child) = child
            && !matches!(tree.node(child).kind, Kind::Directory(_))
        {
            let path: Vec<_> = names[..=i].iter().map(|it| it.escape_ascii().to_string()).collect();
            return Err(format!("{} is a {}", path.join("/"), tree.node(child).kind.name()));
        }
        let attributes = Attributes { perms: 0o755, mtime: time, ..Attributes::default() };
        let new = Node { attributes, kind: Kind::Directory(BTreeMap::new()) };
        dir = match child {
            Some(child) => child,
            None => tree.add(dir, name, new).map_err(|err| err.to_string())?,
        };
    }
    Ok(dir)
}

/// A file that was not there, with the permissions mknod(1) and friends would give it.
fn new(keywords: &Keywords, folder: &Path, time: Time) -> Res<Node> {
    let implied = if keywords.contents.is_some() {
        Some(Type::File)
    } else {
        keywords.link.as_ref().map(|_| Type::Link)
    };
    let Some(kind) = keywords.kind.or(implied) else {
        return Err("nothing is there, expected type= to make it".to_owned());
    };
    let without = |word: &str| format!("type={} without {word}=", kind.name());
    let misplaced = [
        ("contents", keywords.contents.is_some(), kind == Type::File),
        ("link", keywords.link.is_some(), kind == Type::Link),
        ("device", keywords.device.is_some(), matches!(kind, Type::Block | Type::Char)),
    ];
    if let Some((word, ..)) = misplaced.iter().find(|it| it.1 && !it.2) {
        return Err(format!("type={} with {word}=", kind.name()));
    }
    let (perms, kind) = match kind {
        Type::Directory => (0o755, Kind::Directory(BTreeMap::new())),
        Type::File => match (&keywords.contents, keywords.size) {
            (Some(path), _) => (0o644, Kind::Regular(of_host(&folder.join(path))?)),
            (None, None | Some(0)) => (0o644, Kind::Regular(Contents::bytes([]))),
            (None, Some(size)) => return Err(format!("size={size} without contents=")),
        },
        Type::Link => (0o777, Kind::Symlink(keywords.link.clone().ok_or_else(|| without("link"))?)),
        Type::Fifo => (0o644, Kind::Fifo),
        Type::Socket => (0o644, Kind::Socket),
        Type::Block | Type::Char => {
            let (major, minor) = keywords.device.ok_or_else(|| without("device"))?;
            let kind = match kind {
                Type::Block => Kind::BlockDevice { major, minor },
                _ => Kind::CharDevice { major, minor },
            };
            (0o644, kind)
        }
    };
    Ok(Node { attributes: Attributes { perms, mtime: time, ..Attributes::default() }, kind })
}

/// Owner, permissions, time and attributes, each where something is said of it.
fn attributes(node: &mut Node, keywords: &Keywords) -> Res<()> {
    if let (Kind::Regular(contents), Some(size)) = (&node.kind, keywords.size)
        && contents.size != size
    {
        return Err(format!("found {} bytes, expected size={size}", contents.size));
    }
    let kind = &node.kind;
    let users = matches!(kind, Kind::Regular(_) | Kind::Directory(_));
    if let Some(name) = keywords.xattrs.keys().find(|it| it.starts_with(b"user."))
        && !users
    {
        return Err(format!(
            "{} on a {}, which has no attributes of users",
            name.escape_ascii(),
            kind.name()
        ));
    }
    if keywords.default_acl.is_some() && !matches!(kind, Kind::Directory(_)) {
        return Err(format!("default-acl on a {}, expected a directory", kind.name()));
    }
    if keywords.acl.is_some() && matches!(kind, Kind::Symlink(_)) {
        return Err("acl on a symbolic link, which has none".to_owned());
    }
    let it = &mut node.attributes;
    if keywords.no_xattrs {
        it.xattrs.clear();
    }
    it.xattrs.extend(keywords.xattrs.iter().map(|(name, value)| (name.clone(), value.clone())));
    it.uid = keywords.uid.unwrap_or(it.uid);
    it.gid = keywords.gid.unwrap_or(it.gid);
    it.mtime = keywords.time.unwrap_or(it.mtime);
    // BSD keeps a mode for links, Linux always 777: it would come from a `/set` for everything.
    if let Some(mode) = keywords.mode
        && !matches!(node.kind, Kind::Symlink(_))
    {
        it.chmod(mode);
    }
    if let Some(acl) = &keywords.acl {
        it.set_acl(acl);
    }
    if let Some(acl) = &keywords.default_acl {
        it.xattrs.insert(acl::DEFAULT.into(), acl.to_xattr());
    }
    Ok(())
}

fn type_of(kind: &Kind) -> Type {
    match kind {
        Kind::Directory(_) => Type::Directory,
        Kind::Regular(_) => Type::File,
        Kind::Symlink(_) => Type::Link,
        Kind::Fifo => Type::Fifo,
        Kind::Socket => Type::Socket,
        Kind::CharDevice { .. } => Type::Char,
        Kind::BlockDevice { .. } => Type::Block,
    }
}

fn of_host(path: &Path) -> Res<Contents> {
    Contents::of_host(path).map_err(|err| format!("contents: {err}"))
}
