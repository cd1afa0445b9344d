//! What kind of write it is: pure, from the sizes and one mapping.

use crate::{Error, Result};
use ext4_fs::{Inode, LockMode, MapState, Mapping};
use ext4_units::{BlockSize, LogicalBlock};

/// What a write will be, decided before anything changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub struct Plan {
    /// First byte.
    pub pos: u64,
    /// Bytes, as far as known.
    pub len: Option<u64>,
    /// It ends beyond either size: an orphan record protects it (`ext4_extending_io`).
    pub extends: bool,
    /// All of it lies in one mapping below the size (`ext4_overwrite_io`).
    pub overwrites: bool,
    /// That mapping is unwritten.
    pub onto_unwritten: bool,
    /// It does not begin and end with blocks (`ext4_unaligned_io`).
    pub is_unaligned: bool,
    /// It does not begin and end with sectors either: old bytes are read and written again. (The
    /// kernel refuses it.)
    pub is_merged: bool,
    /// Bits or attributes are to be stripped (not `IS_NOSEC`).
    pub strips_privileges: bool,
    /// The lock it needs in the end.
    pub lock: LockMode,
}

/// Whether a write that ends at byte `end` extends the file: beyond the size that its user sees, or
/// the one that is on disk. They differ when delayed data lies behind the write, and then a crash
/// may show the smaller one (`ext4_extending_io`).
pub(crate) fn extends(i_size: u64, i_disksize: u64, end: u64) -> bool {
    end > i_size || end > i_disksize
}

impl Plan {
    /// Decides. `first` is the mapping of the first block, told as far as it goes.
    pub(crate) fn new(
        inode: &Inode,
        size: BlockSize,
        sector: u32,
        pos: u64,
        len: Option<u64>,
        first: &Mapping,
        strips_privileges: bool,
    ) -> Self {
        // A length nobody knows may go anywhere.
        let end = len.map_or(u64::MAX, |len| pos.saturating_add(len));
        let extends = extends(inode.i_size, inode.i_disksize(), end);
        let covered = LogicalBlock(first.lblk.0.saturating_add(first.len)).byte(size) >= end;
        let overwrites = end <= inode.i_size && covered && first.state != MapState::Hole;
        let onto_unwritten = matches!(first.state, MapState::Unwritten(_));
        let is_unaligned = size.within(pos) != 0 || size.within(end) != 0;
        let is_merged = (pos | end) & u64::from(sector - 1) != 0;
        let alone = strips_privileges
            || extends
            || !overwrites
            || is_merged
            || (is_unaligned && onto_unwritten);
        let lock = if alone { LockMode::Exclusive } else { LockMode::Shared };
        Self {
            pos,
            len,
            extends,
            overwrites,
            onto_unwritten,
            is_unaligned,
            is_merged,
            strips_privileges,
            lock,
        }
    }

    /// Whether nobody else's direct IO may be in flight: it writes parts of blocks that read as zeros,
    /// and two of them would each put zeros over the other's data.
    pub(crate) fn waits_for_dio(&self) -> bool {
        self.is_unaligned && (!self.overwrites || self.onto_unwritten) || self.is_merged
    }

    /// Whether it must be complete before the lock is given back (`IOMAP_DIO_FORCE_WAIT`).
    pub(crate) fn is_synchronous(&self) -> bool {
        self.lock == LockMode::Exclusive && (self.is_unaligned || self.extends)
    }

    /// What `RWF_NOWAIT` forbids: everything that needs the exclusive lock.
    pub(crate) fn check_nowait(&self, inode: &Inode) -> Result<()> {
        let ino = inode.ino;
        let what = if self.extends {
            "the write extends the file"
        } else if !self.overwrites {
            "the write is no overwrite of one mapping"
        } else if self.is_unaligned && self.onto_unwritten {
            "the write is unaligned, onto unwritten blocks"
        } else if self.is_merged {
            "the write is of parts of sectors"
        } else if self.strips_privileges {
            "privileges are to be stripped"
        } else {
            return Ok(());
        };
        Err(Error::WouldWait { ino, what })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Eryu Guan's case: delayed data lies at 16384..20480, a direct write at 4096..8192. Without
    /// the second term it would extend nothing: its blocks would be in the log, the size not.
    #[test]
    fn s89_beyond_the_size_on_disk_extends_whatever_the_user_sees() {
        let by_user = |i_size: u64, end: u64| end > i_size;
        assert!(extends(20480, 0, 8192));
        assert!(!by_user(20480, 8192), "what a test of i_size alone would say");
        assert!(extends(20480, 20480, 20481));
        assert!(!extends(20480, 20480, 20480));
        assert!(!extends(20480, 8192, 8192), "below both");
    }
}
