//! What a step of a write did, and how a write ended.

use crate::Plan;
use ext4_fs::LockMode;
use ext4_units::LogicalBlock;

/// What a step did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Nothing: it would have to wait. The next step tries again.
    Blocked(Blocked),
    /// The inode lock is held.
    Locked(LockMode),
    /// The shared lock is not enough and was given back; all checks are made again under the
    /// exclusive one, since anything may have happened in between.
    Upgraded,
    /// The request passed the checks, or needs nothing done, or goes the buffered way.
    Checked(Option<Plan>),
    /// Times are set and privileges stripped.
    Modified,
    /// The inode is on the orphan record: a crash now truncates it to its old size.
    OrphanAdded,
    /// Pages in the range were written back, and dropped if that was possible; else the whole write
    /// goes the buffered way.
    Flushed {
        /// Whether none is left.
        is_clear: bool,
    },
    /// Blocks were found, or allocated, for the next bytes.
    Mapped {
        /// The first of them.
        lblk: LogicalBlock,
        /// How many.
        len: u32,
        /// Whether a handle changed the map.
        changed: bool,
    },
    /// Bytes are on their way to the device.
    Submitted {
        /// How many.
        len: u64,
    },
    /// The inode lock is given back.
    Unlocked,
    /// Everything submitted is on the device, though not yet durable.
    Drained,
    /// A run of unwritten blocks was marked written.
    Converted {
        /// The first of them.
        lblk: LogicalBlock,
        /// How many.
        len: u32,
    },
    /// The sizes are raised and the orphan record is gone, in one handle.
    Sized {
        /// The size.
        size: u64,
    },
    /// The orphan record is gone, in a handle of its own: somebody else had raised the sizes.
    OrphanRemoved,
    /// Some of the rest went the buffered way.
    Buffered {
        /// How many bytes.
        len: u64,
    },
    /// What had to be durable is.
    Synced,
    /// All is done.
    Done(Outcome),
}

/// What a step would have to wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blocked {
    /// The inode lock, which another holds.
    Lock(LockMode),
    /// Direct IO of others to the same file, which is in flight (`inode_dio_wait`).
    Dio,
    /// Pages in its range, which another writes back.
    Pages,
    /// Its own transfers.
    Io,
}

/// How a write ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Bytes written.
    pub written: u64,
    /// How many of them went the buffered way.
    pub buffered: u64,
}
