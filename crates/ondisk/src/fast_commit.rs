//! The TLVs of the fast-commit area, little-endian: one operation each, and the head, tail and
//! padding between them.
//!
//! Bytes only: which of them are part of a complete fast commit is the recovery's business.

use crate::{Corrupt, checksum::Csum};
use byteorder::{ByteOrder, LittleEndian};
use ext4_units::{BlockNr, InodeNr, LogicalBlock, Tid};

/// Bytes of tag and length in front of each value, `EXT4_FC_TAG_BASE_LEN`.
pub const TLV_HEADER_LEN: usize = 4;

/// The longest file name.
const NAME_MAX: usize = 255;
/// The smallest inode, `EXT4_GOOD_OLD_INODE_SIZE`.
const GOOD_OLD_INODE: usize = 128;
/// `EXT_INIT_MAX_LEN`: lengths above it mean an unwritten extent.
const INIT_MAX_LEN: u16 = 1 << 15;

/// What a tag says the value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the kernel's names, EXT4_FC_TAG_*; see Op")]
pub enum TlvKind {
    AddRange,
    DelRange,
    Creat,
    Link,
    Unlink,
    Inode,
    Pad,
    Tail,
    Head,
}

impl TlvKind {
    /// From the tag; `None` when it is none of the nine.
    pub const fn from_raw(raw: u16) -> Option<Self> {
        Some(match raw {
            1 => Self::AddRange,
            2 => Self::DelRange,
            3 => Self::Creat,
            4 => Self::Link,
            5 => Self::Unlink,
            6 => Self::Inode,
            7 => Self::Pad,
            8 => Self::Tail,
            9 => Self::Head,
            _ => return None,
        })
    }

    /// The tag on disk.
    pub const fn raw(self) -> u16 {
        match self {
            Self::AddRange => 1,
            Self::DelRange => 2,
            Self::Creat => 3,
            Self::Link => 4,
            Self::Unlink => 5,
            Self::Inode => 6,
            Self::Pad => 7,
            Self::Tail => 8,
            Self::Head => 9,
        }
    }

    /// Whether a value may have this length, `ext4_fc_value_len_isvalid`.
    fn allows(self, len: usize, inode_size: u16) -> bool {
        match self {
            Self::AddRange => len == 16,
            Self::DelRange => len == 12,
            Self::Creat | Self::Link | Self::Unlink => (8 + 1..=8 + NAME_MAX).contains(&len),
            Self::Inode => (4 + GOOD_OLD_INODE..=4 + usize::from(inode_size)).contains(&len),
            Self::Pad => true,
            Self::Tail => len >= 8,
            Self::Head => len == 8,
        }
    }
}

/// One tag with its value, not looked into; its kind and length are good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RawTlv<'a> {
    /// What the value is.
    pub kind: TlvKind,
    /// The whole record, tag and length included.
    pub bytes: &'a [u8],
}

impl<'a> RawTlv<'a> {
    /// The bytes after tag and length.
    pub fn value(&self) -> &'a [u8] {
        self.bytes.get(TLV_HEADER_LEN..).unwrap_or_default()
    }

    /// The fast commit's checksum continued over this record: crc32c that begins at **0**, no uuid in
    /// it, over whole records, and over the tail up to its own `fc_crc`.
    #[must_use]
    pub fn sum(&self, before: Csum) -> Csum {
        match self.kind {
            TlvKind::Tail => before.over(self.bytes.get(..TLV_HEADER_LEN + 4).unwrap_or_default()),
            _ => before.over(self.bytes),
        }
    }

    /// The value, decoded.
    ///
    /// Fails on inode 0 only: lengths are good already.
    pub fn decode(&self) -> Result<Tlv, Corrupt> {
        let value = self.value();
        let u32_at = |at: usize| value.get(at..at + 4).map_or(0, LittleEndian::read_u32);
        let inode_at = |at: usize| {
            InodeNr::new(u32_at(at))
                .ok_or_else(|| Corrupt::new(format!("{:?} record", self.kind), "inode 0"))
        };
        let name = || value.get(8..).unwrap_or_default().to_vec();
        Ok(match self.kind {
            TlvKind::AddRange => {
                let raw_len = value.get(8..10).map_or(0, LittleEndian::read_u16);
                let is_unwritten = raw_len > INIT_MAX_LEN;
                let high = u64::from(value.get(10..12).map_or(0, LittleEndian::read_u16));
                Tlv::Op(Op::AddRange {
                    ino: inode_at(0)?,
                    lblk: LogicalBlock(u32_at(4)),
                    len: if is_unwritten { raw_len - INIT_MAX_LEN } else { raw_len },
                    start: BlockNr(high << 32 | u64::from(u32_at(12))),
                    is_unwritten,
                })
            }
            TlvKind::DelRange => Tlv::Op(Op::DelRange {
                ino: inode_at(0)?,
                lblk: LogicalBlock(u32_at(4)),
                len: u32_at(8),
            }),
            TlvKind::Creat => {
                Tlv::Op(Op::Creat { parent: inode_at(0)?, ino: inode_at(4)?, name: name() })
            }
            TlvKind::Link => {
                Tlv::Op(Op::Link { parent: inode_at(0)?, ino: inode_at(4)?, name: name() })
            }
            TlvKind::Unlink => {
                Tlv::Op(Op::Unlink { parent: inode_at(0)?, ino: inode_at(4)?, name: name() })
            }
            TlvKind::Inode => Tlv::Op(Op::Inode {
                ino: inode_at(0)?,
                raw: value.get(4..).unwrap_or_default().to_vec(),
            }),
            TlvKind::Pad => Tlv::Pad,
            TlvKind::Tail => Tlv::Tail { tid: Tid(u32_at(0)), crc: u32_at(4) },
            TlvKind::Head => Tlv::Head { features: u32_at(0), tid: Tid(u32_at(4)) },
        })
    }
}

