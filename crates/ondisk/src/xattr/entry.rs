//! Entries: parsing a list of them with its values, and building one.

use super::{MAGIC, RawXattrEntry};
use crate::Corrupt;
use byteorder::{ByteOrder, LittleEndian};
use ext4_units::InodeNr;
use zerocopy::{
    FromBytes, IntoBytes,
    little_endian::{U16, U32},
};

/// `EXT4_XATTR_SIZE_MAX`: no value is larger.
pub const MAX_VALUE: u32 = 1 << 24;

const ENTRY: usize = size_of::<RawXattrEntry>();

/// One attribute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// `e_name_index`, see [`super::NameIndex`].
    pub index: u8,
    /// The name behind the prefix.
    pub name: Vec<u8>,
    /// The value.
    pub value: Value,
    /// `e_hash` as it is on disk. Made anew in blocks for values that are here.
    pub hash: u32,
}

/// Where an attribute's value is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// Next to the entries.
    Here(Vec<u8>),
    /// In an inode of its own (ea_inode).
    Inode {
        /// That inode.
        ino: InodeNr,
        /// Bytes of the value.
        len: u32,
    },
}

impl Entry {
    /// The key by which entries of a block are sorted.
    pub(super) fn order(&self) -> (u8, usize, &[u8]) {
        (self.index, self.name.len(), &self.name)
    }

    /// Makes the hash of an entry whose value is here. That of another is of its value's hash.
    pub(super) fn rehash(&mut self) {
        if let Value::Here(value) = &self.value {
            self.hash = entry_hash(&self.name, value);
        }
    }
}

/// `e_hash`: of the name and of the value padded to words with zeros (`ext4_xattr_hash_entry`). Of a
/// value in an inode, the value hashed is its crc32c from the filesystem's seed, as 4 bytes.
pub fn entry_hash(name: &[u8], value: &[u8]) -> u32 {
    hash_value(name.iter().fold(0, |hash: u32, &byte| hash.rotate_left(5) ^ u32::from(byte)), value)
}

/// The same with signed bytes of the name, as some kernels made it
/// (`ext4_xattr_hash_entry_signed`); accepted, never written.
pub fn entry_hash_signed(name: &[u8], value: &[u8]) -> u32 {
    let step =
        |hash: u32, &byte: &u8| hash.rotate_left(5) ^ i32::from(byte.cast_signed()).cast_unsigned();
    hash_value(name.iter().fold(0, step), value)
}

fn hash_value(name: u32, value: &[u8]) -> u32 {
    value.chunks(4).fold(name, |hash, chunk| {
        let mut word = [0; 4];
        word[..chunk.len()].copy_from_slice(chunk);
        hash.rotate_left(16) ^ u32::from_le_bytes(word)
    })
}

/// The attributes in an inode's body, the bytes behind its extra fields; none when there is no
/// magic.
pub fn parse_body(body: &[u8], ino: InodeNr) -> Result<Vec<Entry>, Corrupt> {
    if body.get(..4).map(LittleEndian::read_u32) != Some(MAGIC) {
        return Ok(Vec::new());
    }
    parse(body, 4, 4, &|| format!("attributes in inode {ino}"))
}

/// Those attributes in an inode's body that can be read: up to where the list of entries is damaged,
/// without those whose values are.
pub fn salvage_body(body: &[u8]) -> Vec<Entry> {
    if body.get(..4).map(LittleEndian::read_u32) != Some(MAGIC) {
        return Vec::new();
    }
    let (listed, end) = list(body, 4);
    let values_from = end.unwrap_or_else(|(at, _)| at) + 4;
    listed.iter().filter_map(|it| it.read(body, 4, values_from).ok()).collect()
}

/// An inode's body of `len` bytes with these attributes, all zeros for none; `None` when they don't
/// fit. Entries keep their order and their hash: in an inode's body the kernel writes 0.
pub fn encode_body(entries: &[Entry], len: usize) -> Option<Vec<u8>> {
    let mut body = vec![0; len];
    if !entries.is_empty() {
        build(&mut body, 4, 4, entries)?;
        LittleEndian::write_u32(body.get_mut(..4)?, MAGIC);
    }
    Some(body)
}

/// Parses the entries from byte `first`; values count from byte `base` (`check_xattrs`).
pub(super) fn parse(
    area: &[u8],
    first: usize,
    base: usize,
    place: &dyn Fn() -> String,
) -> Result<Vec<Entry>, Corrupt> {
    let corrupt = |(at, fault)| Corrupt::new(format!("{}, entry at byte {at}", place()), fault);
    let (listed, end) = list(area, first);
    // The list ends with a zero word; values come behind it.
    let values_from = end.map_err(corrupt)? + 4;
    let read =
        |it: &Listed<'_>| it.read(area, base, values_from).map_err(|fault| corrupt((it.at, fault)));
    listed.iter().map(read).collect()
}

