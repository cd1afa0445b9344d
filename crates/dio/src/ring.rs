//! Writes in flight, of one operation or of many, and their buffers.

use ext4_blockdev::{AlignedBuf, BlockDevice, Completion, Error, Result, TransferQueue, Write};

/// Set in the tag of a transfer that carries a buffer of the caller's.
const IS_CALLERS: u64 = 1 << 32;

/// A queue of the device, shared by its owners: operations, told apart by small numbers.
#[derive(Debug)]
pub(crate) struct Ring<'d> {
    device: &'d dyn BlockDevice,
    queue: Box<dyn TransferQueue + 'd>,
    spare: Vec<AlignedBuf>,
    depth: usize,
    in_flight: usize,
    owners: Vec<Owner>,
    /// Owners that may have nothing in flight any more, for whoever runs many of them.
    ended: Vec<usize>,
}

#[derive(Debug, Default)]
struct Owner {
    in_flight: usize,
    failed: Option<Error>,
    /// The caller's buffer, back from the device.
    buf: Option<AlignedBuf>,
}

impl<'d> Ring<'d> {
    /// A ring with up to `depth` writes in flight, and no owner.
    pub(crate) fn new(device: &'d dyn BlockDevice, depth: usize) -> Self {
        let depth = depth.max(1);
        Self {
            device,
            queue: device.queue(depth),
            spare: Vec::new(),
            depth,
            in_flight: 0,
            owners: Vec::new(),
            ended: Vec::new(),
        }
    }

    /// The device below.
    pub(crate) fn device(&self) -> &'d dyn BlockDevice {
        self.device
    }

    /// Makes owner `nr` one that has done nothing yet.
    pub(crate) fn open(&mut self, nr: usize) {
        if self.owners.len() <= nr {
            self.owners.resize_with(nr + 1, Owner::default);
        }
        self.owners[nr] = Owner::default();
    }

    /// Starts a write, waiting for one to end when too many are in flight. Whether it succeeds is
    /// told by [`failure`](Self::failure) later; an error here is of one that failed before.
    pub(crate) fn submit(
        &mut self,
        owner: usize,
        offset: u64,
        buf: AlignedBuf,
        is_callers: bool,
    ) -> Result<()> {
        while self.in_flight >= self.depth && self.take_one() {}
        if let Some(err) = self.failure(owner) {
            self.put_back(owner, buf, is_callers);
            return Err(err);
        }
        let tag = owner as u64 | if is_callers { IS_CALLERS } else { 0 };
        self.queue.submit(Write { offset, buf, tag })?;
        self.in_flight += 1;
        self.owners[owner].in_flight += 1;
        Ok(())
    }

    /// Waits for a write to end; `false` when none is in flight.
    pub(crate) fn take_one(&mut self) -> bool {
        let done = self.queue.wait();
        let is_some = done.is_some();
        if let Some(done) = done {
            self.take(done);
        } else {
            self.in_flight = 0;
            self.owners.iter_mut().for_each(|it| it.in_flight = 0);
        }
        is_some
    }

    /// Takes what has ended and is known, which takes no call of the kernel.
    pub(crate) fn take_ready(&mut self) {
        for _ in 0..self.queue.n_ready() {
            self.take_one();
        }
    }

    /// Takes all that has ended.
    pub(crate) fn poll(&mut self) {
        while let Some(done) = self.queue.poll() {
            self.take(done);
        }
    }

    /// Waits until `owner` has nothing in flight.
    pub(crate) fn drain(&mut self, owner: usize) {
        while self.owners[owner].in_flight > 0 && self.take_one() {}
    }

    /// Writes in flight, of all owners.
    pub(crate) fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// Writes of `owner` in flight.
    pub(crate) fn in_flight_of(&self, owner: usize) -> usize {
        self.owners[owner].in_flight
    }

    /// The first failure of `owner`, told once.
    pub(crate) fn failure(&mut self, owner: usize) -> Option<Error> {
        self.owners[owner].failed.take()
    }

    /// The caller's buffer of `owner`, when it has come back.
    pub(crate) fn callers_buf(&mut self, owner: usize) -> Option<AlignedBuf> {
        self.owners[owner].buf.take()
    }

    /// Owners that may have ended since the last call.
    pub(crate) fn take_ended(&mut self, into: &mut Vec<usize>) {
        into.append(&mut self.ended);
    }

    /// Memory of `len` bytes with anything in it.
    pub(crate) fn buffer(&mut self, len: usize) -> AlignedBuf {
        let mut buf = self.spare.pop().unwrap_or_else(|| AlignedBuf::zeroed(len));
        buf.resize(len);
        buf
    }

    /// Gives memory back.
    pub(crate) fn put_back(&mut self, owner: usize, buf: AlignedBuf, is_callers: bool) {
        if is_callers {
            self.owners[owner].buf = Some(buf);
        } else if self.spare.len() < self.depth {
            self.spare.push(buf);
        }
    }

    fn take(&mut self, done: Completion) {
        self.in_flight = self.in_flight.saturating_sub(1);
        let nr = usize::try_from(done.tag & (IS_CALLERS - 1)).expect("it was made from one");
        self.put_back(nr, done.buf, done.tag & IS_CALLERS != 0);
        let owner = &mut self.owners[nr];
        owner.in_flight = owner.in_flight.saturating_sub(1);
        if let Err(err) = done.result {
            owner.failed.get_or_insert(err);
        }
        // A list that nobody reads must not grow.
        if owner.in_flight == 0 && self.ended.last() != Some(&nr) {
            self.ended.push(nr);
        }
    }
}
