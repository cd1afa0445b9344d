//! Blocks of inode tables that were overwritten by something else.

use super::{checksum_is_bad, tree, world::World};
use crate::Result;
use ext4_ondisk::inode::{FileType, InodeFlags, RawInode};
use ext4_units::{BlockNr, InodeNr};
use std::collections::BTreeSet;

/// The blocks of these inodes that are garbage: more than half of the inodes in them make no sense
/// (`check_inode_block_sanity`).
pub(super) fn find(world: &World<'_>, suspects: &[InodeNr]) -> Result<BTreeSet<BlockNr>> {
    let mut garbage = BTreeSet::new();
    let mut last = None;
    let per_block = world.geo.inodes_per_block();
    for ino in suspects {
        let Some(blk) = world.inode_block(*ino).filter(|_| per_block >= 2) else { continue };
        if last == Some(blk) {
            continue;
        }
        last = Some(blk);
        let block = world.image.read(blk)?;
        let first = ino.get() - (ino.get() - 1) % world.geo.inodes_per_group % per_block;
        let inodes = (first..).zip(block.chunks_exact(world.format.inode_size()));
        let bad = inodes.filter(|(nr, bytes)| {
            let has_bad_checksum =
                InodeNr::new(*nr).is_some_and(|ino| checksum_is_bad(world, ino, bytes));
            has_bad_checksum || is_insane(world, bytes)
        });
        if bad.count() > per_block as usize / 2 {
            garbage.insert(blk);
        }
    }
    Ok(garbage)
}

/// Whether `i_block` is nothing of what the flags say, or most numbers in it are none.
fn is_insane(world: &World<'_>, bytes: &[u8]) -> bool {
    let raw = RawInode::read(bytes);
    let flags = InodeFlags::from_bits_retain(raw.i_flags.get());
    if flags.contains(InodeFlags::EXTENTS) {
        return tree::header(&raw.i_block).is_err();
    }
    let kind = FileType::of_mode(raw.i_mode.get());
    if flags.contains(InodeFlags::INLINE_DATA)
        || !matches!(kind, FileType::Regular | FileType::Directory | FileType::Symlink)
        || kind == FileType::Symlink && raw.i_size_lo.get() <= 60
        || raw.i_links_count.get() == 0
    {
        return false;
    }
    let words = raw.i_block.chunks_exact(4).filter_map(|it| it.try_into().ok());
    let bad = words
        .map(u32::from_le_bytes)
        .filter(|it| *it != 0 && !world.geo.contains(BlockNr((*it).into())));
    bad.count() > 7
}
