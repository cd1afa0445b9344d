//! The revoke block: blocks whose copies of this and earlier transactions must not be replayed.

use super::{BlockHeader, BlockKind, Damage, LogFormat};
use crate::Corrupt;
use byteorder::{BigEndian, ByteOrder};
use ext4_units::{BlockNr, Tid};

/// Header and `r_count`.
const HEADER_LEN: usize = BlockHeader::LEN + 4;

/// The block numbers in a revoke block.
///
/// A count that passes the block is [`Class::Invalid`](super::Class::Invalid), as
/// `scan_revoke_records` has it; one that is smaller than the header means no records.
pub fn revokes<'a>(format: &LogFormat, block: &'a [u8]) -> Result<Revokes<'a>, Damage> {
    let room = block.len().saturating_sub(format.tail_len());
    let count = block.get(BlockHeader::LEN..HEADER_LEN).map_or(0, BigEndian::read_u32);
    match usize::try_from(count) {
        Ok(count) if count <= room => {
            let rest = block.get(HEADER_LEN..count).unwrap_or_default();
            Ok(Revokes { records: rest.chunks_exact(format.revoke_len()) })
        }
        _ => Err(Damage::invalid(Corrupt::new(
            "revoke block",
            format!("r_count {count}, expected at most {room}"),
        ))),
    }
}

/// Iterator of [`revokes`].
#[derive(Clone, Debug)]
pub struct Revokes<'a> {
    records: std::slice::ChunksExact<'a, u8>,
}

impl Iterator for Revokes<'_> {
    type Item = BlockNr;

    fn next(&mut self) -> Option<BlockNr> {
        let record = self.records.next()?;
        Some(BlockNr(BigEndian::read_uint(record, record.len())))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.records.size_hint()
    }
}

impl ExactSizeIterator for Revokes<'_> {}

/// A revoke block in the making.
#[derive(Clone, Debug)]
pub struct RevokeBuilder {
    format: LogFormat,
    block: Vec<u8>,
    at: usize,
}

impl RevokeBuilder {
    /// An empty revoke block of transaction `tid`.
    pub fn new(format: &LogFormat, tid: Tid) -> Self {
        let mut block = vec![0; format.block_size.len()];
        block[..BlockHeader::LEN]
            .copy_from_slice(&BlockHeader { kind: BlockKind::Revoke, tid }.encode());
        Self { format: *format, block, at: HEADER_LEN }
    }

    /// Whether no further record fits.
    pub fn is_full(&self) -> bool {
        self.at + self.format.revoke_len() > self.block.len() - self.format.tail_len()
    }

    /// Adds a block.
    ///
    /// # Panics
    ///
    /// When the revoke block is full.
    pub fn push(&mut self, block: BlockNr) {
        assert!(!self.is_full(), "the caller asks is_full first");
        let record = &mut self.block[self.at..self.at + self.format.revoke_len()];
        if self.format.is_64bit {
            BigEndian::write_u64(record, block.0);
        } else {
            BigEndian::write_u32(record, (block.0 & 0xFFFF_FFFF) as u32);
        }
        self.at += self.format.revoke_len();
    }

    /// The finished block with count and tail checksum.
    pub fn finish(mut self) -> Vec<u8> {
        let count = u32::try_from(self.at).expect("a block has at most 64 KiB");
        BigEndian::write_u32(&mut self.block[BlockHeader::LEN..HEADER_LEN], count);
        self.format.set_tail(&mut self.block);
        self.block
    }
}
