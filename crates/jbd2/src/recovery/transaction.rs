//! A transaction as it lies in the log.

use ext4_ondisk::jbd2::TagFlags;
use ext4_units::{BlockNr, Tid};

/// One logged block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Logged {
    /// Where it belongs.
    pub home: BlockNr,
    /// The log block that holds the copy.
    pub at: u32,
    /// The checksum in its tag: 32 bits with v3, 16 with v2, otherwise 0.
    pub checksum: u32,
    /// The flags in its tag.
    pub flags: TagFlags,
}

/// The commit block of a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CommitInfo {
    /// Its log block.
    pub at: u32,
    /// When, in seconds since 1970.
    pub sec: u64,
    /// And nanoseconds.
    pub nsec: u32,
    /// Whether only its first sector is what was written, which is enough.
    pub is_torn: bool,
}

/// A transaction in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transaction {
    /// Its id.
    pub tid: Tid,
    /// Its first log block.
    pub start: u32,
    /// How many log blocks it takes, the commit block included.
    pub blocks: u32,
    /// The blocks it holds, in log order.
    pub logged: Vec<Logged>,
    /// How many descriptor blocks there are.
    pub descriptors: u32,
    /// The log blocks that hold revoke records; their contents are read when they are wanted.
    pub revoke_blocks: Vec<u32>,
    /// How many records there are in them.
    pub revoke_count: u64,
    /// The commit block, when it is there and good.
    pub commit: Option<CommitInfo>,
}

impl Transaction {
    /// An empty one.
    pub(super) const fn new(tid: Tid, start: u32) -> Self {
        Self {
            tid,
            start,
            blocks: 0,
            logged: vec![],
            descriptors: 0,
            revoke_blocks: vec![],
            revoke_count: 0,
            commit: None,
        }
    }
}
