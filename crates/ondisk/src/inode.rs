//! Inodes: the first 160 bytes, what they mean, and their checksum.
//!
//! Knows one inode's bytes and nothing of what its numbers point at.

mod flags;
mod mode;
mod raw;

pub use crate::dir_entry::FileType;
pub use flags::InodeFlags;
pub use mode::{decode_device, encode_device};
pub use raw::RawInode;

use crate::{
    Corrupt,
    checksum::Csum,
    features::{Incompat, RoCompat},
    superblock::Superblock,
    time::Timestamp,
};
use ext4_units::{BlockNr, BlockSize, InodeNr};
use zerocopy::{
    FromZeros, IntoBytes,
    little_endian::{U16, U32},
};

/// How the inodes of one filesystem are laid out and checksummed.
#[derive(Clone, Copy, Debug)]
pub struct InodeFormat {
    inode_size: usize,
    block_size: BlockSize,
    huge_file: bool,
    largedir: bool,
    csum: Option<Csum>,
}

/// An inode in units. [`Inode::decode`] checked its checksum and `i_extra_isize`.
///
/// Fields that `i_extra_isize` does not cover read as zero or `None` and are not written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inode {
    /// Type and permissions, `i_mode`.
    pub mode: u16,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// The size on disk in bytes: what the kernel calls `i_disksize`.
    pub size: u64,
    /// `i_links_count` as it is; see [`nlink_is_unknown`](Self::nlink_is_unknown).
    pub links_count: u16,
    /// Space taken, in units of 512 bytes whatever the unit on disk was.
    pub sectors: u64,
    /// Flags, unknown ones kept.
    pub flags: InodeFlags,
    /// Extent root, block map, symlink, inline data or device number.
    pub i_block: [u8; 60],
    /// NFS generation; part of every checksum of what belongs to this inode.
    pub generation: u32,
    /// The block of extended attributes.
    pub file_acl: Option<BlockNr>,
    /// When it was deleted, or the next inode of the orphan list.
    pub dtime: u32,
    /// Last access. Of an EA inode, its seconds are the value's hash.
    pub atime: Timestamp,
    /// Last change of the inode. Of an EA inode, the high half of its reference count.
    pub ctime: Timestamp,
    /// Last change of the contents.
    pub mtime: Timestamp,
    /// Creation, where there is room for it.
    pub crtime: Option<Timestamp>,
    /// Change counter; 64 bits where there is room, else 32.
    pub version: u64,
    /// Project id, where there is room for it.
    pub projid: Option<u32>,
    /// Extra bytes in use behind the first 128; 0 in inodes of 128 bytes.
    pub extra_isize: u16,
    /// What lies behind the extra fields, to the inode's end: attributes.
    pub ibody: Vec<u8>,
}

/// A field's value that its bytes can't hold on this filesystem.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field} {value} does not fit into an inode of this filesystem")]
pub struct DoesNotFit {
    /// The kernel's name of the field.
    pub field: &'static str,
    /// The value.
    pub value: u64,
}

impl InodeFormat {
    /// As the superblock says.
    pub fn new(sb: &Superblock) -> Self {
        Self {
            inode_size: usize::from(sb.inode_size),
            block_size: sb.block_size,
            huge_file: sb.features.has_ro_compat(RoCompat::HUGE_FILE),
            largedir: sb.features.has_incompat(Incompat::LARGEDIR),
            csum: sb.inode_csum(),
        }
    }

    /// Bytes of one inode.
    pub const fn inode_size(&self) -> usize {
        self.inode_size
    }

    /// The seed of what belongs to this inode (extent nodes, directory blocks); `None` without
    /// metadata_csum. Known from the raw bytes too, for those who repair.
    pub fn seed(&self, ino: InodeNr, generation: u32) -> Option<Csum> {
        self.csum.map(|csum| csum.inode_seed(ino, generation))
    }

    /// As [`InodeFormat::new`], but with checksums on filesystems that other systems made too: the
    /// kernel neither makes nor believes them there, e2fsck does (`ext2fs_inode_csum_verify`).
    pub fn with_all_checksums(sb: &Superblock) -> Self {
        Self { csum: sb.metadata_csum(), ..Self::new(sb) }
    }

    /// Whether inodes and what belongs to them have checksums.
    pub const fn has_csum(&self) -> bool {
        self.csum.is_some()
    }

