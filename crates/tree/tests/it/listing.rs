//! A tree, and a directory of the host, as lines of text that can be compared.

use ext4_tree::{Kind, NodeId, Tree};
use std::{
    collections::BTreeMap,
    ffi::OsStr,
    fs,
    hash::{DefaultHasher, Hash as _, Hasher as _},
    os::unix::{ffi::OsStrExt as _, fs::MetadataExt as _},
    path::Path,
};

/// One line for each path: what it is, whom it belongs to, when, and what is in it.
pub(crate) fn of_tree(tree: &Tree) -> Vec<String> {
    let mut lines = Vec::new();
    let mut first = BTreeMap::new();
    walk(tree, NodeId::ROOT, "", &mut first, &mut lines);
    lines
}

fn walk(
    tree: &Tree,
    id: NodeId,
    path: &str,
    first: &mut BTreeMap<NodeId, String>,
    lines: &mut Vec<String>,
) {
    let node = tree.node(id);
    let it = &node.attributes;
    let link = first.entry(id).or_insert_with(|| path.to_owned()).clone();
    let what = match &node.kind {
        Kind::Directory(_) => "dir".to_owned(),
        Kind::Regular(contents) => {
            let open = contents.open().expect("opens");
            let mut bytes = vec![0; usize::try_from(contents.size).expect("small")];
            for part in &contents.data {
                let at = usize::try_from(part.start).expect("small");
                let end = usize::try_from(part.end).expect("small");
                open.read_at(part.start, &mut bytes[at..end]).expect("reads");
            }
            format!("file {}", shown(&bytes))
        }
        Kind::Symlink(target) => format!("link {}", target.escape_ascii()),
        Kind::Fifo => "fifo".to_owned(),
        Kind::Socket => "socket".to_owned(),
        Kind::CharDevice { major, minor } => format!("char {major}:{minor}"),
        Kind::BlockDevice { major, minor } => format!("block {major}:{minor}"),
    };
    let time = (it.mtime.sec, it.mtime.nsec);
    lines.push(line(path, &what, u32::from(it.perms), (it.uid, it.gid), time, &link));
    for (name, child) in tree.names(id) {
        walk(tree, child, &format!("{path}/{}", name.escape_ascii()), first, lines);
    }
}

/// Extended attributes, a line for each.
pub(crate) fn attributes(tree: &Tree) -> Vec<String> {
    let mut lines = Vec::new();
    let mut todo = vec![(NodeId::ROOT, String::new())];
    while let Some((id, path)) = todo.pop() {
        for (name, value) in &tree.node(id).attributes.xattrs {
            let (name, value) = (name.escape_ascii(), value.escape_ascii());
            lines.push(format!("{path}/ {name}={value}"));
        }
        for (name, child) in tree.names(id) {
            todo.push((child, format!("{path}/{}", name.escape_ascii())));
        }
    }
    lines.sort();
    lines
}

/// The same for a directory of the host.
pub(crate) fn of_directory(root: &Path) -> Vec<String> {
    let mut lines = Vec::new();
    walk_host(root, "", &mut BTreeMap::new(), &mut lines);
    lines
}

fn walk_host(host: &Path, path: &str, first: &mut BTreeMap<u64, String>, lines: &mut Vec<String>) {
    let it = fs::symlink_metadata(host).expect("is there");
    let link = first.entry(it.ino()).or_insert_with(|| path.to_owned()).clone();
    let (major, minor) = (it.rdev() >> 8 & 0xFFF, it.rdev() & 0xFF | it.rdev() >> 12 & 0xFFF00);
    let what = match it.mode() & 0o170_000 {
        0o040_000 => "dir".to_owned(),
        0o100_000 => format!("file {}", shown(&fs::read(host).expect("reads"))),
        0o120_000 => {
            let target = fs::read_link(host).expect("reads");
            format!("link {}", target.as_os_str().as_bytes().escape_ascii())
        }
        0o010_000 => "fifo".to_owned(),
        0o140_000 => "socket".to_owned(),
        0o020_000 => format!("char {major}:{minor}"),
        _ => format!("block {major}:{minor}"),
    };
    let time = (it.mtime(), u32::try_from(it.mtime_nsec()).expect("below a second"));
    lines.push(line(path, &what, it.mode() & 0o7777, (it.uid(), it.gid()), time, &link));
    if !it.is_dir() {
        return;
    }
    let names = fs::read_dir(host).expect("reads").map(|it| it.expect("reads").file_name());
    let mut names: Vec<_> = names.collect();
    names.sort();
    for name in names {
        let below = format!("{path}/{}", OsStr::as_bytes(&name).escape_ascii());
        walk_host(&host.join(name), &below, first, lines);
    }
}

fn line(
    path: &str,
    what: &str,
    perms: u32,
    (uid, gid): (u32, u32),
    (sec, nsec): (i64, u32),
    link: &str,
) -> String {
    let path = if path.is_empty() { "/" } else { path };
    let link = if link == path || link.is_empty() { "" } else { link };
    format!("{path} {perms:o} {uid}:{gid} {sec}.{nsec:09} {what} {link}").trim_end().to_owned()
}

fn shown(bytes: &[u8]) -> String {
    if bytes.len() <= 32 {
        return format!("\"{}\"", bytes.escape_ascii());
    }
    let mut hasher = DefaultHasher::new();
    bytes.hash(&mut hasher);
    format!("{} bytes {:016x}", bytes.len(), hasher.finish())
}
