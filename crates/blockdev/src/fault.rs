//! A device that fails on demand: the n-th read, write or flush, once or from then on.

use crate::{
    BlockDevice, Completion, Error, Limits, Result, TransferQueue, Write, error::check_range,
    sectors::SECTOR,
};
use std::{
    collections::VecDeque,
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// The operations that can fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    /// [`BlockDevice::read_at`].
    Read,
    /// [`BlockDevice::write_at`] and queued writes, in the order they are submitted.
    Write,
    /// [`BlockDevice::flush`].
    Flush,
}

/// What happens to the operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// It fails and does nothing, with this error: `StorageFull` for ENOSPC, `Other` for EIO.
    Error(io::ErrorKind),
    /// The write's first sectors (of 512 bytes) reach the device, then it fails with EIO. For a
    /// read or flush the same as an error.
    Torn {
        /// How many sectors are written, at most as many as the write has.
        sectors: usize,
    },
    /// It is said to have succeeded and nothing was done. A lost read returns zeros.
    Lost,
    /// The write is said to have succeeded, but only its first sectors (of 512 bytes) reached the
    /// device. A read or flush is lost.
    Cut {
        /// How many sectors are written, at most as many as the write has.
        sectors: usize,
    },
}

/// Which operation fails, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The operation that is counted.
    pub op: Op,
    /// The number of the one that fails, counted from 1 over the life of the device.
    pub nth: u64,
    /// Whether all after it fail too.
    pub and_all_after: bool,
    /// How it fails.
    pub failure: Failure,
}

impl Fault {
    /// The n-th `op` (from 1) fails with EIO, those after it do not.
    pub fn once(op: Op, nth: u64) -> Self {
        Self { op, nth, and_all_after: false, failure: Failure::Error(io::ErrorKind::Other) }
    }

    /// The n-th `op` (from 1) and all after it fail with EIO.
    pub fn from(op: Op, nth: u64) -> Self {
        Self { and_all_after: true, ..Self::once(op, nth) }
    }

    /// The same fault with another failure.
    #[must_use]
    pub fn with(self, failure: Failure) -> Self {
        Self { failure, ..self }
    }
}

/// How many operations were asked of a [`FaultDevice`], failed ones included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Reads.
    pub reads: u64,
    /// Writes, direct and queued.
    pub writes: u64,
    /// Flushes.
    pub flushes: u64,
    /// Writes, flushes and discards refused because an earlier one had failed. A caller that
    /// respects a failure makes none.
    pub refused: u64,
}

/// Wraps any device and fails as told. After a write or flush failed it is poisoned, as every
/// device is. Without faults it counts: run once, then fail each number in turn.
#[derive(Debug)]
pub struct FaultDevice {
    inner: Arc<dyn BlockDevice>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    faults: Vec<Fault>,
    counts: Counts,
    is_poisoned: bool,
}

impl FaultDevice {
    /// A device over `inner` with these faults.
    pub fn new(inner: Arc<dyn BlockDevice>, faults: impl Into<Vec<Fault>>) -> Self {
        let faults = faults.into();
        let state = State { faults, counts: Counts::default(), is_poisoned: false };
        Self { inner, state: Mutex::new(state) }
    }

    /// The operations so far.
    pub fn counts(&self) -> Counts {
        self.state().counts
    }

