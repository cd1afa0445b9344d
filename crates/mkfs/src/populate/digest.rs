//! What a tree is, as bytes for a hash: names, kinds, owners, times and attributes; not contents,
//! which are read when they are written, and not where they come from.

use super::Order;
use ext4_tree::{Kind, Tree};
use sha2::{Digest as _, Sha256};

/// The hash of all of a tree but contents.
pub(super) fn digest(tree: &Tree, order: &Order) -> [u8; 32] {
    let mut hash = Sha256::new();
    feed(tree, order, &mut hash);
    hash.finalize().into()
}

fn feed(tree: &Tree, order: &Order, to: &mut Sha256) {
    let bytes = |to: &mut Sha256, bytes: &[u8]| {
        to.update((bytes.len() as u64).to_le_bytes());
        to.update(bytes);
    };
    for dir in &order.directories {
        for (name, node) in tree.names(dir.node) {
            bytes(to, name);
            to.update(order.place(node).unwrap_or(u32::MAX).to_le_bytes());
        }
        // No name is empty.
        bytes(to, b"");
    }
    for node in order.fixed().chain(order.files.iter().copied()) {
        let node = tree.node(node);
        let it = &node.attributes;
        to.update(it.perms.to_le_bytes());
        to.update(it.uid.to_le_bytes());
        to.update(it.gid.to_le_bytes());
        to.update(it.mtime.sec.to_le_bytes());
        to.update(it.mtime.nsec.to_le_bytes());
        for (name, value) in &it.xattrs {
            bytes(to, name);
            bytes(to, value);
        }
        bytes(to, b"");
        bytes(to, node.kind.name().as_bytes());
        match &node.kind {
            Kind::Directory(_) | Kind::Fifo | Kind::Socket => {}
            Kind::Regular(contents) => to.update(contents.size.to_le_bytes()),
            Kind::Symlink(target) => bytes(to, target),
            Kind::CharDevice { major, minor } | Kind::BlockDevice { major, minor } => {
                to.update(major.to_le_bytes());
                to.update(minor.to_le_bytes());
            }
        }
    }
}
