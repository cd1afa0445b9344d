//! What the geometry says that a block is, without asking any inode.

use crate::text::count;
use ext4_fs::Filesystem;
use ext4_jbd2::{Log, MetaRead};
use ext4_ondisk::{features::Incompat, geometry::Geometry};
use ext4_units::{BlockNr, GroupNr, InodeNr};
use serde_json::{Map, Value, json};
use std::fmt;

/// The blocks that hold the filesystem itself.
#[derive(Debug)]
pub(crate) struct Layout {
    geo: Geometry,
    /// With meta_bg, the first meta group whose descriptors lie in itself.
    first_meta_bg: Option<u32>,
    mmp: Option<BlockNr>,
    log: Option<Log>,
    /// First block, how many, what, of which group; in order of the first block.
    parts: Vec<(BlockNr, u64, Part, GroupNr)>,
    /// What is wrong with descriptors: their blocks are not known.
    pub(crate) damage: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Part {
    BlockBitmap,
    InodeBitmap,
    InodeTable,
}

/// What a block is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum What {
    /// Before the first block of group 0.
    Boot,
    /// The superblock of group 0, or a copy.
    Superblock(GroupNr),
    /// Descriptors of these groups, or a copy of them in another group.
    Descriptors {
        /// The group it lies in.
        group: GroupNr,
        /// First and last group described.
        of: (u32, u32),
        /// Whether it is a copy.
        is_copy: bool,
    },
    /// Kept for descriptors of a larger filesystem.
    Reserved(GroupNr),
    /// A block bitmap.
    BlockBitmap(GroupNr),
    /// An inode bitmap.
    InodeBitmap(GroupNr),
    /// A block of an inode table, with the first and last inode in it.
    InodeTable {
        /// The group.
        group: GroupNr,
        /// First and last inode.
        inodes: (u32, u32),
    },
    /// The block of multiple mount protection.
    Mmp,
    /// A block of the journal.
    Log {
        /// The log block.
        at: u32,
    },
    /// Anything else.
    Other,
}

impl Layout {
    /// Reads all descriptors, and finds the log.
    pub(crate) fn read(fs: &Filesystem, meta: &dyn MetaRead) -> Self {
        let geo = *fs.geometry();
        let (mut parts, mut damage) = (Vec::new(), Vec::new());
        for gi in geo.groups() {
            match fs.group(meta, gi) {
                Ok(desc) => parts.extend([
                    (desc.block_bitmap, 1, Part::BlockBitmap, gi),
                    (desc.inode_bitmap, 1, Part::InodeBitmap, gi),
                    (desc.inode_table, u64::from(geo.itable_blocks()), Part::InodeTable, gi),
                ]),
                Err(err) => damage.push(err.to_string()),
            }
        }
        parts.sort_unstable();
        let log = fs.find_log(None).ok().flatten();
        let sb = fs.superblock();
        let first_meta_bg = sb.features.has_incompat(Incompat::META_BG).then_some(sb.first_meta_bg);
        Self { mmp: sb.mmp_block, geo, first_meta_bg, log, parts, damage }
    }

    /// What `blk` is.
    pub(crate) fn what(&self, blk: BlockNr) -> What {
        let Some(gi) = self.geo.group_of_block(blk) else { return What::Boot };
        if self.mmp == Some(blk) {
            return What::Mmp;
        }
        if let Some(part) = self.part(blk) {
            return part;
        }
        let base = self.geo.base_metadata(gi);
        if base.contains(blk) {
            return self.base(gi, blk);
        }
        self.log_block(blk).map_or(What::Other, |at| What::Log { at })
    }

    fn part(&self, blk: BlockNr) -> Option<What> {
        let after = self.parts.partition_point(|part| part.0 <= blk);
        let &(start, len, part, group) = self.parts.get(after.checked_sub(1)?)?;
        let at = u32::try_from(blk.0 - start.0).ok().filter(|&at| u64::from(at) < len)?;
        Some(match part {
            Part::BlockBitmap => What::BlockBitmap(group),
            Part::InodeBitmap => What::InodeBitmap(group),
            Part::InodeTable => {
                let per_block = self.geo.inodes_per_block();
                let number = |index| self.geo.inode_at(group, index).map_or(0, InodeNr::get);
                let first = at * per_block;
                let last = (first + per_block - 1).min(self.geo.inodes_per_group - 1);
                What::InodeTable { group, inodes: (number(first), number(last)) }
            }
        })
    }

    /// A block at the start of a group: superblock, descriptors, reserve, in this order.
    fn base(&self, group: GroupNr, blk: BlockNr) -> What {
        let geo = &self.geo;
        let start = geo.group_blocks(group).start;
        let (super_blk, _) = geo.superblock_place();
        let first = if group.0 == 0 { super_blk } else { start };
        if blk < first {
            return What::Boot;
        }
        let has_super = geo.has_super(group);
        if has_super && blk == first {
            return What::Superblock(group);
        }
        let at = blk.0 - first.0 - u64::from(has_super);
        let per_block = geo.descs_per_block();
        let table = |nr: u32, is_copy| {
            let from = nr.saturating_mul(per_block);
            let to = from.saturating_add(per_block - 1).min(geo.groups_count - 1);
            What::Descriptors { group, of: (from, to), is_copy }
        };
        let meta_group = group.0 / per_block;
        if self.first_meta_bg.is_some_and(|first| meta_group >= first) {
            return table(meta_group, geo.desc_block(meta_group) != blk);
        }
        let descs = self.first_meta_bg.unwrap_or(geo.desc_blocks());
        match u32::try_from(at) {
            Ok(at) if at < descs => table(at, group.0 != 0),
            _ => What::Reserved(group),
        }
    }

