//! Fields of a superblock that follow from others, for one without copies: a small filesystem has
//! one group, and so none.

use crate::{
    Problem, Result,
    problem::pass0::{FIRST_DATA_BLOCK, FIRST_META_BG, GROUP_SIZE, INODES_COUNT, SUPERBLOCK_FIELD},
};
use ext4_blockdev::{BlockDevice, Overlay};
use ext4_ondisk::{
    features::{Incompat, RoCompat},
    inode::FileType,
    superblock::RawSuperblock,
};
use std::fmt;

/// A field to be made right.
pub(super) struct Mend {
    pub(super) problem: &'static Problem,
    pub(super) found: String,
    pub(super) expected: String,
    /// The superblock with that done.
    pub(super) raw: RawSuperblock,
}

/// Inodes before the first one that files may have.
const FIRST_INO: u32 = 11;

/// The next field that is wrong and can be worked out from the others.
pub(super) fn next(raw: &RawSuperblock, overlay: &Overlay) -> Result<Option<Mend>> {
    if raw.s_magic.get() != RawSuperblock::MAGIC {
        return Ok(magic(raw));
    }
    let log = raw.s_log_block_size.get();
    if log > 6 {
        return Ok(None);
    }
    if raw.s_rev_level.get() > 1 {
        return Ok(field("s_rev_level", raw.s_rev_level, 1, raw, |it| it.s_rev_level.set(1)));
    }
    let bytes = 1024u32 << log;
    let features = raw.features();
    if raw.s_rev_level.get() == 1 {
        let size = raw.s_inode_size.get();
        if !size.is_power_of_two() || size < 128 || u32::from(size) > bytes {
            let Some(right) = inode_size(raw, overlay, bytes)? else { return Ok(None) };
            return Ok(field("s_inode_size", size, right, raw, |it| it.s_inode_size.set(right)));
        }
        let first = raw.s_first_ino.get();
        if first < FIRST_INO {
            return Ok(field("s_first_ino", first, FIRST_INO, raw, |it| {
                it.s_first_ino.set(FIRST_INO);
            }));
        }
    }
    let size = raw.s_desc_size.get();
    if features.has_incompat(Incompat::BIT64)
        && (!size.is_power_of_two() || !(64..=1024).contains(&size))
    {
        return Ok(field("s_desc_size", size, 64, raw, |it| it.s_desc_size.set(64)));
    }
    if let Some(mend) = group_size(raw, bytes) {
        return Ok(Some(mend));
    }
    let has_large_clusters =
        features.has_ro_compat(RoCompat::BIGALLOC) && raw.s_log_cluster_size.get() > log;
    let first = u32::from(log == 0 && !has_large_clusters);
    if raw.s_first_data_block.get() != first {
        return Ok(mend(&FIRST_DATA_BLOCK, raw.s_first_data_block, first, raw, |it| {
            it.s_first_data_block.set(first);
        }));
    }
    Ok(counts(raw, overlay.len(), bytes))
}

/// How many inodes there would be, where that is more than a number of an inode can tell.
pub(super) fn too_many_inodes(raw: &RawSuperblock) -> Option<u64> {
    let is_one = raw.s_magic.get() == RawSuperblock::MAGIC;
    let blocks = blocks_count(raw).checked_sub(raw.s_first_data_block.get().into());
    let blocks = blocks.filter(|_| is_one)?;
    let per_group = u64::from(raw.s_blocks_per_group.get());
    let groups = blocks.checked_add(per_group.checked_sub(1)?)? / per_group;
    let inodes = groups.saturating_mul(raw.s_inodes_per_group.get().into());
    (inodes > u64::from(u32::MAX)).then_some(inodes)
}

/// Blocks of the filesystem; without 64bit the high half means nothing.
fn blocks_count(raw: &RawSuperblock) -> u64 {
    let is_64bit = raw.features().has_incompat(Incompat::BIT64);
    if is_64bit { raw.blocks_count() } else { raw.s_blocks_count_lo.get().into() }
}

/// Everything but the magic is right, which the checksum tells.
fn magic(raw: &RawSuperblock) -> Option<Mend> {
    let mut right = raw.clone();
    right.s_magic.set(RawSuperblock::MAGIC);
    let is_whole = right.has_checksum() && right.s_checksum.get() == right.checksum();
    if !is_whole {
        return None;
    }
    let found = format!("s_magic {:#06x}", raw.s_magic);
    let expected = format!("{:#06x}", RawSuperblock::MAGIC);
    Some(Mend { problem: &SUPERBLOCK_FIELD, found, expected, raw: right })
}

