//! Quota files: header, info, the tree of ids and its records (`vfsv1`, version 1).
//!
//! Blocks of 1024 bytes whatever the filesystem's; little-endian.

mod write;

pub use write::{GRACE, file};

use crate::Corrupt;
use std::{collections::BTreeSet, mem::offset_of};
use zerocopy::{
    FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout, Unaligned,
    little_endian::{U16, U32, U64},
};

/// Bytes in a block of a quota file, `1 << V2_DQBLKSIZE_BITS`.
pub const BLOCK: usize = 1024;
/// The block with the root of the tree, `QT_TREEOFF`.
pub const ROOT: u32 = 1;
/// Levels of the tree: 256 references a block for ids of 32 bits.
pub const DEPTH: u32 = 4;

const REFS: usize = BLOCK / 4;

/// Whose quota a file is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Users.
    User,
    /// Groups.
    Group,
    /// Projects.
    Project,
}

impl Kind {
    /// The file's magic.
    pub const fn magic(self) -> u32 {
        match self {
            Self::User => 0xD9C0_1F11,
            Self::Group => 0xD9C0_1927,
            Self::Project => 0xD9C0_3F14,
        }
    }
}

/// `struct v2_disk_dqheader` and `struct v2_disk_dqinfo`: the start of block 0.
#[derive(Clone, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct RawHeader {
    /// 00: [`Kind::magic`].
    pub dqh_magic: U32,
    /// 04: 1.
    pub dqh_version: U32,
    /// 08: Seconds a soft limit of blocks may be passed.
    pub dqi_bgrace: U32,
    /// 0c: Seconds a soft limit of inodes may be passed.
    pub dqi_igrace: U32,
    /// 10: Flags.
    pub dqi_flags: U32,
    /// 14: Blocks of the file.
    pub dqi_blocks: U32,
    /// 18: First block without any use.
    pub dqi_free_blk: U32,
    /// 1c: First block with a free record.
    pub dqi_free_entry: U32,
}

const _: () = assert!(size_of::<RawHeader>() == 32);

/// `struct qt_disk_dqdbheader`: the start of a block of records.
#[derive(Clone, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct RawRecordsHeader {
    /// 00: Next block with a free record.
    pub dqdh_next_free: U32,
    /// 04: The one before.
    pub dqdh_prev_free: U32,
    /// 08: Records in use.
    pub dqdh_entries: U16,
    /// 0a: Unused.
    pub dqdh_pad1: U16,
    /// 0c: Unused.
    pub dqdh_pad2: U32,
}

const _: () = assert!(size_of::<RawRecordsHeader>() == 16);

/// `struct v2r1_disk_dqblk`: one record.
#[derive(Clone, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct RawRecord {
    /// 00: The id.
    pub dqb_id: U32,
    /// 04: Unused.
    pub dqb_pad: U32,
    /// 08: Inodes allowed.
    pub dqb_ihardlimit: U64,
    /// 10: Inodes preferred.
    pub dqb_isoftlimit: U64,
    /// 18: Inodes held.
    pub dqb_curinodes: U64,
    /// 20: KiB allowed.
    pub dqb_bhardlimit: U64,
    /// 28: KiB preferred.
    pub dqb_bsoftlimit: U64,
    /// 30: Bytes held.
    pub dqb_curspace: U64,
    /// 38: When the grace of blocks ends.
    pub dqb_btime: U64,
    /// 40: When the grace of inodes ends.
    pub dqb_itime: U64,
}

const _: () = assert!(size_of::<RawRecord>() == 72);
const _: () = assert!(offset_of!(RawRecord, dqb_curspace) == 0x30);

/// Records in a block.
pub const RECORDS_PER_BLOCK: usize =
    (BLOCK - size_of::<RawRecordsHeader>()) / size_of::<RawRecord>();

/// What one id holds and may hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Record {
    /// User, group or project.
    pub id: u32,
    /// Inodes allowed; 0 for any number.
    pub inode_hard_limit: u64,
    /// Inodes preferred; 0 for any number.
    pub inode_soft_limit: u64,
    /// Inodes held.
    pub inodes: u64,
    /// KiB allowed; 0 for any number.
    pub block_hard_limit: u64,
    /// KiB preferred; 0 for any number.
    pub block_soft_limit: u64,
    /// Bytes held.
    pub space: u64,
    /// When the grace of blocks ends, seconds.
    pub block_time: u64,
    /// When the grace of inodes ends, seconds.
    pub inode_time: u64,
}

