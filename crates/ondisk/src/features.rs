//! Feature bits, and the one table that says what we read, write and replay.
//!
//! Bits nobody has named are kept and are refused by number.

use bitflags::bitflags;
use std::fmt;

bitflags! {
    /// `s_feature_compat`: a filesystem with bits nobody knows may still be read and written.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct Compat: u32 {
        /// Directories are preallocated (never implemented).
        const DIR_PREALLOC = 0x1;
        /// AFS "imagic" inodes.
        const IMAGIC_INODES = 0x2;
        /// There is a journal: inode 8, or an external device.
        const HAS_JOURNAL = 0x4;
        /// Extended attributes.
        const EXT_ATTR = 0x8;
        /// Inode 7 reserves blocks for the group descriptors to grow.
        const RESIZE_INODE = 0x10;
        /// Directories may be hash trees.
        const DIR_INDEX = 0x20;
        /// Lazy block groups (never merged).
        const LAZY_BG = 0x40;
        /// Snapshot exclude bitmap (never merged).
        const EXCLUDE_BITMAP = 0x100;
        /// Superblock copies only in the two groups of `s_backup_bgs`.
        const SPARSE_SUPER2 = 0x200;
        /// The journal has room for fast commits.
        const FAST_COMMIT = 0x400;
        /// Inode numbers and the uuid must not change.
        const STABLE_INODES = 0x800;
        /// Orphans are kept in the file `s_orphan_file_inum`.
        const ORPHAN_FILE = 0x1000;
        const _ = !0;
    }
}

bitflags! {
    /// `s_feature_incompat`: a filesystem with bits we don't know must not even be read.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct Incompat: u32 {
        /// Compressed files (never merged).
        const COMPRESSION = 0x1;
        /// Directory entries have a file type.
        const FILETYPE = 0x2;
        /// The journal must be replayed first.
        const RECOVER = 0x4;
        /// This is no filesystem but an external journal.
        const JOURNAL_DEV = 0x8;
        /// Group descriptors live in their meta group.
        const META_BG = 0x10;
        /// Files may be mapped by extents.
        const EXTENTS = 0x40;
        /// 64-bit block numbers and larger group descriptors.
        const BIT64 = 0x80;
        /// Multiple mount protection.
        const MMP = 0x100;
        /// A group's bitmaps and inode table may lie in another group.
        const FLEX_BG = 0x200;
        /// Large extended attributes have inodes of their own.
        const EA_INODE = 0x400;
        /// Directory entries carry extra data (never merged).
        const DIRDATA = 0x1000;
        /// The checksum seed is `s_checksum_seed`, not derived from the uuid.
        const CSUM_SEED = 0x2000;
        /// Directories above 2 GiB, and hash trees of three levels.
        const LARGEDIR = 0x4000;
        /// Small files live in their inode.
        const INLINE_DATA = 0x8000;
        /// Encrypted inodes.
        const ENCRYPT = 0x1_0000;
        /// Directories that ignore case.
        const CASEFOLD = 0x2_0000;
        const _ = !0;
    }
}

bitflags! {
    /// `s_feature_ro_compat`: a filesystem with bits we don't know may be read, not written.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct RoCompat: u32 {
        /// Superblock copies only in groups 0, 1 and the powers of 3, 5 and 7.
        const SPARSE_SUPER = 0x1;
        /// Files above 2 GiB exist.
        const LARGE_FILE = 0x2;
        /// B-tree directories (never implemented).
        const BTREE_DIR = 0x4;
        /// `i_blocks` has 48 bits, and may count filesystem blocks.
        const HUGE_FILE = 0x8;
        /// Group descriptors have a crc16 and may say "uninitialised".
        const GDT_CSUM = 0x10;
        /// A directory with too many subdirectories has link count 1.
        const DIR_NLINK = 0x20;
        /// Inodes have extra fields.
        const EXTRA_ISIZE = 0x40;
        /// Snapshots (never merged).
        const HAS_SNAPSHOT = 0x80;
        /// Quota is kept in hidden inodes.
        const QUOTA = 0x100;
        /// The bitmap counts clusters of several blocks.
        const BIGALLOC = 0x200;
        /// Metadata has crc32c checksums.
        const METADATA_CSUM = 0x400;
        /// Replicas (never merged).
        const REPLICA = 0x800;
        /// Never to be written.
        const READONLY = 0x1000;
        /// Project ids and quota.
        const PROJECT = 0x2000;
        /// Blocks are shared between files without count (Android images).
        const SHARED_BLOCKS = 0x4000;
        /// Files under fs-verity.
        const VERITY = 0x8000;
        /// The orphan file may hold entries.
        const ORPHAN_PRESENT = 0x1_0000;
        const _ = !0;
    }
}

