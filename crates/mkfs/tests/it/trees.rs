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

fn acl(entries: &[(u16, u16, u32)]) -> Vec<u8> {
    let mut bytes = 2_u32.to_le_bytes().to_vec();
    for (tag, perms, id) in entries {
        bytes.extend_from_slice(&tag.to_le_bytes());
        bytes.extend_from_slice(&perms.to_le_bytes());
        bytes.extend_from_slice(&id.to_le_bytes());
    }
    bytes
}

/// Attributes of all kinds: in inodes, in blocks that files share, more of them than one block can
/// count, and large ones if they may be.
pub(crate) fn attributed(has_large: bool) -> Tree {
    let mut tree = root();
    let access = acl(&[
        (0x01, 6, u32::MAX),
        (0x02, 4, 1234),
        (0x04, 4, u32::MAX),
        (0x10, 4, u32::MAX),
        (0x20, 4, u32::MAX),
    ]);
    let with = |mut node: Node, xattrs: &[(&str, &[u8])]| {
        let own = |&(name, value): &(&str, &[u8])| (name.as_bytes().into(), value.into());
        node.attributes.xattrs = xattrs.iter().map(own).collect();
        node
    };
    let label: &[u8] = b"system_u:object_r:usr_t:s0\0";
    tree.node_mut(NodeId::ROOT).attributes.xattrs =
        with(directory(), &[("user.root", &[7; 300]), ("security.selinux", label)])
            .attributes
            .xattrs;
    let mut add =
        |dir: NodeId, name: &str, node: Node| tree.add(dir, name.as_bytes(), node).unwrap();
    let lost = with(directory(), &[("security.selinux", label)]);
    let lost = add(NodeId::ROOT, "lost+found", lost);
    add(lost, "kept", with(file(20), &[("user.x", b"")]));
    let dir = with(
        directory(),
        &[("system.posix_acl_default", &access), ("system.posix_acl_access", &access)],
    );
    let dir = add(NodeId::ROOT, "dir", dir);
    for nr in 0..2100 {
        let big = if nr % 2 == 0 { [1; 400] } else { [2; 400] };
        let set: &[(&str, &[u8])] =
            &[("security.selinux", label), ("user.big", &big), ("user.empty", b"")];
        let len = if nr % 10 == 0 { nr % 150 } else { 0 };
        add(dir, &format!("{nr}"), with(file(len), set));
    }
    add(dir, "link", with(symlink(b"x"), &[("security.selinux", label), ("trusted.t", b"1")]));
    add(dir, "long link", with(symlink(&[b'y'; 200]), &[("security.selinux", label)]));
    if has_large {
        let large = vec![9; 30_000];
        add(dir, "large1", with(file(1), &[("user.large", &large), ("user.more", &[1; 700])]));
        add(dir, "large2", with(directory(), &[("user.large", &large)]));
        add(dir, "large3", with(file(3), &[("user.large", &vec![8; 65_536])]));
    }
    tree
}
