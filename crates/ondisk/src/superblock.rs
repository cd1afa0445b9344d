//! The superblock: [`RawSuperblock`] is its bytes, [`Superblock`] what they mean once checked.
//!
//! Changes are made to the raw bytes inside their block; this file never writes.

mod raw;

pub use raw::RawSuperblock;

use crate::{
    Corrupt,
    checksum::Csum,
    features::{Compat, Features, Incompat, RoCompat},
};
use bitflags::bitflags;
use ext4_units::{BlockNr, BlockSize, InodeNr};
use zerocopy::IntoBytes;

bitflags! {
    /// `s_state`.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct State: u16 {
        /// Cleanly unmounted (`EXT4_VALID_FS`).
        const VALID = 1;
        /// Errors were seen (`EXT4_ERROR_FS`).
        const ERROR = 2;
        /// Orphans are being cleaned (`EXT4_ORPHAN_FS`).
        const ORPHAN = 4;
        /// A fast commit is being replayed (`EXT4_FC_REPLAY`).
        const FC_REPLAY = 0x20;
        const _ = !0;
    }
}

/// Where the journal is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JournalPlace {
    /// The filesystem has none.
    None,
    /// In this inode.
    Inode(InodeNr),
    /// On another device, found by this uuid.
    Device([u8; 16]),
    /// has_journal without an inode or a device, or with both: nothing can be believed.
    Contradictory,
}

/// A superblock whose geometry was checked, in units.
#[derive(Clone, Debug)]
pub struct Superblock {
    /// The three feature words.
    pub features: Features,
    /// Block size.
    pub block_size: BlockSize,
    /// log2 of the blocks in a cluster; 0 without bigalloc.
    pub cluster_ratio_bits: u32,
    /// Inodes in all groups.
    pub inodes_count: u32,
    /// Blocks of the filesystem.
    pub blocks_count: u64,
    /// Blocks reserved for root.
    pub r_blocks_count: u64,
    /// Free blocks as the superblock has them, which may be stale.
    pub free_blocks_count: u64,
    /// Free inodes as the superblock has them, which may be stale.
    pub free_inodes_count: u32,
    /// First block of group 0.
    pub first_data_block: BlockNr,
    /// Blocks in a full group.
    pub blocks_per_group: u32,
    /// Clusters in a full group: the bits of its block bitmap.
    pub clusters_per_group: u32,
    /// Inodes in every group: the bits of its inode bitmap.
    pub inodes_per_group: u32,
    /// Groups, the last one maybe short.
    pub groups_count: u32,
    /// State bits.
    pub state: State,
    /// `s_errors`.
    pub errors: u16,
    /// Made by Linux: only then do inodes have checksums.
    pub is_linux: bool,
    /// The Hurd is, which has other fields at the end of an inode.
    pub is_hurd: bool,
    /// Revision: 0 or 1.
    pub rev_level: u32,
    /// First inode that is not reserved.
    pub first_ino: u32,
    /// Bytes in an inode.
    pub inode_size: u16,
    /// Bytes in a group descriptor.
    pub desc_size: u16,
    /// Uuid.
    pub uuid: [u8; 16],
    /// Label, up to its first zero.
    pub volume_name: Vec<u8>,
    /// Where the journal is.
    pub journal: JournalPlace,
    /// Copy of the journal inode's `i_block` (15 words), then its size's high and low halves; when
    /// `s_jnl_backup_type` says that there is one.
    pub journal_backup: Option<[u32; 17]>,
    /// First inode of the orphan list.
    pub last_orphan: Option<InodeNr>,
    /// The orphan file, with orphan_file.
    pub orphan_file_inum: Option<InodeNr>,
    /// Seed of directory hashes; all zero means the default seed.
    pub hash_seed: [u32; 4],
    /// Hash of new directories: 0 legacy, 1 half MD4, 2 TEA (6 SipHash).
    pub def_hash_version: u8,
    /// Directory hashes take name bytes as unsigned (`s_flags` bit 2); otherwise signed, also when
    /// neither flag is there, as on the PC where mke2fs of old left them out.
    pub unsigned_hash: bool,
    /// Blocks behind the descriptors kept for growth (resize_inode).
    pub reserved_gdt_blocks: u16,
    /// First meta group, with meta_bg.
    pub first_meta_bg: u32,
    /// Groups with superblock copies, with sparse_super2; 0 means none.
    pub backup_bgs: [u32; 2],
    /// log2 of the groups in a flex group; 0 without flex_bg.
    pub log_groups_per_flex: u8,
    /// Extra bytes of a new inode.
    pub want_extra_isize: u16,
    /// The seed of all checksums but the superblock's own. Also there without metadata_csum.
    pub csum_seed: Csum,
    /// Default mount options.
    pub default_mount_opts: u32,
    /// The MMP block, with mmp.
    pub mmp_block: Option<BlockNr>,
    /// Seconds between MMP updates.
    pub mmp_update_interval: u16,
    /// Inodes of the user, group and project quota.
    pub quota_inums: [Option<InodeNr>; 3],
    /// Encoding of names, with casefold.
    pub encoding: u16,
    /// Encoding flags, with casefold.
    pub encoding_flags: u16,
}