/// The three words together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Features {
    /// `s_feature_compat`.
    pub compat: Compat,
    /// `s_feature_incompat`.
    pub incompat: Incompat,
    /// `s_feature_ro_compat`.
    pub ro_compat: RoCompat,
}

/// What somebody wants to do with a filesystem.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Read it as it is.
    Read,
    /// Change it, journaled. Comes after a replay when one is needed.
    Write,
    /// Replay its journal: blocks only, so most of what they mean does not matter.
    Replay,
}

/// One bit of one of the words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Word {
    Compat,
    Incompat,
    RoCompat,
}

/// A row of the table.
struct Row {
    word: Word,
    bit: u32,
    /// As dumpe2fs prints it.
    name: &'static str,
    read: bool,
    write: bool,
    replay: bool,
}

const fn row(word: Word, bit: u32, name: &'static str, ops: [u8; 3]) -> Row {
    Row { word, bit, name, read: ops[0] == b'r', write: ops[1] == b'w', replay: ops[2] == b'p' }
}

/// THE table: feature by operation. A letter is "supported", a dash is "refused by name".
///
/// Where support depends on the inode (an encrypted file, a directory that ignores case), the
/// feature is supported here and the operation on that inode is refused.
const TABLE: &[Row] = &[
    row(Word::Compat, 0x1, "dir_prealloc", *b"rwp"),
    row(Word::Compat, 0x2, "imagic_inodes", *b"rwp"),
    row(Word::Compat, 0x4, "has_journal", *b"rwp"),
    row(Word::Compat, 0x8, "ext_attr", *b"rwp"),
    row(Word::Compat, 0x10, "resize_inode", *b"rwp"),
    row(Word::Compat, 0x20, "dir_index", *b"rwp"),
    row(Word::Compat, 0x40, "lazy_bg", *b"rwp"),
    row(Word::Compat, 0x100, "snapshot_bitmap", *b"rwp"),
    row(Word::Compat, 0x200, "sparse_super2", *b"rwp"),
    row(Word::Compat, 0x400, "fast_commit", *b"rwp"),
    row(Word::Compat, 0x800, "stable_inodes", *b"rwp"),
    row(Word::Compat, 0x1000, "orphan_file", *b"rwp"),
    row(Word::Incompat, 0x1, "compression", *b"---"),
    row(Word::Incompat, 0x2, "filetype", *b"rwp"),
    row(Word::Incompat, 0x4, "needs_recovery", *b"rwp"),
    row(Word::Incompat, 0x8, "journal_dev", *b"---"),
    row(Word::Incompat, 0x10, "meta_bg", *b"rwp"),
    row(Word::Incompat, 0x40, "extent", *b"rwp"),
    row(Word::Incompat, 0x80, "64bit", *b"rwp"),
    row(Word::Incompat, 0x100, "mmp", *b"rwp"),
    row(Word::Incompat, 0x200, "flex_bg", *b"rwp"),
    row(Word::Incompat, 0x400, "ea_inode", *b"rwp"),
    row(Word::Incompat, 0x1000, "dirdata", *b"---"),
    row(Word::Incompat, 0x2000, "metadata_csum_seed", *b"rwp"),
    row(Word::Incompat, 0x4000, "large_dir", *b"rwp"),
    row(Word::Incompat, 0x8000, "inline_data", *b"rwp"),
    row(Word::Incompat, 0x1_0000, "encrypt", *b"rwp"),
    row(Word::Incompat, 0x2_0000, "casefold", *b"rwp"),
    row(Word::RoCompat, 0x1, "sparse_super", *b"rwp"),
    row(Word::RoCompat, 0x2, "large_file", *b"rwp"),
    row(Word::RoCompat, 0x4, "btree_dir", *b"rwp"),
    row(Word::RoCompat, 0x8, "huge_file", *b"rwp"),
    row(Word::RoCompat, 0x10, "uninit_bg", *b"rwp"),
    row(Word::RoCompat, 0x20, "dir_nlink", *b"rwp"),
    row(Word::RoCompat, 0x40, "extra_isize", *b"rwp"),
    row(Word::RoCompat, 0x80, "snapshot", *b"r-p"),
    row(Word::RoCompat, 0x100, "quota", *b"r-p"),
    row(Word::RoCompat, 0x200, "bigalloc", *b"rwp"),
    row(Word::RoCompat, 0x400, "metadata_csum", *b"rwp"),
    row(Word::RoCompat, 0x800, "replica", *b"r-p"),
    row(Word::RoCompat, 0x1000, "read-only", *b"r-p"),
    row(Word::RoCompat, 0x2000, "project", *b"r-p"),
    row(Word::RoCompat, 0x4000, "shared_blocks", *b"r-p"),
    row(Word::RoCompat, 0x8000, "verity", *b"rwp"),
    row(Word::RoCompat, 0x1_0000, "orphan_present", *b"rwp"),
];