    /// What the checksum of this inode should be, all 32 bits (`ext4_inode_csum`), and which of
    /// them are kept: without room for the high half only the low 16. `None` without checksums.
    pub fn checksum(&self, ino: InodeNr, bytes: &[u8]) -> Option<(u32, u32)> {
        let bytes = bytes.get(..self.inode_size)?;
        let word = |at: usize| bytes.get(at..at + 2).map(|b| u16::from_le_bytes([b[0], b[1]]));
        let generation = bytes.get(0x64..0x68)?;
        let generation = u32::from_le_bytes(generation.try_into().ok()?);
        let has_hi = self.inode_size > 128 && word(0x80)? >= 4;
        let csum = self.csum?;
        // The usual size in one piece, which is faster than in seven.
        if has_hi && bytes.len() == 256 {
            let mut piece = [0; 8 + 256];
            piece[..4].copy_from_slice(&ino.get().to_le_bytes());
            piece[4..8].copy_from_slice(&generation.to_le_bytes());
            piece[8..].copy_from_slice(bytes);
            piece[8 + 0x7C..8 + 0x7E].fill(0);
            piece[8 + 0x82..8 + 0x84].fill(0);
            return Some((csum.over(&piece).0, u32::MAX));
        }
        let seed = csum.inode_seed(ino, generation);
        let low = seed.over(bytes.get(..0x7C)?).over(&[0; 2]);
        Some(if has_hi {
            let csum = low.over(bytes.get(0x7E..0x82)?).over(&[0; 2]).over(bytes.get(0x84..)?);
            (csum.0, u32::MAX)
        } else {
            (low.over(bytes.get(0x7E..)?).0, 0xFFFF)
        })
    }

    /// Compares the checksum in an inode's bytes with what it should be, where there are checksums
    /// (`ext4_inode_csum_verify`).
    pub fn verify(&self, ino: InodeNr, bytes: &[u8]) -> Result<(), Corrupt> {
        let Some((expected, mask)) = self.checksum(ino, bytes) else { return Ok(()) };
        let word = |at: usize| {
            bytes.get(at..at + 2).map_or(0, |b| u32::from(u16::from_le_bytes([b[0], b[1]])))
        };
        let (found, expected) = ((word(0x82) << 16 | word(0x7C)) & mask, expected & mask);
        if found == expected {
            Ok(())
        } else {
            Err(Corrupt::checksum(format!("inode {ino}"), found, expected))
        }
    }

    /// Renews the checksum in an inode's bytes. For those who changed them without an [`Inode`].
    pub fn update_checksum(&self, ino: InodeNr, bytes: &mut [u8]) {
        let Some((csum, mask)) = self.checksum(ino, bytes) else { return };
        bytes[0x7C..0x7E].copy_from_slice(&((csum & 0xFFFF) as u16).to_le_bytes());
        if mask == u32::MAX {
            bytes[0x82..0x84].copy_from_slice(&((csum >> 16) as u16).to_le_bytes());
        }
    }
}

/// Whether a field that ends at byte `end` is covered by `extra_isize` (`EXT4_FITS_IN_INODE`).
const fn fits(extra_isize: u16, end: usize) -> bool {
    end <= 128 + extra_isize as usize
}

impl Inode {
    /// A time as these fields keep it: whole seconds where there is no room for more
    /// (`timestamp_truncate`).
    pub fn storable(&self, time: Timestamp) -> Timestamp {
        if fits(self.extra_isize, 0x8C) { time } else { Timestamp { nsec: 0, ..time } }
    }

    /// Decodes inode `ino` from its `inode_size` bytes, verifying `i_extra_isize` (EUCLEAN) and
    /// then the checksum (EBADMSG), in the kernel's order (`__ext4_iget`).
    pub fn decode(bytes: &[u8], ino: InodeNr, format: &InodeFormat) -> Result<Self, Corrupt> {
        let inode = Self::decode_unverified(bytes, ino, format)?;
        format.verify(ino, bytes)?;
        Ok(inode)
    }

