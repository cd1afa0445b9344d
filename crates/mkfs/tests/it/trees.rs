//! Trees to put into filesystems.

use ext4_tree::{Attributes, Contents, Kind, Node, NodeId, Origin, Time, Tree};
use std::ops::Range;

pub(crate) fn attributes() -> Attributes {
    Attributes {
        perms: 0o644,
        uid: 1000,
        gid: 100_000,
        mtime: Time { sec: 1_700_000_000, nsec: 123_456_789 },
        ..Attributes::default()
    }
}

pub(crate) fn node(kind: Kind) -> Node {
    Node { attributes: attributes(), kind }
}

pub(crate) fn directory() -> Node {
    let kind = Tree::new(Attributes::default()).node(NodeId::ROOT).kind.clone();
    Node { attributes: Attributes { perms: 0o755, ..attributes() }, kind }
}

pub(crate) fn file(len: usize) -> Node {
    node(Kind::Regular(Contents::bytes(vec![b'x'; len])))
}

/// A file of `size` bytes of which only these are data.
pub(crate) fn sparse(size: u64, data: &[Range<u64>]) -> Node {
    let len: u64 = data.iter().map(|it| it.end - it.start).sum();
    let bytes = vec![b'y'; usize::try_from(len).unwrap()];
    let origin = Origin::Bytes(bytes.into());
    node(Kind::Regular(Contents { size, data: data.to_vec(), origin }))
}

pub(crate) fn symlink(target: &[u8]) -> Node {
    node(Kind::Symlink(target.into()))
}

pub(crate) fn root() -> Tree {
    Tree::new(Attributes { perms: 0o755, ..attributes() })
}

/// A bit of everything.
pub(crate) fn mixed() -> Tree {
    let mut tree = root();
    let mut add =
        |dir: NodeId, name: &str, node: Node| tree.add(dir, name.as_bytes(), node).unwrap();
    let etc = add(NodeId::ROOT, "etc", directory());
    add(NodeId::ROOT, "empty", file(0));
    add(NodeId::ROOT, "small", file(5));
    let large = add(NodeId::ROOT, "large", file(700_000));
    add(etc, "passwd", file(3000));
    add(etc, "fast", symlink(&[b'a'; 59]));
    add(etc, "slow", symlink(&[b'a'; 60]));
    add(etc, "longest", symlink(&[b'a'; 1023]));
    add(etc, "holes", sparse(1 << 30, &[0..1, 5000..70_000, 600_000_000..600_010_000]));
    add(etc, "hole", sparse(12345, &[]));
    let dev = add(NodeId::ROOT, "dev", directory());
    add(dev, "null", node(Kind::CharDevice { major: 1, minor: 3 }));
    add(dev, "many", node(Kind::BlockDevice { major: 259, minor: 70_000 }));
    add(dev, "fifo", node(Kind::Fifo));
    add(dev, "socket", node(Kind::Socket));
    let mut at = NodeId::ROOT;
    for nr in 0..40 {
        at = add(at, &format!("deep{nr}"), directory());
    }
    add(at, "end", file(1));
    let many = add(NodeId::ROOT, "many", directory());
    for nr in 0..600 {
        add(many, &format!("file with a name that is not short {nr}"), file(nr * 7));
    }
    tree.link(etc, b"hard", large).unwrap();
    tree.link(NodeId::ROOT, b"zz", large).unwrap();
    tree
}

/// A file with pieces that many blocks apart, so many that its map needs blocks of its own.
pub(crate) fn pieces() -> Tree {
    let mut tree = root();
    let data: Vec<_> = (0..600).map(|nr| nr * 150_000..nr * 150_000 + 100).collect();
    tree.add(NodeId::ROOT, b"pieces", sparse(200_000_000, &data)).unwrap();
    tree.add(NodeId::ROOT, b"whole", file(3_000_000)).unwrap();
    tree
}

/// Directories of so many names that their index has two levels, and of so many subdirectories that
/// a link count does not hold them.
pub(crate) fn crowded() -> Tree {
    let mut tree = root();
    let files = tree.add(NodeId::ROOT, b"files", directory()).unwrap();
    for nr in 0..12_000 {
        let name = format!("{nr:0>100}");
        tree.add(files, name.as_bytes(), file(0)).unwrap();
    }
    let directories = tree.add(NodeId::ROOT, b"directories", directory()).unwrap();
    for nr in 0..65_000 {
        tree.add(directories, format!("{nr}").as_bytes(), directory()).unwrap();
    }
    tree
}