/// Features that an operation does not support, by name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{} not supported for {op}: {}", if names.len() == 1 { "feature" } else { "features" }, names.join(", "))]
pub struct Unsupported {
    /// What was asked for.
    pub op: Operation,
    /// The features in the way, as dumpe2fs prints them.
    pub names: Vec<String>,
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Read => "reading",
            Self::Write => "writing",
            Self::Replay => "replay",
        })
    }
}

/// Whether `op` is supported on a filesystem with these features; if not, which ones forbid it.
pub fn check(op: Operation, features: Features) -> Result<(), Unsupported> {
    let names: Vec<String> = features
        .bits()
        .filter(|&(word, bit)| !supported(op, word, bit))
        .map(|(word, bit)| name(word, bit))
        .collect();
    if names.is_empty() { Ok(()) } else { Err(Unsupported { op, names }) }
}

fn find(word: Word, bit: u32) -> Option<&'static Row> {
    TABLE.iter().find(|row| row.word == word && row.bit == bit)
}

fn supported(op: Operation, word: Word, bit: u32) -> bool {
    match (find(word, bit), op) {
        (Some(row), Operation::Read) => row.read,
        (Some(row), Operation::Write) => row.write,
        (Some(row), Operation::Replay) => row.replay,
        // What the three words mean for those who don't know a bit.
        (None, Operation::Read | Operation::Replay) => word != Word::Incompat,
        (None, Operation::Write) => word == Word::Compat,
    }
}

/// The feature's name, or `FEATURE_I11` for an incompat bit 11 nobody named (`e2p_feature2string`).
fn name(word: Word, bit: u32) -> String {
    if let Some(row) = find(word, bit) {
        return row.name.to_owned();
    }
    let letter = match word {
        Word::Compat => 'C',
        Word::Incompat => 'I',
        Word::RoCompat => 'R',
    };
    format!("FEATURE_{letter}{}", bit.trailing_zeros())
}