    /// As [`decode`](Self::decode), without looking at the checksum.
    pub fn decode_unverified(
        bytes: &[u8],
        ino: InodeNr,
        format: &InodeFormat,
    ) -> Result<Self, Corrupt> {
        let corrupt = |fault: String| Corrupt::new(format!("inode {ino}"), fault);
        let bytes = bytes.get(..format.inode_size).ok_or_else(|| {
            corrupt(format!("{} bytes, expected {}", bytes.len(), format.inode_size))
        })?;
        let raw = RawInode::read(bytes);
        let extra_isize = if format.inode_size > 128 { raw.i_extra_isize.get() } else { 0 };
        let max = format.inode_size - 128;
        if usize::from(extra_isize) > max || extra_isize % 4 != 0 {
            return Err(corrupt(format!(
                "i_extra_isize {extra_isize}, expected a multiple of 4 up to {max}"
            )));
        }
        let time = |base: U32, extra: U32, end: usize| {
            Timestamp::decode(base.get(), fits(extra_isize, end).then(|| extra.get()))
        };
        let wide = |lo: U16, hi: U16| u32::from(hi.get()) << 16 | u32::from(lo.get());
        let mode = raw.i_mode.get();
        let flags = InodeFlags::from_bits_retain(raw.i_flags.get());
        let mut size = u64::from(raw.i_size_lo.get());
        if has_size_high(mode, format) {
            size |= u64::from(raw.i_size_high.get()) << 32;
        }
        let mut sectors = u64::from(raw.i_blocks_lo.get());
        if format.huge_file {
            sectors |= u64::from(raw.l_i_blocks_high.get()) << 32;
            if flags.contains(InodeFlags::HUGE_FILE) {
                // 48 bits shifted by at most 7.
                sectors <<= format.block_size.bits() - 9;
            }
        }
        let mut version = u64::from(raw.l_i_version.get());
        if fits(extra_isize, 0x9C) {
            version |= u64::from(raw.i_version_hi.get()) << 32;
        }
        let file_acl = raw.file_acl();
        Ok(Self {
            mode,
            uid: wide(raw.i_uid, raw.l_i_uid_high),
            gid: wide(raw.i_gid, raw.l_i_gid_high),
            size,
            links_count: raw.i_links_count.get(),
            sectors,
            flags,
            i_block: raw.i_block,
            generation: raw.i_generation.get(),
            file_acl: (file_acl != 0).then_some(BlockNr(file_acl)),
            dtime: raw.i_dtime.get(),
            atime: time(raw.i_atime, raw.i_atime_extra, 0x90),
            ctime: time(raw.i_ctime, raw.i_ctime_extra, 0x88),
            mtime: time(raw.i_mtime, raw.i_mtime_extra, 0x8C),
            crtime: fits(extra_isize, 0x94).then(|| time(raw.i_crtime, raw.i_crtime_extra, 0x98)),
            version,
            projid: fits(extra_isize, 0xA0).then(|| raw.i_projid.get()),
            extra_isize,
            ibody: bytes.get(128 + usize::from(extra_isize)..).unwrap_or_default().to_vec(),
        })
    }

