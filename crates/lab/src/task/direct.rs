//! A write, stepped: direct, or through the page cache.

use super::{Context, Failed, Progress, Task, UNLOCKED};
use crate::{
    script::{Way, Write},
    stamp::StampReader,
};
use ext4_dio::{Blocked, BufferedWrite, DirectWrite, Offset, Request, Step};
use ext4_fs::{Filesystem, LockMode};
use ext4_units::InodeNr;

/// A write, whose state machine is stepped as it is.
pub(super) enum Stepped<'fs> {
    /// With direct IO.
    Direct(DirectWrite<'fs>),
    /// Into pages.
    Buffered(BufferedWrite<'fs>),
}

/// What the script asks for, as the library takes it.
pub(super) fn request(write: &Write) -> Request {
    let offset = write.offset.map_or(Offset::Append, Offset::At);
    let mut request = Request::new(offset, Some(write.len));
    request.sync = write.sync;
    request.nowait = write.nowait;
    request.is_strict = write.is_strict;
    request.depth = write.depth;
    request.chunk = write.chunk;
    request.is_async = write.way == Way::Async;
    request
}

impl<'fs> Stepped<'fs> {
    pub(super) fn new(
        fs: &'fs Filesystem,
        ino: InodeNr,
        write: &Write,
        source: &'fs mut StampReader,
    ) -> Self {
        let request = request(write);
        match write.way {
            Way::Buffered => Self::Buffered(BufferedWrite::new(fs, ino, request, source)),
            Way::Direct | Way::Async => Self::Direct(DirectWrite::new(fs, ino, request, source)),
        }
    }
}

impl<'fs> Task<'fs> for Stepped<'fs> {
    fn step(&mut self, _: &mut Context<'fs>) -> Result<Progress, Failed> {
        loop {
            let step = match self {
                Self::Direct(write) => write.step()?,
                Self::Buffered(write) => write.step()?,
            };
            if step != Step::Blocked(Blocked::Io) {
                return Ok(told(step));
            }
            // The device always comes to an end by itself: that is waited for, so that the same
            // seed gives the same steps.
            match self {
                Self::Direct(write) => write.wait(Blocked::Io),
                Self::Buffered(write) => write.wait(Blocked::Io),
            }
        }
    }
}

fn named(mode: LockMode) -> &'static str {
    match mode {
        LockMode::Shared => "shared",
        LockMode::Exclusive => "exclusive",
    }
}

/// A step of the library in the words of a trace.
fn told(step: Step) -> Progress {
    match step {
        Step::Checked(None) => Progress::Did("checked", "checked: through pages".to_owned()),
        Step::Checked(Some(plan)) => {
            let how = match (plan.extends, plan.overwrites, plan.onto_unwritten) {
                (true, ..) => "extends",
                (false, false, _) => "into a hole",
                (false, true, true) => "onto unwritten",
                (false, true, false) => "overwrites",
            };
            let lock = named(plan.lock);
            let unaligned = if plan.is_unaligned { ", unaligned" } else { "" };
            Progress::Did("checked", format!("checked at {}: {how}{unaligned}, {lock}", plan.pos))
        }
        Step::Blocked(Blocked::Lock(_)) => Progress::Blocked("waits for the inode lock".to_owned()),
        Step::Blocked(Blocked::Dio) => {
            Progress::Blocked("waits for direct IO in flight".to_owned())
        }
        Step::Blocked(Blocked::Pages) => {
            Progress::Blocked("waits for a page under writeback".to_owned())
        }
        Step::Blocked(Blocked::Io) => Progress::Blocked("waits for its transfers".to_owned()),
        Step::Locked(mode) => Progress::Did("locked", format!("locked {}", named(mode))),
        Step::Upgraded => Progress::Did("upgraded", "unlocked, to be locked exclusive".to_owned()),
        Step::Unlocked => Progress::Did(UNLOCKED, "unlocked".to_owned()),
        Step::OrphanRemoved => {
            Progress::Did("removed", "sizes are there, orphan record gone".to_owned())
        }
        Step::Modified => Progress::Did("modified", "times set".to_owned()),
        Step::Flushed { is_clear: true } => {
            Progress::Did("flushed", "pages written back and dropped".to_owned())
        }
        Step::Flushed { is_clear: false } => {
            Progress::Did("flushed", "a page stays: goes buffered".to_owned())
        }
        Step::OrphanAdded => Progress::Did("orphan", "orphan record added".to_owned()),
        Step::Mapped { lblk, len, changed } => {
            let how = if changed { "allocated" } else { "found" };
            Progress::Did("mapped", format!("mapped: blocks {lblk}+{len} {how}"))
        }
        Step::Submitted { len } => Progress::Did("submitted", format!("submitted {len} bytes")),
        Step::Drained => Progress::Did("drained", "drained: data on the device".to_owned()),
        Step::Converted { lblk, len } => {
            Progress::Did("converted", format!("converted: blocks {lblk}+{len} written"))
        }
        Step::Sized { size } => Progress::Did("sized", format!("size {size}, orphan record gone")),
        Step::Buffered { len } => Progress::Did("buffered", format!("buffered {len} bytes")),
        Step::Synced => Progress::Did("synced", "synced".to_owned()),
        Step::Done(outcome) => {
            Progress::Done(outcome.written, format!("done: {} bytes", outcome.written))
        }
    }
}
