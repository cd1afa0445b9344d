//! A device that remembers what was done to it, in order: what crash states are made from.

use crate::{BlockDevice, Completion, Limits, Result, TransferQueue, Write};
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// One thing that happened, at the moment it was known to have happened.
///
/// The log is in completion order: a write stands where it returned to the caller (for a queue:
/// where its completion was taken), and may have reached the medium at any moment since `issued`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// A write that returned without error.
    Write {
        /// Counts the writes from 0 in completion order.
        seq: u64,
        /// Length of the log when the write was issued.
        issued: usize,
        /// Byte offset.
        offset: u64,
        /// What was written.
        data: Arc<[u8]>,
    },
    /// A flush that returned without error. Exactly the writes among the first `covers` events are
    /// durable: one that returned while the flush was under way is not.
    Flush {
        /// Length of the log when the flush was called.
        covers: usize,
    },
    /// A discard that returned without error; the bytes may read as anything.
    Discard {
        /// Byte offset.
        offset: u64,
        /// Length in bytes.
        len: u64,
    },
    /// A word of the caller, such as "operation 3 was acknowledged".
    Mark {
        /// The caller's number.
        id: u64,
        /// The caller's text.
        text: String,
    },
}

/// Wraps any device and logs every write, flush and discard that succeeded, and the caller's marks.
///
/// Everything written is kept in memory. A failed operation is not logged: put a
/// [`crate::FaultDevice`] above the recorder, and the log is what reached the medium.
#[derive(Debug)]
pub struct Recorder {
    inner: Arc<dyn BlockDevice>,
    log: Mutex<Log>,
}

#[derive(Debug, Default)]
struct Log {
    events: Vec<Event>,
    n_writes: u64,
}

impl Recorder {
    /// Records what is done to `inner` from here on.
    pub fn new(inner: Arc<dyn BlockDevice>) -> Self {
        Self { inner, log: Mutex::default() }
    }

    /// Puts a mark at this place of the log.
    pub fn mark(&self, id: u64, text: impl Into<String>) {
        self.log().events.push(Event::Mark { id, text: text.into() });
    }

    /// A copy of the log; the data of the writes is shared.
    pub fn events(&self) -> Vec<Event> {
        self.log().events.clone()
    }

    /// Takes the log; the next event is number 0 of a new one.
    pub fn take_events(&self) -> Vec<Event> {
        std::mem::take(&mut *self.log()).events
    }

    /// How many events there are.
    pub fn n_events(&self) -> usize {
        self.log().events.len()
    }

    fn log(&self) -> MutexGuard<'_, Log> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push_write(&self, issued: usize, offset: u64, data: Arc<[u8]>) {
        let mut log = self.log();
        let seq = log.n_writes;
        log.n_writes += 1;
        log.events.push(Event::Write { seq, issued, offset, data });
    }
}

impl BlockDevice for Recorder {
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
        self.inner.read_at(offset, buf)
    }

    fn write_at(&self, offset: u64, buf: &[u8]) -> Result<()> {
        let issued = self.n_events();
        self.inner.write_at(offset, buf)?;
        self.push_write(issued, offset, buf.into());
        Ok(())
    }

    fn flush(&self) -> Result<()> {
        let covers = self.n_events();
        self.inner.flush()?;
        self.log().events.push(Event::Flush { covers });
        Ok(())
    }

    fn discard(&self, offset: u64, len: u64) -> Result<()> {
        self.inner.discard(offset, len)?;
        self.log().events.push(Event::Discard { offset, len });
        Ok(())
    }

    fn prefetch(&self, offset: u64, len: u64) {
        self.inner.prefetch(offset, len);
    }

    fn queue(&self, depth: usize) -> Box<dyn TransferQueue + '_> {
        Box::new(RecordedQueue {
            recorder: self,
            inner: self.inner.queue(depth),
            in_flight: HashMap::new(),
            n_submitted: 0,
        })
    }
}

