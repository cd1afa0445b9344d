//! Leaf blocks made anew: packed from entries, and split in two by hash.

use crate::{Context, Error, area::NewEntry};
use ext4_ondisk::{
    Corrupt,
    dir_entry::{FileType, Record, Records, put_record, rec_len_for, seal_tail},
    dir_hash::Hasher,
};
use ext4_units::InodeNr;

/// An entry taken out of its block.
#[derive(Clone, Debug)]
pub(crate) struct Item {
    pub(crate) hash: u32,
    pub(crate) ino: InodeNr,
    pub(crate) raw_type: u8,
    pub(crate) name: Vec<u8>,
    /// Bytes its record took where it was, with the free space behind it.
    pub(crate) rec_len: usize,
}

impl Item {
    /// What its record says.
    pub(crate) fn as_new(&self) -> NewEntry<'_> {
        NewEntry { name: &self.name, ino: self.ino, raw_type: self.raw_type }
    }
}

/// A leaf's entries in two halves.
#[derive(Debug)]
pub(crate) struct Halves {
    pub(crate) lower: Vec<Item>,
    pub(crate) upper: Vec<Item>,
    /// The least hash of the upper half.
    pub(crate) hash: u32,
    /// The upper half starts with a hash that the lower half ends with.
    pub(crate) is_continued: bool,
}

impl Halves {
    /// The hash of the upper half's index entry, with the continuation bit.
    pub(crate) fn index_hash(&self) -> u32 {
        self.hash | u32::from(self.is_continued)
    }

    /// Puts one more entry into the half it belongs to.
    pub(crate) fn push(&mut self, item: Item) {
        if item.hash >= self.hash { self.upper.push(item) } else { self.lower.push(item) }
    }
}

impl Context {
    /// The live entries of an area with their hashes.
    pub(crate) fn items(
        &self,
        records: Records<'_>,
        hasher: Option<&Hasher>,
    ) -> Result<Vec<Item>, Corrupt> {
        let mut items = Vec::new();
        for record in records {
            let record = record?;
            let Some(ino) = record.ino else { continue };
            if record.name.is_empty() {
                // Moving it would lose a reference to its inode without a word.
                let fault = format!("inode {ino} without a name, expected one");
                return Err(Corrupt::new(
                    format!("directory inode {}, entry at byte {}", self.ino, record.offset),
                    fault,
                ));
            }
            items.push(Item {
                hash: hasher.map_or(0, |hasher| hasher.hash(record.name).hash),
                ino,
                raw_type: record.file_type,
                name: record.name.to_vec(),
                rec_len: record.rec_len,
            });
        }
        Ok(items)
    }

    /// Splits a leaf's entries by hash where about half of a block's bytes, free space counted with
    /// the entry before it, go to the upper half (`do_split`, `dx_make_map`). An error when there are fewer than two.
    pub(crate) fn halve(&self, mut items: Vec<Item>) -> Result<Halves, Corrupt> {
        items.sort_by_key(|item| item.hash);
        let half = self.block_size.len() / 2;
        let mut size = 0;
        let mut split = items.len() / 2; // when they are less than half a block altogether
        for (nr, item) in items.iter().enumerate().rev() {
            if size + item.rec_len / 2 > half {
                split = nr + 1;
                break;
            }
            size += item.rec_len;
        }
        let upper = items.split_off(split.min(items.len()));
        match (items.last(), upper.first()) {
            (Some(last), Some(first)) => {
                let (hash, is_continued) = (first.hash, last.hash == first.hash);
                Ok(Halves { hash, is_continued, lower: items, upper })
            }
            _ => Err(Corrupt::new(
                format!("directory inode {}", self.ino),
                "a full leaf of fewer than two entries, expected room for another",
            )),
        }
    }

    /// A leaf block with `items` packed from its start, tail and checksum in place.
    pub(crate) fn build_leaf(&self, items: &[Item]) -> Result<Vec<u8>, Error> {
        self.pack(items.iter().map(Item::as_new))
    }

    /// A leaf block with entries packed from its start, tail and checksum in place
    /// (`dx_pack_dirents`).
    pub(crate) fn pack<'a>(
        &self,
        entries: impl ExactSizeIterator<Item = NewEntry<'a>>,
    ) -> Result<Vec<u8>, Error> {
        let mut block = vec![0; self.block_size.len()];
        let len = self.leaf_len();
        let n_entries = entries.len();
        let overflow = || {
            let fault = format!("{n_entries} entries to write, more than {len} bytes hold");
            Error::from(Corrupt::new(format!("directory inode {}", self.ino), fault))
        };
        let area = block.get_mut(..len).ok_or_else(overflow)?;
        let free = Record { offset: 0, rec_len: len, ino: None, file_type: 0, name: b"" };
        put_record(area, self.block_size, &free).ok_or_else(overflow)?;
        let mut offset = 0_usize;
        for (nr, NewEntry { name, ino, raw_type }) in entries.enumerate() {
            let needed = rec_len_for(name.len());
            let is_last = nr + 1 == n_entries;
            let rec_len =
                if is_last { len.checked_sub(offset).ok_or_else(overflow)? } else { needed };
            let record = Record { offset, rec_len, ino: Some(ino), file_type: raw_type, name };
            put_record(area, self.block_size, &record).ok_or_else(overflow)?;
            offset += needed;
        }
        if let Some(seed) = self.csum {
            seal_tail(&mut block, seed);
        }
        Ok(block)
    }

    /// A block for an index's root: `.`, and `..` over all the rest.
    pub(crate) fn root(&self, [dot, dotdot]: &[Item; 2]) -> Result<Vec<u8>, Error> {
        let mut root = vec![0; self.block_size.len()];
        for (item, offset, rec_len) in [(dot, 0, 12), (dotdot, 12, self.block_size.len() - 12)] {
            let NewEntry { name, ino, raw_type } = item.as_new();
            let record = Record { offset, rec_len, ino: Some(ino), file_type: raw_type, name };
            put_record(&mut root, self.block_size, &record).ok_or_else(|| {
                Error::from(Corrupt::new(format!("htree of inode {}", self.ino), "no room for .."))
            })?;
        }
        Ok(root)
    }

    /// `.` and `..` as the first entries of a block.
    pub(crate) fn dots(&self, parent: InodeNr) -> [Item; 2] {
        let dot = |name: &[u8], ino| Item {
            hash: 0,
            ino,
            raw_type: self.raw_type(FileType::Directory),
            name: name.to_vec(),
            rec_len: rec_len_for(name.len()),
        };
        [dot(b".", self.ino), dot(b"..", parent)]
    }
}

/// The first and only block of a new directory: `.` and `..` (`ext4_init_new_dir`).
pub fn new_directory(context: &Context, parent: InodeNr) -> Result<Vec<u8>, Error> {
    context.build_leaf(&context.dots(parent))
}