    /// Adds a fault; its number counts from the device's making.
    pub fn add(&self, fault: Fault) {
        self.state().faults.push(fault);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts an operation and tells how it is to fail, if it is.
    fn next(&self, op: Op) -> Result<Option<Failure>> {
        let mut state = self.state();
        if op != Op::Read && state.is_poisoned {
            state.counts.refused += 1;
            return Err(Error::Poisoned);
        }
        let count = match op {
            Op::Read => &mut state.counts.reads,
            Op::Write => &mut state.counts.writes,
            Op::Flush => &mut state.counts.flushes,
        };
        *count += 1;
        let nr = *count;
        let is_due = |it: &&Fault| it.op == op && (nr == it.nth || it.and_all_after && nr > it.nth);
        let failure = state.faults.iter().find(is_due).map(|it| it.failure);
        if op != Op::Read && failure.is_some_and(|it| error_of(it).is_some()) {
            state.is_poisoned = true;
        }
        Ok(failure)
    }

    /// Poisons when the device below failed by itself.
    fn check<T>(&self, res: Result<T>) -> Result<T> {
        if matches!(res, Err(Error::Write { .. } | Error::Flush(_) | Error::Poisoned)) {
            self.state().is_poisoned = true;
        }
        res
    }

    /// What a write with this fault returns, and what it leaves behind.
    fn fail_write(&self, failure: Failure, offset: u64, buf: &[u8]) -> Result<()> {
        if let Failure::Torn { sectors } | Failure::Cut { sectors } = failure {
            // Sectors are the device's, wherever the write begins.
            let within = usize::try_from(offset % SECTOR as u64).unwrap_or(0);
            let n = sectors.saturating_mul(SECTOR).saturating_sub(within).min(buf.len());
            self.inner.write_at(offset, &buf[..n])?;
        }
        match error_of(failure) {
            Some(source) => Err(Error::Write { offset, len: buf.len() as u64, source }),
            None => Ok(()),
        }
    }
}

/// The error a failure is reported with; `None` for a lost operation.
fn error_of(failure: Failure) -> Option<io::Error> {
    match failure {
        Failure::Error(io::ErrorKind::StorageFull) => Some(rustix::io::Errno::NOSPC.into()),
        Failure::Error(io::ErrorKind::Other) | Failure::Torn { .. } => {
            Some(rustix::io::Errno::IO.into())
        }
        Failure::Error(kind) => Some(kind.into()),
        Failure::Lost | Failure::Cut { .. } => None,
    }
}

impl BlockDevice for FaultDevice {
    fn len(&self) -> u64 {
        self.inner.len()
    }

    fn limits(&self) -> Limits {
        self.inner.limits()
    }

    fn is_read_only(&self) -> bool {
        self.inner.is_read_only()
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        check_range(offset, buf.len(), self.len())?;
        let Some(failure) = self.next(Op::Read)? else { return self.inner.read_at(offset, buf) };
        buf.fill(0);
        match error_of(failure) {
            Some(source) => Err(Error::Read { offset, len: buf.len() as u64, source }),
            None => Ok(()),
        }
    }

    fn write_at(&self, offset: u64, buf: &[u8]) -> Result<()> {
        check_range(offset, buf.len(), self.len())?;
        match self.next(Op::Write)? {
            None => self.check(self.inner.write_at(offset, buf)),
            Some(failure) => self.fail_write(failure, offset, buf),
        }
    }

    fn flush(&self) -> Result<()> {
        match self.next(Op::Flush)? {
            None => self.check(self.inner.flush()),
            Some(failure) => error_of(failure).map_or(Ok(()), |source| Err(Error::Flush(source))),
        }
    }

    fn discard(&self, offset: u64, len: u64) -> Result<()> {
        let mut state = self.state();
        if state.is_poisoned {
            state.counts.refused += 1;
            return Err(Error::Poisoned);
        }
        drop(state);
        self.check(self.inner.discard(offset, len))
    }

    fn prefetch(&self, offset: u64, len: u64) {
        self.inner.prefetch(offset, len);
    }

    fn queue(&self, depth: usize) -> Box<dyn TransferQueue + '_> {
        Box::new(FaultQueue {
            device: self,
            inner: self.inner.queue(depth),
            failed: VecDeque::new(),
        })
    }
}

/// Hands on what does not fail; the rest completes at once.
#[derive(Debug)]
struct FaultQueue<'a> {
    device: &'a FaultDevice,
    inner: Box<dyn TransferQueue + 'a>,
    failed: VecDeque<Completion>,
}

