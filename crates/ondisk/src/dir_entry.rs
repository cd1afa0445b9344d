//! Directory entries and the checksum tail of a directory block.
//!
//! A block (or an inline area) is tiled by records; a record whose inode is 0 is free space. Which
//! names exist, and what belongs in a directory, is not known here.

use crate::{Corrupt, checksum::Csum};
use byteorder::{ByteOrder, LittleEndian};
use ext4_units::{BlockSize, InodeNr, LogicalBlock};
use std::fmt;
use zerocopy::{
    FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned,
    little_endian::{U16, U32},
};

/// Bytes before the name: inode (4), rec_len (2), name_len (1), file_type (1).
pub const HEADER_LEN: usize = 8;
/// The least `rec_len` the kernel accepts: room for a one-byte name.
pub const MIN_REC_LEN: usize = 12;
/// The longest name in bytes, `EXT4_NAME_LEN`.
pub const NAME_MAX: usize = 255;
/// Bytes of the checksum tail.
pub const TAIL_LEN: usize = 12;
/// The `file_type` that marks a tail, `EXT4_FT_DIR_CSUM`.
pub const TAIL_FILE_TYPE: u8 = 0xDE;

/// Bytes a record needs for a name of `name_len` bytes: `ext4_dir_rec_len`, 4-byte aligned.
pub const fn rec_len_for(name_len: usize) -> usize {
    (name_len + HEADER_LEN).next_multiple_of(4)
}

/// The length in bytes that `rec_len` means, `ext4_rec_len_from_disk`.
///
/// With 64 KiB blocks 0 and 0xFFFF mean the whole block and the two low bits, always clear
/// otherwise, carry bits 16 and 17.
pub fn rec_len_from_disk(rec_len: u16, size: BlockSize) -> usize {
    let len = usize::from(rec_len);
    if size < BlockSize::MAX {
        return len;
    }
    match rec_len {
        0 | u16::MAX => size.len(),
        _ => (len & 0xFFFC) | (len & 3) << 16,
    }
}

/// The `rec_len` that says `len` bytes, `ext4_rec_len_to_disk`. `None` when it cannot be said: not
/// a multiple of 4 or more than a block.
pub fn rec_len_to_disk(len: usize, size: BlockSize) -> Option<u16> {
    if !len.is_multiple_of(4) || len > size.len() {
        return None;
    }
    // Only 65536 itself does not fit, and only a 64 KiB block can have it.
    Some(u16::try_from(len).unwrap_or(u16::MAX))
}

/// What kind of file an entry says it names (`EXT4_FT_*`); only a hint, the inode decides.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum FileType {
    /// 0, a value above 7, or a filesystem without the filetype feature.
    #[default]
    Unknown,
    /// 1: a regular file.
    Regular,
    /// 2: a directory.
    Directory,
    /// 3: a character device.
    CharDevice,
    /// 4: a block device.
    BlockDevice,
    /// 5: a FIFO.
    Fifo,
    /// 6: a socket.
    Socket,
    /// 7: a symbolic link.
    Symlink,
}

impl FileType {
    /// From the byte on disk; everything above 7 is unknown, as `get_dtype` has it.
    pub const fn from_raw(raw: u8) -> Self {
        match raw {
            1 => Self::Regular,
            2 => Self::Directory,
            3 => Self::CharDevice,
            4 => Self::BlockDevice,
            5 => Self::Fifo,
            6 => Self::Socket,
            7 => Self::Symlink,
            _ => Self::Unknown,
        }
    }

    /// From the type bits of `i_mode`.
    pub const fn of_mode(i_mode: u16) -> Self {
        match i_mode & 0xF000 {
            0x8000 => Self::Regular,
            0x4000 => Self::Directory,
            0x2000 => Self::CharDevice,
            0x6000 => Self::BlockDevice,
            0x1000 => Self::Fifo,
            0xC000 => Self::Socket,
            0xA000 => Self::Symlink,
            _ => Self::Unknown,
        }
    }

    /// The byte on disk.
    pub const fn raw(self) -> u8 {
        match self {
            Self::Unknown => 0,
            Self::Regular => 1,
            Self::Directory => 2,
            Self::CharDevice => 3,
            Self::BlockDevice => 4,
            Self::Fifo => 5,
            Self::Socket => 6,
            Self::Symlink => 7,
        }
    }
}