/// Where a record is in its file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The file's block.
    pub blk: u32,
    /// The byte in it.
    pub offset: usize,
}

impl Record {
    /// From its bytes; `None` for an unused record (`v2r1_disk2memdqb`).
    pub fn decode(raw: &RawRecord) -> Option<Self> {
        if raw.as_bytes().iter().all(|&byte| byte == 0) {
            return None;
        }
        // A record of id 0 that would be all zeros is marked by this time.
        let mut marker = RawRecord::new_zeroed();
        marker.dqb_itime = U64::new(1);
        let is_marked = raw.as_bytes() == marker.as_bytes();
        Some(Self {
            id: raw.dqb_id.get(),
            inode_hard_limit: raw.dqb_ihardlimit.get(),
            inode_soft_limit: raw.dqb_isoftlimit.get(),
            inodes: raw.dqb_curinodes.get(),
            block_hard_limit: raw.dqb_bhardlimit.get(),
            block_soft_limit: raw.dqb_bsoftlimit.get(),
            space: raw.dqb_curspace.get(),
            block_time: raw.dqb_btime.get(),
            inode_time: if is_marked { 0 } else { raw.dqb_itime.get() },
        })
    }

    /// Its bytes (`v2r1_mem2diskdqb`).
    pub fn encode(&self) -> RawRecord {
        let mut raw = RawRecord {
            dqb_id: U32::new(self.id),
            dqb_pad: U32::ZERO,
            dqb_ihardlimit: U64::new(self.inode_hard_limit),
            dqb_isoftlimit: U64::new(self.inode_soft_limit),
            dqb_curinodes: U64::new(self.inodes),
            dqb_bhardlimit: U64::new(self.block_hard_limit),
            dqb_bsoftlimit: U64::new(self.block_soft_limit),
            dqb_curspace: U64::new(self.space),
            dqb_btime: U64::new(self.block_time),
            dqb_itime: U64::new(self.inode_time),
        };
        if raw.as_bytes().iter().all(|&byte| byte == 0) {
            raw.dqb_itime = U64::new(1);
        }
        raw
    }
}

/// Reads the header of a quota file from its first block (`v2_check_quota_file`).
pub fn header(block: &[u8], kind: Kind) -> Result<RawHeader, Corrupt> {
    let corrupt = |fault: String| Corrupt::new("quota file header", fault);
    let (raw, _) = RawHeader::read_from_prefix(block)
        .map_err(|_short| corrupt(format!("{} bytes, expected 1024", block.len())))?;
    let (magic, expected) = (raw.dqh_magic.get(), kind.magic());
    if magic != expected {
        return Err(corrupt(format!("magic {magic:#010x}, expected {expected:#010x}")));
    }
    let version = raw.dqh_version.get();
    if version != 1 {
        return Err(corrupt(format!("version {version}, expected 1")));
    }
    Ok(raw)
}

/// The blocks of one quota file.
pub trait Blocks {
    /// What can go wrong; damage found in the tree is put into it.
    type Error: From<Corrupt>;

    /// Block `blk` of 1024 bytes.
    fn read(&self, blk: u32) -> Result<Vec<u8>, Self::Error>;

    /// Blocks the file has.
    fn len(&self) -> u32;

