//! Group descriptors of 32 and 64 bytes, and their checksum.
//!
//! Larger descriptors exist; what lies behind the 64 known bytes is checksummed and kept.

use crate::{
    checksum::{Csum, crc16},
    corrupt::Corrupt,
    features::{Incompat, RoCompat},
    superblock::Superblock,
};
use bitflags::bitflags;
use ext4_units::{BlockNr, GroupNr};
use std::mem::offset_of;
use zerocopy::{
    FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout, Unaligned,
    little_endian::{U16, U32},
};

/// `struct ext4_group_desc` as it lies on the disk; of a 32-byte descriptor the first half.
#[derive(Clone, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct RawGroupDesc {
    /// 00: Block bitmap's block, low half.
    pub bg_block_bitmap_lo: U32,
    /// 04: Inode bitmap's block, low half.
    pub bg_inode_bitmap_lo: U32,
    /// 08: Inode table's first block, low half.
    pub bg_inode_table_lo: U32,
    /// 0c: Free clusters, low half.
    pub bg_free_blocks_count_lo: U16,
    /// 0e: Free inodes, low half.
    pub bg_free_inodes_count_lo: U16,
    /// 10: Directories, low half.
    pub bg_used_dirs_count_lo: U16,
    /// 12: See [`GroupFlags`].
    pub bg_flags: U16,
    /// 14: Exclude bitmap for snapshots, low half.
    pub bg_exclude_bitmap_lo: U32,
    /// 18: Block bitmap's checksum, low half.
    pub bg_block_bitmap_csum_lo: U16,
    /// 1a: Inode bitmap's checksum, low half.
    pub bg_inode_bitmap_csum_lo: U16,
    /// 1c: Inodes at the table's end that were never used, low half.
    pub bg_itable_unused_lo: U16,
    /// 1e: The descriptor's own checksum.
    pub bg_checksum: U16,
    /// 20: Block bitmap's block, high half.
    pub bg_block_bitmap_hi: U32,
    /// 24: Inode bitmap's block, high half.
    pub bg_inode_bitmap_hi: U32,
    /// 28: Inode table's first block, high half.
    pub bg_inode_table_hi: U32,
    /// 2c: Free clusters, high half.
    pub bg_free_blocks_count_hi: U16,
    /// 2e: Free inodes, high half.
    pub bg_free_inodes_count_hi: U16,
    /// 30: Directories, high half.
    pub bg_used_dirs_count_hi: U16,
    /// 32: Unused inodes, high half.
    pub bg_itable_unused_hi: U16,
    /// 34: Exclude bitmap, high half.
    pub bg_exclude_bitmap_hi: U32,
    /// 38: Block bitmap's checksum, high half.
    pub bg_block_bitmap_csum_hi: U16,
    /// 3a: Inode bitmap's checksum, high half.
    pub bg_inode_bitmap_csum_hi: U16,
    /// 3c: Unused.
    pub bg_reserved: U32,
}

const _: () = assert!(size_of::<RawGroupDesc>() == 64);
const _: () = assert!(offset_of!(RawGroupDesc, bg_checksum) == 0x1E);
const _: () = assert!(offset_of!(RawGroupDesc, bg_block_bitmap_hi) == 0x20);
const _: () = assert!(offset_of!(RawGroupDesc, bg_block_bitmap_csum_hi) == 0x38);

/// Bytes of a descriptor without 64bit.
const OLD_SIZE: usize = 32;

bitflags! {
    /// `bg_flags`. Mean something only where descriptors have checksums.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct GroupFlags: u16 {
        /// The inode bitmap on disk is meaningless: no inode is used.
        const INODE_UNINIT = 1;
        /// The block bitmap on disk is meaningless: only metadata is used.
        const BLOCK_UNINIT = 2;
        /// The inode table was zeroed.
        const INODE_ZEROED = 4;
        const _ = !0;
    }
}

