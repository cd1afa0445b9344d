//! Pages on their way to the device, and what makes them durable.

use super::{Context, Failed, Progress, Task};
use ext4_fs::{Filesystem, WbStep, Writeback};
use ext4_units::InodeNr;
use std::ops::Range;

/// Writes a file's dirty pages back, and commits if asked to.
pub(super) struct Flush<'fs> {
    ino: InodeNr,
    writeback: Writeback<'fs>,
    /// With a commit in the end; `true` for one without what reading does not need.
    commits: Option<bool>,
    blocks: u64,
    is_written: bool,
}

impl<'fs> Flush<'fs> {
    pub(super) fn new(
        fs: &'fs Filesystem,
        ino: InodeNr,
        range: Range<u64>,
        commits: Option<bool>,
    ) -> Self {
        let writeback = Writeback::new(fs, ino, range);
        Self { ino, writeback, commits, blocks: 0, is_written: false }
    }
}

impl<'fs> Task<'fs> for Flush<'fs> {
    fn step(&mut self, cx: &mut Context<'fs>) -> Result<Progress, Failed> {
        let did = |event, what: String| Ok(Progress::Did(event, what));
        if self.is_written {
            let tid = cx.fs.journal().running_tid();
            cx.fs.sync_inode(self.ino, self.commits == Some(true))?;
            let is_new = cx.fs.journal().running_tid() != tid;
            let what = if is_new { format!("transaction {tid}") } else { "flushed".to_owned() };
            return Ok(Progress::Done(0, what));
        }
        match self.writeback.step()? {
            WbStep::Mapped { lblk, len, .. } => {
                self.blocks += u64::from(len);
                did("mapped", format!("mapped: blocks {lblk}+{len}, size with them"))
            }
            WbStep::Submitted { bytes } => did("submitted", format!("submitted {bytes} bytes")),
            WbStep::Written => did("written", "written: data on the device".to_owned()),
            WbStep::Converted { lblk, len } => {
                did("converted", format!("converted: blocks {lblk}+{len} written"))
            }
            WbStep::Blocked => Ok(Progress::Blocked("waits for a page under writeback".to_owned())),
            WbStep::Done if self.commits.is_some() => {
                self.is_written = true;
                self.step(cx)
            }
            WbStep::Done => Ok(Progress::Done(0, format!("{} blocks written back", self.blocks))),
            other => did("step", format!("{other:?}")),
        }
    }
}

/// Writes all files of a script back, and commits.
pub(super) struct SyncAll<'fs> {
    left: Vec<Flush<'fs>>,
}

impl<'fs> SyncAll<'fs> {
    pub(super) fn new(cx: &Context<'fs>) -> Self {
        let files = cx.script.files.iter().filter_map(|path| cx.find(path).ok());
        Self { left: files.map(|ino| Flush::new(cx.fs, ino, 0..u64::MAX, None)).collect() }
    }
}

impl<'fs> Task<'fs> for SyncAll<'fs> {
    fn step(&mut self, cx: &mut Context<'fs>) -> Result<Progress, Failed> {
        while let Some(flush) = self.left.last_mut() {
            match flush.step(cx)? {
                Progress::Done(..) => drop(self.left.pop()),
                other => return Ok(other),
            }
        }
        let tid = cx.fs.journal().running_tid();
        // What became dirty since is not asked for, and may be in hands that do not move now.
        cx.fs.sync_inode(InodeNr::ROOT, false)?;
        let is_new = cx.fs.journal().running_tid() != tid;
        let what = if is_new { format!("transaction {tid}") } else { "flushed".to_owned() };
        Ok(Progress::Done(0, what))
    }
}
