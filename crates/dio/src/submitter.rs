//! Many writes in flight at once, of one thread: submitted one by one, done in any order.

use crate::{
    Outcome, Request, Result,
    operation::{Io, Operation},
    ring::Ring,
    step::{Blocked, Step},
};
use ext4_blockdev::AlignedBuf;
use ext4_fs::{Filesystem, InCore};
use ext4_units::{InodeNr, LogicalBlock};
use std::{collections::VecDeque, fmt, sync::Arc};

/// How often a lock is tried for a few microseconds before all that is in flight is waited for.
const BRIEF_WAITS: u32 = 16;

/// A write that is over.
#[derive(Debug)]
pub struct Completed {
    /// The caller's own name for it.
    pub tag: u64,
    /// The file.
    pub ino: InodeNr,
    /// The buffer, to be used again.
    pub buf: AlignedBuf,
    /// How it ended.
    pub result: Result<Outcome>,
}

/// Submits direct writes and collects their completions, as a thread with an `io_uring` would.
///
/// The data of a write that only overwrites, or fills holes below the end of the file with whole
/// blocks, is in flight when [`submit`](Self::submit) returns and its inode lock is free again. One
/// that extends, or writes parts of blocks that read as zeros, is complete by then.
///
/// Writes in flight hold truncate and their like up until their completions are taken: by
/// [`poll`](Self::poll), [`wait`](Self::wait) or another [`submit`](Self::submit). Dropping it waits
/// for the transfers and leaves their writes as a crash would: unwritten blocks stay so.
pub struct Submitter<'fs> {
    fs: &'fs Filesystem,
    ring: Ring<'fs>,
    depth: usize,
    slots: Vec<Option<Slot<'fs>>>,
    free: Vec<usize>,
    completed: VecDeque<Completed>,
    /// The file of the last write: most often it is the next one's too.
    last: Option<Arc<InCore>>,
    ended: Vec<usize>,
}

struct Slot<'fs> {
    tag: u64,
    operation: Operation<'fs>,
    /// The caller's bytes, until they are taken.
    buf: Option<AlignedBuf>,
}

impl fmt::Debug for Submitter<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (n, depth, done) = (self.in_flight(), self.depth, self.completed.len());
        write!(f, "Submitter({n} of {depth} in flight, {done} completed)")
    }
}

impl<'fs> Submitter<'fs> {
    /// With at most `depth` writes, and transfers, in flight.
    pub fn new(fs: &'fs Filesystem, depth: usize) -> Self {
        let depth = depth.max(1);
        Self {
            fs,
            ring: Ring::new(&**fs.device(), depth),
            depth,
            slots: Vec::new(),
            free: Vec::new(),
            completed: VecDeque::new(),
            last: None,
            ended: Vec::new(),
        }
    }