impl Features {
    fn bits(self) -> impl Iterator<Item = (Word, u32)> {
        let words = [
            (Word::Compat, self.compat.bits()),
            (Word::Incompat, self.incompat.bits()),
            (Word::RoCompat, self.ro_compat.bits()),
        ];
        words.into_iter().flat_map(|(word, bits)| {
            (0..32)
                .map(|i| 1u32 << i)
                .filter(move |bit| bits & bit != 0)
                .map(move |bit| (word, bit))
        })
    }

    /// The one feature of this name, as dumpe2fs prints it.
    pub fn named(wanted: &str) -> Option<Self> {
        let row = TABLE.iter().find(|row| row.name == wanted)?;
        let mut it = Self::default();
        match row.word {
            Word::Compat => it.compat = Compat::from_bits_retain(row.bit),
            Word::Incompat => it.incompat = Incompat::from_bits_retain(row.bit),
            Word::RoCompat => it.ro_compat = RoCompat::from_bits_retain(row.bit),
        }
        Some(it)
    }

    /// All names, in the order dumpe2fs prints them.
    pub fn names(self) -> Vec<String> {
        self.bits().map(|(word, bit)| name(word, bit)).collect()
    }

    /// Whether all of these compat features are on.
    pub const fn has_compat(self, bits: Compat) -> bool {
        self.compat.contains(bits)
    }

    /// Whether all of these incompat features are on.
    pub const fn has_incompat(self, bits: Incompat) -> bool {
        self.incompat.contains(bits)
    }

    /// Whether all of these ro_compat features are on.
    pub const fn has_ro_compat(self, bits: RoCompat) -> bool {
        self.ro_compat.contains(bits)
    }

    /// Whether group descriptors have a checksum of either kind (`ext4_has_group_desc_csum`), and
    /// so whether the UNINIT flags of a group mean anything.
    pub const fn has_group_desc_csum(self) -> bool {
        self.ro_compat.intersects(RoCompat::GDT_CSUM.union(RoCompat::METADATA_CSUM))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_refused_is_named() {
        let quota =
            Features { ro_compat: RoCompat::QUOTA | RoCompat::PROJECT, ..Features::default() };
        assert_eq!(check(Operation::Read, quota), Ok(()));
        let err = check(Operation::Write, quota).unwrap_err();
        assert_eq!(err.to_string(), "features not supported for writing: quota, project");
    }

    #[test]
    fn an_unknown_bit_counts_by_its_word() {
        let with = |compat, incompat, ro_compat| Features {
            compat: Compat::from_bits_retain(compat),
            incompat: Incompat::from_bits_retain(incompat),
            ro_compat: RoCompat::from_bits_retain(ro_compat),
        };
        let compat = with(1 << 30, 0, 0);
        let incompat = with(0, 1 << 30, 0);
        let ro_compat = with(0, 0, 1 << 30);
        assert_eq!(check(Operation::Write, compat), Ok(()));
        assert_eq!(check(Operation::Read, ro_compat), Ok(()));
        assert_eq!(check(Operation::Write, ro_compat).unwrap_err().names, ["FEATURE_R30"]);
        assert_eq!(check(Operation::Read, incompat).unwrap_err().names, ["FEATURE_I30"]);
        assert_eq!(check(Operation::Replay, incompat).unwrap_err().names, ["FEATURE_I30"]);
    }

    #[test]
    fn each_feature_is_found_by_its_name() {
        for row in TABLE {
            assert_eq!(Features::named(row.name).unwrap().names(), [row.name]);
        }
        assert_eq!(Features::named("warp_drive"), None);
    }

    #[test]
    fn every_named_bit_has_a_row() {
        for (name, flag) in Compat::all().iter_names() {
            assert!(find(Word::Compat, flag.bits()).is_some(), "{name}");
        }
        for (name, flag) in Incompat::all().iter_names() {
            assert!(find(Word::Incompat, flag.bits()).is_some(), "{name}");
        }
        for (name, flag) in RoCompat::all().iter_names() {
            assert!(find(Word::RoCompat, flag.bits()).is_some(), "{name}");
        }
    }
}
