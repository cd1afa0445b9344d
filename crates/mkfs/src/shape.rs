//! Groups and inode tables: how many, how large, and what is cut off the end
//! (`ext2fs_initialize` of e2fsprogs makes the same choices, so sizes agree with mke2fs's).

use crate::{
    error::{Error, Result, conflict},
    options::{HashAlgorithm, OnErrors, Options},
    settings::Settings,
};
use ext4_ondisk::{
    features::{Compat, Incompat, RoCompat},
    geometry::Geometry,
    superblock::{RawSuperblock, Superblock},
};
use zerocopy::FromZeros;

/// Clusters in a group: one bitmap, and a count of 16 bits.
const MAX_CLUSTERS_PER_GROUP: u32 = (1 << 16) - 8;
/// `EXT4_DEFM_XATTR_USER | EXT4_DEFM_ACL`.
const MOUNT_OPTIONS: u32 = 0x4 | 0x8;
/// `EXT2_FLAGS_SIGNED_HASH` and `EXT2_FLAGS_TEST_FILESYS`.
const SIGNED_HASH: u32 = 1;
const TEST_FILESYS: u32 = 4;
/// Extra bytes of new inodes, `sizeof(struct ext2_inode_large) - 128`.
pub(crate) const EXTRA_ISIZE: u16 = 32;
/// The reserved inodes, lost+found and one more.
const LEAST_INODES: u64 = 12;
/// Blocks beyond its own metadata that the last group must have to be worth it.
const WORTH_A_GROUP: u64 = 50;

/// The superblock with everything but free counts and special inodes, and what it says.
#[derive(Clone, Debug)]
pub(crate) struct Shape {
    pub(crate) raw: RawSuperblock,
    pub(crate) sb: Superblock,
    pub(crate) geo: Geometry,
}

/// One round of the search for a geometry that holds.
struct Trial<'a> {
    options: &'a Options,
    settings: &'a Settings,
    features: ext4_ondisk::features::Features,
    first_data_block: u64,
    blocks: u64,
    blocks_per_group: u64,
    clusters_per_group: u64,
    desc_size: u32,
}

/// What one round came to.
enum Verdict {
    Holds(Box<Shape>),
    /// Again with so many blocks.
    Blocks(u64),
    /// Again with this many blocks in a group, and all blocks.
    PerGroup(u64),
}

/// Most groups that are planned: a plan takes some hundred bytes for each, and its text ten times that.
/// With blocks of 4 KiB they are 256 TiB.
const MOST_GROUPS: u64 = 1 << 21;

/// The geometry for `settings`.
pub(crate) fn shape(options: &Options, settings: &Settings) -> Result<Shape> {
    let block_size = settings.block_size;
    let bits = u64::from(block_size.bytes()) * 8;
    let ratio_bits = settings.cluster_ratio_bits;
    let is_bigalloc = settings.features.has_ro_compat(RoCompat::BIGALLOC);
    let wanted = settings.per_group.map_or(bits, u64::from);
    let clusters_per_group = wanted.min(u64::from(MAX_CLUSTERS_PER_GROUP));
    let is_64bit = settings.features.has_incompat(Incompat::BIT64);
    let mut trial = Trial {
        options,
        settings,
        features: settings.features,
        // Group 0 begins with the superblock; with clusters it begins with the device.
        first_data_block: u64::from(block_size.bits() == 10 && ratio_bits == 0),
        blocks: settings.blocks,
        blocks_per_group: clusters_per_group << ratio_bits,
        clusters_per_group,
        desc_size: options.desc_size.unwrap_or(if is_64bit { 64 } else { 32 }),
    };
    // Each round makes blocks or groups smaller, so this ends.
    loop {
        match trial.round()? {
            Verdict::Holds(shape) => return Ok(*shape),
            Verdict::Blocks(blocks) => trial.blocks = blocks,
            Verdict::PerGroup(_) if is_bigalloc => return too_many_inodes(settings),
            Verdict::PerGroup(blocks_per_group) => {
                trial.blocks = settings.blocks;
                trial.blocks_per_group = blocks_per_group;
                trial.clusters_per_group = blocks_per_group;
            }
        }
    }
}

