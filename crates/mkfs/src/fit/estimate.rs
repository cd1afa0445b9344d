//! How large a filesystem surely has room for a tree: the one its files are measured in.

use crate::options::Options;
use ext4_tree::{Kind, Node};
use ext4_units::BlockSize;

/// Bytes of metadata that any filesystem has, by far.
const FRAME: u64 = 64 << 20;
/// Longer targets are not inside the inode.
const FAST_SYMLINK: usize = 60;

/// Bytes of a filesystem with more than enough room.
pub(super) fn estimate(options: &Options, block_size: BlockSize) -> u64 {
    let block = u64::from(block_size.bytes());
    // One cluster for anything that takes a block.
    let cluster = u64::from(options.cluster_size.unwrap_or(block_size.bytes() * 16)).max(block);
    let least = if options.features.is_empty() { block } else { cluster };
    let inode = u64::from(options.inode_size.unwrap_or(256)).max(128);
    let nodes = options.tree.iter().flat_map(|it| it.nodes());
    let files: u64 =
        nodes.map(|node| size_of(node, least).saturating_add(inode)).fold(0, u64::saturating_add);
    let journal = u64::from(options.journal.mib.unwrap_or(0)) << 20;
    let inodes = u64::from(options.inodes.unwrap_or(0)).saturating_mul(inode);
    let sum = [files, files / 8, journal.saturating_mul(3), inodes.saturating_mul(2), FRAME];
    let sum = sum.into_iter().fold(0, u64::saturating_add);
    sum.min(super::stretches::LARGEST) / cluster * cluster
}

/// Bytes of the blocks one file takes, rather more.
fn size_of(node: &Node, least: u64) -> u64 {
    let up = |bytes: u64| bytes.div_ceil(least).saturating_add(1).saturating_mul(least);
    let contents = match &node.kind {
        Kind::Directory(names) => {
            let entries: u64 = names.keys().map(|name| name.len() as u64 + 12).sum();
            // Leaves are not filled up, and have nodes above them.
            up(entries.saturating_mul(2)).saturating_add(2 * least)
        }
        Kind::Regular(contents) => {
            let parts = contents.data.iter().map(|part| up(part.end.saturating_sub(part.start)));
            let data = parts.fold(0, u64::saturating_add);
            // One node of a map for a few parts each, or for a quarter of a block's blocks.
            let nodes = contents.data.len() as u64 / 8 + data / least / 128;
            data.saturating_add(nodes.saturating_mul(least))
        }
        Kind::Symlink(target) if target.len() < FAST_SYMLINK => 0,
        Kind::Symlink(target) => up(target.len() as u64),
        _ => 0,
    };
    let xattrs = &node.attributes.xattrs;
    let values = xattrs.iter().map(|(name, value)| {
        let len = (name.len() + value.len()) as u64 + 32;
        if len > 1024 { up(len) } else { len }
    });
    let xattrs = match values.fold(0, u64::saturating_add) {
        0 => 0,
        bytes => up(bytes),
    };
    contents.saturating_add(xattrs)
}