/// Logs each write as its completion is taken. A write whose completion nobody takes is logged
/// when the queue goes, since it did happen.
#[derive(Debug)]
struct RecordedQueue<'a> {
    recorder: &'a Recorder,
    inner: Box<dyn TransferQueue + 'a>,
    /// The queue's own number of each write: its caller's tag, where the log stood, the place.
    in_flight: HashMap<u64, (u64, usize, u64)>,
    n_submitted: u64,
}

impl TransferQueue for RecordedQueue<'_> {
    fn submit(&mut self, write: Write) -> Result<()> {
        let (tag, offset) = (write.tag, write.offset);
        let nr = self.n_submitted;
        let issued = self.recorder.n_events();
        self.inner.submit(Write { tag: nr, ..write })?;
        self.n_submitted += 1;
        self.in_flight.insert(nr, (tag, issued, offset));
        Ok(())
    }

    fn wait(&mut self) -> Option<Completion> {
        let done = self.inner.wait()?;
        Some(self.log(done))
    }

    fn poll(&mut self) -> Option<Completion> {
        let done = self.inner.poll()?;
        Some(self.log(done))
    }

    fn n_ready(&self) -> usize {
        self.inner.n_ready()
    }
}

impl RecordedQueue<'_> {
    fn log(&mut self, done: Completion) -> Completion {
        let (tag, issued, offset) =
            self.in_flight.remove(&done.tag).expect("completions are of writes submitted here");
        if done.result.is_ok() {
            self.recorder.push_write(issued, offset, done.buf[..].into());
        }
        Completion { tag, ..done }
    }
}

impl Drop for RecordedQueue<'_> {
    fn drop(&mut self) {
        while self.wait().is_some() {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{AlignedBuf, MemoryDevice};

    fn recorder() -> Recorder {
        Recorder::new(Arc::new(MemoryDevice::new(vec![0; 8192])))
    }

    fn short(events: &[Event]) -> Vec<String> {
        let short = |it: &Event| match it {
            Event::Write { seq, issued, offset, data } => {
                format!("W{seq} {offset}+{} issued {issued}", data.len())
            }
            Event::Flush { covers } => format!("F{covers}"),
            Event::Discard { offset, len } => format!("D {offset}+{len}"),
            Event::Mark { id, text } => format!("M{id} {text}"),
        };
        events.iter().map(short).collect()
    }

    #[test]
    fn events_come_in_the_order_they_completed() {
        let device = recorder();
        device.write_at(0, &[1; 512]).unwrap();
        device.mark(7, "acknowledged");
        device.write_at(512, &[2; 10]).unwrap();
        device.flush().unwrap();
        device.discard(4096, 4096).unwrap();
        assert!(device.write_at(8190, &[3; 3]).is_err());
        assert_eq!(
            short(&device.events()),
            ["W0 0+512 issued 0", "M7 acknowledged", "W1 512+10 issued 2", "F3", "D 4096+4096"]
        );
    }

    #[test]
    fn a_flush_covers_only_queued_writes_whose_completion_was_taken() {
        let device = recorder();
        let mut queue = device.queue(4);
        for tag in [40, 41] {
            let buf = AlignedBuf::zeroed(512);
            queue.submit(Write { offset: (tag - 40) * 512, buf, tag }).unwrap();
        }
        assert_eq!(queue.wait().unwrap().tag, 40);
        device.flush().unwrap();
        assert_eq!(queue.wait().unwrap().tag, 41);
        assert!(queue.wait().is_none());
        drop(queue);
        assert_eq!(short(&device.events()), ["W0 0+512 issued 0", "F1", "W1 512+512 issued 0"]);
    }

    #[test]
    fn a_write_whose_completion_nobody_takes_is_still_logged() {
        let device = recorder();
        let mut queue = device.queue(4);
        queue.submit(Write { offset: 0, buf: AlignedBuf::zeroed(512), tag: 1 }).unwrap();
        drop(queue);
        assert_eq!(short(&device.events()), ["W0 0+512 issued 0"]);
    }
}
