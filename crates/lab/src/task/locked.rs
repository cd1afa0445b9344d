//! What takes the exclusive lock of a file and waits for direct IO in flight: truncate,
//! fallocate, punch.

use super::{Context, Failed, Progress, Task};
use crate::script::Op;
use ext4_fs::{Filesystem, InCore, InodeGuard, LockMode};
use ext4_units::InodeNr;
use std::sync::Arc;

/// Lock, wait, act.
pub(super) struct Locked<'fs> {
    ino: InodeNr,
    incore: Arc<InCore>,
    op: &'fs Op,
    guard: Option<InodeGuard>,
}

impl<'fs> Locked<'fs> {
    pub(super) fn new(fs: &'fs Filesystem, ino: InodeNr, op: &'fs Op) -> Self {
        Self { ino, incore: fs.incore(ino), op, guard: None }
    }
}

impl<'fs> Task<'fs> for Locked<'fs> {
    fn step(&mut self, cx: &mut Context<'fs>) -> Result<Progress, Failed> {
        if self.guard.is_none() {
            self.guard = self.incore.try_lock(LockMode::Exclusive);
            return Ok(match self.guard {
                Some(_) => Progress::Did("locked", "locked exclusive".to_owned()),
                None => Progress::Blocked("waits for the inode lock".to_owned()),
            });
        }
        let n = self.incore.dio_in_flight();
        if n > 0 {
            return Ok(Progress::Blocked(format!("waits for {n} direct IO in flight")));
        }
        let fs = cx.fs;
        let what = match *self.op {
            Op::Truncate { size, .. } => {
                fs.truncate(self.ino, size)?;
                format!("size {size}")
            }
            Op::Fallocate { offset, len, keep_size, .. } => {
                fs.fallocate(self.ino, offset, len, keep_size)?;
                format!("{len} bytes at {offset} have blocks")
            }
            Op::Punch { offset, len, .. } => {
                fs.punch_hole(self.ino, offset, len)?;
                format!("{len} bytes at {offset} are a hole")
            }
            _ => String::new(),
        };
        self.guard = None;
        Ok(Progress::Done(0, what))
    }
}
