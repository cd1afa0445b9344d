//! What takes the exclusive lock of a file and waits for direct IO in flight: truncate, fallocate,
//! punch, and the end of a file without names.

use super::{Context, Failed, Progress, Task};
use crate::script::Op;
use ext4_fs::{Filesystem, InCore, InodeGuard, LockMode};
use ext4_units::InodeNr;
use std::{ops::Range, sync::Arc};

/// Lock, wait, act.
pub(super) struct Locked<'fs> {
    ino: InodeNr,
    incore: Arc<InCore>,
    op: &'fs Op,
    guard: Option<InodeGuard>,
    /// A name is to be taken away first.
    unlinks: bool,
}

impl<'fs> Locked<'fs> {
    pub(super) fn new(fs: &'fs Filesystem, ino: InodeNr, op: &'fs Op) -> Self {
        let unlinks = matches!(op, Op::Unlink { .. });
        Self { ino, incore: fs.incore(ino), op, guard: None, unlinks }
    }

    /// Pages that must not be under writeback when it acts.
    fn waits_for_pages(&self) -> Range<u64> {
        match *self.op {
            Op::Truncate { size, .. } => size..u64::MAX,
            Op::Punch { offset, len, .. } => offset..offset.saturating_add(len),
            Op::Unlink { .. } | Op::Close { .. } => 0..u64::MAX,
            _ => 0..0,
        }
    }

    fn act(&self, fs: &'fs Filesystem, guard: &InodeGuard) -> Result<(u64, String), Failed> {
        let done = |what: String| Ok((0, what));
        match self.op {
            Op::Truncate { size, .. } => {
                fs.truncate_locked(guard, *size)?;
                done(format!("size {size}"))
            }
            Op::Fallocate { offset, len, keep_size, .. } => {
                fs.fallocate_locked(guard, *offset, *len, *keep_size)?;
                done(format!("{len} bytes at {offset} have blocks"))
            }
            Op::Punch { offset, len, .. } => {
                fs.punch_hole_locked(guard, *offset, *len)?;
                done(format!("{len} bytes at {offset} are a hole"))
            }
            Op::Unlink { .. } | Op::Close { .. } => {
                fs.release_locked(guard)?;
                done("gone".to_owned())
            }
            _ => done(String::new()),
        }
    }
}

impl<'fs> Task<'fs> for Locked<'fs> {
    fn step(&mut self, cx: &mut Context<'fs>) -> Result<Progress, Failed> {
        if let (true, Op::Unlink { path, stays_open }) = (self.unlinks, self.op) {
            self.unlinks = false;
            let fs = cx.fs;
            let parent = fs.resolve_parent(fs.meta(), path.as_bytes())?;
            let gone = fs.unlink_open(parent.dir.ino, &parent.name)?;
            if !gone.is_last {
                return Ok(Progress::Done(0, "it has other names".to_owned()));
            }
            if *stays_open {
                cx.nameless.insert(path.clone(), gone.ino);
                return Ok(Progress::Done(0, "without a name, open".to_owned()));
            }
            return Ok(Progress::Did("unlinked", "without a name".to_owned()));
        }
        if matches!(self.op, Op::Unlink { .. } | Op::Close { .. }) {
            let others = cx.users_of(self.ino).saturating_sub(1);
            if others > 0 {
                return Ok(Progress::Blocked(format!(
                    "waits for {others} others who use the file"
                )));
            }
        }
        let Some(guard) = &self.guard else {
            self.guard = self.incore.try_lock(LockMode::Exclusive);
            return Ok(match self.guard {
                Some(_) => Progress::Did("locked", "locked exclusive".to_owned()),
                None => Progress::Blocked("waits for the inode lock".to_owned()),
            });
        };
        debug_assert_eq!(guard.mode(), LockMode::Exclusive);
        let n = self.incore.dio_in_flight();
        if n > 0 {
            return Ok(Progress::Blocked(format!("waits for {n} direct IO in flight")));
        }
        if cx.fs.is_writing_back(self.ino, self.waits_for_pages()) {
            return Ok(Progress::Blocked("waits for pages under writeback".to_owned()));
        }
        let Some(guard) = self.guard.take() else { return Ok(Progress::Done(0, String::new())) };
        let (result, what) = self.act(cx.fs, &guard)?;
        drop(guard);
        Ok(Progress::Done(result, what))
    }
}