/// Where a run of records lives, for messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Area {
    /// A block of the directory's file.
    Block {
        /// The directory.
        ino: InodeNr,
        /// Its logical block.
        lblk: LogicalBlock,
    },
    /// The 56 bytes of `i_block` after the parent's number, in an inline directory.
    InlineBody {
        /// The directory.
        ino: InodeNr,
    },
    /// The value of the `system.data` attribute of an inline directory.
    InlineXattr {
        /// The directory.
        ino: InodeNr,
    },
}

impl Area {
    /// A fault in this area as a whole.
    pub fn corrupt(self, fault: impl Into<std::borrow::Cow<'static, str>>) -> Corrupt {
        Corrupt::new(self.to_string(), fault)
    }

    /// A fault in the record at byte `offset` of this area.
    pub fn corrupt_at(
        self,
        offset: usize,
        fault: impl Into<std::borrow::Cow<'static, str>>,
    ) -> Corrupt {
        Corrupt::new(format!("{self}, entry at byte {offset}"), fault)
    }
}

impl fmt::Display for Area {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Block { ino, lblk } => write!(f, "directory block {lblk} (inode {ino})"),
            Self::InlineBody { ino } => write!(f, "inline directory in i_block (inode {ino})"),
            Self::InlineXattr { ino } => write!(f, "inline directory in system.data (inode {ino})"),
        }
    }
}

/// One record, checked against its area.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    /// First byte of the record within its area.
    pub offset: usize,
    /// Bytes to the next record (or the area's end).
    pub rec_len: usize,
    /// The inode it names; `None` when the record is free space.
    pub ino: Option<InodeNr>,
    /// The `file_type` byte.
    pub file_type: u8,
    /// The name's bytes. Of a free record, whatever was left behind.
    pub name: &'a [u8],
}

impl Record<'_> {
    /// The byte after the record.
    pub fn end(&self) -> usize {
        self.offset.saturating_add(self.rec_len)
    }

    /// Bytes at the record's end that a new record could take: all of it when it is free.
    pub fn slack(&self) -> usize {
        self.rec_len.saturating_sub(self.used())
    }

    /// Bytes the record itself needs: 0 when it is free.
    pub fn used(&self) -> usize {
        if self.ino.is_some() { rec_len_for(self.name.len()) } else { 0 }
    }
}

/// The records of one area in order. Stops for good after the first fault, which is an `Err`.
///
/// The checks are those of `__ext4_check_dir_entry`.
#[derive(Clone, Debug)]
pub struct Records<'a> {
    area: &'a [u8],
    place: Area,
    size: BlockSize,
    inodes_count: u32,
    offset: usize,
}

impl<'a> Records<'a> {
    /// Over `area`: a directory block without its tail, or an inline area. `inodes_count` is the
    /// highest legal inode number.
    pub fn new(area: &'a [u8], place: Area, size: BlockSize, inodes_count: u32) -> Self {
        Self { area, place, size, inodes_count, offset: 0 }
    }

    fn parse(&self, offset: usize) -> Result<Record<'a>, Corrupt> {
        let bytes = self.area.get(offset..).unwrap_or_default();
        let fault = |fault: String| Err(self.place.corrupt_at(offset, fault));
        let Some((header, rest)) = bytes.split_at_checked(HEADER_LEN) else {
            return fault(format!("{} bytes left, expected a header of 8", bytes.len()));
        };
        let inode = LittleEndian::read_u32(header);
        let rec_len = rec_len_from_disk(LittleEndian::read_u16(&header[4..]), self.size);
        let name_len = usize::from(header[6]);
        let needed = rec_len_for(name_len);
        if rec_len < MIN_REC_LEN {
            return fault(format!("rec_len {rec_len}, expected at least {MIN_REC_LEN}"));
        }
        if !rec_len.is_multiple_of(4) {
            return fault(format!("rec_len {rec_len}, expected a multiple of 4"));
        }
        if rec_len < needed {
            return fault(format!("rec_len {rec_len} with name_len {name_len}, expected {needed}"));
        }
        if rec_len > bytes.len() {
            return fault(format!("rec_len {rec_len}, expected at most {}", bytes.len()));
        }
        let left = bytes.len() - rec_len;
        if left != 0 && left < MIN_REC_LEN {
            return fault(format!("rec_len {rec_len} leaves {left} bytes, expected 0 or 12"));
        }
        if inode > self.inodes_count {
            return fault(format!("inode {inode}, expected at most {}", self.inodes_count));
        }
        let name = rest.get(..name_len).unwrap_or_default();
        Ok(Record { offset, rec_len, ino: InodeNr::new(inode), file_type: header[7], name })
    }
}

