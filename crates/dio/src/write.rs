//! One direct write, a step at a time.

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

/// A write on its way, with transfers of its own. [`run`](Self::run) it, or [`step`](Self::step)
/// through it, between the steps of others if need be: no step waits for them.
///
/// Dropping one that is not done leaves what it did so far, as a crash would; its lock is given
/// back.
pub struct DirectWrite<'a> {
    source: Reader<'a>,
    ring: Ring<'a>,
    operation: Operation<'a>,
}

impl fmt::Debug for DirectWrite<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DirectWrite").field("operation", &self.operation).finish_non_exhaustive()
    }
}

impl<'a> DirectWrite<'a> {
    /// A write of bytes of `source` into the file `ino`. Nothing happens before the first step.
    pub fn new(
        fs: &'a Filesystem,
        ino: InodeNr,
        request: Request,
        source: &'a mut dyn Read,
    ) -> Self {
        let mut ring = Ring::new(&**fs.device(), request.depth);
        ring.open(0);
        Self {
            source: Reader(source),
            ring,
            operation: Operation::new(fs, fs.incore(ino), request),
        }
    }

    /// Does all of it, waiting for whoever is in the way. Direct IO in flight to the same file must
    /// be somebody else's, who takes its completions.
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

    /// Bytes sent to the device so far.
    pub fn sent(&self) -> u64 {
        self.operation.written()
    }

    /// Does the next step; [`Step::Blocked`] when it would have to wait. After an error the write is
    /// over: what it had allocated beyond the old size is freed, what it had allocated below it
    /// stays, unwritten.
    pub fn step(&mut self) -> Result<Step> {
        if self.operation.is_in_flight() {
            self.ring.poll();
        }
        self.operation.step(&mut Io { ring: &mut self.ring, owner: 0, source: &mut self.source })
    }
}