fn too_many_inodes<T>(settings: &Settings) -> Result<T> {
    conflict(format!(
        "{} inodes do not fit into the groups: raise the inode ratio (-i) or lower the count (-N)",
        settings.inodes
    ))
}

impl Trial<'_> {
    fn round(&mut self) -> Result<Verdict> {
        let block_size = self.settings.block_size;
        let block = u64::from(block_size.bytes());
        let in_groups = self.blocks.saturating_sub(self.first_data_block);
        let groups = in_groups.div_ceil(self.blocks_per_group);
        if groups == 0 {
            return self.too_small(64);
        }
        if groups > MOST_GROUPS {
            return conflict(format!(
                "found {groups} groups, expected at most {MOST_GROUPS}: larger blocks (-b) or clusters \
                 (-O bigalloc -C) make fewer of them"
            ));
        }
        let groups_count = u32::try_from(groups).unwrap_or(u32::MAX);
        let descs_per_block = block / u64::from(self.desc_size);
        let desc_blocks = groups.div_ceil(descs_per_block);

        let Some((inodes_per_group, inode_blocks)) = self.inode_tables(groups)? else {
            return Ok(Verdict::PerGroup(self.blocks_per_group - 8));
        };
        let reserved_gdt = self.reserved_gdt(groups, desc_blocks)?;
        if reserved_gdt + desc_blocks > self.blocks_per_group * 3 / 4
            && !self.features.has_incompat(Incompat::META_BG)
        {
            // Copies of the descriptors would take most of the groups that have them.
            self.features.incompat |= Incompat::META_BG;
            self.features.compat -= Compat::RESIZE_INODE;
            return self.round();
        }
        let shape = self.describe(
            groups_count,
            inodes_per_group,
            u16::try_from(reserved_gdt).unwrap_or(0),
        )?;
        let last = ext4_units::GroupNr(groups_count - 1);
        let base = if shape.geo.has_super(last) { 1 + desc_blocks + reserved_gdt } else { 0 };
        let base = if self.features.has_incompat(Incompat::META_BG) { 1 } else { base };
        let overhead = 2 + inode_blocks + base;
        if overhead > self.blocks_per_group {
            return too_many_inodes(self.settings);
        }
        let rest = in_groups % self.blocks_per_group;
        if groups == 1 && rest != 0 && rest < overhead {
            return self.too_small(overhead);
        }
        if rest != 0 && rest < overhead + WORTH_A_GROUP && groups > 1 {
            return Ok(Verdict::Blocks(self.blocks - rest));
        }
        if groups == 1 && rest != 0 && rest < overhead + WORTH_A_GROUP {
            return self.too_small(overhead + WORTH_A_GROUP);
        }
        Ok(Verdict::Holds(Box::new(shape)))
    }

    fn too_small<T>(&self, blocks: u64) -> Result<T> {
        let block = u64::from(self.settings.block_size.bytes());
        Err(Error::TooSmall {
            found: self.settings.blocks * block,
            expected: (self.first_data_block + blocks) * block,
            what: "superblock, descriptors, bitmaps and inode table".to_owned(),
        })
    }

    /// Inodes and table blocks of each group; `None` when a bitmap would not hold the inodes.
    fn inode_tables(&self, groups: u64) -> Result<Option<(u32, u64)>> {
        let block = u64::from(self.settings.block_size.bytes());
        let inode = u64::from(self.settings.inode_size);
        let wanted = u64::from(self.settings.inodes).max(LEAST_INODES);
        let mut per_group = wanted.div_ceil(groups);
        if per_group > block * 8 {
            if self.blocks_per_group >= 256 + 8 {
                return Ok(None);
            }
            return too_many_inodes(self.settings);
        }
        let most = ((1 << 16) - block / inode).min(block * 8);
        per_group = per_group.min(most);
        loop {
            // Whole blocks, and a multiple of 8 so that bitmaps end at a byte.
            let blocks = (per_group * inode).div_ceil(block);
            let filled = (blocks * block / inode).max(8) / 8 * 8;
            if filled * groups < LEAST_INODES {
                // Rounded down below what every filesystem has.
                per_group = LEAST_INODES.next_multiple_of(8);
                continue;
            }
            let least = u64::from(self.settings.least_inodes);
            if filled * groups < least {
                // Rounded down below what the files take, though enough were wanted.
                per_group = least.div_ceil(groups).next_multiple_of(8);
                if per_group <= most {
                    continue;
                }
                return if self.blocks_per_group >= 256 + 8 {
                    Ok(None)
                } else {
                    too_many_inodes(self.settings)
                };
            }
            if u32::try_from(filled * groups).is_ok() {
                let blocks = (filled * inode).div_ceil(block);
                return Ok(Some((u32::try_from(filled).unwrap_or(u32::MAX), blocks)));
            }
            per_group -= 1;
        }
    }

    /// Blocks kept behind the descriptors for growth.
    fn reserved_gdt(&self, groups: u64, desc_blocks: u64) -> Result<u64> {
        if !self.features.has_compat(Compat::RESIZE_INODE) {
            return Ok(0);
        }
        let per_block = u64::from(self.settings.block_size.bytes() / self.desc_size);
        let max = u64::from(self.settings.block_size.bytes() / 4);
        let limit = u64::from(u32::MAX);
        let target = match self.options.resize_blocks {
            Some(blocks) if blocks <= self.blocks => {
                return conflict(format!(
                    "room to grow to {blocks} blocks, expected more than the filesystem's {}",
                    self.blocks
                ));
            }
            Some(blocks) => blocks,
            // A thousand times the size, as far as 32 bits reach.
            None if self.blocks < limit / 1024 => self.blocks * 1024 - self.first_data_block,
            None => limit - self.first_data_block,
        };
        debug_assert!(groups > 0);
        let blocks = target.div_ceil(self.blocks_per_group).div_ceil(per_block);
        Ok(blocks.saturating_sub(desc_blocks).min(max))
    }

    /// The superblock of this round.
    fn describe(
        &self,
        groups_count: u32,
        inodes_per_group: u32,
        reserved_gdt: u16,
    ) -> Result<Shape> {
        let (options, settings) = (self.options, self.settings);
        let mut raw = RawSuperblock::new_zeroed();
        let log_block_size = settings.block_size.bits() - 10;
        let inodes = inodes_per_group * groups_count;
        raw.s_magic.set(RawSuperblock::MAGIC);
        raw.s_state.set(1);
        raw.s_inodes_count.set(inodes);
        raw.s_free_inodes_count.set(inodes);
        raw.set_blocks_count(self.blocks);
        let reserved = u128::from(settings.reserved_blocks) * u128::from(self.blocks)
            / u128::from(settings.blocks.max(1));
        raw.set_r_blocks_count(u64::try_from(reserved).unwrap_or(0));
        raw.s_first_data_block.set(u32::try_from(self.first_data_block).unwrap_or(0));
        raw.s_log_block_size.set(log_block_size);
        raw.s_log_cluster_size.set(log_block_size + settings.cluster_ratio_bits);
        raw.s_blocks_per_group.set(u32::try_from(self.blocks_per_group).unwrap_or(u32::MAX));
        raw.s_clusters_per_group.set(u32::try_from(self.clusters_per_group).unwrap_or(u32::MAX));
        raw.s_inodes_per_group.set(inodes_per_group);
        raw.s_max_mnt_count.set(u16::MAX);
        raw.s_errors.set(match options.errors {
            OnErrors::Continue => 1,
            OnErrors::RemountReadOnly => 2,
            OnErrors::Panic => 3,
        });
        set_times(&mut raw, options.time);
        raw.s_creator_os.set(options.creator_os);
        raw.s_rev_level.set(options.revision);
        raw.s_feature_compat.set(self.features.compat.bits());
        raw.s_feature_incompat.set(self.features.incompat.bits());
        raw.s_feature_ro_compat.set(self.features.ro_compat.bits());
        raw.s_uuid = settings.uuid;
        raw.s_volume_name[..options.label.len()].copy_from_slice(&options.label);
        raw.s_last_mounted[..options.last_mounted.len()].copy_from_slice(&options.last_mounted);
        for (word, bytes) in raw.s_hash_seed.iter_mut().zip(settings.hash_seed.chunks_exact(4)) {
            word.set(u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]));
        }
        raw.s_def_hash_version = match options.hash {
            HashAlgorithm::Legacy => 0,
            HashAlgorithm::HalfMd4 => 1,
            HashAlgorithm::Tea => 2,
        };
        // Signed on every machine, so that the image does not depend on the one it is made on.
        let test = if options.test_fs { TEST_FILESYS } else { 0 };
        raw.s_flags.set(SIGNED_HASH | test);
        raw.s_reserved_gdt_blocks.set(reserved_gdt);
        raw.s_raid_stride.set(options.stride);
        raw.s_raid_stripe_width.set(options.stripe_width);
        raw.s_log_groups_per_flex = settings.log_groups_per_flex;
        if options.revision > 0 {
            raw.s_first_ino.set(11);
            raw.s_inode_size.set(settings.inode_size);
            raw.s_default_mount_opts.set(MOUNT_OPTIONS);
            if settings.inode_size > 128 {
                raw.s_min_extra_isize.set(EXTRA_ISIZE);
                raw.s_want_extra_isize.set(EXTRA_ISIZE);
            }
        }
        self.describe_features(&mut raw, groups_count);
        raw.update_checksum();
        let sb = Superblock::decode(&raw)?;
        let geo = Geometry::new(&sb);
        Ok(Shape { raw, sb, geo })
    }

    fn describe_features(&self, raw: &mut RawSuperblock, groups_count: u32) {
        let features = self.features;
        if features.has_incompat(Incompat::BIT64) {
            raw.s_desc_size.set(u16::try_from(self.desc_size).unwrap_or(64));
        }
        if features.has_ro_compat(RoCompat::METADATA_CSUM) {
            raw.s_checksum_type = 1;
        }
        if features.has_incompat(Incompat::CSUM_SEED) {
            raw.s_checksum_seed.set(ext4_ondisk::checksum::Csum::of_uuid(&raw.s_uuid).0);
        }
        if features.has_incompat(Incompat::ENCRYPT) {
            // AES-256-XTS for contents, AES-256-CTS for names.
            raw.s_encrypt_algos = [1, 4, 0, 0];
        }
        if features.has_incompat(Incompat::CASEFOLD) {
            raw.s_encoding.set(1);
            raw.s_encoding_flags.set(u16::from(self.options.strict_encoding));
        }
        if features.has_compat(Compat::SPARSE_SUPER2) {
            let copies = self.options.backup_superblocks;
            let first = u32::from(copies >= 1 && groups_count > 1);
            let last = if copies >= 2 { groups_count - 1 } else { 0 };
            let [a, b] = &mut raw.s_backup_bgs;
            a.set(first);
            b.set(if last > first { last } else { 0 });
        }
        let lazy = features.has_incompat(Incompat::FLEX_BG)
            || features.has_group_desc_csum()
            || features
                .ro_compat
                .intersects(RoCompat::HUGE_FILE | RoCompat::DIR_NLINK | RoCompat::EXTRA_ISIZE);
        // Only what ext4 makes counts what was written; one KiB so far, as far as anyone knows.
        raw.s_kbytes_written.set(u64::from(lazy));
    }
}

fn set_times(raw: &mut RawSuperblock, time: i64) {
    let low = u32::try_from(time & 0xFFFF_FFFF).unwrap_or(0);
    let high = u8::try_from(time >> 32 & 0xFF).unwrap_or(0);
    raw.s_mkfs_time.set(low);
    raw.s_lastcheck.set(low);
    raw.s_wtime.set(low);
    raw.s_mkfs_time_hi = high;
    raw.s_lastcheck_hi = high;
    raw.s_wtime_hi = high;
}
