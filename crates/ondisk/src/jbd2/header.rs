//! The 12 bytes at the start of each block that is the journal's own.

use super::MAGIC;
use ext4_units::Tid;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned, big_endian::U32};

/// `journal_header_t`.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct RawBlockHeader {
    /// [`MAGIC`].
    pub h_magic: U32,
    /// The kind, see [`BlockKind`].
    pub h_blocktype: U32,
    /// The transaction.
    pub h_sequence: U32,
}

const _: () = assert!(size_of::<RawBlockHeader>() == 12);

/// What a block of the journal is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BlockKind {
    /// 1: names the blocks that follow it.
    Descriptor,
    /// 2: ends a transaction.
    Commit,
    /// 3: journal superblock without features.
    SuperblockV1,
    /// 4: journal superblock.
    SuperblockV2,
    /// 5: names blocks whose older copies must not be replayed.
    Revoke,
    /// Anything else.
    Unknown(u32),
}

impl BlockKind {
    /// From `h_blocktype`.
    pub const fn from_raw(raw: u32) -> Self {
        match raw {
            1 => Self::Descriptor,
            2 => Self::Commit,
            3 => Self::SuperblockV1,
            4 => Self::SuperblockV2,
            5 => Self::Revoke,
            other => Self::Unknown(other),
        }
    }

    /// As `h_blocktype` has it.
    pub const fn raw(self) -> u32 {
        match self {
            Self::Descriptor => 1,
            Self::Commit => 2,
            Self::SuperblockV1 => 3,
            Self::SuperblockV2 => 4,
            Self::Revoke => 5,
            Self::Unknown(other) => other,
        }
    }
}

/// A header whose magic is right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockHeader {
    /// What the block is.
    pub kind: BlockKind,
    /// Which transaction it belongs to.
    pub tid: Tid,
}

impl BlockHeader {
    /// Length on disk.
    pub const LEN: usize = size_of::<RawBlockHeader>();

    /// The header at the start of `block`; `None` when the magic is not there.
    pub fn decode(block: &[u8]) -> Option<Self> {
        let (raw, _) = RawBlockHeader::ref_from_prefix(block).ok()?;
        (raw.h_magic.get() == MAGIC).then(|| Self {
            kind: BlockKind::from_raw(raw.h_blocktype.get()),
            tid: Tid(raw.h_sequence.get()),
        })
    }

    /// The bytes on disk.
    pub fn encode(self) -> [u8; Self::LEN] {
        zerocopy::transmute!(RawBlockHeader {
            h_magic: U32::new(MAGIC),
            h_blocktype: U32::new(self.kind.raw()),
            h_sequence: U32::new(self.tid.0),
        })
    }
}