impl<'a> Iterator for Records<'a> {
    type Item = Result<Record<'a>, Corrupt>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.offset >= self.area.len() {
            return None;
        }
        let record = self.parse(self.offset);
        // `rec_len` is at least 12 and at most what is left, so this advances and ends.
        self.offset = record.as_ref().map_or(usize::MAX, Record::end);
        Some(record)
    }
}

/// Writes a record with its name at byte `offset` of `area`, zeroing the name's padding.
///
/// `None`, with nothing written, when the record would not fit its `rec_len`, the `rec_len` the
/// area or the format.
pub fn put_record(area: &mut [u8], size: BlockSize, record: &Record<'_>) -> Option<()> {
    let name_len = u8::try_from(record.name.len()).ok()?;
    let rec_len = rec_len_to_disk(record.rec_len, size)?;
    if rec_len_for(record.name.len()) > record.rec_len {
        return None;
    }
    let bytes = area.get_mut(record.offset..record.offset.checked_add(record.rec_len)?)?;
    let (header, rest) = bytes.split_at_mut_checked(HEADER_LEN)?;
    LittleEndian::write_u32(header, record.ino.map_or(0, InodeNr::get));
    LittleEndian::write_u16(&mut header[4..], rec_len);
    header[6] = name_len;
    header[7] = record.file_type;
    let padded = rec_len_for(record.name.len()) - HEADER_LEN;
    let (name, padding) = rest.get_mut(..padded)?.split_at_mut_checked(record.name.len())?;
    name.copy_from_slice(record.name);
    padding.fill(0);
    Some(())
}

/// Changes only the `rec_len` of the record at byte `offset`. `None` as in [`put_record`].
pub fn put_rec_len(area: &mut [u8], size: BlockSize, offset: usize, len: usize) -> Option<()> {
    let rec_len = rec_len_to_disk(len, size)?;
    LittleEndian::write_u16(area.get_mut(offset..)?.get_mut(4..6)?, rec_len);
    Some(())
}

/// The last 12 bytes of a directory block under metadata_csum, dressed as a free record:
/// `struct ext4_dir_entry_tail`.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct RawDirEntryTail {
    /// Zero, where an entry has its inode.
    pub det_reserved_zero1: U32,
    /// 12.
    pub det_rec_len: U16,
    /// Zero, where an entry has its name_len.
    pub det_reserved_zero2: u8,
    /// 0xDE.
    pub det_reserved_ft: u8,
    /// crc32c from the inode's seed over the block up to the tail.
    pub det_checksum: U32,
}
const _: () = assert!(size_of::<RawDirEntryTail>() == TAIL_LEN);

/// The block without its tail, checked: the tail is one, and its checksum matches
/// (`ext4_dirblock_csum_verify`). `seed` is the directory inode's.
pub fn verify_tail(block: &[u8], seed: Csum, place: Area) -> Result<&[u8], Corrupt> {
    let Ok((body, tail)) = RawDirEntryTail::ref_from_suffix(block).map(|(b, t)| (b, *t)) else {
        return Err(place.corrupt(format!("{} bytes, expected a block", block.len())));
    };
    let is_tail = tail.det_reserved_zero1 == 0
        && usize::from(tail.det_rec_len.get()) == TAIL_LEN
        && tail.det_reserved_zero2 == 0
        && tail.det_reserved_ft == TAIL_FILE_TYPE;
    if !is_tail {
        let mut corrupt = place.corrupt("no checksum tail, expected one in the last 12 bytes");
        corrupt.is_checksum = true; // the kernel answers EFSBADCRC
        return Err(corrupt);
    }
    let (found, expected) = (tail.det_checksum.get(), seed.over(body).0);
    if found != expected {
        return Err(Corrupt::checksum(place.to_string(), found, expected));
    }
    Ok(body)
}

