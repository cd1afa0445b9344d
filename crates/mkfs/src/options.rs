//! What can be asked for. Plain data with mke2fs's defaults; what it comes to is `settings.rs`.

use crate::features::Edit;
use ext4_tree::Tree;
use ext4_units::BlockSize;
use std::sync::Arc;

/// The family of defaults, as `mke2fs -t`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Kind {
    /// No journal, no extents.
    Ext2,
    /// A journal.
    Ext3,
    /// A journal, extents and checksums.
    #[default]
    Ext4,
}

/// How the uuid or the hash seed comes about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Identity {
    /// From the options and the size: the same input gives the same bytes.
    #[default]
    Derived,
    /// These bytes: given by the user, or random ones that the caller drew.
    Given([u8; 16]),
}

/// What the kernel does when it meets damage, `s_errors`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnErrors {
    /// Goes on.
    #[default]
    Continue,
    /// Remounts read-only.
    RemountReadOnly,
    /// Panics.
    Panic,
}

/// The hash of indexed directories, `s_def_hash_version`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum HashAlgorithm {
    /// The first one.
    Legacy,
    /// The default.
    #[default]
    HalfMd4,
    /// TEA.
    Tea,
}

/// The internal journal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Journal {
    /// MiB of the log; `None` for the size that goes with the filesystem's.
    pub mib: Option<u32>,
    /// KiB of the fast-commit area, with fast_commit; `None` for 1/64 of the log.
    pub fast_commit_kib: Option<u32>,
    /// The block to put it at, or the first free one behind; `None` for the middle.
    pub location: Option<u64>,
    /// Leaves what lies in the log as it is (`lazy_journal_init`) where zeros cost writes.
    pub lazy: bool,
}

/// The journal on another device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JournalDevice {
    /// Its uuid.
    pub uuid: [u8; 16],
    /// Its device number, `s_journal_dev`; 0 for an image file, which is then found by uuid only.
    pub device_number: u32,
    /// Its block size, which the filesystem shares.
    pub block_size: BlockSize,
}

/// Whose quota is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QuotaTypes {
    /// Users.
    pub user: bool,
    /// Groups.
    pub group: bool,
    /// Projects; always with the feature project.
    pub project: bool,
}

impl Default for QuotaTypes {
    fn default() -> Self {
        Self { user: true, group: true, project: false }
    }
}

/// Everything that can be chosen. `Options::default()` is `mke2fs -t ext4` without more, but for
/// time and identity, which are inputs here.
#[derive(Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a choice of its own")]
pub struct Options {
    /// The family of defaults.
    pub kind: Kind,
    /// Names of usage types (`-T`), which choose block size and inode ratio; empty for the one that
    /// goes with the size.
    pub usage: Vec<String>,
    /// Bytes of the filesystem; `None` for all of the device.
    pub size: Option<u64>,
    /// Bytes in a block.
    pub block_size: Option<BlockSize>,
    /// Bytes in a cluster, with bigalloc.
    pub cluster_size: Option<u32>,
    /// Bytes in an inode.
    pub inode_size: Option<u32>,
    /// Bytes of space for each inode.
    pub inode_ratio: Option<u32>,
    /// Inodes at the least.
    pub inodes: Option<u32>,
    /// Blocks in a group; clusters, with bigalloc.
    pub blocks_per_group: Option<u32>,
    /// Groups in a flex group: a power of two.
    pub groups_per_flex: Option<u32>,
    /// Features on and off, in the order typed.
    pub features: Vec<Edit>,
    /// Revision 0 knows no features.
    pub revision: u32,
    /// Hundredths of a percent reserved for root, at most 5000.
    pub reserved: u32,
    /// Label, at most 16 bytes.
    pub label: Vec<u8>,
    /// Where it was last mounted, at most 63 bytes.
    pub last_mounted: Vec<u8>,
    /// The filesystem's uuid.
    pub uuid: Identity,
    /// The seed of directory hashes.
    pub hash_seed: Identity,
    /// The hash of indexed directories.
    pub hash: HashAlgorithm,
    /// Seconds since 1970 for every time in the filesystem.
    pub time: i64,
    /// What the kernel does when it meets damage.
    pub errors: OnErrors,
    /// The internal journal, where there is one.
    pub journal: Journal,
    /// A journal on another device, instead of an internal one.
    pub journal_device: Option<JournalDevice>,
    /// Blocks of one disk's share of a stripe, 0 for none.
    pub stride: u16,
    /// Blocks of a whole stripe, 0 for none.
    pub stripe_width: u32,
    /// Blocks the filesystem may grow to online, with resize_inode.
    pub resize_blocks: Option<u64>,
    /// Copies of the superblock with sparse_super2: 0 to 2.
    pub backup_superblocks: u32,
    /// Puts all tables together at the start, with flex_bg.
    pub packed_meta_blocks: bool,
    /// Leaves inode tables that no inode uses to the kernel where zeros cost writes. Has an effect
    /// only where descriptors have checksums.
    pub lazy_itable_init: bool,
    /// Gives the whole range back to the host first; where it then reads as zeros, none are
    /// written.
    pub discard: bool,
    /// The range reads as zeros already.
    pub is_zeroed: bool,
    /// Owner and group of the root directory.
    pub root_owner: (u32, u32),
    /// Permissions of the root directory.
    pub root_perms: u16,
    /// Blocks that must not be used.
    pub bad_blocks: Vec<u64>,
    /// Whose quota is kept, with quota.
    pub quota: QuotaTypes,
    /// Names that are no valid UTF-8 are refused, with casefold.
    pub strict_encoding: bool,
    /// Seconds between MMP updates, with mmp.
    pub mmp_interval: u16,
    /// Bytes of the orphan file, with orphan_file; `None` for the size that goes with the
    /// filesystem's.
    pub orphan_file_size: Option<u64>,
    /// Marks the filesystem as one to test with (`test_fs`).
    pub test_fs: bool,
    /// The system it is made for, `s_creator_os`: 0 for Linux, 1 for the Hurd, 3 for FreeBSD.
    pub creator_os: u32,
    /// Bytes in a group descriptor; `None` for 32, or 64 with 64bit.
    pub desc_size: Option<u32>,
    /// The files that the filesystem has from the start. Owner and permissions of the root are the
    /// tree's then.
    pub tree: Option<Arc<Tree>>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            kind: Kind::default(),
            usage: Vec::new(),
            size: None,
            block_size: None,
            cluster_size: None,
            inode_size: None,
            inode_ratio: None,
            inodes: None,
            blocks_per_group: None,
            groups_per_flex: None,
            features: Vec::new(),
            revision: 1,
            reserved: 500,
            label: Vec::new(),
            last_mounted: Vec::new(),
            uuid: Identity::Derived,
            hash_seed: Identity::Derived,
            hash: HashAlgorithm::default(),
            time: 0,
            errors: OnErrors::default(),
            journal: Journal::default(),
            journal_device: None,
            stride: 0,
            stripe_width: 0,
            resize_blocks: None,
            backup_superblocks: 2,
            packed_meta_blocks: false,
            lazy_itable_init: false,
            discard: true,
            is_zeroed: false,
            root_owner: (0, 0),
            root_perms: 0o755,
            bad_blocks: Vec::new(),
            quota: QuotaTypes::default(),
            strict_encoding: false,
            mmp_interval: 0,
            orphan_file_size: None,
            test_fs: false,
            creator_os: 0,
            desc_size: None,
            tree: None,
        }
    }
}
