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
    /// Bits or attributes are to be stripped (not `IS_NOSEC`).
    pub strips_privileges: bool,
    /// The lock it needs in the end.
    pub lock: LockMode,
}

impl Plan {
    /// Decides. `first` is the mapping of the first block, told as far as it goes.
    pub(crate) fn new(
        inode: &Inode,
        size: BlockSize,
        pos: u64,
        len: Option<u64>,
        first: &Mapping,
        strips_privileges: bool,
    ) -> Self {
        // A length nobody knows may go anywhere.
        let end = len.map_or(u64::MAX, |len| pos.saturating_add(len));
        let extends = end > inode.i_size || end > inode.i_disksize();
        let covered = LogicalBlock(first.lblk.0.saturating_add(first.len)).byte(size) >= end;
        let overwrites = end <= inode.i_size && covered && first.state != MapState::Hole;
        let onto_unwritten = matches!(first.state, MapState::Unwritten(_));
        let is_unaligned = size.within(pos) != 0 || size.within(end) != 0;
        let alone = strips_privileges || extends || !overwrites || (is_unaligned && onto_unwritten);
        let lock = if alone { LockMode::Exclusive } else { LockMode::Shared };
        Self {
            pos,
            len,
            extends,
            overwrites,
            onto_unwritten,
            is_unaligned,
            strips_privileges,
            lock,
        }
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
        } else if self.strips_privileges {
            "privileges are to be stripped"
        } else {
            return Ok(());
        };
        Err(Error::WouldWait { ino, what })
    }
}
