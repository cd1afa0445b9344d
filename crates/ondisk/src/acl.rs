//! POSIX ACLs: ext4 keeps them shorter than programs see them.
//!
//! On disk version 1, entries of 4 or 8 bytes; as an attribute's value seen by programs version 2,
//! all entries of 8 bytes (`ext4_acl_from_disk`, `posix_acl_to_xattr`).

use byteorder::{ByteOrder, LittleEndian};

const DISK_VERSION: u32 = 1;
const XATTR_VERSION: u32 = 2;
const USER: u16 = 0x02;
const GROUP: u16 = 0x08;
/// The entries that have no id: owner, owning group, mask, others.
const WITHOUT_ID: [u16; 4] = [0x01, 0x04, 0x10, 0x20];
const NO_ID: u32 = u32::MAX;

/// The value that getxattr(2) gives for an ACL on disk; `None` when it makes no sense.
pub fn from_disk(value: &[u8]) -> Option<Vec<u8>> {
    let (version, mut rest) = value.split_at_checked(4)?;
    if LittleEndian::read_u32(version) != DISK_VERSION {
        return None;
    }
    let mut out = XATTR_VERSION.to_le_bytes().to_vec();
    while !rest.is_empty() {
        let (head, behind) = rest.split_at_checked(4)?;
        rest = behind;
        let tag = LittleEndian::read_u16(head);
        let id = if WITHOUT_ID.contains(&tag) {
            NO_ID
        } else if tag == USER || tag == GROUP {
            let (id, behind) = rest.split_at_checked(4)?;
            rest = behind;
            LittleEndian::read_u32(id)
        } else {
            return None;
        };
        out.extend_from_slice(head);
        out.extend_from_slice(&id.to_le_bytes());
    }
    Some(out)
}

/// The bytes on disk of an ACL that setxattr(2) was given; `None` when it makes no sense.
pub fn to_disk(value: &[u8]) -> Option<Vec<u8>> {
    let (version, rest) = value.split_at_checked(4)?;
    if LittleEndian::read_u32(version) != XATTR_VERSION || rest.len() % 8 != 0 {
        return None;
    }
    let mut out = DISK_VERSION.to_le_bytes().to_vec();
    for entry in rest.chunks_exact(8) {
        let (head, id) = entry.split_at(4);
        let tag = LittleEndian::read_u16(head);
        out.extend_from_slice(head);
        if tag == USER || tag == GROUP {
            out.extend_from_slice(id);
        } else if !WITHOUT_ID.contains(&tag) {
            return None;
        }
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_acl_survives_both_forms() {
        let disk = [
            1, 0, 0, 0, 1, 0, 6, 0, 2, 0, 4, 0, 0xE8, 3, 0, 0, 4, 0, 4, 0, 0x10, 0, 4, 0, 0x20, 0,
            0, 0,
        ];
        let seen = from_disk(&disk).unwrap();
        assert_eq!(seen.len(), 4 + 5 * 8);
        assert_eq!(to_disk(&seen).unwrap(), disk);
        assert_eq!(from_disk(&disk[..14]), None);
        assert_eq!(from_disk(&[2, 0, 0, 0]), None);
    }
}
