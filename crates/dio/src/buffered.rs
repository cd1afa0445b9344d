//! One buffered write: the checks, times and privileges of any write, then pages.

use crate::{
    Request, Result,
    operation::{Io, Operation},
    ring::Ring,
    source::Reader,
    step::{Blocked, Outcome, Step},
};
use ext4_fs::Filesystem;
use ext4_units::InodeNr;
use std::{fmt, io::Read};

/// A write into pages on its way (`ext4_buffered_write_iter`): under the exclusive lock, after the
/// direct IO in flight. Its data reaches the device by writeback; with [`Sync`](crate::Sync), before
/// it is done.
pub struct BufferedWrite<'a> {
    source: Reader<'a>,
    ring: Ring<'a>,
    operation: Operation<'a>,
}

impl fmt::Debug for BufferedWrite<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BufferedWrite").field("operation", &self.operation).finish_non_exhaustive()
    }
}

impl<'a> BufferedWrite<'a> {
    /// A write of bytes of `source` into the file `ino`. Nothing happens before the first step.
    pub fn new(
        fs: &'a Filesystem,
        ino: InodeNr,
        request: Request,
        source: &'a mut dyn Read,
    ) -> Self {
        let mut ring = Ring::new(&**fs.device(), 1);
        ring.open(0);
        let operation = Operation::buffered(fs, fs.incore(ino), request);
        Self { source: Reader(source), ring, operation }
    }

    /// Does all of it, waiting for whoever is in the way. Fewer bytes than asked for when there was
    /// no room for more.
    pub fn run(mut self) -> Result<Outcome> {
        loop {
            match self.step()? {
                Step::Done(outcome) => return Ok(outcome),
                Step::Blocked(on) => self.wait(on),
                _ => {}
            }
        }
    }

    /// Waits for what a step was [blocked](Step::Blocked) by.
    pub fn wait(&mut self, on: Blocked) {
        let mut io = Io { ring: &mut self.ring, owner: 0, source: &mut self.source };
        self.operation.wait(&mut io, on);
    }

    /// Does the next step; [`Step::Blocked`] when it would have to wait.
    pub fn step(&mut self) -> Result<Step> {
        self.operation.step(&mut Io { ring: &mut self.ring, owner: 0, source: &mut self.source })
    }
}