impl TransferQueue for FaultQueue<'_> {
    fn submit(&mut self, write: Write) -> Result<()> {
        let result = match self.device.next(Op::Write) {
            Ok(None) => return self.inner.submit(write),
            Ok(Some(failure)) => self.device.fail_write(failure, write.offset, &write.buf),
            Err(refused) => Err(refused),
        };
        self.failed.push_back(Completion { tag: write.tag, buf: write.buf, result });
        Ok(())
    }

    fn wait(&mut self) -> Option<Completion> {
        if let Some(failed) = self.failed.pop_front() {
            return Some(failed);
        }
        let mut done = self.inner.wait()?;
        done.result = self.device.check(done.result);
        Some(done)
    }

    fn poll(&mut self) -> Option<Completion> {
        if let Some(failed) = self.failed.pop_front() {
            return Some(failed);
        }
        let mut done = self.inner.poll()?;
        done.result = self.device.check(done.result);
        Some(done)
    }

    fn n_ready(&self) -> usize {
        self.failed.len() + self.inner.n_ready()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{AlignedBuf, MemoryDevice};

    fn device(faults: &[Fault]) -> (Arc<MemoryDevice>, FaultDevice) {
        let memory = Arc::new(MemoryDevice::new(vec![0; 4096]));
        (memory.clone(), FaultDevice::new(memory, faults))
    }

    #[test]
    fn the_nth_write_fails_and_poisons() {
        let (memory, device) = device(&[Fault::once(Op::Write, 2)]);
        device.write_at(0, &[1; 4]).unwrap();
        let err = device.write_at(4, &[2; 4]).unwrap_err();
        assert!(matches!(&err, Error::Write { offset: 4, len: 4, .. }), "{err}");
        assert!(matches!(device.write_at(8, &[3; 4]), Err(Error::Poisoned)));
        assert!(matches!(device.flush(), Err(Error::Poisoned)));
        assert!(matches!(device.discard(0, 4), Err(Error::Poisoned)));
        device.read_at(0, &mut [0; 8]).unwrap();
        assert_eq!(memory.contents()[..12], [1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(device.counts(), Counts { reads: 1, writes: 2, flushes: 0, refused: 3 });
    }

    #[test]
    fn reads_can_fail_once_or_from_then_on_and_poison_nothing() {
        let (_, device) = device(&[Fault::once(Op::Read, 1), Fault::from(Op::Read, 3)]);
        let ok = [1, 2, 3, 4].map(|_| device.read_at(0, &mut [0; 4]).is_ok());
        assert_eq!(ok, [false, true, false, false]);
        device.write_at(0, &[1]).unwrap();
    }

    #[test]
    fn a_torn_write_leaves_its_first_sectors() {
        let fault = Fault::once(Op::Write, 1).with(Failure::Torn { sectors: 2 });
        let (memory, device) = device(&[fault]);
        device.write_at(0, &[7; 2048]).unwrap_err();
        assert_eq!(memory.contents()[1020..1028], [7, 7, 7, 7, 0, 0, 0, 0]);
    }

    #[test]
    fn a_torn_write_that_begins_inside_a_sector_ends_with_one() {
        let fault = Fault::once(Op::Write, 1).with(Failure::Torn { sectors: 2 });
        let (memory, device) = device(&[fault]);
        device.write_at(100, &[7; 2048]).unwrap_err();
        assert_eq!(memory.contents()[1020..1028], [7, 7, 7, 7, 0, 0, 0, 0]);
    }

    #[test]
    fn a_lost_write_is_acknowledged_and_gone() {
        let fault = Fault::once(Op::Write, 1).with(Failure::Lost);
        let (memory, device) = device(&[fault]);
        device.write_at(0, &[7; 4]).unwrap();
        device.write_at(4, &[8; 4]).unwrap();
        assert_eq!(memory.contents()[..8], [0, 0, 0, 0, 8, 8, 8, 8]);
    }

    #[test]
    fn a_cut_write_is_acknowledged_and_half_there() {
        let fault = Fault::once(Op::Write, 1).with(Failure::Cut { sectors: 1 });
        let (memory, device) = device(&[fault]);
        device.write_at(0, &[7; 1024]).unwrap();
        device.flush().unwrap();
        assert_eq!(memory.contents()[508..516], [7, 7, 7, 7, 0, 0, 0, 0]);
    }

    #[test]
    fn no_space_reads_as_no_space() {
        let full = Failure::Error(io::ErrorKind::StorageFull);
        let (_, device) = device(&[Fault::once(Op::Write, 1).with(full)]);
        let Error::Write { source, .. } = device.write_at(0, &[1]).unwrap_err() else { panic!() };
        assert_eq!(source.kind(), io::ErrorKind::StorageFull);
    }

    #[test]
    fn a_failing_queued_write_gives_its_buffer_back() {
        let (_, device) = device(&[Fault::once(Op::Write, 2)]);
        let mut queue = device.queue(4);
        for tag in 1..=3 {
            queue.submit(Write { offset: 0, buf: AlignedBuf::zeroed(512), tag }).unwrap();
        }
        let mut done: Vec<_> = std::iter::from_fn(|| queue.wait())
            .map(|it| (it.tag, it.buf.len(), it.result.is_ok()))
            .collect();
        done.sort_unstable();
        assert_eq!(done, [(1, 512, true), (2, 512, false), (3, 512, false)]);
        drop(queue);
        assert_eq!(device.counts().refused, 1);
    }

    #[test]
    fn a_failed_flush_is_final() {
        let (_, device) = device(&[Fault::once(Op::Flush, 1)]);
        assert!(matches!(device.flush(), Err(Error::Flush(_))));
        assert!(matches!(device.flush(), Err(Error::Poisoned)));
    }
}
