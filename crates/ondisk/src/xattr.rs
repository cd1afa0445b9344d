//! Extended attributes: entries in an inode's body or in a block, their names and their hashes.
//!
//! Parses and builds; an attribute's value may be an inode of its own, which this file only names.

mod entry;
mod name;

pub use entry::{
    Entry, MAX_VALUE, Value, encode_body, entry_hash, entry_hash_signed, parse_body, salvage_body,
};
pub use name::{NameIndex, full_name, split_name};

use crate::{Corrupt, checksum::Csum};
use ext4_units::BlockNr;
use zerocopy::{
    FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned,
    little_endian::{U16, U32},
};

/// `EXT4_XATTR_MAGIC`, at the start of an inode's body and of a block.
pub const MAGIC: u32 = 0xEA02_0000;

/// `EXT4_XATTR_REFCOUNT_MAX`: so many inodes may share a block.
pub const MAX_REFCOUNT: u32 = 1024;

/// `struct ext4_xattr_header`: the first 32 bytes of an attribute block.
#[derive(Clone, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct RawXattrHeader {
    /// 00: [`MAGIC`].
    pub h_magic: U32,
    /// 04: Inodes that share the block.
    pub h_refcount: U32,
    /// 08: Blocks: always 1.
    pub h_blocks: U32,
    /// 0c: Hash of all entries, 0 for a block not to be shared.
    pub h_hash: U32,
    /// 10: crc32c of block number and block.
    pub h_checksum: U32,
    /// 14: Unused.
    pub h_reserved: [U32; 3],
}

const _: () = assert!(size_of::<RawXattrHeader>() == 32);

/// `struct ext4_xattr_entry` without its name.
#[derive(Clone, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct RawXattrEntry {
    /// 00: Bytes of the name that follows.
    pub e_name_len: u8,
    /// 01: What stands before the name.
    pub e_name_index: u8,
    /// 02: Where the value is: from the block's start, or in an inode from its first entry.
    pub e_value_offs: U16,
    /// 04: The inode that holds the value, or 0.
    pub e_value_inum: U32,
    /// 08: Bytes of the value.
    pub e_value_size: U32,
    /// 0c: Hash of name and value.
    pub e_hash: U32,
}

const _: () = assert!(size_of::<RawXattrEntry>() == 16);

/// A decoded attribute block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct XattrBlock {
    /// Inodes that share the block.
    pub refcount: u32,
    /// The attributes, in the order of the block.
    pub entries: Vec<Entry>,
}

impl XattrBlock {
    /// Decodes the block at `blk`. With metadata_csum `csum` is the filesystem's seed and the
    /// checksum is verified first, as in `ext4_xattr_check_block`.
    pub fn decode(bytes: &[u8], blk: BlockNr, csum: Option<Csum>) -> Result<Self, Corrupt> {
        let place = || format!("attribute block {blk}");
        let corrupt = |fault: String| Corrupt::new(place(), fault);
        let (raw, _) = RawXattrHeader::ref_from_prefix(bytes)
            .map_err(|_short| corrupt(format!("{} bytes, expected a block", bytes.len())))?;
        let magic = raw.h_magic.get();
        if magic != MAGIC {
            return Err(corrupt(format!("magic {magic:#010x}, expected {MAGIC:#010x}")));
        }
        let blocks = raw.h_blocks.get();
        if blocks != 1 {
            return Err(corrupt(format!("{blocks} blocks, expected 1")));
        }
        if let Some(seed) = csum {
            let (found, expected) = (raw.h_checksum.get(), checksum(bytes, blk, seed));
            if found != expected {
                return Err(Corrupt::checksum(place(), found, expected));
            }
        }
        let entries = entry::parse(bytes, size_of::<RawXattrHeader>(), 0, &place)?;
        Ok(Self { refcount: raw.h_refcount.get(), entries })
    }

    /// The block of `len` bytes that goes to `blk`: entries sorted as the kernel wants them, hashes
    /// and checksum made. `None` when the attributes don't fit.
    pub fn encode(&self, len: usize, blk: BlockNr, csum: Option<Csum>) -> Option<Vec<u8>> {
        let mut entries = self.entries.clone();
        entries.sort_by(|a, b| a.order().cmp(&b.order()));
        for entry in &mut entries {
            entry.rehash();
        }
        let mut bytes = vec![0; len];
        entry::build(&mut bytes, size_of::<RawXattrHeader>(), 0, &entries)?;
        let (raw, _) = RawXattrHeader::mut_from_prefix(&mut bytes).ok()?;
        raw.h_magic = U32::new(MAGIC);
        raw.h_refcount = U32::new(self.refcount);
        raw.h_blocks = U32::new(1);
        raw.h_hash = U32::new(block_hash(&entries));
        update_checksum(&mut bytes, blk, csum);
        Some(bytes)
    }
}

