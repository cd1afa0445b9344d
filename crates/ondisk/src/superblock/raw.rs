//! The superblock's 1024 bytes, every field to 0x3FF.

use crate::{
    checksum::Csum,
    features::{Compat, Features, Incompat, RoCompat},
};
use std::mem::offset_of;
use zerocopy::{
    FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned,
    little_endian::{U16, U32, U64},
};

/// `struct ext4_super_block` as it lies on the disk, believed by nobody.
#[derive(Clone, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct RawSuperblock {
    /// 000: Inodes, all groups together.
    pub s_inodes_count: U32,
    /// 004: Blocks, low half.
    pub s_blocks_count_lo: U32,
    /// 008: Blocks only root may take, low half.
    pub s_r_blocks_count_lo: U32,
    /// 00c: Free blocks (bigalloc: still blocks, a multiple of the cluster), low half.
    pub s_free_blocks_count_lo: U32,
    /// 010: Free inodes.
    pub s_free_inodes_count: U32,
    /// 014: First block of group 0: 1 with 1 KiB blocks without bigalloc, else 0.
    pub s_first_data_block: U32,
    /// 018: Block size is 1024 shifted by this.
    pub s_log_block_size: U32,
    /// 01c: Cluster size is 1024 shifted by this.
    pub s_log_cluster_size: U32,
    /// 020: Blocks in a group.
    pub s_blocks_per_group: U32,
    /// 024: Clusters in a group.
    pub s_clusters_per_group: U32,
    /// 028: Inodes in a group.
    pub s_inodes_per_group: U32,
    /// 02c: Last mount, seconds.
    pub s_mtime: U32,
    /// 030: Last write, seconds.
    pub s_wtime: U32,
    /// 034: Mounts since the last check.
    pub s_mnt_count: U16,
    /// 036: Mounts after which to check.
    pub s_max_mnt_count: U16,
    /// 038: 0xEF53.
    pub s_magic: U16,
    /// 03a: See [`State`](super::State).
    pub s_state: U16,
    /// 03c: What to do on errors: 1 continue, 2 remount read-only, 3 panic.
    pub s_errors: U16,
    /// 03e: Minor revision.
    pub s_minor_rev_level: U16,
    /// 040: Last check, seconds.
    pub s_lastcheck: U32,
    /// 044: Seconds between checks.
    pub s_checkinterval: U32,
    /// 048: 0 Linux, 1 Hurd, 2 Masix, 3 FreeBSD, 4 Lites.
    pub s_creator_os: U32,
    /// 04c: 0 good old, 1 dynamic.
    pub s_rev_level: U32,
    /// 050: Uid that may take reserved blocks.
    pub s_def_resuid: U16,
    /// 052: Gid that may take reserved blocks.
    pub s_def_resgid: U16,
    /// 054: First inode that is not reserved (revision 1).
    pub s_first_ino: U32,
    /// 058: Bytes in an inode (revision 1).
    pub s_inode_size: U16,
    /// 05a: The group this copy is in.
    pub s_block_group_nr: U16,
    /// 05c: Compatible features.
    pub s_feature_compat: U32,
    /// 060: Incompatible features.
    pub s_feature_incompat: U32,
    /// 064: Read-only compatible features.
    pub s_feature_ro_compat: U32,
    /// 068: The filesystem's uuid.
    pub s_uuid: [u8; 16],
    /// 078: Label.
    pub s_volume_name: [u8; 16],
    /// 088: Where it was last mounted.
    pub s_last_mounted: [u8; 64],
    /// 0c8: For compression (unused).
    pub s_algorithm_usage_bitmap: U32,
    /// 0cc: Blocks to preallocate for files (unused).
    pub s_prealloc_blocks: u8,
    /// 0cd: Blocks to preallocate for directories (unused).
    pub s_prealloc_dir_blocks: u8,
    /// 0ce: Blocks behind the group descriptors kept for growth.
    pub s_reserved_gdt_blocks: U16,
    /// 0d0: Uuid of the external journal.
    pub s_journal_uuid: [u8; 16],
    /// 0e0: The journal's inode.
    pub s_journal_inum: U32,
    /// 0e4: Device number of the external journal.
    pub s_journal_dev: U32,
    /// 0e8: Head of the orphan list.
    pub s_last_orphan: U32,
    /// 0ec: Seed of directory hashes.
    pub s_hash_seed: [U32; 4],
    /// 0fc: Directory hash for new directories.
    pub s_def_hash_version: u8,
    /// 0fd: 1 when `s_jnl_blocks` holds a copy.
    pub s_jnl_backup_type: u8,
    /// 0fe: Bytes in a group descriptor (64bit).
    pub s_desc_size: U16,
    /// 100: Default mount options.
    pub s_default_mount_opts: U32,
    /// 104: First meta group (meta_bg).
    pub s_first_meta_bg: U32,
    /// 108: When it was made, seconds.
    pub s_mkfs_time: U32,
    /// 10c: Copy of the journal inode's `i_block` and size (high, low).
    pub s_jnl_blocks: [U32; 17],
    /// 150: Blocks, high half.
    pub s_blocks_count_hi: U32,
    /// 154: Reserved blocks, high half.
    pub s_r_blocks_count_hi: U32,
    /// 158: Free blocks, high half.
    pub s_free_blocks_count_hi: U32,
    /// 15c: All inodes have at least so many extra bytes.
    pub s_min_extra_isize: U16,
    /// 15e: New inodes should have so many extra bytes.
    pub s_want_extra_isize: U16,
    /// 160: 1 signed directory hash, 2 unsigned, 4 test filesystem.
    pub s_flags: U32,
    /// 164: RAID stride.
    pub s_raid_stride: U16,
    /// 166: Seconds between MMP updates.
    pub s_mmp_update_interval: U16,
    /// 168: The MMP block.
    pub s_mmp_block: U64,
    /// 170: Blocks on all data disks.
    pub s_raid_stripe_width: U32,
    /// 174: log2 of the groups in a flex group.
    pub s_log_groups_per_flex: u8,
    /// 175: 1 is crc32c, the only one.
    pub s_checksum_type: u8,
    /// 176: Version of encryption.
    pub s_encryption_level: u8,
    /// 177: Padding.
    pub s_reserved_pad: u8,
    /// 178: KiB written in its life.
    pub s_kbytes_written: U64,
    /// 180: Snapshots (never merged).
    pub s_snapshot_inum: U32,
    /// 184: Snapshots.
    pub s_snapshot_id: U32,
    /// 188: Snapshots.
    pub s_snapshot_r_blocks_count: U64,
    /// 190: Snapshots.
    pub s_snapshot_list: U32,
    /// 194: Errors seen; the error history begins here.
    pub s_error_count: U32,
    /// 198: First error, seconds.
    pub s_first_error_time: U32,
    /// 19c: Inode of the first error.
    pub s_first_error_ino: U32,
    /// 1a0: Block of the first error.
    pub s_first_error_block: U64,
    /// 1a8: Function of the first error.
    pub s_first_error_func: [u8; 32],
    /// 1c8: Line of the first error.
    pub s_first_error_line: U32,
    /// 1cc: Last error, seconds.
    pub s_last_error_time: U32,
    /// 1d0: Inode of the last error.
    pub s_last_error_ino: U32,
    /// 1d4: Line of the last error.
    pub s_last_error_line: U32,
    /// 1d8: Block of the last error.
    pub s_last_error_block: U64,
    /// 1e0: Function of the last error; the error history ends here.
    pub s_last_error_func: [u8; 32],
    /// 200: Default mount options as text.
    pub s_mount_opts: [u8; 64],
    /// 240: Inode of the user quota.
    pub s_usr_quota_inum: U32,
    /// 244: Inode of the group quota.
    pub s_grp_quota_inum: U32,
    /// 248: Clusters of overhead.
    pub s_overhead_clusters: U32,
    /// 24c: Groups with superblock copies (sparse_super2).
    pub s_backup_bgs: [U32; 2],
    /// 254: Encryption algorithms in use.
    pub s_encrypt_algos: [u8; 4],
    /// 258: Salt for passwords.
    pub s_encrypt_pw_salt: [u8; 16],
    /// 268: Inode of lost+found.
    pub s_lpf_ino: U32,
    /// 26c: Inode of the project quota.
    pub s_prj_quota_inum: U32,
    /// 270: Seed of all checksums (csum_seed).
    pub s_checksum_seed: U32,
    /// 274: Bits 32..40 of `s_wtime`.
    pub s_wtime_hi: u8,
    /// 275: Bits 32..40 of `s_mtime`.
    pub s_mtime_hi: u8,
    /// 276: Bits 32..40 of `s_mkfs_time`.
    pub s_mkfs_time_hi: u8,
    /// 277: Bits 32..40 of `s_lastcheck`.
    pub s_lastcheck_hi: u8,
    /// 278: Bits 32..40 of `s_first_error_time`.
    pub s_first_error_time_hi: u8,
    /// 279: Bits 32..40 of `s_last_error_time`.
    pub s_last_error_time_hi: u8,
    /// 27a: Code of the first error.
    pub s_first_error_errcode: u8,
    /// 27b: Code of the last error.
    pub s_last_error_errcode: u8,
    /// 27c: Character encoding of names (casefold): 1 is UTF-8 12.1.
    pub s_encoding: U16,
    /// 27e: 1: names that are not valid are refused.
    pub s_encoding_flags: U16,
    /// 280: Inode of the orphan file.
    pub s_orphan_file_inum: U32,
    /// 284: High half of `s_def_resuid`.
    pub s_def_resuid_hi: U16,
    /// 286: High half of `s_def_resgid`.
    pub s_def_resgid_hi: U16,
    /// 288: Unused.
    pub s_reserved: [U32; 93],
    /// 3fc: crc32c of all before it.
    pub s_checksum: U32,
}