/// An entry in a list of them.
struct Listed<'a> {
    at: usize,
    raw: &'a RawXattrEntry,
    name: &'a [u8],
}

/// The entries from byte `first`, and where their list ends; or where it is damaged, and how.
fn list(area: &[u8], first: usize) -> (Vec<Listed<'_>>, Result<usize, (usize, String)>) {
    let mut found = Vec::new();
    let mut at = first;
    // Each round advances by at least 16 bytes.
    let end = loop {
        match next(area, at) {
            Ok(Some((entry, next))) => {
                found.push(entry);
                at = next;
            }
            Ok(None) => break Ok(at),
            Err(fault) => break Err((at, fault)),
        }
    };
    (found, end)
}

/// The entry at a byte, and where the next one is; `None` at the end of the list.
fn next(area: &[u8], at: usize) -> Result<Option<(Listed<'_>, usize)>, String> {
    let rest = area.get(at..).unwrap_or_default();
    match rest.get(..4) {
        None => return Err("no end of the list of entries".into()),
        Some([0, 0, 0, 0]) => return Ok(None),
        Some(_) => {}
    }
    let Ok((raw, behind)) = RawXattrEntry::ref_from_prefix(rest) else {
        return Err(format!("{} bytes left, expected an entry", rest.len()));
    };
    let name_len = usize::from(raw.e_name_len);
    let next = at + ENTRY + name_len.next_multiple_of(4);
    let name = behind
        .get(..name_len)
        .filter(|_| next <= area.len())
        .ok_or_else(|| format!("name of {name_len} bytes, {} left", behind.len()))?;
    if name.contains(&0) {
        return Err(format!("name \"{}\" has a zero byte", name.escape_ascii()));
    }
    Ok(Some((Listed { at, raw, name }, next)))
}

impl Listed<'_> {
    /// The entry with its value, which counts from byte `base` and lies behind `values_from`.
    fn read(&self, area: &[u8], base: usize, values_from: usize) -> Result<Entry, String> {
        let raw = self.raw;
        let len = raw.e_value_size.get();
        if len > MAX_VALUE {
            return Err(format!("value of {len} bytes, expected at most {MAX_VALUE}"));
        }
        let value = match InodeNr::new(raw.e_value_inum.get()) {
            Some(ino) => Value::Inode { ino, len },
            None if len == 0 => Value::Here(Vec::new()),
            None => {
                let start = base + usize::from(raw.e_value_offs.get());
                let value = usize::try_from(len)
                    .ok()
                    .filter(|_| start >= values_from)
                    .and_then(|len| {
                        area.get(start..start.checked_add(len.next_multiple_of(4))?)?.get(..len)
                    })
                    .ok_or_else(|| {
                        format!(
                            "value of {len} bytes at byte {start}, expected inside {values_from}..{}",
                            area.len()
                        )
                    })?;
                Value::Here(value.to_vec())
            }
        };
        let (index, hash) = (raw.e_name_index, raw.e_hash.get());
        Ok(Entry { index, name: self.name.to_vec(), value, hash })
    }
}

/// Writes entries from byte `first`, and their values from the area's end downward. `None` when
/// they don't fit; the area is then spoilt.
pub(super) fn build(area: &mut [u8], first: usize, base: usize, entries: &[Entry]) -> Option<()> {
    let mut at = first;
    let mut top = area.len();
    let list: usize = entries.iter().map(|it| ENTRY + it.name.len().next_multiple_of(4)).sum();
    let values_from = first + list + 4;
    for entry in entries {
        let (inum, offs, len) = match &entry.value {
            Value::Inode { ino, len } => (ino.get(), 0, *len),
            Value::Here(value) if value.is_empty() => (0, 0, 0),
            Value::Here(value) => {
                top = top.checked_sub(value.len().next_multiple_of(4))?;
                if top < values_from {
                    return None;
                }
                area.get_mut(top..top + value.len())?.copy_from_slice(value);
                (0, top - base, u32::try_from(value.len()).ok()?)
            }
        };
        let raw = RawXattrEntry {
            e_name_len: u8::try_from(entry.name.len()).ok()?,
            e_name_index: entry.index,
            e_value_offs: U16::new(u16::try_from(offs).ok()?),
            e_value_inum: U32::new(inum),
            e_value_size: U32::new(len),
            e_hash: U32::new(entry.hash),
        };
        let (head, rest) = area.get_mut(at..)?.split_at_mut_checked(ENTRY)?;
        head.copy_from_slice(raw.as_bytes());
        rest.get_mut(..entry.name.len())?.copy_from_slice(&entry.name);
        at += ENTRY + entry.name.len().next_multiple_of(4);
    }
    (values_from <= area.len()).then_some(())
}
