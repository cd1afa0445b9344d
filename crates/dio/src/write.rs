//! One write with a source and transfers of its own, a step at a time: direct, or into pages.

use crate::{
    Request, Result,
    operation::{Io, Operation},
    ring::Ring,
    source::Reader,
    step::{Blocked, Outcome, Step},
};
use ext4_fs::Filesystem;
use ext4_units::InodeNr;
use std::io::Read;

/// What carries a write: both kinds go the same way, from other beginnings.
#[derive(Debug)]
struct Carried<'a> {
    source: Reader<'a>,
    ring: Ring<'a>,
    operation: Operation<'a>,
}

impl<'a> Carried<'a> {
    fn new(
        fs: &'a Filesystem,
        operation: Operation<'a>,
        depth: usize,
        source: &'a mut dyn Read,
    ) -> Self {
        let mut ring = Ring::new(&**fs.device(), depth);
        ring.open(0);
        Self { source: Reader(source), ring, operation }
    }

    fn io(&mut self) -> (&mut Operation<'a>, Io<'_, 'a>) {
        let io = Io { ring: &mut self.ring, owner: 0, source: &mut self.source };
        (&mut self.operation, io)
    }

    fn run(mut self) -> Result<Outcome> {
        loop {
            match self.step()? {
                Step::Done(outcome) => return Ok(outcome),
                Step::Blocked(on) => self.wait(on),
                _ => {}
            }
        }
    }

    fn wait(&mut self, on: Blocked) {
        let (operation, mut io) = self.io();
        operation.wait(&mut io, on);
    }

    fn step(&mut self) -> Result<Step> {
        if self.operation.is_in_flight() {
            self.ring.poll();
        }
        let (operation, mut io) = self.io();
        operation.step(&mut io)
    }
}

/// A direct write on its way. [`run`](Self::run) it, or [`step`](Self::step) through it, between the
/// steps of others if need be: no step waits for them.
///
/// Dropping one that is not done leaves what it did so far, as a crash would; its lock is given
/// back.
#[derive(Debug)]
pub struct DirectWrite<'a>(Carried<'a>);

impl<'a> DirectWrite<'a> {
    /// A write of bytes of `source` into the file `ino`. Nothing happens before the first step.
    pub fn new(
        fs: &'a Filesystem,
        ino: InodeNr,
        request: Request,
        source: &'a mut dyn Read,
    ) -> Self {
        let operation = Operation::new(fs, fs.incore(ino), request);
        Self(Carried::new(fs, operation, request.depth, source))
    }

    /// Does all of it, waiting for whoever is in the way. Direct IO in flight to the same file must
    /// be somebody else's, who takes its completions.
    pub fn run(self) -> Result<Outcome> {
        self.0.run()
    }

    /// Waits for what a step was [blocked](Step::Blocked) by.
    pub fn wait(&mut self, on: Blocked) {
        self.0.wait(on);
    }

    /// Bytes sent to the device so far.
    pub fn sent(&self) -> u64 {
        self.0.operation.written()
    }

    /// Does the next step; [`Step::Blocked`] when it would have to wait. After an error the write is
    /// over: what it had allocated beyond the old size is freed, what it had allocated below it
    /// stays, unwritten.
    pub fn step(&mut self) -> Result<Step> {
        self.0.step()
    }
}

/// A write into pages on its way (`ext4_buffered_write_iter`): the checks, times and privileges of
/// any write, under the exclusive lock, after the direct IO in flight. Its data reaches the device
/// by writeback; with [`Sync`](crate::Sync), before it is done.
#[derive(Debug)]
pub struct BufferedWrite<'a>(Carried<'a>);

impl<'a> BufferedWrite<'a> {
    /// A write of bytes of `source` into the file `ino`. Nothing happens before the first step.
    pub fn new(
        fs: &'a Filesystem,
        ino: InodeNr,
        request: Request,
        source: &'a mut dyn Read,
    ) -> Self {
        let operation = Operation::buffered(fs, fs.incore(ino), request);
        Self(Carried::new(fs, operation, 1, source))
    }

    /// Does all of it, waiting for whoever is in the way. Fewer bytes than asked for when there was
    /// no room for more.
    pub fn run(self) -> Result<Outcome> {
        self.0.run()
    }

    /// Waits for what a step was [blocked](Step::Blocked) by.
    pub fn wait(&mut self, on: Blocked) {
        self.0.wait(on);
    }

    /// Does the next step; [`Step::Blocked`] when it would have to wait.
    pub fn step(&mut self) -> Result<Step> {
        self.0.step()
    }
}