const GOOD_OLD_FIRST_INO: u32 = 11;
const GOOD_OLD_INODE_SIZE: u16 = 128;
const MAX_LOG_CLUSTER_SIZE: u32 = 30;

fn fault(fault: String) -> Corrupt {
    Corrupt::new("superblock", fault)
}

impl Superblock {
    /// Checks a superblock as the kernel does on mount (`ext4_fill_super`), its checksum included.
    /// Says nothing about features (`features::check`) or the device's size.
    pub fn decode(raw: &RawSuperblock) -> Result<Self, Corrupt> {
        Self::check_magic(raw)?;
        if raw.has_checksum() {
            if raw.s_checksum_type != 1 {
                return Err(fault(format!("checksum type {}, expected 1", raw.s_checksum_type)));
            }
            let (found, expected) = (raw.s_checksum.get(), raw.checksum());
            if found != expected {
                return Err(Corrupt::checksum("superblock", found, expected));
            }
        }
        Self::decode_unverified(raw)
    }

    /// Whether these bytes are a superblock of ext4 at all, damaged or not.
    ///
    /// # Errors
    /// Another magic than that of ext4.
    pub fn check_magic(raw: &RawSuperblock) -> Result<(), Corrupt> {
        match raw.s_magic.get() {
            RawSuperblock::MAGIC => Ok(()),
            found => Err(fault(format!("magic {found:#06x}, expected {:#06x}", 0xEF53))),
        }
    }

