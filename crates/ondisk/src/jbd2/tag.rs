//! A tag of a descriptor block: the home of one logged block. Five layouts, 8 to 16 bytes.

use super::{Checksums, LogFormat};
use bitflags::bitflags;
use byteorder::{BigEndian, ByteOrder};
use ext4_units::{BlockNr, Tid};

bitflags! {
    /// Flags of a tag.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub struct TagFlags: u16 {
        /// The block begins with the journal's magic, which the logged copy has zeroed.
        const ESCAPE = 1;
        /// No uuid follows the tag.
        const SAME_UUID = 2;
        /// Never written.
        const DELETED = 4;
        /// The last tag of its descriptor.
        const LAST_TAG = 8;
        const _ = !0;
    }
}

/// The home of one logged block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tag {
    /// Where the block belongs.
    pub block: BlockNr,
    /// Flags.
    pub flags: TagFlags,
    /// The checksum as stored: 32 bits with v3, 16 with v2, otherwise 0.
    pub checksum: u32,
}

impl Tag {
    /// The tag at the start of `bytes`; `None` when there are fewer than
    /// [`LogFormat::tag_len`] bytes. `read_tag_block`.
    pub fn decode(format: &LogFormat, bytes: &[u8]) -> Option<Self> {
        let tag = bytes.get(..format.tag_len())?;
        let low = u64::from(BigEndian::read_u32(tag));
        let high =
            if format.is_64bit { u64::from(BigEndian::read_u32(&tag[8..12])) << 32 } else { 0 };
        let checksum = match format.checksums {
            Checksums::V3 => BigEndian::read_u32(&tag[12..16]),
            Checksums::V2 => u32::from(BigEndian::read_u16(&tag[4..6])),
            Checksums::None | Checksums::V1 => 0,
        };
        // v3 has 32 bits of flags; the low half of them is where the others have their 16.
        let flags = TagFlags::from_bits_retain(BigEndian::read_u16(&tag[6..8]));
        Some(Self { block: BlockNr(low | high), flags, checksum })
    }

    /// Writes the tag to the start of `bytes`, which must hold [`LogFormat::tag_len`] bytes; the
    /// high half of the block number is lost without 64BIT. `write_tag_block`.
    pub fn encode(&self, format: &LogFormat, bytes: &mut [u8]) {
        let tag = &mut bytes[..format.tag_len()];
        tag.fill(0);
        BigEndian::write_u32(tag, (self.block.0 & 0xFFFF_FFFF) as u32);
        BigEndian::write_u16(&mut tag[6..8], self.flags.bits());
        if format.is_64bit {
            BigEndian::write_u32(&mut tag[8..12], (self.block.0 >> 32) as u32);
        }
        match format.checksums {
            Checksums::V3 => BigEndian::write_u32(&mut tag[12..16], self.checksum),
            Checksums::V2 => BigEndian::write_u16(&mut tag[4..6], (self.checksum & 0xFFFF) as u16),
            Checksums::None | Checksums::V1 => {}
        }
    }

    /// Whether the copy in the log is what the tag says; the pair (found, expected) when not.
    /// `found` is what the tag has. `jbd2_block_tag_csum_verify`.
    pub fn check(&self, format: &LogFormat, tid: Tid, logged: &[u8]) -> Result<(), (u32, u32)> {
        let expected = format.tag_checksum(tid, logged);
        if format.checksums.per_block() && self.checksum != expected {
            return Err((self.checksum, expected));
        }
        Ok(())
    }
}
