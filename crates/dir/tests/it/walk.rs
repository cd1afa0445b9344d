//! A walk that shares nothing with the crate but the hash and the checksum: reads a directory and
//! insists on everything a correct one has.

use crate::mem::Mem;
use ext4_dir::Context;
use ext4_ondisk::dir_hash::{HashAlgorithm, Hasher};
use std::collections::{BTreeMap, BTreeSet};

pub(crate) type Names = BTreeMap<Vec<u8>, (u32, u8)>;

fn le16(bytes: &[u8], at: usize) -> usize {
    usize::from(u16::from_le_bytes([bytes[at], bytes[at + 1]]))
}

fn le32(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap())
}

/// The names of a block whose records end at `len`, which they must tile.
fn records(bytes: &[u8], len: usize, block_len: usize) -> Vec<(Vec<u8>, u32, u8)> {
    let (mut at, mut names) = (0, Vec::new());
    while at < len {
        let rec_len = match le16(bytes, at + 4) {
            0xFFFF | 0 if block_len == 65536 => 65536,
            rec_len => rec_len,
        };
        let (inode, name_len) = (le32(bytes, at), usize::from(bytes[at + 6]));
        assert!(rec_len >= 12 && rec_len % 4 == 0, "rec_len {rec_len} at {at}");
        assert!(8 + name_len <= rec_len, "name_len {name_len} at {at}");
        if inode != 0 {
            assert_ne!(name_len, 0);
            names.push((bytes[at + 8..at + 8 + name_len].to_vec(), inode, bytes[at + 7]));
        }
        at += rec_len;
    }
    assert_eq!(at, len, "records do not end with the block");
    names
}

fn leaf(context: &Context, bytes: &[u8]) -> Vec<(Vec<u8>, u32, u8)> {
    let mut len = bytes.len();
    if let Some(seed) = context.csum {
        len -= 12;
        assert_eq!(bytes[len..len + 8], [0, 0, 0, 0, 12, 0, 0, 0xDE]);
        assert_eq!(le32(bytes, len + 8), seed.over(&bytes[..len]).0, "leaf checksum");
    }
    records(bytes, len, bytes.len())
}

/// Entries of an index block as (hash, block); the first hash is 0.
fn index(context: &Context, bytes: &[u8], offset: usize) -> Vec<(u32, u32)> {
    let (limit, count) = (le16(bytes, offset), le16(bytes, offset + 2));
    let tail = if context.csum.is_some() { 8 } else { 0 };
    assert_eq!(limit, (bytes.len() - offset - tail) / 8, "limit");
    assert!(count >= 1 && count <= limit, "count {count} of {limit}");
    if let Some(seed) = context.csum {
        let tail = offset + limit * 8;
        let sum =
            seed.over(&bytes[..offset + count * 8]).over(&bytes[tail..tail + 4]).over(&[0; 4]);
        assert_eq!(le32(bytes, tail + 4), sum.0, "index checksum");
    }
    (0..count)
        .map(|nr| {
            let at = offset + nr * 8;
            (if nr == 0 { 0 } else { le32(bytes, at) }, le32(bytes, at + 4))
        })
        .collect()
}

struct Walk<'a> {
    context: &'a Context,
    mem: &'a Mem,
    hasher: Hasher,
    seen: BTreeSet<u32>,
    /// The leaves in order, with the hash of the index entry that leads to each.
    leaves: Vec<(u32, u32)>,
}

impl Walk<'_> {
    fn descend(&mut self, entries: &[(u32, u32)], start: u32, levels: u8) {
        assert!(entries.windows(2).skip(1).all(|w| w[0].0 <= w[1].0), "index out of order");
        for (nr, &(hash, block)) in entries.iter().enumerate() {
            let hash = if nr == 0 { start } else { hash };
            assert!(hash >= start, "index entry below its parent's");
            assert!(self.seen.insert(block), "block {block} reached twice");
            if levels == 0 {
                self.leaves.push((hash, block));
                continue;
            }
            let bytes = &self.mem.blocks[block as usize];
            let mut free = [0; 8];
            free[4..6].copy_from_slice(&bytes.len().min(65535).to_le_bytes()[..2]);
            assert_eq!(bytes[..8], free[..], "a node starts with a free record");
            let below = index(self.context, bytes, 8);
            self.descend(&below, hash, levels - 1);
        }
    }
}

/// Reads the whole directory; `is_indexed` is the inode's flag.
pub(crate) fn walk(context: &Context, is_indexed: bool, mem: &Mem) -> Names {
    let mut names = Names::new();
    let mut add = |entries: Vec<(Vec<u8>, u32, u8)>| {
        for (name, ino, file_type) in entries {
            assert!(names.insert(name, (ino, file_type)).is_none(), "a name twice");
        }
    };
    if !is_indexed {
        for bytes in &mem.blocks {
            add(leaf(context, bytes));
        }
        return names;
    }
    let root = &mem.blocks[0];
    assert_eq!(le16(root, 4), 12);
    assert_eq!(root[8..9], *b".");
    assert_eq!(le16(root, 16), root.len() - 12);
    assert_eq!(root[20..22], *b"..");
    assert_eq!((le32(root, 24), root[29], root[31]), (0, 8, 0));
    let hasher = Hasher {
        algorithm: HashAlgorithm::from_raw(root[28]).unwrap(),
        is_unsigned: context.has_unsigned_hash,
        seed: context.hash_seed,
    };
    assert!(root[30] <= if context.has_largedir { 2 } else { 1 });
    add(records(root, root.len(), root.len()));
    let mut walk = Walk { context, mem, hasher, seen: BTreeSet::from([0]), leaves: Vec::new() };
    walk.descend(&index(context, root, 32), 0, root[30]);
    assert_eq!(walk.seen.len(), mem.blocks.len(), "a block that nothing leads to");
    let bounds: Vec<u32> =
        walk.leaves.iter().skip(1).map(|&(hash, _)| hash).chain([u32::MAX]).collect();
    let mut last_of_before = None;
    for (&(hash, block), &bound) in walk.leaves.iter().zip(&bounds) {
        let entries = leaf(context, &mem.blocks[block as usize]);
        let hashes: Vec<u32> =
            entries.iter().map(|(name, ..)| walk.hasher.hash(name).hash).collect();
        for found in &hashes {
            assert!(*found >= hash & !1, "hash {found:#x} in a leaf from {hash:#x}");
            // A leaf that is continued may end with the next one's hash.
            assert!(
                *found < bound || bound & 1 == 1 && *found == bound & !1,
                "hash above its leaf"
            );
        }
        if hash & 1 == 0 && hash != 0 {
            assert_ne!(last_of_before, Some(hash), "a hash goes on without a continuation bit");
        }
        last_of_before = hashes.iter().max().copied();
        add(entries);
    }
    names
}
