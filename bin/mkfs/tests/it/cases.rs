//! Option sets, typed the same for mke2fs and for us.

/// One of them.
#[derive(Debug)]
pub(crate) struct Case {
    pub(crate) mib: u64,
    pub(crate) options: &'static str,
    /// Lines of dumpe2fs that differ, each for a reason given below.
    pub(crate) differ: &'static [&'static str],
}

const fn case(mib: u64, options: &'static str) -> Case {
    Case { mib, options, differ: &[] }
}

const fn differs(mib: u64, options: &'static str, differ: &'static [&'static str]) -> Case {
    Case { mib, options, differ }
}

/// mke2fs 1.47.0 takes 1/64 of the journal it would have made by default, not of the one asked for.
const FAST_COMMIT: &[&str] =
    &["Fast commit length", "Free blocks", "Overhead clusters", "Total journal blocks"];

/// Where groups shrink so that a bitmap holds the inodes, mke2fs keeps the reserved blocks of an
/// attempt with fewer blocks; ours are the percentage asked for.
const RESERVED: &[&str] = &["Reserved block count"];

pub(crate) const CASES: &[Case] = &[
    case(64, "-t ext4"),
    case(64, "-t ext3"),
    case(64, "-t ext2"),
    case(1024, "-t ext4"),
    case(2200, "-t ext4"),
    case(5120, "-t ext4"),
    case(1, "-t ext4"),
    case(2, "-t ext4"),
    case(3, "-t ext4"),
    case(8, "-t ext4"),
    case(20, "-t ext2 -b 1024"),
    case(33, "-t ext4 -b 1024"),
    case(257, "-t ext4 -b 1024"),
    case(64, "-t ext4 -b 2048"),
    case(64, "-t ext4 -b 4096"),
    differs(130, "-t ext4 -b 4096", RESERVED),
    case(64, "-t ext4 -b 8192"),
    case(128, "-t ext4 -b 16384"),
    case(256, "-t ext4 -b 32768"),
    case(400, "-t ext4 -b 65536"),
    case(400, "-t ext2 -b 65536"),
    case(64, "-t ext4 -O inline_data"),
    case(256, "-t ext4 -b 4096 -O project,orphan_file,mmp"),
    case(256, "-t ext4 -b 4096 -O quota,project,orphan_file"),
    case(64, "-t ext4 -O bigalloc"),
    case(256, "-t ext4 -b 4096 -O bigalloc"),
    case(256, "-t ext4 -b 4096 -O bigalloc -C 16384 -g 1024"),
    case(64, "-t ext4 -O bigalloc -b 1024 -C 16384"),
    case(256, "-t ext4 -O fast_commit"),
    differs(256, "-t ext4 -O fast_commit -J size=16", FAST_COMMIT),
    case(256, "-t ext4 -O fast_commit -J size=16,fast_commit_size=2"),
    case(256, "-t ext4 -J size=8"),
    case(64, "-t ext4 -b 1024 -O meta_bg,^resize_inode -g 1024"),
    case(64, "-t ext4 -O sparse_super2,^resize_inode"),
    case(64, "-t ext4 -O sparse_super2"),
    case(64, "-t ext4 -O sparse_super2 -E num_backup_sb=1"),
    case(64, "-t ext4 -O sparse_super2 -E num_backup_sb=0"),
    case(64, "-t ext4 -O ^sparse_super,^resize_inode"),
    case(64, "-t ext4 -O ^metadata_csum"),
    case(64, "-t ext4 -O ^metadata_csum,uninit_bg"),
    case(64, "-t ext4 -O ^flex_bg"),
    case(64, "-t ext4 -O ^flex_bg -E stride=16,stripe-width=64"),
    case(64, "-t ext4 -E stride=16,stripe-width=64"),
    case(64, "-t ext4 -O ^64bit"),
    case(64, "-t ext4 -O ^extent,^64bit"),
    case(64, "-t ext4 -O ^has_journal"),
    case(64, "-t ext4 -O ^resize_inode"),
    case(64, "-t ext4 -O none -J size=4"),
    case(64, "-t ext4 -I 128 -O ^metadata_csum,^extra_isize"),
    case(64, "-t ext4 -I 512"),
    case(64, "-t ext4 -I 1024"),
    case(64, "-t ext4 -N 1000"),
    case(64, "-t ext4 -N 50000 -I 128"),
    case(64, "-t ext4 -i 1024"),
    case(64, "-t ext4 -i 65536"),
    case(64, "-t ext4 -m 0"),
    case(64, "-t ext4 -m 12.5"),
    case(64, "-t ext4 -L label -M /mnt/x"),
    case(64, "-t ext4 -G 1"),
    case(64, "-t ext4 -G 4"),
    case(64, "-t ext4 -G 64"),
    case(1024, "-t ext4 -g 8192"),
    case(1024, "-t ext4 -E packed_meta_blocks=1"),
    case(64, "-t ext4 -b 1024 -E packed_meta_blocks=1"),
    case(64, "-t ext4 -E lazy_itable_init=1,nodiscard"),
    case(64, "-t ext4 -E lazy_itable_init=0,nodiscard"),
    case(64, "-t ext4 -E lazy_journal_init=1,nodiscard"),
    case(64, "-t ext4 -O casefold"),
    case(64, "-t ext4 -O casefold -E encoding_flags=strict"),
    case(64, "-t ext4 -O encrypt,stable_inodes,large_dir,ea_inode"),
    case(64, "-t ext4 -O verity"),
    case(64, "-t ext4 -O metadata_csum_seed"),
    case(64, "-t ext4 -O quota"),
    case(64, "-t ext4 -O quota -E quotatype=usrquota"),
    case(64, "-t ext4 -O project"),
    case(64, "-t ext4 -O orphan_file"),
    case(1024, "-t ext4 -O orphan_file"),
    case(64, "-t ext4 -T largefile"),
    case(64, "-t ext4 -T news"),
    case(64, "-t ext4 -T largefile4"),
    case(64, "-t ext4 -E resize=1G"),
    case(64, "-t ext4 -E root_owner=1000:100"),
    case(64, "-t ext4 -E test_fs"),
    case(64, "-t ext4 -e remount-ro"),
    case(64, "-t ext2 -r 0"),
    case(64, "-t ext3 -O ^resize_inode"),
    case(64, "-t ext3 -b 4096 -J size=16"),
    case(17 << 10, "-t ext4"),
    case(17 << 10, "-t ext3"),
];