    /// As [`decode`](Self::decode), without looking at magic and checksum: for one who repairs.
    pub fn decode_unverified(raw: &RawSuperblock) -> Result<Self, Corrupt> {
        let features = raw.features();
        let is_64bit = features.has_incompat(Incompat::BIT64);
        let log_block_size = raw.s_log_block_size.get();
        let block_size = log_block_size
            .checked_add(10)
            .and_then(BlockSize::from_bits)
            .ok_or_else(|| fault(format!("log block size {log_block_size}, expected 0..=6")))?;
        let bits_in_block = block_size.bytes() * 8;

        let (cluster_ratio_bits, blocks_per_group, clusters_per_group) =
            clusters(raw, features, block_size)?;

        let dynamic = raw.s_rev_level.get() != 0;
        let inode_size = if dynamic { raw.s_inode_size.get() } else { GOOD_OLD_INODE_SIZE };
        if !inode_size.is_power_of_two()
            || inode_size < GOOD_OLD_INODE_SIZE
            || u32::from(inode_size) > block_size.bytes()
        {
            let max = block_size.bytes();
            return Err(fault(format!(
                "inode size {inode_size}, expected a power of two from 128 to {max}"
            )));
        }
        let first_ino = if dynamic { raw.s_first_ino.get() } else { GOOD_OLD_FIRST_INO };
        if first_ino < GOOD_OLD_FIRST_INO {
            return Err(fault(format!("first inode {first_ino}, expected at least 11")));
        }
        let desc_size = desc_size(raw, is_64bit)?;

        let low = |n: u64| if is_64bit { n } else { n & 0xFFFF_FFFF };
        let blocks_count = low(raw.blocks_count());
        let first_data_block = raw.s_first_data_block.get();
        if u64::from(first_data_block) >= blocks_count {
            return Err(fault(format!(
                "first data block {first_data_block}, expected below the block count {blocks_count}"
            )));
        }
        let expected = u32::from(block_size == BlockSize::MIN && cluster_ratio_bits == 0);
        if first_data_block != expected {
            return Err(fault(format!(
                "first data block {first_data_block}, expected {expected} with blocks of {block_size} \
                 bytes"
            )));
        }

        let inodes_per_group = raw.s_inodes_per_group.get();
        let inodes_per_block = block_size.bytes() / u32::from(inode_size);
        if inodes_per_group < inodes_per_block || inodes_per_group > bits_in_block {
            return Err(fault(format!(
                "{inodes_per_group} inodes per group, expected {inodes_per_block} to {bits_in_block}"
            )));
        }
        let groups =
            (blocks_count - u64::from(first_data_block)).div_ceil(u64::from(blocks_per_group));
        let descs_per_block = u64::from(block_size.bytes() / u32::from(desc_size));
        // As the kernel: what the descriptor table may hold, less one block's worth.
        let max_groups = (1u64 << 32) - descs_per_block;
        let groups_count = u32::try_from(groups)
            .ok()
            .filter(|&n| u64::from(n) <= max_groups)
            .ok_or_else(|| fault(format!("{groups} groups, expected at most {max_groups}")))?;
        let inodes_count = raw.s_inodes_count.get();
        if u64::from(inodes_per_group) * u64::from(groups_count) != u64::from(inodes_count) {
            return Err(fault(format!(
                "{inodes_count} inodes, expected {groups_count} groups of {inodes_per_group}"
            )));
        }
        let reserved_gdt_blocks = raw.s_reserved_gdt_blocks.get();
        if u32::from(reserved_gdt_blocks) > block_size.bytes() / 4 {
            let max = block_size.bytes() / 4;
            return Err(fault(format!(
                "{reserved_gdt_blocks} reserved descriptor blocks, expected at most {max}"
            )));
        }
        let desc_blocks = u64::from(groups_count).div_ceil(descs_per_block);
        let first_meta_bg =
            if features.has_incompat(Incompat::META_BG) { raw.s_first_meta_bg.get() } else { 0 };
        if u64::from(first_meta_bg) > desc_blocks {
            return Err(fault(format!(
                "first meta group {first_meta_bg}, expected at most {desc_blocks}"
            )));
        }
        // The kernel takes anything else for "no flex groups" (`ext4_fill_flex_info`).
        let log_groups_per_flex = Some(raw.s_log_groups_per_flex)
            .filter(|&log| features.has_incompat(Incompat::FLEX_BG) && log < 32)
            .unwrap_or(0);
        let uuid = raw.s_uuid;
        let csum_seed = if features.has_incompat(Incompat::CSUM_SEED) {
            Csum(raw.s_checksum_seed.get())
        } else {
            Csum::of_uuid(&uuid)
        };
        let has_quota = features.ro_compat.intersects(RoCompat::QUOTA | RoCompat::PROJECT);
        let quota = |ino: u32| InodeNr::new(ino).filter(|_| has_quota);
        let name_len = raw.s_volume_name.iter().position(|&b| b == 0).unwrap_or(16);

        Ok(Self {
            features,
            block_size,
            cluster_ratio_bits,
            inodes_count,
            blocks_count,
            r_blocks_count: low(raw.r_blocks_count()),
            free_blocks_count: low(raw.free_blocks_count()),
            free_inodes_count: raw.s_free_inodes_count.get(),
            first_data_block: BlockNr(u64::from(first_data_block)),
            blocks_per_group,
            clusters_per_group,
            inodes_per_group,
            groups_count,
            state: State::from_bits_retain(raw.s_state.get()),
            errors: raw.s_errors.get(),
            is_linux: raw.s_creator_os.get() == 0,
            is_hurd: raw.s_creator_os.get() == 1,
            rev_level: raw.s_rev_level.get(),
            first_ino,
            inode_size,
            desc_size,
            uuid,
            volume_name: raw.s_volume_name.iter().take(name_len).copied().collect(),
            journal: journal_place(raw, features),
            journal_backup: (raw.s_jnl_backup_type == 1)
                .then(|| raw.s_jnl_blocks.map(zerocopy::little_endian::U32::get)),
            last_orphan: InodeNr::new(raw.s_last_orphan.get()),
            orphan_file_inum: InodeNr::new(raw.s_orphan_file_inum.get())
                .filter(|_| features.has_compat(Compat::ORPHAN_FILE)),
            hash_seed: raw.s_hash_seed.map(zerocopy::little_endian::U32::get),
            def_hash_version: raw.s_def_hash_version,
            unsigned_hash: raw.s_flags.get() & 2 != 0,
            reserved_gdt_blocks,
            first_meta_bg,
            backup_bgs: raw.s_backup_bgs.map(zerocopy::little_endian::U32::get),
            log_groups_per_flex,
            want_extra_isize: want_extra_isize(raw, features, inode_size),
            csum_seed,
            default_mount_opts: raw.s_default_mount_opts.get(),
            mmp_block: features.has_incompat(Incompat::MMP).then(|| BlockNr(raw.s_mmp_block.get())),
            mmp_update_interval: raw.s_mmp_update_interval.get(),
            quota_inums: [
                quota(raw.s_usr_quota_inum.get()),
                quota(raw.s_grp_quota_inum.get()),
                quota(raw.s_prj_quota_inum.get()),
            ],
            encoding: raw.s_encoding.get(),
            encoding_flags: raw.s_encoding_flags.get(),
        })
    }