/// Renews the checksum of an attribute block that was changed in place.
pub fn update_checksum(bytes: &mut [u8], blk: BlockNr, csum: Option<Csum>) {
    let Some(seed) = csum else { return };
    let csum = checksum(bytes, blk, seed);
    if let Ok((raw, _)) = RawXattrHeader::mut_from_prefix(bytes) {
        raw.h_checksum = U32::new(csum);
    }
}

/// crc32c from the filesystem's seed over the block number and the block with its checksum as zero
/// (`ext4_xattr_block_csum`).
fn checksum(bytes: &[u8], blk: BlockNr, seed: Csum) -> u32 {
    let (head, rest) = bytes.split_at(0x10.min(bytes.len()));
    let rest = rest.get(4..).unwrap_or_default();
    seed.over(&blk.0.to_le_bytes()).over(head).over(&[0; 4]).over(rest).0
}

/// `h_hash`: over the hashes of all entries, or 0 when one of them is (`ext4_xattr_rehash`).
pub fn block_hash(entries: &[Entry]) -> u32 {
    if entries.iter().any(|entry| entry.hash == 0) {
        return 0;
    }
    entries.iter().fold(0, |hash: u32, entry| hash.rotate_left(16) ^ entry.hash)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ext4_units::InodeNr;

    fn entry(index: NameIndex, name: &str, value: &[u8]) -> Entry {
        Entry { index: index.0, name: name.into(), value: Value::Here(value.to_vec()), hash: 0 }
    }

    #[test]
    fn a_block_survives_and_is_sorted() {
        let block = XattrBlock {
            refcount: 3,
            entries: vec![
                entry(NameIndex::SECURITY, "selinux", b"system_u:object_r:t:s0\0"),
                entry(NameIndex::USER, "long-name", b""),
                entry(NameIndex::USER, "b", &[7; 100]),
                Entry {
                    index: NameIndex::USER.0,
                    name: b"a".to_vec(),
                    value: Value::Inode { ino: InodeNr::new(40).unwrap(), len: 70_000 },
                    hash: 99,
                },
            ],
        };
        let csum = Some(Csum(12));
        let bytes = block.encode(1024, BlockNr(5), csum).unwrap();
        let again = XattrBlock::decode(&bytes, BlockNr(5), csum).unwrap();
        let names: Vec<&[u8]> = again.entries.iter().map(|it| it.name.as_slice()).collect();
        assert_eq!(names, [&b"a"[..], b"b", b"long-name", b"selinux"]);
        assert_eq!(again.entries[0].hash, 99);
        assert_eq!(again.entries[1].value, Value::Here(vec![7; 100]));
        assert_eq!(again.encode(1024, BlockNr(5), csum).unwrap(), bytes);
        assert!(XattrBlock::decode(&bytes, BlockNr(6), csum).unwrap_err().is_checksum);
        assert_eq!(block.encode(248, BlockNr(5), csum), None);
    }

    #[test]
    fn a_body_survives_and_an_unused_one_has_none() {
        let entries =
            vec![entry(NameIndex::USER, "z", b"12345"), entry(NameIndex::SYSTEM, "data", b"x")];
        let bytes = encode_body(&entries, 96).unwrap();
        let ino = InodeNr::new(12).unwrap();
        assert_eq!(parse_body(&bytes, ino).unwrap(), entries);
        assert_eq!(encode_body(&entries, 56), None);
        assert_eq!(encode_body(&[], 96).unwrap(), vec![0; 96]);
        assert_eq!(parse_body(&[0; 96], ino).unwrap(), []);
        assert_eq!(parse_body(&[], ino).unwrap(), []);
    }

    #[test]
    fn what_is_before_the_damage_is_saved() {
        let entries = vec![
            entry(NameIndex::SYSTEM, "data", b"x"),
            entry(NameIndex::USER, "z", b"12345"),
            entry(NameIndex::USER, "y", b"6"),
        ];
        let mut bytes = encode_body(&entries, 96).unwrap();
        assert_eq!(salvage_body(&bytes), entries);
        // The value of the second lies outside, the third has no name.
        bytes[4 + 20 + 2] = 0xFF;
        bytes[4 + 20 + 20 + 16] = 0;
        assert_eq!(salvage_body(&bytes), entries[..1]);
    }

    #[test]
    fn no_bytes_panic() {
        let ino = InodeNr::new(12).unwrap();
        let entries = vec![entry(NameIndex::USER, "abc", b"12345"), entry(NameIndex(9), "c", b"")];
        let good = encode_body(&entries, 96).unwrap();
        for at in 4..96 {
            for byte in 0..=255 {
                let mut bytes = good.clone();
                bytes[at] = byte;
                let _ = parse_body(&bytes, ino);
                let _ = salvage_body(&bytes);
                let _ = parse_body(&bytes[..at], ino);
            }
        }
    }
}