/// The record at the start of `bytes`, which is what is left of its block; a record never passes the
/// end of the block. `inode_size` is the filesystem's.
pub fn first_tlv(bytes: &[u8], inode_size: u16) -> Result<RawTlv<'_>, Corrupt> {
    const PLACE: &str = "fast-commit record";
    let Some((header, rest)) = bytes.split_first_chunk::<TLV_HEADER_LEN>() else {
        return Err(Corrupt::new(PLACE, "no room for its tag"));
    };
    let [tag_low, tag_high, len_low, len_high] = *header;
    let tag = u16::from_le_bytes([tag_low, tag_high]);
    let len = usize::from(u16::from_le_bytes([len_low, len_high]));
    let Some(kind) = TlvKind::from_raw(tag) else {
        return Err(Corrupt::new(PLACE, format!("tag {tag}, expected 1 to 9")));
    };
    if len > rest.len() {
        return Err(Corrupt::new(
            PLACE,
            format!("length {len} of a {kind:?}, but its block has {} left", rest.len()),
        ));
    }
    if !kind.allows(len, inode_size) {
        return Err(Corrupt::new(PLACE, format!("length {len} makes no sense for a {kind:?}")));
    }
    Ok(RawTlv { kind, bytes: bytes.get(..TLV_HEADER_LEN + len).unwrap_or_default() })
}

/// A record of the fast-commit area.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tlv {
    /// Something to be done.
    Op(Op),
    /// Nothing.
    Pad,
    /// The end of a fast commit; its length covers the rest of the block.
    Tail {
        /// The transaction that the fast commit is for.
        tid: Tid,
        /// See [`RawTlv::sum`].
        crc: u32,
    },
    /// The beginning of the first fast commit after a full commit.
    Head {
        /// Feature bits; none is known.
        features: u32,
        /// The transaction that the fast commits are for.
        tid: Tid,
    },
}

/// One operation to be done again after a crash. Each may be done any number of times.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Op {
    /// Map blocks of a file: insert, move to these blocks or change the state.
    AddRange {
        /// The file.
        ino: InodeNr,
        /// First logical block.
        lblk: LogicalBlock,
        /// Blocks, at most 32768; 0 is possible in damaged records.
        len: u16,
        /// First physical block.
        start: BlockNr,
        /// Whether the extent is unwritten.
        is_unwritten: bool,
    },
    /// Unmap blocks of a file.
    DelRange {
        /// The file.
        ino: InodeNr,
        /// First logical block.
        lblk: LogicalBlock,
        /// Blocks.
        len: u32,
    },
    /// Link a new inode, whose [`Op::Inode`] and ranges came before, into a directory.
    Creat {
        /// The directory.
        parent: InodeNr,
        /// The inode.
        ino: InodeNr,
        /// The name: 1 to 255 bytes, not looked into.
        name: Vec<u8>,
    },
    /// Add a name for an inode.
    Link {
        /// The directory.
        parent: InodeNr,
        /// The inode.
        ino: InodeNr,
        /// The name: 1 to 255 bytes, not looked into.
        name: Vec<u8>,
    },
    /// Remove a name of an inode; the inode goes with its last name.
    Unlink {
        /// The directory.
        parent: InodeNr,
        /// The inode.
        ino: InodeNr,
        /// The name: 1 to 255 bytes, not looked into.
        name: Vec<u8>,
    },
    /// Overwrite an inode, except its `i_block`.
    Inode {
        /// The inode.
        ino: InodeNr,
        /// Its bytes as on disk: at least 128, at most the filesystem's inode size.
        raw: Vec<u8>,
    },
}