    /// Writes the inode over its old `bytes` (`inode_size` of them) and renews the checksum. Bytes
    /// that are none of these fields, and fields not covered by `i_extra_isize`, stay as they are
    /// (`ext4_fill_raw_inode`).
    ///
    /// # Panics
    /// When `bytes` is shorter than an inode, which only a caller's mistake can bring about.
    pub fn encode(
        &self,
        bytes: &mut [u8],
        ino: InodeNr,
        format: &InodeFormat,
    ) -> Result<(), DoesNotFit> {
        let bytes = &mut bytes[..format.inode_size];
        let (blocks, huge) = self.blocks_on_disk(format)?;
        let mut flags = self.flags;
        if format.huge_file {
            flags.set(InodeFlags::HUGE_FILE, huge);
        }
        let acl = self.file_acl.map_or(0, |blk| blk.0);
        if acl >> 48 != 0 {
            return Err(DoesNotFit { field: "i_file_acl", value: acl });
        }
        let low = |n: u32| U16::new((n & 0xFFFF) as u16);
        let high = |n: u32| U16::new((n >> 16) as u16);
        let low32 = |n: u64| U32::new((n & 0xFFFF_FFFF) as u32);
        let high32 = |n: u64| U32::new((n >> 32) as u32);

        let mut raw = RawInode::read(bytes);
        raw.i_mode = U16::new(self.mode);
        (raw.i_uid, raw.l_i_uid_high) = (low(self.uid), high(self.uid));
        (raw.i_gid, raw.l_i_gid_high) = (low(self.gid), high(self.gid));
        raw.i_size_lo = low32(self.size);
        if has_size_high(self.mode, format) {
            raw.i_size_high = high32(self.size);
        } else if self.size >> 32 != 0 {
            return Err(DoesNotFit { field: "i_size", value: self.size });
        }
        raw.i_links_count = U16::new(self.links_count);
        raw.i_blocks_lo = low32(blocks);
        if format.huge_file {
            raw.l_i_blocks_high = U16::new((blocks >> 32 & 0xFFFF) as u16);
        }
        raw.i_flags = U32::new(flags.bits());
        raw.i_block = self.i_block;
        raw.i_generation = U32::new(self.generation);
        raw.i_file_acl_lo = low32(acl);
        raw.l_i_file_acl_high = U16::new((acl >> 32 & 0xFFFF) as u16);
        raw.i_dtime = U32::new(self.dtime);
        raw.l_i_version = low32(self.version);
        if format.inode_size > 128 {
            raw.i_extra_isize = U16::new(self.extra_isize);
        }
        let extra = |end| fits(self.extra_isize, end);
        let set = |base: &mut U32, more: &mut U32, time: Timestamp, end: usize| {
            if extra(end) {
                let (b, e) = time.encode();
                (*base, *more) = (U32::new(b), U32::new(e));
            } else {
                *base = U32::new(time.encode_base());
            }
        };
        set(&mut raw.i_atime, &mut raw.i_atime_extra, self.atime, 0x90);
        set(&mut raw.i_ctime, &mut raw.i_ctime_extra, self.ctime, 0x88);
        set(&mut raw.i_mtime, &mut raw.i_mtime_extra, self.mtime, 0x8C);
        if let Some(crtime) = self.crtime.filter(|_| extra(0x94)) {
            set(&mut raw.i_crtime, &mut raw.i_crtime_extra, crtime, 0x98);
        }
        if extra(0x9C) {
            raw.i_version_hi = high32(self.version);
        }
        if let Some(projid) = self.projid.filter(|_| extra(0xA0)) {
            raw.i_projid = U32::new(projid);
        }
        // Known bytes that the inode's extra fields do not reach belong to the attributes.
        let known = (128 + usize::from(self.extra_isize)).min(size_of::<RawInode>());
        bytes[..known].copy_from_slice(&raw.as_bytes()[..known]);
        let ibody = 128 + usize::from(self.extra_isize);
        if let Some(room) = bytes.get_mut(ibody..).filter(|room| room.len() == self.ibody.len()) {
            room.copy_from_slice(&self.ibody);
        } else {
            return Err(DoesNotFit { field: "i_extra_isize", value: self.extra_isize.into() });
        }
        format.update_checksum(ino, bytes);
        Ok(())
    }

    /// An inode of zeros with this mode, with as many extra bytes as new inodes get.
    pub fn new(mode: u16, want_extra_isize: u16, format: &InodeFormat) -> Self {
        let mut bytes = vec![0; format.inode_size];
        let raw = RawInode::new_zeroed();
        let extra_isize = if format.inode_size > 128 {
            want_extra_isize.min(u16::try_from(format.inode_size - 128).unwrap_or(0))
        } else {
            0
        };
        bytes.drain(..128 + usize::from(extra_isize));
        Self {
            mode,
            uid: 0,
            gid: 0,
            size: 0,
            links_count: 0,
            sectors: 0,
            flags: InodeFlags::empty(),
            i_block: raw.i_block,
            generation: 0,
            file_acl: None,
            dtime: 0,
            atime: Timestamp::default(),
            ctime: Timestamp::default(),
            mtime: Timestamp::default(),
            crtime: fits(extra_isize, 0x94).then(Timestamp::default),
            version: 0,
            projid: fits(extra_isize, 0xA0).then_some(0),
            extra_isize,
            ibody: bytes,
        }
    }

    /// The type in `i_mode`; unknown for none that exists.
    pub const fn file_type(&self) -> FileType {
        FileType::of_mode(self.mode)
    }

    /// Whether the true number of links is not kept: a directory with link count 1 (dir_nlink).
    pub fn nlink_is_unknown(&self) -> bool {
        self.links_count == 1 && self.file_type() == FileType::Directory
    }

    /// `i_blocks` and whether its unit is the block (`ext4_inode_blocks_set`).
    fn blocks_on_disk(&self, format: &InodeFormat) -> Result<(u64, bool), DoesNotFit> {
        let too_many = DoesNotFit { field: "i_blocks", value: self.sectors };
        let max = if format.huge_file { 0xFFFF_FFFF_FFFF } else { 0xFFFF_FFFF };
        if self.sectors <= max {
            return Ok((self.sectors, false));
        }
        let blocks = self.sectors >> (format.block_size.bits() - 9);
        if format.huge_file && blocks >> 48 == 0 { Ok((blocks, true)) } else { Err(too_many) }
    }
}

/// Whether `i_size_high` belongs to the size (`ext4_isize`).
fn has_size_high(mode: u16, format: &InodeFormat) -> bool {
    format.largedir || FileType::of_mode(mode) == FileType::Regular
}