const _: () = assert!(size_of::<RawSuperblock>() == RawSuperblock::SIZE);
const _: () = assert!(offset_of!(RawSuperblock, s_magic) == 0x038);
const _: () = assert!(offset_of!(RawSuperblock, s_feature_compat) == 0x05c);
const _: () = assert!(offset_of!(RawSuperblock, s_uuid) == 0x068);
const _: () = assert!(offset_of!(RawSuperblock, s_journal_inum) == 0x0e0);
const _: () = assert!(offset_of!(RawSuperblock, s_last_orphan) == 0x0e8);
const _: () = assert!(offset_of!(RawSuperblock, s_hash_seed) == 0x0ec);
const _: () = assert!(offset_of!(RawSuperblock, s_desc_size) == 0x0fe);
const _: () = assert!(offset_of!(RawSuperblock, s_jnl_blocks) == 0x10c);
const _: () = assert!(offset_of!(RawSuperblock, s_blocks_count_hi) == 0x150);
const _: () = assert!(offset_of!(RawSuperblock, s_mmp_block) == 0x168);
const _: () = assert!(offset_of!(RawSuperblock, s_error_count) == 0x194);
const _: () = assert!(offset_of!(RawSuperblock, s_mount_opts) == 0x200);
const _: () = assert!(offset_of!(RawSuperblock, s_usr_quota_inum) == 0x240);
const _: () = assert!(offset_of!(RawSuperblock, s_backup_bgs) == 0x24c);
const _: () = assert!(offset_of!(RawSuperblock, s_checksum_seed) == 0x270);
const _: () = assert!(offset_of!(RawSuperblock, s_orphan_file_inum) == 0x280);
const _: () = assert!(offset_of!(RawSuperblock, s_checksum) == 0x3fc);