/// Writes the tail of a directory block, checksum and all. Does nothing to fewer than 12 bytes.
pub fn seal_tail(block: &mut [u8], seed: Csum) {
    let Some((body, tail)) = block.split_last_chunk_mut::<TAIL_LEN>() else { return };
    *tail = zerocopy::transmute!(RawDirEntryTail {
        det_reserved_zero1: 0.into(),
        det_rec_len: 12.into(),
        det_reserved_zero2: 0,
        det_reserved_ft: TAIL_FILE_TYPE,
        det_checksum: seed.over(body).0.into(),
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: BlockSize = BlockSize::MIN;
    const PLACE: Area = Area::Block { ino: InodeNr::ROOT, lblk: LogicalBlock(3) };

    fn record(offset: usize, rec_len: usize, ino: u32, name: &[u8]) -> Record<'_> {
        Record { offset, rec_len, ino: InodeNr::new(ino), file_type: 1, name }
    }

    fn faults(block: &[u8]) -> String {
        let result: Result<Vec<_>, _> = Records::new(block, PLACE, SIZE, 100).collect();
        result.unwrap_err().to_string()
    }

    #[test]
    fn what_is_put_is_read_back() {
        let mut block = vec![0xAA; 1024];
        put_record(&mut block, SIZE, &record(0, 16, 12, b"hello")).unwrap();
        put_record(&mut block, SIZE, &record(16, 1008, 0, b"")).unwrap();
        let read: Vec<_> =
            Records::new(&block, PLACE, SIZE, 100).collect::<Result<_, _>>().unwrap();
        assert_eq!(read[0], record(0, 16, 12, b"hello"));
        assert_eq!((read[0].slack(), read[1].slack()), (0, 1008));
        assert_eq!(read.len(), 2);
        assert_eq!(block[13..16], [0; 3], "padding after the name is zeroed");
    }

    #[test]
    fn a_record_that_does_not_fit_is_not_written() {
        let mut block = vec![0; 1024];
        assert!(put_record(&mut block, SIZE, &record(0, 12, 12, b"hello")).is_none());
        assert!(put_record(&mut block, SIZE, &record(1020, 12, 12, b"a")).is_none());
        assert!(put_record(&mut block, SIZE, &record(0, 14, 12, b"a")).is_none());
        assert!(put_record(&mut block, SIZE, &record(usize::MAX, 12, 12, b"a")).is_none());
        assert_eq!(block, vec![0; 1024]);
    }

    #[test]
    fn each_fault_names_its_byte_and_what_was_expected() {
        let whole = |rec_len: u16, ino: u32, name_len: u8| {
            let mut block = vec![0; 1024];
            LittleEndian::write_u32(&mut block, ino);
            LittleEndian::write_u16(&mut block[4..], rec_len);
            block[6] = name_len;
            block
        };
        let at = "directory block 3 (inode 2), entry at byte 0: ";
        for (block, message) in [
            (whole(0, 0, 0), "rec_len 0, expected at least 12"),
            (whole(13, 0, 0), "rec_len 13, expected a multiple of 4"),
            (whole(12, 1, 5), "rec_len 12 with name_len 5, expected 16"),
            (whole(1028, 1, 5), "rec_len 1028, expected at most 1024"),
            (whole(1016, 1, 5), "rec_len 1016 leaves 8 bytes, expected 0 or 12"),
            (whole(1024, 101, 5), "inode 101, expected at most 100"),
        ] {
            assert_eq!(faults(&block), format!("{at}{message}"));
        }
    }

    #[test]
    fn a_block_of_64_kib_fits_in_16_bits() {
        let max = BlockSize::MAX;
        assert_eq!(rec_len_to_disk(65536, max), Some(0xFFFF));
        assert_eq!(rec_len_to_disk(65524, max), Some(65524));
        assert_eq!(rec_len_to_disk(65540, max), None);
        assert_eq!(rec_len_from_disk(0, max), 65536);
        assert_eq!(rec_len_from_disk(0xFFFF, max), 65536);
        assert_eq!(rec_len_from_disk(65524, max), 65524);
        assert_eq!(rec_len_from_disk(0, SIZE), 0);
        assert_eq!(rec_len_to_disk(1024, SIZE), Some(1024));
    }

    #[test]
    fn a_flipped_bit_or_a_missing_tail_fails_the_checksum() {
        let seed = Csum(7);
        let mut block = vec![0x11; 1024];
        seal_tail(&mut block, seed);
        assert_eq!(verify_tail(&block, seed, PLACE).unwrap().len(), 1012);
        block[5] ^= 1;
        assert!(verify_tail(&block, seed, PLACE).unwrap_err().is_checksum);
        block[5] ^= 1;
        block[1019] = 0;
        assert!(verify_tail(&block, seed, PLACE).unwrap_err().is_checksum);
        assert!(verify_tail(&[0; 5], seed, PLACE).is_err());
    }
}