/// A group descriptor in units. Checked by [`GroupDesc::decode`] only for its checksum; whether its
/// blocks lie inside the filesystem is `Geometry::check_group_desc`'s.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GroupDesc {
    /// The block bitmap's block.
    pub block_bitmap: BlockNr,
    /// The inode bitmap's block.
    pub inode_bitmap: BlockNr,
    /// The inode table's first block.
    pub inode_table: BlockNr,
    /// Free clusters.
    pub free_clusters: u32,
    /// Free inodes.
    pub free_inodes: u32,
    /// Directories.
    pub used_dirs: u32,
    /// Flags.
    pub flags: GroupFlags,
    /// Inodes at the table's end that were never used.
    pub itable_unused: u32,
    /// Checksum of the block bitmap; only 16 bits in small descriptors.
    pub block_bitmap_csum: u32,
    /// Checksum of the inode bitmap; only 16 bits in small descriptors.
    pub inode_bitmap_csum: u32,
}

/// How descriptors of one filesystem are laid out and checksummed.
#[derive(Clone, Debug)]
pub struct DescFormat {
    desc_size: usize,
    kind: CsumKind,
}

#[derive(Clone, Debug)]
enum CsumKind {
    None,
    Crc16 { uuid: [u8; 16], is_64bit: bool },
    Crc32c(Csum),
}

impl DescFormat {
    /// As the superblock says.
    pub fn new(sb: &Superblock) -> Self {
        let kind = if let Some(seed) = sb.metadata_csum() {
            CsumKind::Crc32c(seed)
        } else if sb.features.has_ro_compat(RoCompat::GDT_CSUM) {
            let is_64bit = sb.features.has_incompat(Incompat::BIT64);
            CsumKind::Crc16 { uuid: sb.uuid, is_64bit }
        } else {
            CsumKind::None
        };
        Self { desc_size: usize::from(sb.desc_size), kind }
    }

    /// Bytes of one descriptor.
    pub const fn desc_size(&self) -> usize {
        self.desc_size
    }

    /// Which bits of a block bitmap's checksum the descriptor keeps (`EXT4_BG_BLOCK_BITMAP_CSUM_HI_END`).
    pub const fn block_bitmap_csum_mask(&self) -> u32 {
        if self.desc_size >= 0x3A { u32::MAX } else { 0xFFFF }
    }

    /// Which bits of an inode bitmap's checksum the descriptor keeps.
    pub const fn inode_bitmap_csum_mask(&self) -> u32 {
        if self.desc_size >= 0x3C { u32::MAX } else { 0xFFFF }
    }

    /// What `bg_checksum` of this descriptor should be (`ext4_group_desc_csum`); `None` where
    /// descriptors have no checksum. `bytes` is the whole descriptor.
    pub fn checksum(&self, group: GroupNr, bytes: &[u8]) -> Option<u16> {
        const AT: usize = offset_of!(RawGroupDesc, bg_checksum);
        let bytes = bytes.get(..self.desc_size)?;
        let (head, rest) = bytes.split_at_checked(AT)?;
        let behind = rest.get(2..)?;
        match &self.kind {
            CsumKind::None => None,
            CsumKind::Crc32c(seed) => {
                // The usual size in one piece, which is faster than in four.
                if bytes.len() == size_of::<RawGroupDesc>() {
                    let mut piece = [0; 4 + size_of::<RawGroupDesc>()];
                    piece[..4].copy_from_slice(&group.0.to_le_bytes());
                    piece[4..].copy_from_slice(bytes);
                    piece[4 + AT..4 + AT + 2].fill(0);
                    return Some((seed.over(&piece).0 & 0xFFFF) as u16);
                }
                let csum = seed.over(&group.0.to_le_bytes()).over(head).over(&[0; 2]).over(behind);
                Some((csum.0 & 0xFFFF) as u16)
            }
            CsumKind::Crc16 { uuid, is_64bit } => {
                let crc = crc16(crc16(crc16(!0, uuid), &group.0.to_le_bytes()), head);
                Some(if *is_64bit { crc16(crc, behind) } else { crc })
            }
        }
    }
}

