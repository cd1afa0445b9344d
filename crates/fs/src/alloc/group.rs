//! A group's bitmaps as they count: verified, and built where the group says they were never
//! written; and hints that spare reading bitmaps.

use crate::{Error, Filesystem, Result};
use ext4_jbd2::{Block, MetaRead};
use ext4_ondisk::{Corrupt, bitmap, group_desc::GroupDesc};
use ext4_units::{BlockNr, GroupNr};
use std::{
    collections::{BTreeMap, HashMap},
    sync::{Mutex, MutexGuard, PoisonError, RwLock},
};

/// For each group an upper bound of its longest free run: groups that cannot help are not read.
#[derive(Debug)]
pub(crate) struct GroupHints {
    longest_run: Mutex<Vec<u32>>,
    /// Where inode tables begin, as far as anybody has asked.
    inode_tables: RwLock<BTreeMap<GroupNr, BlockNr>>,
    /// Block bitmaps that were verified, by the very memory they lie in, which nobody can change as
    /// long as it is held here; and the checksum they had.
    verified: Mutex<HashMap<GroupNr, (Block, u32)>>,
}

/// How many bitmaps are held.
const MAX_VERIFIED: usize = 256;

impl GroupHints {
    /// Nothing known: every group may be empty.
    pub(crate) fn new(n_groups: u32) -> Self {
        Self {
            longest_run: Mutex::new(vec![u32::MAX; n_groups as usize]),
            inode_tables: RwLock::default(),
            verified: Mutex::default(),
        }
    }

    /// At most this many clusters in a row are free in `gi`.
    pub(crate) fn longest_run(&self, gi: GroupNr) -> u32 {
        let hints = self.longest_run.lock().unwrap_or_else(PoisonError::into_inner);
        hints.get(gi.0 as usize).copied().unwrap_or(0)
    }

    pub(crate) fn inode_table(&self, gi: GroupNr) -> Option<BlockNr> {
        self.inode_tables.read().unwrap_or_else(PoisonError::into_inner).get(&gi).copied()
    }

    pub(crate) fn set_inode_table(&self, gi: GroupNr, table: BlockNr) {
        self.inode_tables.write().unwrap_or_else(PoisonError::into_inner).insert(gi, table);
    }

    fn verified(&self) -> MutexGuard<'_, HashMap<GroupNr, (Block, u32)>> {
        self.verified.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether this is the block bitmap of `gi` that was verified last, and with this checksum.
    fn is_verified(&self, gi: GroupNr, bits: &Block, csum: u32) -> bool {
        self.verified().get(&gi).is_some_and(|(it, sum)| Block::ptr_eq(it, bits) && *sum == csum)
    }

    /// Remembers a block bitmap that need not be verified again.
    pub(crate) fn set_verified(&self, gi: GroupNr, bits: Block, csum: u32) {
        let mut verified = self.verified();
        if verified.len() >= MAX_VERIFIED {
            verified.clear();
        }
        verified.insert(gi, (bits, csum));
    }

    /// What a complete search found, or `u32::MAX` when something was freed.
    pub(crate) fn set_longest_run(&self, gi: GroupNr, run: u32) {
        let mut hints = self.longest_run.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(hint) = hints.get_mut(gi.0 as usize) {
            *hint = run;
        }
    }
}

/// The block bitmap of `gi`: verified when it is on disk, built from the geometry when the group
/// is BLOCK_UNINIT (`ext4_read_block_bitmap_nowait`, `ext4_init_block_bitmap`).
pub(crate) fn block_bitmap(
    fs: &Filesystem,
    meta: &dyn MetaRead,
    gi: GroupNr,
    desc: &GroupDesc,
) -> Result<Block> {
    let geo = fs.geometry();
    if desc.has_uninit_block_bitmap(fs.superblock()) {
        let mut bits = vec![0; geo.block_size.len()];
        let group = geo.group_blocks(gi);
        for zone in fs.zones().within(group) {
            let from = zone.start.max(group.start).0 - group.start.0;
            let to = zone.end().min(group.end()).0 - group.start.0;
            let cluster =
                |blk: u64| u32::try_from(blk >> geo.cluster_ratio_bits).unwrap_or(u32::MAX);
            bitmap::set_range(&mut bits, cluster(from), cluster(to - 1).saturating_add(1));
        }
        bitmap::set_range(&mut bits, geo.group_clusters(gi), geo.block_size.bytes() * 8);
        return Ok(bits.into());
    }
    let bits = meta.read(desc.block_bitmap)?;
    if fs.hints().is_verified(gi, &bits, desc.block_bitmap_csum) {
        return Ok(bits);
    }
    if let Some(seed) = fs.superblock().metadata_csum() {
        let sum = bitmap::checksum(seed, &bits, geo.clusters_per_group);
        verify(
            format!("block bitmap of group {gi}"),
            desc.block_bitmap_csum,
            sum,
            fs.desc_format().block_bitmap_csum_mask(),
        )?;
    }
    // `ext4_validate_block_bitmap`: what lies behind a short last group is in use.
    let padding = (geo.group_clusters(gi), geo.clusters_per_group);
    if !bitmap::all_are(&bits, padding.0, padding.1, true) {
        let fault =
            format!("free blocks behind the group's last block {}", geo.group_blocks(gi).start);
        return Err(Error::corrupt(format!("block bitmap of group {gi}"), fault));
    }
    fs.hints().set_verified(gi, Block::clone(&bits), desc.block_bitmap_csum);
    Ok(bits)
}

/// The inode bitmap of `gi`: verified when it is on disk, empty when the group is INODE_UNINIT
/// (`ext4_read_inode_bitmap`).
pub(crate) fn inode_bitmap(fs: &Filesystem, meta: &dyn MetaRead, gi: GroupNr) -> Result<Block> {
    let desc = fs.group(meta, gi)?;
    let geo = fs.geometry();
    if desc.has_uninit_inode_bitmap(fs.superblock()) {
        let mut bits = vec![0; geo.block_size.len()];
        bitmap::set_range(&mut bits, geo.inodes_per_group, geo.block_size.bytes() * 8);
        return Ok(bits.into());
    }
    let bits = meta.read(desc.inode_bitmap)?;
    if let Some(seed) = fs.superblock().metadata_csum() {
        let sum = bitmap::checksum(seed, &bits, geo.inodes_per_group);
        verify(
            format!("inode bitmap of group {gi}"),
            desc.inode_bitmap_csum,
            sum,
            fs.desc_format().inode_bitmap_csum_mask(),
        )?;
    }
    Ok(bits)
}

/// Descriptors of 32 bytes keep only the low half of a bitmap's checksum.
fn verify(place: String, found: u32, expected: u32, mask: u32) -> Result<()> {
    if found & mask != expected & mask {
        return Err(Corrupt::checksum(place, found & mask, expected & mask).into());
    }
    Ok(())
}
