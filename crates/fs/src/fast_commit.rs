//! Doing again what fast commits say, on top of the last full transaction (`ext4_fc_replay`).
//!
//! All operations go into one handle, and so into one transaction: the very one that the fast
//! commits are for. Once it is committed they are stale. A crash before that comes to the same fast
//! commits again.
//!
//! Differs from the kernel, which changes homes as it goes, where that leaves damage: an inode
//! recorded without links becomes an orphan instead of making the mount fail; directories made and
//! removed keep their link counts; the order of the orphan list survives.

mod inode;
mod names;
mod space;

use crate::{Error, Filesystem, Handle, Inode, Result};
use ext4_ondisk::fast_commit::Op;
use ext4_units::{BlockRange, InodeNr};
use std::collections::{BTreeMap, BTreeSet};

/// Added to the count of sectors of inodes whose map is being changed, so that a count on disk that
/// is too low is no error: it is made new at the end.
const BIAS: u64 = 1 << 48;

/// What fast commits did.
#[derive(Clone, Debug, Default)]
pub(crate) struct Applied {
    /// Operations.
    pub(crate) ops: u64,
    /// The inodes they were about, in order.
    pub(crate) inodes: Vec<InodeNr>,
}

/// The handle, and the inodes as the operations so far left them.
struct Replay<'fs> {
    h: Handle<'fs>,
    inodes: BTreeMap<InodeNr, Inode>,
    /// The inodes that were on the orphan record before.
    orphans: BTreeSet<InodeNr>,
    /// Blocks of data that some operation mapped or unmapped: in use at the end if a map has them.
    moved: Vec<BlockRange>,
}

impl Filesystem {
    /// Applies the operations of fast commits and makes that durable. The journal must have been
    /// opened to resume at them ([`ext4_jbd2::Options::resume`]).
    ///
    /// Refused where they do not fit into one transaction, and where one makes no sense; then
    /// nothing was written but the flags of a filesystem in use.
    pub(crate) fn apply_fast_commits<I: Iterator<Item = Result<Op>>>(
        &self,
        ops: impl Fn() -> I,
    ) -> Result<Applied> {
        let orphans = self.recorded_orphans()?;
        let credits = self.journal().max_credits().saturating_sub(1);
        let h = self.start(credits)?;
        let mut replay = Replay { h, inodes: BTreeMap::new(), orphans, moved: Vec::new() };
        // Before anything is allocated for nodes and directories: not from what files have.
        for op in ops() {
            replay.claim(&op?)?;
        }
        let mut n_ops = 0;
        for op in ops() {
            replay.apply(op?)?;
            n_ops += 1;
            replay.check_room()?;
        }
        let inodes = replay.inodes.keys().copied().collect();
        replay.finish()?;
        self.commit()?;
        Ok(Applied { ops: n_ops, inodes })
    }
}

impl Replay<'_> {
    fn apply(&mut self, op: Op) -> Result<()> {
        let (Op::AddRange { ino, .. }
        | Op::DelRange { ino, .. }
        | Op::Creat { ino, .. }
        | Op::Link { ino, .. }
        | Op::Unlink { ino, .. }
        | Op::Inode { ino, .. }) = op;
        self.check_file(ino)?;
        match op {
            Op::AddRange { ino, lblk, len, start, is_unwritten } => {
                self.add_range(ino, lblk, len.into(), start, is_unwritten)
            }
            Op::DelRange { ino, lblk, len } => self.del_range(ino, lblk, len),
            Op::Creat { parent, ino, name } => self.create(parent, ino, &name),
            Op::Link { parent, ino, name } => self.link(parent, ino, &name),
            Op::Unlink { parent, ino, name } => self.unlink(parent, ino, &name),
            Op::Inode { ino, raw } => self.inode(ino, &raw),
        }
    }

    /// Whether all of it can still be one transaction.
    fn check_room(&self) -> Result<()> {
        if self.h.credits_left() <= 1 {
            let max = self.h.fs().journal().max_credits();
            let fault =
                format!("the fast commits need more than the {max} blocks of a transaction");
            return Err(Error::Refused(fault.into()));
        }
        Ok(())
    }

    /// Takes the inode out of the set or off the disk; `None` when it is not in use, which makes the
    /// operation void (`ext4_iget` fails). To be given back with [`put`](Self::put).
    fn take(&mut self, ino: InodeNr) -> Result<Option<Inode>> {
        if let Some(inode) = self.inodes.remove(&ino) {
            return Ok(Some(inode));
        }
        let fs = self.h.fs();
        if ino != InodeNr::ROOT {
            self.check_file(ino)?;
        }
        if !fs.is_in_use(&self.h, ino)? {
            return Ok(None);
        }
        let mut inode = match fs.inode(&self.h, ino) {
            Ok(inode) => inode,
            Err(Error::Corrupt(_)) => return Ok(None),
            Err(err) => return Err(err),
        };
        if inode.mode == 0 || (inode.links_count == 0 && !self.orphans.contains(&ino)) {
            return Ok(None);
        }
        bias(&mut inode);
        Ok(Some(inode))
    }

    /// Refuses the inodes of the system: the journal, the orphan file, those reserved.
    fn check_file(&self, ino: InodeNr) -> Result<()> {
        let fs = self.h.fs();
        let is_system = Some(ino) == fs.superblock().orphan_file_inum;
        if is_system || !fs.geometry().is_ordinary_inode(ino) {
            let fault = format!("is about inode {ino}, expected one of a file");
            return Err(Error::corrupt("fast commit, record", fault));
        }
        Ok(())
    }

    fn put(&mut self, inode: Inode) {
        self.inodes.insert(inode.ino, inode);
    }
}

/// Only where the count does not say what the inode is (`ext4_inode_is_fast_symlink`).
fn bias(inode: &mut Inode) {
    if inode.is_regular() || inode.is_dir() {
        inode.disk.sectors = inode.sectors.saturating_add(BIAS);
    }
}