impl GroupDesc {
    /// Decodes the descriptor of `group` from its `desc_size` bytes and verifies its checksum.
    pub fn decode(bytes: &[u8], group: GroupNr, format: &DescFormat) -> Result<Self, Corrupt> {
        if let Some(expected) = format.checksum(group, bytes) {
            let found = bytes.get(0x1E..0x20).map_or(0, |b| u16::from_le_bytes([b[0], b[1]]));
            if found != expected {
                let place = format!("group {group} descriptor");
                return Err(Corrupt::checksum(place, found.into(), expected.into()));
            }
        }
        Self::decode_unverified(bytes, group, format)
    }

    /// As [`decode`](Self::decode), without looking at the checksum.
    pub fn decode_unverified(
        bytes: &[u8],
        group: GroupNr,
        format: &DescFormat,
    ) -> Result<Self, Corrupt> {
        let raw = read_raw(bytes, format).ok_or_else(|| {
            Corrupt::new(
                format!("group {group} descriptor"),
                format!("{} bytes, expected {}", bytes.len(), format.desc_size),
            )
        })?;
        let wide = |lo: U32, hi: U32| BlockNr(u64::from(hi.get()) << 32 | u64::from(lo.get()));
        let count = |lo: U16, hi: U16| u32::from(hi.get()) << 16 | u32::from(lo.get());
        Ok(Self {
            block_bitmap: wide(raw.bg_block_bitmap_lo, raw.bg_block_bitmap_hi),
            inode_bitmap: wide(raw.bg_inode_bitmap_lo, raw.bg_inode_bitmap_hi),
            inode_table: wide(raw.bg_inode_table_lo, raw.bg_inode_table_hi),
            free_clusters: count(raw.bg_free_blocks_count_lo, raw.bg_free_blocks_count_hi),
            free_inodes: count(raw.bg_free_inodes_count_lo, raw.bg_free_inodes_count_hi),
            used_dirs: count(raw.bg_used_dirs_count_lo, raw.bg_used_dirs_count_hi),
            flags: GroupFlags::from_bits_retain(raw.bg_flags.get()),
            itable_unused: count(raw.bg_itable_unused_lo, raw.bg_itable_unused_hi),
            block_bitmap_csum: count(raw.bg_block_bitmap_csum_lo, raw.bg_block_bitmap_csum_hi),
            inode_bitmap_csum: count(raw.bg_inode_bitmap_csum_lo, raw.bg_inode_bitmap_csum_hi),
        })
    }

    /// Writes the descriptor over its old `bytes` (`desc_size` of them) and renews the checksum.
    /// Bytes that are none of these fields stay as they are.
    ///
    /// # Panics
    /// When `bytes` is shorter than a descriptor, which only a caller's mistake can bring about.
    pub fn encode(&self, bytes: &mut [u8], group: GroupNr, format: &DescFormat) {
        let mut raw = read_raw(bytes, format).expect("the caller holds a whole descriptor");
        let wide =
            |blk: BlockNr| (U32::new((blk.0 & 0xFFFF_FFFF) as u32), U32::new((blk.0 >> 32) as u32));
        let halves = |n: u32| (U16::new((n & 0xFFFF) as u16), U16::new((n >> 16) as u16));
        (raw.bg_block_bitmap_lo, raw.bg_block_bitmap_hi) = wide(self.block_bitmap);
        (raw.bg_inode_bitmap_lo, raw.bg_inode_bitmap_hi) = wide(self.inode_bitmap);
        (raw.bg_inode_table_lo, raw.bg_inode_table_hi) = wide(self.inode_table);
        (raw.bg_free_blocks_count_lo, raw.bg_free_blocks_count_hi) = halves(self.free_clusters);
        (raw.bg_free_inodes_count_lo, raw.bg_free_inodes_count_hi) = halves(self.free_inodes);
        (raw.bg_used_dirs_count_lo, raw.bg_used_dirs_count_hi) = halves(self.used_dirs);
        raw.bg_flags = U16::new(self.flags.bits());
        (raw.bg_itable_unused_lo, raw.bg_itable_unused_hi) = halves(self.itable_unused);
        (raw.bg_block_bitmap_csum_lo, raw.bg_block_bitmap_csum_hi) = halves(self.block_bitmap_csum);
        (raw.bg_inode_bitmap_csum_lo, raw.bg_inode_bitmap_csum_hi) = halves(self.inode_bitmap_csum);
        let known = format.desc_size.min(size_of::<RawGroupDesc>());
        bytes[..known].copy_from_slice(&raw.as_bytes()[..known]);
        if let Some(csum) = format.checksum(group, bytes) {
            bytes[0x1E..0x20].copy_from_slice(&csum.to_le_bytes());
        }
    }

