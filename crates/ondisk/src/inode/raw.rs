//! The bytes of an inode, to `i_projid`.

use std::mem::offset_of;
use zerocopy::{
    FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout, Unaligned,
    little_endian::{U16, U32},
};

/// `struct ext4_inode` with the unions as Linux has them, believed by nobody. An inode of 128 bytes
/// ends before `i_extra_isize`.
#[derive(Clone, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct RawInode {
    /// 00: Type and permissions.
    pub i_mode: U16,
    /// 02: Owner, low half.
    pub i_uid: U16,
    /// 04: Size, low half.
    pub i_size_lo: U32,
    /// 08: Access time.
    pub i_atime: U32,
    /// 0c: Inode change time.
    pub i_ctime: U32,
    /// 10: Modification time.
    pub i_mtime: U32,
    /// 14: Deletion time, or next orphan.
    pub i_dtime: U32,
    /// 18: Group, low half.
    pub i_gid: U16,
    /// 1a: Links.
    pub i_links_count: U16,
    /// 1c: Blocks, low half.
    pub i_blocks_lo: U32,
    /// 20: Flags.
    pub i_flags: U32,
    /// 24: Version, low half (`osd1`).
    pub l_i_version: U32,
    /// 28: Mapping or contents.
    pub i_block: [u8; 60],
    /// 64: Generation.
    pub i_generation: U32,
    /// 68: Attribute block, low half.
    pub i_file_acl_lo: U32,
    /// 6c: Size, high half.
    pub i_size_high: U32,
    /// 70: Fragment (unused).
    pub i_obso_faddr: U32,
    /// 74: Blocks, bits 32..48 (`osd2`).
    pub l_i_blocks_high: U16,
    /// 76: Attribute block, bits 32..48.
    pub l_i_file_acl_high: U16,
    /// 78: Owner, high half.
    pub l_i_uid_high: U16,
    /// 7a: Group, high half.
    pub l_i_gid_high: U16,
    /// 7c: Checksum, low half.
    pub l_i_checksum_lo: U16,
    /// 7e: Unused.
    pub l_i_reserved: U16,
    /// 80: Bytes behind the first 128 that are fields.
    pub i_extra_isize: U16,
    /// 82: Checksum, high half.
    pub i_checksum_hi: U16,
    /// 84: Inode change time, nanoseconds and epoch.
    pub i_ctime_extra: U32,
    /// 88: Modification time, nanoseconds and epoch.
    pub i_mtime_extra: U32,
    /// 8c: Access time, nanoseconds and epoch.
    pub i_atime_extra: U32,
    /// 90: Creation time.
    pub i_crtime: U32,
    /// 94: Creation time, nanoseconds and epoch.
    pub i_crtime_extra: U32,
    /// 98: Version, high half.
    pub i_version_hi: U32,
    /// 9c: Project.
    pub i_projid: U32,
}

const _: () = assert!(size_of::<RawInode>() == 160);
const _: () = assert!(offset_of!(RawInode, i_block) == 0x28);
const _: () = assert!(offset_of!(RawInode, i_generation) == 0x64);
const _: () = assert!(offset_of!(RawInode, l_i_blocks_high) == 0x74);
const _: () = assert!(offset_of!(RawInode, l_i_checksum_lo) == 0x7C);
const _: () = assert!(offset_of!(RawInode, i_extra_isize) == 0x80);
const _: () = assert!(offset_of!(RawInode, i_projid) == 0x9C);

impl RawInode {
    /// The known bytes of an inode of any size; what a smaller one lacks is zero.
    pub fn read(bytes: &[u8]) -> Self {
        let mut raw = Self::new_zeroed();
        let known = bytes.len().min(size_of::<Self>());
        raw.as_mut_bytes()[..known].copy_from_slice(&bytes[..known]);
        raw
    }

    /// Puts the fields into the bytes of an inode, as far as `i_extra_isize` says that they are fields:
    /// what is behind belongs to attributes. The checksum is the caller's to renew.
    pub fn write_to(&self, bytes: &mut [u8]) {
        let extra =
            if bytes.len() > 128 { usize::from(self.i_extra_isize.get()).max(4) } else { 0 };
        let known = (128 + extra).min(size_of::<Self>()).min(bytes.len());
        bytes[..known].copy_from_slice(&self.as_bytes()[..known]);
    }

    /// `i_size` in bytes, both halves, whatever the inode is (`ext4_isize`).
    pub const fn size(&self) -> u64 {
        (self.i_size_high.get() as u64) << 32 | self.i_size_lo.get() as u64
    }

    /// The block of attributes, both halves; 0 for none (`ext4_file_acl`).
    pub const fn file_acl(&self) -> u64 {
        (self.l_i_file_acl_high.get() as u64) << 32 | self.i_file_acl_lo.get() as u64
    }

    /// Sets both halves of it, of which there are 48 bits (`ext4_file_acl_set`).
    pub fn set_file_acl(&mut self, blk: u64) {
        self.i_file_acl_lo.set((blk & 0xFFFF_FFFF) as u32);
        self.l_i_file_acl_high.set((blk >> 32 & 0xFFFF) as u16);
    }
}