    fn log_block(&self, blk: BlockNr) -> Option<u32> {
        let log = self.log.as_ref().filter(|log| log.holds(blk))?;
        let len = u32::try_from(log.len()).unwrap_or(u32::MAX);
        (0..len).find(|&at| log.block(at) == Some(blk))
    }
}

impl What {
    /// The kind as one word, for programs.
    pub(crate) const fn kind(&self) -> &'static str {
        match self {
            Self::Boot => "boot",
            Self::Superblock(_) => "superblock",
            Self::Descriptors { .. } => "group_descriptors",
            Self::Reserved(_) => "reserved_gdt",
            Self::BlockBitmap(_) => "block_bitmap",
            Self::InodeBitmap(_) => "inode_bitmap",
            Self::InodeTable { .. } => "inode_table",
            Self::Mmp => "mmp",
            Self::Log { .. } => "journal",
            Self::Other => "other",
        }
    }

    /// Its members in an object.
    pub(crate) fn put(&self, object: &mut Map<String, Value>) {
        object.insert("kind".into(), self.kind().into());
        match self {
            Self::Superblock(group)
            | Self::Reserved(group)
            | Self::BlockBitmap(group)
            | Self::InodeBitmap(group) => {
                object.insert("group".into(), group.0.into());
            }
            Self::Descriptors { group, of, is_copy } => {
                object.insert("group".into(), group.0.into());
                object.insert("of_groups".into(), json!([of.0, of.1]));
                object.insert("is_copy".into(), (*is_copy).into());
            }
            Self::InodeTable { group, inodes } => {
                object.insert("group".into(), group.0.into());
                object.insert("inodes".into(), json!([inodes.0, inodes.1]));
            }
            Self::Log { at } => {
                object.insert("log_block".into(), (*at).into());
            }
            Self::Boot | Self::Mmp | Self::Other => {}
        }
    }
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Boot => f.write_str("boot block"),
            Self::Superblock(GroupNr(0)) => f.write_str("superblock"),
            Self::Superblock(group) => write!(f, "copy of the superblock in group {group}"),
            Self::Descriptors { group, of, is_copy } => {
                let copy = if *is_copy { "copy of the " } else { "" };
                write!(f, "{copy}descriptors of groups {}..{} in group {group}", of.0, of.1)
            }
            Self::Reserved(group) => write!(f, "reserved for descriptors, in group {group}"),
            Self::BlockBitmap(group) => write!(f, "block bitmap of group {group}"),
            Self::InodeBitmap(group) => write!(f, "inode bitmap of group {group}"),
            Self::InodeTable { group, inodes: (first, last) } => {
                write!(f, "inode table of group {group}, inodes {first}..{last}")
            }
            Self::Mmp => f.write_str("multiple mount protection"),
            Self::Log { at } => write!(f, "journal, log block {at}"),
            Self::Other => f.write_str("file data, file metadata or free"),
        }
    }
}

/// What the bytes of a block that is none of the system's own look like. A guess: data can look like
/// anything.
pub(crate) fn guess(block: &[u8]) -> &'static str {
    let word = |at: usize| block.get(at..at + 4).map(|it| [it[0], it[1], it[2], it[3]]);
    let half = |at: usize| block.get(at..at + 2).map_or(0, |it| u16::from_le_bytes([it[0], it[1]]));
    if block.iter().all(|&byte| byte == 0) {
        return "zeros";
    }
    if half(0) == ext4_ondisk::extent::MAGIC && half(2) <= half(4) {
        return "extent node";
    }
    if word(0).map(u32::from_le_bytes) == Some(ext4_ondisk::xattr::MAGIC) {
        return "attribute block";
    }
    let tail = block.len().checked_sub(8).and_then(word).map(u32::from_le_bytes);
    if tail == Some(ext4_ondisk::orphan_file::MAGIC) {
        return "orphan file";
    }
    // A name of one dot with its length, then `..`: the first block of a directory.
    if word(4) == Some([12, 0, 1, 2]) && block.get(8) == Some(&b'.') {
        return "directory, first block";
    }
    let ends_with_tail =
        block.len().checked_sub(12).is_some_and(|at| word(at + 4) == Some([12, 0, 0, 0xDE]));
    if ends_with_tail || is_directory(block) {
        return "directory";
    }
    if half(4) as usize == block.len() && half(6) == 0 && word(0) == Some([0; 4]) {
        return "directory index";
    }
    "data or other"
}

/// Whether records of a directory follow each other to the block's very end.
fn is_directory(block: &[u8]) -> bool {
    let mut at = 0;
    // A record has at least 12 bytes, so this ends.
    while let Some(head) = block.get(at..at + 8) {
        let rec_len = usize::from(u16::from_le_bytes([head[4], head[5]]));
        let name_len = usize::from(head[6]);
        if rec_len < 12 || !rec_len.is_multiple_of(4) || name_len + 8 > rec_len || head[7] > 7 {
            return false;
        }
        at += rec_len;
    }
    at == block.len() && at > 0
}

/// A range of blocks with how many there are: `1..8192 (8192 blocks)`.
pub(crate) fn blocks(first: BlockNr, len: u64) -> String {
    match len {
        0 => "none".to_owned(),
        1 => format!("{first}"),
        _ => format!("{first}..{} ({})", first.0 + (len - 1), count(len, "block")),
    }
}
