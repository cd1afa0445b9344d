//! What can be typed. What it means is in `meaning.rs`.

use crate::sections;
use ext4_cli::{CommonArgs, parse_size};
use std::{ffi::OsString, num::NonZero, path::PathBuf};

/// What `--size` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FsSize {
    /// So many bytes.
    Bytes(u64),
    /// The smallest that holds everything.
    Min,
}

fn parse_fs_size(typed: &str) -> Result<FsSize, String> {
    if typed == "min" { Ok(FsSize::Min) } else { parse_size(typed).map(FsSize::Bytes) }
}

/// Makes an ext2, ext3 or ext4 filesystem in an image file or on a block device
#[derive(Clone, Debug, clap::Parser)]
#[command(
    name = "ext4-mkfs",
    version,
    max_term_width = 100,
    after_long_help = sections::after_help()
)]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch on the command line")]
pub struct Args {
    /// The image or block device, which may end in `@OFFSET` or `#PARTITION`
    #[arg(required_unless_present = "list_presets")]
    pub image: Option<OsString>,

    /// The filesystem's size as mke2fs takes it: blocks with -b, else KiB, or a number with a suffix
    #[arg(value_name = "FS-SIZE", conflicts_with_all = ["size", "free"])]
    pub fs_size: Option<String>,

    /// The filesystem's size in bytes, or `min` for the smallest that holds its files; an image file
    /// is made or grown if it must be
    #[arg(long, value_name = "BYTES|min", value_parser = parse_fs_size)]
    pub size: Option<FsSize>,

    /// The smallest size that leaves so many bytes to ordinary users, files and all
    #[arg(long, value_name = "BYTES", value_parser = parse_size, conflicts_with = "size")]
    pub free: Option<u64>,

    /// Files that go in: a directory, or a tar archive (also gzip, xz, lzip or zstd), or `-` for an
    /// archive on standard input
    #[arg(short = 'd', long, value_name = "SOURCE", help_heading = "Files")]
    pub populate: Option<OsString>,

    /// Files to make or to change, as mtree(5) has them; see MANIFEST
    #[arg(long, value_name = "FILE", help_heading = "Files")]
    pub manifest: Option<PathBuf>,

    /// Owner and group of everything that comes from SOURCE
    #[arg(long, value_name = "UID:GID", requires = "populate", help_heading = "Files")]
    pub owner: Option<String>,

    /// The folder of a passwd(5) and group(5) that have numbers for names in the archive's access
    /// control lists
    #[arg(long, value_name = "FOLDER", requires = "populate", help_heading = "Files")]
    pub names: Option<PathBuf>,

    /// Of SOURCE only what lies on its own filesystem, not what is mounted below
    #[arg(short = 'x', long, requires = "populate", help_heading = "Files")]
    pub one_file_system: bool,

    /// Threads that copy contents; the image is the same with any number [default: one for each
    /// processor, at most 8]
    #[arg(long, value_name = "N", help_heading = "Files")]
    pub threads: Option<NonZero<usize>>,

    /// The kind: ext2, ext3 or ext4
    #[arg(short = 't', long = "type", value_name = "KIND", default_value = "ext4")]
    pub kind: String,

    /// What it is for, which chooses block size and inode ratio; several separated by commas
    #[arg(short = 'T', long, value_name = "TYPES")]
    pub usage_type: Option<String>,

    /// Bytes in a block: 1024 to 65536
    #[arg(short = 'b', long, value_name = "BYTES", value_parser = parse_size)]
    pub block_size: Option<u64>,

    /// Bytes in a cluster, with bigalloc
    #[arg(short = 'C', long, value_name = "BYTES", value_parser = parse_size)]
    pub cluster_size: Option<u64>,

    /// Blocks in a group (clusters, with bigalloc)
    #[arg(short = 'g', long, value_name = "N")]
    pub blocks_per_group: Option<u32>,

    /// Groups in a flex group
    #[arg(short = 'G', long, value_name = "N")]
    pub groups_per_flex: Option<u32>,

    /// Bytes of space for each inode
    #[arg(short = 'i', long, value_name = "BYTES", value_parser = parse_size)]
    pub inode_ratio: Option<u64>,