    /// The checksum seed where metadata has crc32c checksums.
    pub fn metadata_csum(&self) -> Option<Csum> {
        self.features.has_ro_compat(RoCompat::METADATA_CSUM).then_some(self.csum_seed)
    }

    /// The checksum seed for what belongs to inodes and to nothing else: `None` also on
    /// filesystems that other systems made (`ext4_inode_csum_verify`).
    pub fn inode_csum(&self) -> Option<Csum> {
        self.metadata_csum().filter(|_| self.is_linux)
    }

    /// Bytes in a cluster.
    pub const fn cluster_bytes(&self) -> u64 {
        (self.block_size.bytes() as u64) << self.cluster_ratio_bits
    }
}

/// Ratio bits, blocks and clusters in a group (`ext4_handle_clustersize`).
fn clusters(
    raw: &RawSuperblock,
    features: Features,
    block_size: BlockSize,
) -> Result<(u32, u32, u32), Corrupt> {
    let bits_in_block = block_size.bytes() * 8;
    let blocks_per_group = raw.s_blocks_per_group.get();
    if !features.has_ro_compat(RoCompat::BIGALLOC) {
        if blocks_per_group == 0
            || blocks_per_group > bits_in_block
            || !blocks_per_group.is_multiple_of(8)
        {
            return Err(fault(format!(
                "{blocks_per_group} blocks per group, expected a multiple of 8 up to {bits_in_block}"
            )));
        }
        return Ok((0, blocks_per_group, blocks_per_group));
    }
    let log = raw.s_log_cluster_size.get();
    let min = block_size.bits() - 10;
    if log < min || log > MAX_LOG_CLUSTER_SIZE - 10 {
        let max = MAX_LOG_CLUSTER_SIZE - 10;
        return Err(fault(format!("log cluster size {log}, expected {min} to {max}")));
    }
    let ratio_bits = log - min;
    let clusters = raw.s_clusters_per_group.get();
    if clusters == 0 || clusters > bits_in_block || !clusters.is_multiple_of(8) {
        return Err(fault(format!(
            "{clusters} clusters per group, expected a multiple of 8 up to {bits_in_block}"
        )));
    }
    if u64::from(clusters) << ratio_bits != u64::from(blocks_per_group) {
        return Err(fault(format!(
            "{blocks_per_group} blocks per group, expected {clusters} clusters of {} blocks",
            1u64 << ratio_bits
        )));
    }
    Ok((ratio_bits, blocks_per_group, clusters))
}

fn desc_size(raw: &RawSuperblock, is_64bit: bool) -> Result<u16, Corrupt> {
    if !is_64bit {
        return Ok(32);
    }
    let size = raw.s_desc_size.get();
    if !size.is_power_of_two() || !(64..=1024).contains(&size) {
        return Err(fault(format!(
            "group descriptor size {size}, expected a power of two from 64 to 1024"
        )));
    }
    Ok(size)
}

fn journal_place(raw: &RawSuperblock, features: Features) -> JournalPlace {
    if !features.has_compat(Compat::HAS_JOURNAL) {
        return JournalPlace::None;
    }
    match (InodeNr::new(raw.s_journal_inum.get()), raw.s_journal_dev.get()) {
        (Some(ino), 0) => JournalPlace::Inode(ino),
        (None, dev) if dev != 0 || raw.s_journal_uuid != [0; 16] => {
            JournalPlace::Device(raw.s_journal_uuid)
        }
        _ => JournalPlace::Contradictory,
    }
}

/// `ext4_set_inode_extra_isize` of the mount: what new inodes get.
fn want_extra_isize(raw: &RawSuperblock, features: Features, inode_size: u16) -> u16 {
    const NEEDED: u16 = 32;
    let room = inode_size.saturating_sub(GOOD_OLD_INODE_SIZE);
    if room == 0 {
        return 0;
    }
    let mut want = NEEDED;
    if features.has_ro_compat(RoCompat::EXTRA_ISIZE) {
        want = want.max(raw.s_want_extra_isize.get()).max(raw.s_min_extra_isize.get());
    }
    if want > room || !want.is_multiple_of(4) { NEEDED } else { want }
}

/// Carries the error history and the error state of `old` over into `new`, as the kernel does
/// around a replay, which may bring back an older superblock. A history with more errors is the
/// newer one, and stays.
pub fn keep_error_history(old: &RawSuperblock, new: &mut RawSuperblock) {
    if new.s_error_count.get() <= old.s_error_count.get() {
        for range in RawSuperblock::ERROR_HISTORY {
            new.as_mut_bytes()[range.clone()].copy_from_slice(&old.as_bytes()[range]);
        }
    }
    let error = old.s_state.get() & State::ERROR.bits();
    new.s_state.set(new.s_state.get() | error);
    new.update_checksum();
}