impl Tlv {
    /// Appends the record to `out`. A tail is 8 bytes long here; who needs it to cover its block
    /// appends zeros and changes the length.
    ///
    /// # Panics
    ///
    /// When a name or inode does not fit a 16-bit length, or an extent is longer than an extent may
    /// be.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let u32s = |out: &mut Vec<u8>, values: &[u32]| {
            for it in values {
                out.extend(it.to_le_bytes());
            }
        };
        let at = out.len();
        out.extend([0; TLV_HEADER_LEN]);
        let kind = match self {
            Self::Op(Op::AddRange { ino, lblk, len, start, is_unwritten }) => {
                assert!(*len <= INIT_MAX_LEN - u16::from(*is_unwritten), "extent too long");
                u32s(out, &[ino.get(), lblk.0]);
                let raw = if *is_unwritten { len + INIT_MAX_LEN } else { *len };
                out.extend(raw.to_le_bytes());
                let start = start.0.to_le_bytes();
                out.extend([start[4], start[5], start[0], start[1], start[2], start[3]]);
                TlvKind::AddRange
            }
            Self::Op(Op::DelRange { ino, lblk, len }) => {
                u32s(out, &[ino.get(), lblk.0, *len]);
                TlvKind::DelRange
            }
            Self::Op(
                op @ (Op::Creat { parent, ino, name }
                | Op::Link { parent, ino, name }
                | Op::Unlink { parent, ino, name }),
            ) => {
                u32s(out, &[parent.get(), ino.get()]);
                out.extend(name);
                match op {
                    Op::Creat { .. } => TlvKind::Creat,
                    Op::Link { .. } => TlvKind::Link,
                    _ => TlvKind::Unlink,
                }
            }
            Self::Op(Op::Inode { ino, raw }) => {
                u32s(out, &[ino.get()]);
                out.extend(raw);
                TlvKind::Inode
            }
            Self::Pad => TlvKind::Pad,
            Self::Tail { tid, crc } => {
                u32s(out, &[tid.0, *crc]);
                TlvKind::Tail
            }
            Self::Head { features, tid } => {
                u32s(out, &[*features, tid.0]);
                TlvKind::Head
            }
        };
        let len = u16::try_from(out.len() - at - TLV_HEADER_LEN).expect("a value below 64 KiB");
        out[at..at + 2].copy_from_slice(&kind.raw().to_le_bytes());
        out[at + 2..at + 4].copy_from_slice(&len.to_le_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn every_tlv() -> Vec<Tlv> {
        let ino = InodeNr::new(12).unwrap();
        let parent = InodeNr::ROOT;
        let name = b"a name".to_vec();
        let lblk = LogicalBlock(77);
        let start = BlockNr(0x1234_5678_9ABC);
        vec![
            Tlv::Head { features: 0, tid: Tid(5) },
            Tlv::Op(Op::AddRange { ino, lblk, len: 32768, start, is_unwritten: false }),
            Tlv::Op(Op::AddRange { ino, lblk, len: 32767, start, is_unwritten: true }),
            Tlv::Op(Op::DelRange { ino, lblk, len: u32::MAX }),
            Tlv::Op(Op::Creat { parent, ino, name: name.clone() }),
            Tlv::Op(Op::Link { parent, ino, name: name.clone() }),
            Tlv::Op(Op::Unlink { parent, ino, name }),
            Tlv::Op(Op::Inode { ino, raw: (0..160).collect() }),
            Tlv::Pad,
            Tlv::Tail { tid: Tid(5), crc: 99 },
        ]
    }

    #[test]
    fn every_record_reads_back() {
        let mut bytes = vec![];
        for it in every_tlv() {
            it.encode(&mut bytes);
        }
        let mut rest = &bytes[..];
        for it in every_tlv() {
            let raw = first_tlv(rest, 256).unwrap();
            assert_eq!(raw.decode().unwrap(), it);
            rest = &rest[raw.bytes.len()..];
        }
        assert!(rest.is_empty());
    }

    #[test]
    fn a_record_cut_anywhere_is_refused() {
        for it in every_tlv() {
            let mut bytes = vec![];
            it.encode(&mut bytes);
            for cut in 0..bytes.len() {
                assert!(first_tlv(&bytes[..cut], 256).is_err(), "{it:?} cut at {cut}");
            }
        }
    }

    #[test]
    fn lengths_that_make_no_sense_are_refused() {
        let len_is_good = |tag: u16, len: u16| {
            let mut bytes = vec![1; 70_000];
            bytes[..2].copy_from_slice(&tag.to_le_bytes());
            bytes[2..4].copy_from_slice(&len.to_le_bytes());
            first_tlv(&bytes, 256).is_ok()
        };
        let good = |tag| (0..=u16::MAX).filter(|&len| len_is_good(tag, len)).collect::<Vec<_>>();
        assert_eq!(good(1), [16]);
        assert_eq!(good(2), [12]);
        for tag in 3..=5 {
            assert_eq!(good(tag), (9..=263).collect::<Vec<_>>());
        }
        assert_eq!(good(6), (132..=260).collect::<Vec<_>>());
        assert_eq!(good(7).len(), 65536);
        assert_eq!(good(8).len(), 65528);
        assert_eq!(good(9), [8]);
        assert!(good(0).is_empty() && good(10).is_empty());
    }

    #[test]
    fn inode_0_is_refused() {
        let mut bytes = vec![];
        let ino = InodeNr::new(1).unwrap();
        Tlv::Op(Op::DelRange { ino, lblk: LogicalBlock(0), len: 1 }).encode(&mut bytes);
        bytes[4] = 0;
        assert!(first_tlv(&bytes, 256).unwrap().decode().is_err());
    }
}