    /// Whether the block bitmap on disk is meaningless, on a filesystem whose flags mean something.
    pub fn has_uninit_block_bitmap(&self, sb: &Superblock) -> bool {
        sb.features.has_group_desc_csum() && self.flags.contains(GroupFlags::BLOCK_UNINIT)
    }

    /// Whether the inode bitmap on disk is meaningless, on a filesystem whose flags mean something.
    pub fn has_uninit_inode_bitmap(&self, sb: &Superblock) -> bool {
        sb.features.has_group_desc_csum() && self.flags.contains(GroupFlags::INODE_UNINIT)
    }
}

/// The known bytes; of a 32-byte descriptor the high halves are zero, whatever lies behind it.
fn read_raw(bytes: &[u8], format: &DescFormat) -> Option<RawGroupDesc> {
    let bytes = bytes.get(..format.desc_size)?;
    let known = if format.desc_size >= size_of::<RawGroupDesc>() { 64 } else { OLD_SIZE };
    let mut raw = RawGroupDesc::new_zeroed();
    raw.as_mut_bytes().get_mut(..known)?.copy_from_slice(bytes.get(..known)?);
    Some(raw)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn format(desc_size: usize) -> DescFormat {
        DescFormat { desc_size, kind: CsumKind::Crc32c(Csum(7)) }
    }

    #[test]
    fn a_rewritten_descriptor_differs_only_in_what_changed() {
        for size in [32, 64, 128] {
            let mut bytes: Vec<u8> = (1..).map(|i: u32| (i * 37 % 251) as u8).take(size).collect();
            let csum = format(size).checksum(GroupNr(3), &bytes).unwrap();
            bytes[0x1E..0x20].copy_from_slice(&csum.to_le_bytes());

            let desc = GroupDesc::decode(&bytes, GroupNr(3), &format(size)).unwrap();
            let mut again = bytes.clone();
            desc.encode(&mut again, GroupNr(3), &format(size));
            assert_eq!(again, bytes);

            GroupDesc { free_inodes: desc.free_inodes ^ 1, ..desc }.encode(
                &mut again,
                GroupNr(3),
                &format(size),
            );
            let changed: Vec<usize> = (0..size).filter(|&i| again[i] != bytes[i]).collect();
            assert!(changed.iter().all(|i| [0x0E, 0x1E, 0x1F].contains(i)), "{changed:x?}");
            assert!(GroupDesc::decode(&again, GroupNr(3), &format(size)).is_ok());
            assert!(GroupDesc::decode(&again, GroupNr(4), &format(size)).unwrap_err().is_checksum);
        }
    }

    #[test]
    fn short_bytes_are_damage() {
        assert!(GroupDesc::decode(&[0; 31], GroupNr(0), &format(32)).is_err());
    }
}
