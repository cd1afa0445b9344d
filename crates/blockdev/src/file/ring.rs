//! Writes in flight by io_uring, through a crate that owns the buffers meanwhile.

use super::Shared;
use crate::{AlignedBuf, Completion, Error, Result, TransferQueue, Write, error::check_range};
use compio_buf::{BufResult, IntoInner, IoBuf};
use compio_driver::{Key, Proactor, ProactorBuilder, PushEntry, op::WriteAt};
use std::{collections::VecDeque, fmt, fs::File, io, sync::Arc, time::Duration};

/// Most entries of a ring, which also bounds its memory.
const MAX_DEPTH: usize = 1024;
/// How often waiting for completions may fail before the ring is given up.
const MAX_FAILED_POLLS: u32 = 1000;

/// A ring with up to `depth` writes.
pub(super) struct RingQueue {
    shared: Arc<Shared>,
    direct: Arc<File>,
    proactor: Proactor,
    depth: usize,
    in_flight: Vec<InFlight>,
    /// Those of `in_flight` that the kernel was not told of yet.
    n_held_back: usize,
    done: VecDeque<Completion>,
}

struct InFlight {
    key: Key<WriteAt<Payload, Arc<File>>>,
    tag: u64,
    /// Where the whole write begins, in bytes of the device.
    offset: u64,
    len: usize,
}

/// What the kernel reads from: the part of a buffer that is not yet written. The bytes lie in a
/// vector, so they stay where they are when this is moved.
struct Payload {
    buf: AlignedBuf,
    n_written: usize,
}

impl IoBuf for Payload {
    fn as_init(&self) -> &[u8] {
        self.buf.get(self.n_written..).unwrap_or_default()
    }
}

impl RingQueue {
    /// Fails where the host has no io_uring or forbids it.
    pub(super) fn new(shared: &Arc<Shared>, direct: &Arc<File>, depth: usize) -> io::Result<Self> {
        let depth = depth.clamp(1, MAX_DEPTH);
        let entries = u32::try_from(depth.next_power_of_two() * 2).expect("bounded above");
        Ok(Self {
            shared: Arc::clone(shared),
            direct: Arc::clone(direct),
            // No thread of the crate's own: a kernel with io_uring has the write operation.
            proactor: ProactorBuilder::new().capacity(entries).thread_pool_limit(0).build()?,
            depth,
            in_flight: Vec::with_capacity(depth),
            n_held_back: 0,
            done: VecDeque::with_capacity(depth),
        })
    }

    /// Begins or goes on with a write that fits the sectors.
    fn push(&mut self, tag: u64, offset: u64, payload: Payload) {
        let len = payload.buf.len();
        let at = self.shared.start + offset + payload.n_written as u64;
        self.shared.begin_direct();
        match self.proactor.push(WriteAt::new(Arc::clone(&self.direct), at, payload)) {
            PushEntry::Pending(key) => {
                self.in_flight.push(InFlight { key, tag, offset, len });
                self.n_held_back += 1;
            }
            PushEntry::Ready(BufResult(res, op)) => {
                self.finish(tag, offset, res, op.into_inner());
            }
        }
    }

    /// Takes the result of a transfer: done, to be gone on with, or failed.
    fn finish(&mut self, tag: u64, offset: u64, res: io::Result<usize>, mut payload: Payload) {
        self.shared.end_direct();
        let res = match res {
            Ok(0) => Err(io::ErrorKind::WriteZero.into()),
            Err(err)
                if matches!(err.kind(), io::ErrorKind::Interrupted | io::ErrorKind::WouldBlock) =>
            {
                Ok(0)
            }
            other => other,
        };
        let result = match res {
            Ok(n) => {
                payload.n_written = payload.n_written.saturating_add(n).min(payload.buf.len());
                let (at, rest) = (offset + payload.n_written as u64, payload.as_init());
                if rest.is_empty() {
                    Ok(())
                } else if self.shared.fits_sectors(at, rest.len()) {
                    return self.push(tag, offset, payload);
                } else {
                    self.shared.write_any(at, rest)
                }
            }
            Err(source) => {
                self.shared.poison();
                let (at, len) = (offset + payload.n_written as u64, payload.as_init().len() as u64);
                Err(Error::Write { offset: at, len, source })
            }
        };
        self.done.push_back(Completion { tag, buf: payload.buf, result });
    }