    /// Whether it has none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// The record of `id` and where it is; `None` when there is none (`find_dqentry`).
pub fn find<B: Blocks + ?Sized>(blocks: &B, id: u32) -> Result<Option<(Place, Record)>, B::Error> {
    let mut blk = ROOT;
    for depth in 0..DEPTH {
        let table = blocks.read(blk)?;
        let slot = id.to_be_bytes()[depth as usize];
        match reference(&table, usize::from(slot), blk, blocks.len())? {
            Some(next) => blk = next,
            None => return Ok(None),
        }
    }
    let found = records(&blocks.read(blk)?, blk);
    Ok(found.into_iter().find(|(_, record)| record.id == id))
}

/// All records with their places, in the order of their ids.
pub fn all<B: Blocks + ?Sized>(blocks: &B) -> Result<Vec<(Place, Record)>, B::Error> {
    let mut found = Vec::new();
    // Blocks to look at with their depth; each block only once, so this ends.
    let mut pending = vec![(ROOT, 0)];
    let mut seen = BTreeSet::from([0, ROOT]);
    while let Some((blk, depth)) = pending.pop() {
        let bytes = blocks.read(blk)?;
        if depth == DEPTH {
            found.extend(records(&bytes, blk));
            continue;
        }
        let mut below = BTreeSet::new();
        for slot in 0..REFS {
            below.extend(reference(&bytes, slot, blk, blocks.len())?);
        }
        for next in below {
            if !seen.insert(next) {
                // Several tables may share a block of records.
                if depth + 1 == DEPTH {
                    continue;
                }
                let fault = format!("block {next} is in the tree twice");
                return Err(Corrupt::new(format!("quota file block {blk}"), fault).into());
            }
            pending.push((next, depth + 1));
        }
    }
    found.sort_by_key(|(_, record)| record.id);
    Ok(found)
}

/// A slot of a table of references: 0 is none, and block 0 is the header.
fn reference(table: &[u8], slot: usize, blk: u32, len: u32) -> Result<Option<u32>, Corrupt> {
    let refs = <[U32]>::ref_from_bytes(table.get(..BLOCK).unwrap_or_default()).ok();
    let next = refs.and_then(|refs| refs.get(slot)).map_or(0, |next| next.get());
    if next >= len && next != 0 {
        let fault = format!("reference {slot} to block {next}, expected below {len}");
        return Err(Corrupt::new(format!("quota file block {blk}"), fault));
    }
    Ok((next != 0).then_some(next))
}

/// The records in use in a block.
fn records(block: &[u8], blk: u32) -> Vec<(Place, Record)> {
    let head = size_of::<RawRecordsHeader>();
    let area = block.get(head..).unwrap_or_default();
    let records = area.chunks_exact(size_of::<RawRecord>()).take(RECORDS_PER_BLOCK).enumerate();
    records
        .filter_map(|(i, bytes)| {
            let record = Record::decode(RawRecord::ref_from_bytes(bytes).ok()?)?;
            Some((Place { blk, offset: head + i * size_of::<RawRecord>() }, record))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    struct File(Vec<u8>);

    impl Blocks for File {
        type Error = Corrupt;

        fn read(&self, blk: u32) -> Result<Vec<u8>, Corrupt> {
            Ok(self.0.chunks(BLOCK).nth(blk as usize).unwrap_or_default().to_vec())
        }

        fn len(&self) -> u32 {
            u32::try_from(self.0.len() / BLOCK).unwrap()
        }
    }

    fn point(file: &mut File, blk: usize, slot: usize, to: u32) {
        file.0[blk * BLOCK + slot * 4..][..4].copy_from_slice(&to.to_le_bytes());
    }

    #[test]
    fn an_id_is_found_through_four_tables() {
        let mut file = File(vec![0; 8 * BLOCK]);
        for (blk, slot, to) in [(1, 0, 2), (2, 0, 3), (3, 3, 4), (3, 0, 5), (4, 0xE8, 6)] {
            point(&mut file, blk, slot, to);
        }
        point(&mut file, 5, 0, 6);
        let big = Record { id: 1000, space: 4096, inodes: 1, ..Record::default() };
        for (i, record) in [Record::default(), big].iter().enumerate() {
            let at = 6 * BLOCK + 16 + i * 72;
            file.0[at..at + 72].copy_from_slice(record.encode().as_bytes());
        }
        let found = find(&file, 1000).unwrap().unwrap();
        assert_eq!(found, (Place { blk: 6, offset: 88 }, big));
        assert_eq!(find(&file, 0).unwrap().unwrap().1, Record::default());
        assert_eq!(find(&file, 1001).unwrap(), None);
        let all: Vec<u32> = all(&file).unwrap().iter().map(|(_, record)| record.id).collect();
        assert_eq!(all, [0, 1000]);
        point(&mut file, 4, 0xE8, 8);
        assert!(find(&file, 1000).is_err());
    }

    #[test]
    fn a_tree_that_bites_its_tail_is_damage() {
        let mut file = File(vec![0; 4 * BLOCK]);
        point(&mut file, 1, 0, 2);
        point(&mut file, 2, 0, 1);
        assert!(all(&file).is_err());
    }
}