    /// Bytes in an inode
    #[arg(short = 'I', long, value_name = "BYTES", value_parser = parse_size)]
    pub inode_size: Option<u64>,

    /// Inodes at the least
    #[arg(short = 'N', long, value_name = "N")]
    pub inodes: Option<u32>,

    /// Have a journal (the same as -O has_journal)
    #[arg(short = 'j', long)]
    pub has_journal: bool,

    /// The journal: size=MIB, fast_commit_size=KIB, location=BLOCK, device=DEVICE
    #[arg(short = 'J', long, value_name = "OPTIONS")]
    pub journal: Option<String>,

    /// The label, at most 16 bytes
    #[arg(short = 'L', long)]
    pub label: Option<OsString>,

    /// A file with the numbers of blocks that must not be used
    #[arg(short = 'l', long, value_name = "FILE")]
    pub bad_blocks: Option<PathBuf>,

    /// Percentage of the blocks reserved for root
    #[arg(short = 'm', long, value_name = "PERCENT")]
    pub reserved: Option<String>,

    /// Where it was last mounted
    #[arg(short = 'M', long, value_name = "PATH")]
    pub last_mounted: Option<OsString>,

    /// Features on, and off with a ^ before the name
    #[arg(short = 'O', long, value_name = "FEATURES", allow_hyphen_values = true)]
    pub features: Vec<String>,

    /// More options, as mke2fs names them; see EXTENDED OPTIONS
    #[arg(short = 'E', long, value_name = "OPTIONS")]
    pub extended: Vec<String>,

    /// What the kernel does when it meets damage: continue, remount-ro or panic
    #[arg(short = 'e', long, value_name = "WHAT")]
    pub errors: Option<String>,

    /// The system it is made for: linux, hurd, masix, freebsd, lites or a number
    #[arg(short = 'o', long, value_name = "SYSTEM")]
    pub creator_os: Option<String>,

    /// Revision 0 or 1
    #[arg(short = 'r', long, value_name = "N")]
    pub revision: Option<u32>,

    /// The uuid: 32 hexadecimal digits, `clear` or `random`
    #[arg(short = 'U', long)]
    pub uuid: Option<String>,

    /// The seed of directory hashes, as a uuid, or `random`
    #[arg(long, value_name = "UUID")]
    pub hash_seed: Option<String>,

    /// Draw uuid and hash seed at random; otherwise they follow from the options and the size
    #[arg(long)]
    pub random: bool,

    /// The time for all times in the filesystem: `now` or seconds since 1970 [default: 0, or
    /// SOURCE_DATE_EPOCH]
    #[arg(long, value_name = "TIME")]
    pub time: Option<String>,

    /// Leave out what this one cannot read; see --list-presets. May be given more than once
    #[arg(long, value_name = "NAME")]
    pub compat: Vec<String>,

    /// Show the presets and what each leaves out, and end
    #[arg(long)]
    pub list_presets: bool,

    /// Make it even over an existing filesystem or partition table
    #[arg(short = 'F', long)]
    pub force: bool,

    /// Write superblocks and descriptors only, to rescue a filesystem that has lost them all
    #[arg(short = 'S', long, conflicts_with_all = ["populate", "manifest"])]
    pub superblocks_only: bool,

    /// Leave blocks that are not written as they are (the same as -E nodiscard)
    #[arg(short = 'K', long)]
    pub nodiscard: bool,

    /// Of mke2fs, and refused with the reason
    #[arg(short = 'c', hide = true, action = clap::ArgAction::Count)]
    pub check: u8,

    /// Of mke2fs, and refused with the reason
    #[arg(short = 'D', hide = true)]
    pub direct: bool,

    /// Of mke2fs, and refused with the reason
    #[arg(short = 'z', hide = true)]
    pub undo: Option<OsString>,

    /// Show the plan, where everything would lie, and write nothing
    #[arg(short = 'n', long)]
    pub dry_run: bool,

    #[command(flatten)]
    #[expect(missing_docs, reason = "clap would take them for the program's description")]
    pub common: CommonArgs,
}