    /// Writes that have begun and not ended.
    pub fn in_flight(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// Starts a write of `buf`; its length is the request's. Waits while too many are in flight or
    /// another is in the way. Each submitted write comes back once as a [`Completed`], failed or not.
    pub fn submit(&mut self, ino: InodeNr, request: Request, buf: AlignedBuf, tag: u64) {
        while self.in_flight() >= self.depth {
            self.take_some();
        }
        let len = Some(buf.len() as u64);
        let request = Request { len, is_async: true, ..request };
        let operation = Operation::new(self.fs, self.incore(ino), request);
        let nr = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            self.slots.len() - 1
        });
        self.ring.open(nr);
        self.slots[nr] = Some(Slot { tag, operation, buf: Some(buf) });
        self.go_on(nr);
    }

    /// A write that is over, if there is one.
    pub fn poll(&mut self) -> Option<Completed> {
        if self.completed.is_empty() && self.in_flight() > 0 {
            self.ring.poll();
            self.end_all();
        }
        self.completed.pop_front()
    }

    /// The next write that is over; `None` when none is in flight.
    pub fn wait(&mut self) -> Option<Completed> {
        while self.completed.is_empty() && self.in_flight() > 0 {
            self.take_some();
        }
        self.completed.pop_front()
    }

    fn incore(&mut self, ino: InodeNr) -> Arc<InCore> {
        let last = self.last.take().filter(|it| it.ino() == ino);
        let incore = last.unwrap_or_else(|| self.fs.incore(ino));
        self.last = Some(Arc::clone(&incore));
        incore
    }

    /// Goes through the steps of a write until it is over or its transfers are in flight.
    fn go_on(&mut self, nr: usize) {
        loop {
            match self.step(nr) {
                Some(Ok(Step::Done(outcome))) => return self.end(nr, Ok(outcome)),
                Some(Err(err)) => return self.end(nr, Err(err)),
                Some(Ok(Step::Blocked(Blocked::Io))) | None => return,
                Some(Ok(Step::Blocked(on))) => {
                    if self.wait_briefly(nr, on) {
                        continue;
                    }
                    // Whoever is in the way may wait for what is in flight here.
                    self.settle();
                    self.with(nr, |operation, io| operation.wait(io, on));
                }
                Some(Ok(_)) => {}
            }
        }
    }

    /// Waits for a lock as long as others hold it for short: a writer that allocates does, a truncate
    /// that waits for what is in flight here does not.
    fn wait_briefly(&mut self, nr: usize, on: Blocked) -> bool {
        let tries = if matches!(on, Blocked::Lock(_)) { BRIEF_WAITS } else { 0 };
        for _ in 0..tries {
            if self.with(nr, |operation, _| operation.wait_briefly(on)) == Some(true) {
                return true;
            }
            std::thread::yield_now();
        }
        false
    }

    fn step(&mut self, nr: usize) -> Option<Result<Step>> {
        self.with(nr, Operation::step)
    }

    fn with<T>(
        &mut self,
        nr: usize,
        act: impl FnOnce(&mut Operation<'fs>, &mut Io<'_, 'fs>) -> T,
    ) -> Option<T> {
        let slot = self.slots.get_mut(nr)?.as_mut()?;
        let mut io = Io { ring: &mut self.ring, owner: nr, source: &mut slot.buf };
        Some(act(&mut slot.operation, &mut io))
    }

    fn end(&mut self, nr: usize, result: Result<Outcome>) {
        let Some(mut slot) = self.slots.get_mut(nr).and_then(Option::take) else { return };
        let buf = slot.buf.take().or_else(|| slot.operation.take_callers_buf());
        let buf = buf.or_else(|| self.ring.callers_buf(nr));
        let buf = buf.unwrap_or_else(|| AlignedBuf::zeroed(0));
        self.free.push(nr);
        let (tag, ino) = (slot.tag, slot.operation.ino());
        self.completed.push_back(Completed { tag, ino, buf, result });
    }

    /// Waits for a transfer to end, and ends the writes whose last one ended.
    fn take_some(&mut self) {
        self.ring.take_one();
        self.ring.take_ready();
        self.end_all();
    }

    /// Ends all writes whose transfers are in flight.
    fn settle(&mut self) {
        while self.ring.in_flight() > 0 {
            self.take_some();
        }
        self.end_all();
    }

    /// Ends the writes whose transfers have ended.
    fn end_all(&mut self) {
        let mut ended = std::mem::take(&mut self.ended);
        self.ring.take_ended(&mut ended);
        ended.retain(|&nr| {
            let slot = self.slots.get(nr).and_then(Option::as_ref);
            slot.is_some_and(|it| it.operation.is_in_flight()) && self.ring.in_flight_of(nr) == 0
        });
        ended.sort_unstable();
        ended.dedup();
        for &nr in &ended {
            if let Some(Err(err)) = self.step(nr) {
                self.end(nr, Err(err));
            }
        }
        self.convert(&ended);
        for &nr in &ended {
            self.go_on(nr);
        }
        ended.clear();
        self.ended = ended;
    }

    /// Converts what ended together in few handles. What fails here is tried again alone.
    fn convert(&mut self, ended: &[usize]) {
        let mut runs: Vec<(InodeNr, LogicalBlock, u32, usize)> = Vec::new();
        for &nr in ended {
            if let Some(Some(slot)) = self.slots.get(nr)
                && let Some((lblk, len)) = slot.operation.to_convert()
            {
                runs.push((slot.operation.ino(), lblk, len, nr));
            }
        }
        runs.sort_unstable_by_key(|it| (it.0, it.1));
        let mut left = &runs[..];
        while let [first, ..] = left {
            let n = left.iter().take_while(|it| it.0 == first.0).count();
            let (same, rest) = left.split_at(n);
            let Some(done) = self.convert_same(same) else {
                left = rest;
                continue;
            };
            left = &left[done..];
        }
    }

    /// Converts the first of these runs of one file; returns how many.
    fn convert_same(&mut self, runs: &[(InodeNr, LogicalBlock, u32, usize)]) -> Option<usize> {
        let [first, _, ..] = runs else { return None };
        let blocks: Vec<_> = runs.iter().map(|it| (it.1, it.2)).collect();
        let done = self.fs.convert_runs(first.0, &blocks).ok()?;
        for (&(_, _, _, nr), &done) in runs.iter().zip(&done) {
            self.with(nr, |operation, _| operation.converted(done));
        }
        Some(done.len().max(1))
    }
}
