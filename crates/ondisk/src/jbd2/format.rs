//! What one journal's blocks look like: block size, width of block numbers, checksums, seed.
//!
//! Derived from the journal superblock once and handed to every encoder and decoder.

use super::MAGIC;
use crate::{Corrupt, checksum::Csum};
use ext4_units::{BlockSize, Tid};
use std::fmt;

/// How the kernel would report a fault of the journal; the errno a caller should see.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Class {
    /// `EINVAL`: not a journal that can be used at all.
    Invalid,
    /// `EFSCORRUPTED` = `EUCLEAN`: contents that make no sense.
    Corrupt,
    /// `EFSBADCRC` = `EBADMSG`: a checksum that does not match.
    BadChecksum,
    /// `EOPNOTSUPP`: a feature that nobody here knows.
    NotSupported,
    /// `ECANCELED`: a fast commit that breaks off inside its first commit.
    Cancelled,
    /// `EIO`: the device failed.
    Io,
}

impl Class {
    /// The errno's name, as in `errno(3)`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Invalid => "EINVAL",
            Self::Corrupt => "EUCLEAN",
            Self::BadChecksum => "EBADMSG",
            Self::NotSupported => "EOPNOTSUPP",
            Self::Cancelled => "ECANCELED",
            Self::Io => "EIO",
        }
    }
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Damage in the journal, with the errno class the kernel has for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// The errno class.
    pub class: Class,
    /// Where, what was found, what was expected.
    pub what: Corrupt,
}

impl Damage {
    /// Damage of class [`Class::Invalid`].
    pub const fn invalid(what: Corrupt) -> Self {
        Self { class: Class::Invalid, what }
    }
}

impl From<Corrupt> for Damage {
    fn from(what: Corrupt) -> Self {
        Self { class: if what.is_checksum { Class::BadChecksum } else { Class::Corrupt }, what }
    }
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.what.fmt(f)
    }
}

impl std::error::Error for Damage {}

/// Which checksums the log carries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Checksums {
    /// None.
    #[default]
    None,
    /// COMPAT `CHECKSUM`: one CRC32 over each transaction, in its commit block.
    V1,
    /// INCOMPAT `CSUM_V2`: crc32c in every block, the low 16 bits of it in each tag.
    V2,
    /// INCOMPAT `CSUM_V3`: crc32c in every block and, whole, in each tag.
    V3,
}

impl Checksums {
    /// Whether each block of the log has its own crc32c (`jbd2_journal_has_csum_v2or3`).
    pub const fn per_block(self) -> bool {
        matches!(self, Self::V2 | Self::V3)
    }
}

/// The shape of a log's blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogFormat {
    /// Size of a block of the log, equal to the filesystem's.
    pub block_size: BlockSize,
    /// INCOMPAT `64BIT`: block numbers have 64 bits.
    pub is_64bit: bool,
    /// Which checksums there are.
    pub checksums: Checksums,
    /// INCOMPAT `ASYNC_COMMIT`: the commit block does not wait for the transaction's blocks.
    pub async_commit: bool,
    /// The seed of all v2/v3 checksums, crc32c over the journal's uuid.
    pub seed: Csum,
}

impl LogFormat {
    /// Bytes of one tag without the uuid that may follow it, `journal_tag_bytes`.
    pub const fn tag_len(&self) -> usize {
        match (self.checksums, self.is_64bit) {
            (Checksums::V3, _) => 16,
            (Checksums::V2, true) => 14,
            (Checksums::V2, false) => 10,
            (_, true) => 12,
            (_, false) => 8,
        }
    }

    /// Bytes at the end of descriptor and revoke blocks taken by the checksum,
    /// `struct jbd2_journal_block_tail`.
    pub const fn tail_len(&self) -> usize {
        if self.checksums.per_block() { 4 } else { 0 }
    }

    /// Bytes of one revoke record.
    pub const fn revoke_len(&self) -> usize {
        if self.is_64bit { 8 } else { 4 }
    }

    /// How many blocks one descriptor can describe: the first tag is followed by the uuid, and a
    /// descriptor is closed when another tag with a uuid would not fit (as
    /// `jbd2_journal_commit_transaction` does it).
    pub const fn tags_per_descriptor(&self) -> usize {
        let reserve = self.tag_len() + 16 + self.tail_len();
        let after_first = self.block_size.len() - 12 - self.tag_len() - 16;
        if after_first < reserve {
            return 1;
        }
        // The last tag taken is the one that leaves less than the reserve.
        1 + (after_first - reserve) / self.tag_len() + 1
    }

    /// How many records one revoke block can hold.
    pub const fn revokes_per_block(&self) -> usize {
        (self.block_size.len() - 16 - self.tail_len()) / self.revoke_len()
    }

    /// The checksum of a logged block as its tag has it (after escaping); 0 without v2/v3.
    /// `jbd2_block_tag_csum_set`.
    pub fn tag_checksum(&self, tid: Tid, logged: &[u8]) -> u32 {
        let sum = || self.seed.over(&tid.0.to_be_bytes()).over(logged).0;
        match self.checksums {
            Checksums::None | Checksums::V1 => 0,
            Checksums::V2 => sum() & 0xFFFF,
            Checksums::V3 => sum(),
        }
    }

    /// What the tail of a descriptor or revoke block should be, and what it is; `None` when the
    /// log has no such tails or the block is too short to have one.
    fn tail_sums(self, block: &[u8]) -> Option<(u32, u32)> {
        if !self.checksums.per_block() {
            return None;
        }
        let (body, tail) = block.split_last_chunk::<4>()?;
        Some((u32::from_be_bytes(*tail), self.seed.over(body).over(&[0; 4]).0))
    }

    /// Checks the tail of a descriptor or revoke block: the pair (found, expected) when it does
    /// not match. `jbd2_descriptor_block_csum_verify`.
    pub fn check_tail(&self, block: &[u8]) -> Result<(), (u32, u32)> {
        match self.tail_sums(block) {
            Some((found, expected)) if found != expected => Err((found, expected)),
            _ => Ok(()),
        }
    }

    /// Writes the tail of a descriptor or revoke block. `jbd2_descriptor_block_csum_set`.
    pub fn set_tail(&self, block: &mut [u8]) {
        if let Some((_, expected)) = self.tail_sums(block)
            && let Some(tail) = block.last_chunk_mut::<4>()
        {
            *tail = expected.to_be_bytes();
        }
    }
}

/// Whether a block's contents begin with the journal's magic, so that the logged copy must be
/// escaped: otherwise recovery would take it for one of the journal's own blocks.
pub fn is_escaped_by_writer(block: &[u8]) -> bool {
    block.first_chunk() == Some(&MAGIC.to_be_bytes())
}

/// Zeroes the first four bytes, as the log has it for a tag with
/// [`TagFlags::ESCAPE`](super::TagFlags::ESCAPE).
pub fn escape(block: &mut [u8]) {
    if let Some(head) = block.first_chunk_mut::<4>() {
        *head = [0; 4];
    }
}

/// Puts the magic back into the first four bytes of a block that was logged escaped.
pub fn unescape(block: &mut [u8]) {
    if let Some(head) = block.first_chunk_mut::<4>() {
        *head = MAGIC.to_be_bytes();
    }
}