    /// Tells the kernel of what is held back, waits until something has happened or `limit` is
    /// over, and collects all that did.
    fn reap(&mut self, limit: Option<Duration>) {
        let mut n_failed = 0;
        while let Err(err) = self.proactor.poll(limit) {
            match err.kind() {
                io::ErrorKind::TimedOut if limit.is_some() => break,
                io::ErrorKind::Interrupted | io::ErrorKind::TimedOut => continue,
                _ => {}
            }
            n_failed += 1;
            if n_failed == MAX_FAILED_POLLS {
                return self.give_up(&err);
            }
        }
        self.n_held_back = 0;
        let mut at = 0;
        while at < self.in_flight.len() {
            let it = self.in_flight.swap_remove(at);
            match self.proactor.pop(it.key) {
                PushEntry::Pending(key) => {
                    // Back to where it was; the last one that took its place goes to the end.
                    self.in_flight.push(InFlight { key, ..it });
                    let last = self.in_flight.len() - 1;
                    self.in_flight.swap(at, last);
                    at += 1;
                }
                PushEntry::Ready(BufResult(res, op)) => {
                    self.finish(it.tag, it.offset, res, op.into_inner());
                }
            }
        }
    }

    /// Nothing more can be learned from the kernel. What is in flight may or may not be written,
    /// its buffers stay with the ring, and it still counts as in flight. The completions carry
    /// zeroed buffers of the same length.
    fn give_up(&mut self, err: &io::Error) {
        self.shared.poison();
        self.n_held_back = 0;
        for it in self.in_flight.drain(..) {
            let source = io::Error::new(err.kind(), format!("io_uring: {err}"));
            let result = Err(Error::Write { offset: it.offset, len: it.len as u64, source });
            let buf = AlignedBuf::zeroed(it.len);
            self.done.push_back(Completion { tag: it.tag, buf, result });
        }
    }
}

impl TransferQueue for RingQueue {
    fn submit(&mut self, write: Write) -> Result<()> {
        while self.in_flight.len() >= self.depth {
            self.reap(None);
        }
        let Write { offset, buf, tag } = write;
        let mut result = self.shared.check_writable();
        result = result.and_then(|()| check_range(offset, buf.len(), self.shared.len));
        if result.is_ok() && !buf.is_empty() && self.shared.fits_sectors(offset, buf.len()) {
            self.push(tag, offset, Payload { buf, n_written: 0 });
            // Telling the kernel costs a call, so a few are told together; but never so few are
            // at work that the device could run dry.
            let n_at_work = self.in_flight.len() - self.n_held_back;
            if self.n_held_back * 4 > n_at_work {
                self.proactor.flush();
                self.n_held_back = 0;
            }
        } else {
            result = result.and_then(|()| self.shared.write_any(offset, &buf));
            self.done.push_back(Completion { tag, buf, result });
        }
        Ok(())
    }

    fn wait(&mut self) -> Option<Completion> {
        while self.done.is_empty() && !self.in_flight.is_empty() {
            self.reap(None);
        }
        self.done.pop_front()
    }

    fn poll(&mut self) -> Option<Completion> {
        if self.done.is_empty() && !self.in_flight.is_empty() {
            self.reap(Some(Duration::ZERO));
        }
        self.done.pop_front()
    }

    fn n_ready(&self) -> usize {
        self.done.len()
    }
}

impl Drop for RingQueue {
    fn drop(&mut self) {
        while self.wait().is_some() {}
    }
}

impl fmt::Debug for RingQueue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (n, depth) = (self.in_flight.len(), self.depth);
        write!(f, "RingQueue({n} of {depth} in flight on {:?})", self.shared)
    }
}
