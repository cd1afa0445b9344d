//! Contents inside the inode: `i_block`, then the value of the attribute `system.data`.

use crate::xattr::{Entry, NameIndex, Value};
use byteorder::{ByteOrder, LittleEndian};
use ext4_units::InodeNr;

/// The name of the attribute behind `system.`, `EXT4_XATTR_SYSTEM_DATA`.
pub const XATTR_NAME: &[u8] = b"data";

/// Bytes of `i_block`, the first part of the contents (`EXT4_MIN_INLINE_DATA_SIZE`).
pub const BODY_LEN: usize = 60;

/// Bytes of a directory's `i_block` before its first entry: the parent's number
/// (`EXT4_INLINE_DOTDOT_SIZE`).
pub const DOTDOT_SIZE: usize = 4;

/// The attribute's value among those of an inode's body. It is always there where the contents are
/// inline, empty when `i_block` suffices.
pub fn attribute(entries: &[Entry]) -> Option<&[u8]> {
    entries.iter().find_map(|entry| match &entry.value {
        Value::Here(value) if is_attribute(entry) => Some(value.as_slice()),
        _ => None,
    })
}

/// Whether this is the attribute, by its name.
pub fn is_attribute(entry: &Entry) -> bool {
    entry.index == NameIndex::SYSTEM.0 && entry.name == XATTR_NAME
}

/// The attribute with this value.
pub fn entry(value: Vec<u8>) -> Entry {
    let name = XATTR_NAME.to_vec();
    Entry { index: NameIndex::SYSTEM.0, name, value: Value::Here(value), hash: 0 }
}

/// All bytes there is room for: `i_block` and the attribute. The file's size may be less; bytes of
/// a size that is more read as zero (`ext4_read_inline_data`).
pub fn contents(i_block: &[u8; 60], attribute: &[u8]) -> Vec<u8> {
    [i_block, attribute].concat()
}

/// The parent of an inline directory; `None` for 0, which no directory has.
pub fn parent(i_block: &[u8; 60]) -> Option<InodeNr> {
    InodeNr::new(LittleEndian::read_u32(i_block))
}

/// The two areas of an inline directory that hold entries: in `i_block` behind the parent, and the
/// attribute's value.
pub fn dir_areas<'a>(i_block: &'a [u8; 60], attribute: &'a [u8]) -> [&'a [u8]; 2] {
    [&i_block[DOTDOT_SIZE..], attribute]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contents_are_both_parts() {
        let value = |index: NameIndex, bytes: &[u8]| Entry {
            index: index.0,
            name: XATTR_NAME.to_vec(),
            value: Value::Here(bytes.to_vec()),
            hash: 0,
        };
        let entries = [value(NameIndex::USER, b"no"), value(NameIndex::SYSTEM, b"yes")];
        assert_eq!(attribute(&entries), Some(&b"yes"[..]));
        assert_eq!(contents(&[1; 60], b"yes").len(), 63);
        assert_eq!(attribute(&[]), None);
        let mut i_block = [0; 60];
        assert_eq!(parent(&i_block), None);
        i_block[0] = 2;
        assert_eq!(parent(&i_block), Some(InodeNr::ROOT));
        assert_eq!(dir_areas(&i_block, b"x").map(<[u8]>::len), [56, 1]);
    }
}
