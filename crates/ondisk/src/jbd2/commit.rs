//! The commit block: the transaction before it is complete.

use super::{BlockHeader, BlockKind, Checksums, LogFormat, RawBlockHeader};
use ext4_units::Tid;
use zerocopy::{
    FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout, Unaligned,
    big_endian::{U32, U64},
};

/// `struct commit_header` with the padding the compiler gives it: what a torn commit block must
/// have of its own.
pub const COMMIT_HEADER_LEN: usize = 64;

/// `JBD2_CRC32_CHKSUM`.
const CRC32_TYPE: u8 = 1;
/// `JBD2_CRC32_CHKSUM_SIZE`.
const CRC32_SIZE: u8 = 4;

/// `struct commit_header`.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct RawCommit {
    /// Header, type 2.
    pub h: RawBlockHeader,
    /// v1: 1 (CRC32); v2/v3: 0.
    pub h_chksum_type: u8,
    /// v1: 4; v2/v3: 0.
    pub h_chksum_size: u8,
    /// Zero.
    pub h_padding: [u8; 2],
    /// Only the first is used.
    pub h_chksum: [U32; 8],
    /// Seconds since 1970.
    pub h_commit_sec: U64,
    /// Nanoseconds.
    pub h_commit_nsec: U32,
    /// The compiler's padding, zero.
    pub pad: [u8; 4],
}

const _: () = assert!(size_of::<RawCommit>() == COMMIT_HEADER_LEN);

/// Offset of `h_chksum[0]`.
const CHECKSUM_AT: usize = 16;

/// What a commit block's checksum says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CommitCheck {
    /// It matches, or the log has none.
    Good,
    /// It matches a block whose bytes after [`COMMIT_HEADER_LEN`] are zero, which these are not: only
    /// the first sector of the block reached the medium, and that is all there is to it
    /// (`jbd2_commit_block_csum_verify_partial`).
    Torn,
    /// It does not match.
    Bad {
        /// As stored.
        found: u32,
        /// As computed.
        expected: u32,
    },
}

/// A commit block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Commit {
    /// The transaction it ends.
    pub tid: Tid,
    /// When, in seconds since 1970. Never less than that of the transaction before: recovery tells
    /// leftovers of an older journal by it.
    pub sec: u64,
    /// And nanoseconds.
    pub nsec: u32,
}

impl Commit {
    /// The fields of a block whose header said commit; `None` when it is too short.
    pub fn decode(block: &[u8]) -> Option<Self> {
        let (raw, _) = RawCommit::ref_from_prefix(block).ok()?;
        Some(Self {
            tid: Tid(raw.h.h_sequence.get()),
            sec: raw.h_commit_sec.get(),
            nsec: raw.h_commit_nsec.get(),
        })
    }

    /// Checks the checksum of a commit block. `crc` is the CRC32 of all descriptors and logged
    /// blocks of the transaction, used with [`Checksums::V1`] only.
    pub fn check(format: &LogFormat, block: &[u8], crc: u32) -> CommitCheck {
        let Ok((raw, rest)) = RawCommit::ref_from_prefix(block) else {
            return CommitCheck::Bad { found: 0, expected: 0 };
        };
        let found = raw.h_chksum[0].get();
        match format.checksums {
            Checksums::None => CommitCheck::Good,
            Checksums::V1 => {
                let kind = (raw.h_chksum_type, raw.h_chksum_size);
                // All zero means that the writer did not compute one.
                if (kind == (CRC32_TYPE, CRC32_SIZE) && found == crc)
                    || (kind == (0, 0) && found == 0)
                {
                    CommitCheck::Good
                } else {
                    CommitCheck::Bad { found, expected: crc }
                }
            }
            Checksums::V2 | Checksums::V3 => {
                let mut clean = *raw;
                clean.h_chksum[0] = U32::ZERO;
                let head = format.seed.over(clean.as_bytes());
                let expected = head.over(rest).0;
                if found == expected {
                    CommitCheck::Good
                } else if found == head.over(&vec![0; rest.len()]).0 {
                    CommitCheck::Torn
                } else {
                    CommitCheck::Bad { found, expected }
                }
            }
        }
    }

    /// The block on disk. `crc` as in [`check`](Self::check), used with [`Checksums::V1`] only.
    pub fn encode(&self, format: &LogFormat, crc: u32) -> Vec<u8> {
        let mut raw = RawCommit::new_zeroed();
        raw.h =
            zerocopy::transmute!(BlockHeader { kind: BlockKind::Commit, tid: self.tid }.encode());
        raw.h_commit_sec = U64::new(self.sec);
        raw.h_commit_nsec = U32::new(self.nsec);
        if format.checksums == Checksums::V1 {
            raw.h_chksum_type = CRC32_TYPE;
            raw.h_chksum_size = CRC32_SIZE;
            raw.h_chksum[0] = U32::new(crc);
        }
        let mut block = vec![0; format.block_size.len()];
        block[..COMMIT_HEADER_LEN].copy_from_slice(raw.as_bytes());
        if format.checksums.per_block() {
            let sum = format.seed.over(&block).0;
            block[CHECKSUM_AT..CHECKSUM_AT + 4].copy_from_slice(&sum.to_be_bytes());
        }
        block
    }
}
