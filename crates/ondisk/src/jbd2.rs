//! The journal's structures, all big-endian: superblock, block header, descriptor and its tags,
//! revoke block, commit block.
//!
//! Bytes only: which block comes next and what its damage means is the recovery's business.

mod commit;
mod descriptor;
mod format;
mod header;
mod revoke;
mod superblock;
mod tag;

pub use commit::{COMMIT_HEADER_LEN, Commit, CommitCheck, RawCommit};
pub use descriptor::{DescriptorBuilder, Tags, tags};
pub use format::{Checksums, Class, Damage, LogFormat, escape, is_escaped_by_writer, unescape};
pub use header::{BlockHeader, BlockKind, RawBlockHeader};
pub use revoke::{RevokeBuilder, Revokes, revokes};
pub use superblock::{
    DEFAULT_FC_BLOCKS, JournalCompat, JournalIncompat, JournalSuperblock, MIN_LOG_BLOCKS,
    RawJournalSuperblock, SUPERBLOCK_LEN, SUPERBLOCK_MUTABLE_LEN,
};
pub use tag::{Tag, TagFlags};

/// The magic at the start of each block that is the journal's own, `JBD2_MAGIC_NUMBER`.
pub const MAGIC: u32 = 0xC03B_3998;

#[cfg(test)]
mod tests;
