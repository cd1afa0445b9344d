//! Allocating and freeing inode numbers.

use super::group::inode_bitmap;
use crate::{Error, Filesystem, Handle, Result};
use ext4_jbd2::MetaRead;
use ext4_ondisk::{
    bitmap,
    group_desc::{GroupDesc, GroupFlags},
};
use ext4_units::{GroupNr, InodeNr};

/// Takes a free inode and marks it used: near its parent for files, in the emptiest group around
/// for directories (after `find_group_orlov` and `find_group_other`).
///
/// The inode's bytes are not touched: the caller writes all of them in the same handle.
pub(crate) fn allocate_inode(h: &mut Handle<'_>, parent: InodeNr, is_dir: bool) -> Result<InodeNr> {
    let geo = h.fs().geometry();
    let home = geo.inode_place(parent).map_or(GroupNr(0), |place| place.group);
    let first = if is_dir { group_for_dir(h, home)? } else { home };
    for step in 0..geo.groups_count {
        let gi = GroupNr((first.0 + step) % geo.groups_count);
        if h.group(gi)?.free_inodes == 0 {
            continue;
        }
        let bits = inode_bitmap(h.fs(), h, gi)?;
        let reserved = if gi.0 == 0 { geo.first_ino - 1 } else { 0 };
        let Some(bit) = bitmap::next_clear(&bits, reserved, geo.inodes_per_group) else {
            // The count promises an inode that the bitmap does not have; the next group may.
            continue;
        };
        let Some(ino) = geo.inode_at(gi, bit) else { continue };
        take(h, gi, bit, is_dir)?;
        return Ok(ino);
    }
    Err(Error::NoSpace { what: "inodes" })
}

/// Marks `ino` used if it is not: a fast commit brings inodes that the bitmap does not know
/// (`ext4_mark_inode_used`). Returns whether it was free.
pub(crate) fn claim_inode(h: &mut Handle<'_>, ino: InodeNr, is_dir: bool) -> Result<bool> {
    let (gi, bit) = place_of(h.fs(), ino)?;
    if bitmap::is_set(&inode_bitmap(h.fs(), h, gi)?, bit) {
        return Ok(false);
    }
    take(h, gi, bit, is_dir)?;
    Ok(true)
}

/// Whether the inode bitmap has `ino` as used.
pub(crate) fn is_inode_in_use(fs: &Filesystem, meta: &dyn MetaRead, ino: InodeNr) -> Result<bool> {
    let (gi, bit) = place_of(fs, ino)?;
    Ok(bitmap::is_set(&inode_bitmap(fs, meta, gi)?, bit))
}

/// Gives `ino` back (`ext4_free_inode`). The caller has written its last contents.
pub(crate) fn free_inode(h: &mut Handle<'_>, ino: InodeNr, is_dir: bool) -> Result<()> {
    let (gi, bit) = place_of(h.fs(), ino)?;
    let mut bits = inode_bitmap(h.fs(), h, gi)?.to_vec();
    if !bitmap::is_set(&bits, bit) {
        let fault = format!("inode {ino} is free already, expected in use");
        return Err(Error::corrupt(format!("inode bitmap of group {gi}"), fault));
    }
    bitmap::clear_range(&mut bits, bit, bit + 1);
    let mut desc = h.group(gi)?;
    desc.free_inodes = desc.free_inodes.saturating_add(1);
    if is_dir {
        desc.used_dirs = desc.used_dirs.saturating_sub(1);
    }
    h.count_free_inodes(1);
    store(h, gi, desc, bits)
}

fn take(h: &mut Handle<'_>, gi: GroupNr, bit: u32, is_dir: bool) -> Result<()> {
    let per_group = h.fs().geometry().inodes_per_group;
    let mut bits = inode_bitmap(h.fs(), h, gi)?.to_vec();
    bitmap::set_range(&mut bits, bit, bit + 1);
    let mut desc = h.group(gi)?;
    let wrong = || Error::corrupt(format!("group {gi} descriptor"), "free inodes count is wrong");
    desc.free_inodes = desc.free_inodes.checked_sub(1).ok_or_else(wrong)?;
    if is_dir {
        desc.used_dirs = desc.used_dirs.saturating_add(1);
    }
    if h.fs().superblock().features.has_group_desc_csum() {
        // Inodes from `inodes_per_group - itable_unused` on were never written; the border moves
        // behind the one taken now.
        let unused = if desc.flags.contains(GroupFlags::INODE_UNINIT) {
            per_group
        } else {
            desc.itable_unused
        };
        desc.itable_unused = unused.min(per_group - (bit + 1));
        desc.flags.remove(GroupFlags::INODE_UNINIT);
        if desc.flags.contains(GroupFlags::BLOCK_UNINIT) {
            // The kernel initialises the block bitmap with the first inode as well
            // (`__ext4_new_inode`): a group with inodes in use must not say BLOCK_UNINIT.
            let blocks = super::group::block_bitmap(h.fs(), h, gi, &desc)?;
            desc.flags.remove(GroupFlags::BLOCK_UNINIT);
            if let Some(seed) = h.fs().superblock().metadata_csum() {
                let n_bits = h.fs().geometry().clusters_per_group;
                desc.block_bitmap_csum = bitmap::checksum(seed, &blocks, n_bits);
            }
            h.write(desc.block_bitmap, blocks.to_vec())?;
        }
    }
    h.count_free_inodes(-1);
    store(h, gi, desc, bits)
}

fn store(h: &mut Handle<'_>, gi: GroupNr, mut desc: GroupDesc, bits: Vec<u8>) -> Result<()> {
    if let Some(seed) = h.fs().superblock().metadata_csum() {
        desc.inode_bitmap_csum = bitmap::checksum(seed, &bits, h.fs().geometry().inodes_per_group);
    }
    h.write(desc.inode_bitmap, bits)?;
    h.put_group(gi, &desc)
}

/// For a new directory the group with most free inodes among those with free blocks, looking from
/// the parent's on; a tie goes to the nearest.
fn group_for_dir(h: &Handle<'_>, home: GroupNr) -> Result<GroupNr> {
    const LOOK_AT: u32 = 256;
    let n_groups = h.fs().geometry().groups_count;
    let mut best = (home, 0);
    for step in 0..n_groups.min(LOOK_AT) {
        let gi = GroupNr((home.0 + step) % n_groups);
        let desc = h.group(gi)?;
        if desc.free_clusters > 0 && desc.free_inodes > best.1 {
            best = (gi, desc.free_inodes);
        }
    }
    Ok(best.0)
}

fn place_of(fs: &Filesystem, ino: InodeNr) -> Result<(GroupNr, u32)> {
    let geo = fs.geometry();
    let place = geo.inode_place(ino).ok_or_else(|| {
        Error::corrupt(format!("inode {ino}"), format!("expected at most {}", geo.inodes_count))
    })?;
    Ok((place.group, place.index))
}