/// The size of inodes with which the root, the second one of the first table, is a directory.
fn inode_size(raw: &RawSuperblock, overlay: &Overlay, bytes: u32) -> Result<Option<u16>> {
    let first = u64::from(raw.s_log_block_size.get() == 0);
    let mut desc = [0; 12];
    let at = (first + 1) * u64::from(bytes);
    if at + 12 > overlay.len() {
        return Ok(None);
    }
    overlay.read_at(at, &mut desc)?;
    let table = u32::from_le_bytes([desc[8], desc[9], desc[10], desc[11]]);
    for size in [256, 128, 512, 1024, 2048, 4096u16] {
        let root = u64::from(table) * u64::from(bytes) + u64::from(size);
        let mut mode = [0; 2];
        if u32::from(size) <= bytes && table != 0 && root + 2 <= overlay.len() {
            overlay.read_at(root, &mut mode)?;
            if FileType::of_mode(u16::from_le_bytes(mode)) == FileType::Directory {
                return Ok(Some(size));
            }
        }
    }
    Ok(None)
}

/// Blocks and clusters per group.
fn group_size(raw: &RawSuperblock, bytes: u32) -> Option<Mend> {
    let is_legal = |n: u32| n > 0 && n <= bytes * 8 && n.is_multiple_of(8);
    let (blocks, clusters) = (raw.s_blocks_per_group.get(), raw.s_clusters_per_group.get());
    if !raw.features().has_ro_compat(RoCompat::BIGALLOC) {
        let right = if is_legal(clusters) { clusters } else { bytes * 8 };
        if is_legal(blocks) {
            return None;
        }
        let found = format!("{blocks} blocks per group");
        return mend(&GROUP_SIZE, found, right, raw, |it| it.s_blocks_per_group.set(right));
    }
    let ratio = raw.s_log_cluster_size.get().checked_sub(raw.s_log_block_size.get())?;
    let by_clusters = u64::from(clusters).checked_shl(ratio).filter(|_| ratio <= 20)?;
    if is_legal(clusters) && by_clusters == u64::from(blocks) {
        return None;
    }
    let by_blocks = blocks >> ratio;
    let found = format!("{blocks} blocks and {clusters} clusters per group");
    if is_legal(clusters) {
        let right = u32::try_from(by_clusters).ok()?;
        return mend(&GROUP_SIZE, found, format!("{right} blocks"), raw, |it| {
            it.s_blocks_per_group.set(right);
        });
    }
    if !is_legal(by_blocks) {
        return None;
    }
    mend(&GROUP_SIZE, found, format!("{by_blocks} clusters"), raw, |it| {
        it.s_clusters_per_group.set(by_blocks);
    })
}

/// Blocks, inodes and what follows from their number.
fn counts(raw: &RawSuperblock, len: u64, bytes: u32) -> Option<Mend> {
    let first = u64::from(raw.s_first_data_block.get());
    let blocks = blocks_count(raw);
    if blocks <= first {
        let right = len / u64::from(bytes);
        return (right > first)
            .then(|| field("s_blocks_count", blocks, right, raw, |it| it.set_blocks_count(right)))
            .flatten();
    }
    let groups = (blocks - first).div_ceil(raw.s_blocks_per_group.get().into());
    let inode_size = if raw.s_rev_level.get() == 0 { 128 } else { raw.s_inode_size.get() };
    let per_block = bytes / u32::from(inode_size);
    let per_group = raw.s_inodes_per_group.get();
    let inodes = raw.s_inodes_count.get();
    if per_group < per_block || per_group > bytes * 8 {
        let right = u64::from(inodes).checked_div(groups)?;
        let right = u32::try_from(right).ok()?;
        let is_legal = u64::from(right) * groups == u64::from(inodes)
            && (per_block..=bytes * 8).contains(&right);
        return is_legal
            .then(|| {
                field("s_inodes_per_group", per_group, right, raw, |it| {
                    it.s_inodes_per_group.set(right);
                })
            })
            .flatten();
    }
    let right = u64::from(per_group).checked_mul(groups)?;
    if right != u64::from(inodes) {
        let right = u32::try_from(right).ok()?;
        return mend(&INODES_COUNT, inodes, right, raw, |it| it.s_inodes_count.set(right));
    }
    let reserved = raw.s_reserved_gdt_blocks.get();
    if u32::from(reserved) > bytes / 4 {
        return field("s_reserved_gdt_blocks", reserved, 0, raw, |it| {
            it.s_reserved_gdt_blocks.set(0);
        });
    }
    let meta = raw.s_first_meta_bg.get();
    if raw.features().has_incompat(Incompat::META_BG) && meta != 0 {
        return mend(&FIRST_META_BG, meta, 0, raw, |it| it.s_first_meta_bg.set(0));
    }
    None
}

fn field(
    name: &str,
    found: impl fmt::Display,
    expected: impl fmt::Display,
    raw: &RawSuperblock,
    change: impl FnOnce(&mut RawSuperblock),
) -> Option<Mend> {
    mend(&SUPERBLOCK_FIELD, format!("{name} {found}"), expected, raw, change)
}

#[expect(clippy::unnecessary_wraps, reason = "what all callers give back")]
fn mend(
    problem: &'static Problem,
    found: impl fmt::Display,
    expected: impl fmt::Display,
    raw: &RawSuperblock,
    change: impl FnOnce(&mut RawSuperblock),
) -> Option<Mend> {
    let mut right = raw.clone();
    change(&mut right);
    Some(Mend { problem, found: found.to_string(), expected: expected.to_string(), raw: right })
}