/// Gives two methods that see a count split into two halves of 32 bits as one.
macro_rules! halves {
    ($($(#[$doc:meta])* $get:ident, $set:ident: $lo:ident, $hi:ident;)*) => {
        $(
            $(#[$doc])*
            pub fn $get(&self) -> u64 {
                u64::from(self.$hi.get()) << 32 | u64::from(self.$lo.get())
            }

            /// Writes both halves.
            pub fn $set(&mut self, count: u64) {
                self.$lo.set((count & 0xFFFF_FFFF) as u32);
                self.$hi.set((count >> 32) as u32);
            }
        )*
    };
}

impl RawSuperblock {
    /// Bytes in a superblock.
    pub const SIZE: usize = 1024;
    /// Where the first superblock is, in bytes from the start of the device.
    pub const OFFSET: u64 = 1024;
    /// `s_magic` of every ext2, ext3 and ext4 filesystem.
    pub const MAGIC: u16 = 0xEF53;
    /// `s_creator_os` of the Hurd, whose inodes have fields of their own (`EXT4_OS_HURD`).
    pub const OS_HURD: u32 = 1;
    /// The error history, which a replay must not take back (`ext4_load_journal` saves the first
    /// part; the second has the codes, and the high bits of the times).
    pub const ERROR_HISTORY: [std::ops::Range<usize>; 2] = [0x194..0x200, 0x278..0x27C];

    halves! {
        /// Blocks of the filesystem. The high half means something only with 64bit.
        blocks_count, set_blocks_count: s_blocks_count_lo, s_blocks_count_hi;
        /// Blocks reserved for root.
        r_blocks_count, set_r_blocks_count: s_r_blocks_count_lo, s_r_blocks_count_hi;
        /// Free blocks. Lazily kept: true only on a clean filesystem.
        free_blocks_count, set_free_blocks_count: s_free_blocks_count_lo, s_free_blocks_count_hi;
    }

    /// When the filesystem was last checked as a whole, in seconds since 1970.
    pub const fn lastcheck(&self) -> u64 {
        self.s_lastcheck.get() as u64 | (self.s_lastcheck_hi as u64) << 32
    }

    /// Sets when the filesystem was last checked; of `seconds` the low 40 bits are kept.
    pub fn set_lastcheck(&mut self, seconds: u64) {
        let [a, b, c, d, high, ..] = seconds.to_le_bytes();
        self.s_lastcheck = U32::from_bytes([a, b, c, d]);
        self.s_lastcheck_hi = high;
    }

    /// The three words of features.
    pub fn features(&self) -> Features {
        Features {
            compat: Compat::from_bits_retain(self.s_feature_compat.get()),
            incompat: Incompat::from_bits_retain(self.s_feature_incompat.get()),
            ro_compat: RoCompat::from_bits_retain(self.s_feature_ro_compat.get()),
        }
    }

    /// Changes the words of features.
    pub fn change_features(&mut self, change: impl FnOnce(&mut Features)) {
        let mut features = self.features();
        change(&mut features);
        self.s_feature_compat.set(features.compat.bits());
        self.s_feature_incompat.set(features.incompat.bits());
        self.s_feature_ro_compat.set(features.ro_compat.bits());
    }

    /// Makes revision 0 revision 1, with the fields that revision 0 does without
    /// (`ext2fs_update_dynamic_rev`).
    pub fn raise_revision(&mut self) {
        self.s_rev_level.set(1);
        self.s_first_ino.set(11);
        self.s_inode_size.set(128);
    }

    /// The superblock at the start of `bytes`; `None` if there are fewer than 1024.
    pub fn of(bytes: &[u8]) -> Option<&Self> {
        Self::ref_from_prefix(bytes).ok().map(|(raw, _)| raw)
    }

    /// The superblock at the start of `bytes`, to be changed in place. Its checksum is the caller's
    /// to renew ([`update_checksum`](Self::update_checksum)).
    pub fn of_mut(bytes: &mut [u8]) -> Option<&mut Self> {
        Self::mut_from_prefix(bytes).ok().map(|(raw, _)| raw)
    }

    /// What `s_checksum` should be: crc32c from `~0` (not the seed) over all before it
    /// (`ext4_superblock_csum`).
    pub fn checksum(&self) -> u32 {
        Csum::START.over(&self.as_bytes()[..offset_of!(Self, s_checksum)]).0
    }

    /// Whether RO_COMPAT metadata_csum is on, so that `s_checksum` means something.
    pub fn has_checksum(&self) -> bool {
        self.features().has_ro_compat(RoCompat::METADATA_CSUM)
    }

    /// Renews `s_checksum` where the filesystem has one. After every change.
    pub fn update_checksum(&mut self) {
        if self.has_checksum() {
            self.s_checksum.set(self.checksum());
        }
    }
}
