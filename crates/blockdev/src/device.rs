//! What a device can do.

use crate::{AlignedBuf, Result};
use std::fmt;

/// What a device asks of a direct transfer, in bytes. All powers of two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Offsets and lengths of direct writes must be multiples of this: the logical sector size.
    pub sector: u32,
    /// Addresses of buffers must be multiples of this.
    pub memory: u32,
}

/// A run of bytes with stable storage below it.
///
/// Reads and writes are whole or an error; any offset and length inside the device is legal for
/// [`read_at`](Self::read_at) and [`write_at`](Self::write_at) (an implementation bounces what its
/// sectors do not fit). What was written is durable only after [`flush`](Self::flush) returns; until
/// then writes may reach the medium in any order, in 512-byte pieces.
///
/// After one failed write or flush a device refuses further writes with [`crate::Error::Poisoned`]:
/// nobody knows what the medium holds, and the journal is what recovers it.
pub trait BlockDevice: Send + Sync + fmt::Debug {
    /// Size in bytes.
    fn len(&self) -> u64;

    /// Whether it has no bytes at all.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What direct transfers must be aligned to.
    fn limits(&self) -> Limits;

    /// Whether writes are refused.
    fn is_read_only(&self) -> bool;

    /// Fills `buf` from `offset`.
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()>;

    /// Writes all of `buf` at `offset`.
    fn write_at(&self, offset: u64, buf: &[u8]) -> Result<()>;

    /// Makes every write that returned before this call durable: the barrier.
    fn flush(&self) -> Result<()>;

    /// Tells that the bytes are no longer needed; they may read as anything afterwards. A device
    /// that cannot do so ignores it.
    fn discard(&self, offset: u64, len: u64) -> Result<()>;

    /// Gives the bytes back to the host such that they read as zeros from then on. `false` when the
    /// device cannot promise that: then nothing was changed, and the caller writes zeros.
    fn punch(&self, offset: u64, len: u64) -> Result<bool> {
        let _ = (offset, len);
        Ok(false)
    }

    /// Tells that these bytes will be read soon, so that the host may fetch them already. Advice:
    /// nothing is promised and nothing fails.
    fn prefetch(&self, offset: u64, len: u64) {
        let _ = (offset, len);
    }

    /// The first byte of `from..to` that may be other than zero, as far as the host knows without
    /// reading: `to` when there is none, `from` where nothing is known.
    fn next_data(&self, from: u64, to: u64) -> u64 {
        let _ = to;
        from
    }

    /// A queue of up to `depth` writes in flight. The default does each write as it is submitted.
    fn queue(&self, depth: usize) -> Box<dyn TransferQueue + '_> {
        let _ = depth;
        Box::new(Immediate { device: self, done: std::collections::VecDeque::new() })
    }
}

/// One aligned direct write. The queue owns the buffer until it comes back in a [`Completion`].
#[derive(Debug)]
pub struct Write {
    /// Byte offset on the device.
    pub offset: u64,
    /// The bytes; their length is the length of the transfer.
    pub buf: AlignedBuf,
    /// The caller's own name for this write.
    pub tag: u64,
}

/// A finished write.
#[derive(Debug)]
pub struct Completion {
    /// The name given at submission.
    pub tag: u64,
    /// The buffer, to be used again.
    pub buf: AlignedBuf,
    /// Whether the device took it (it is not yet durable).
    pub result: Result<()>,
}

/// Writes in flight on one device; completions come in any order.
///
/// Dropping a queue waits for what is in flight. A queue stays on its thread and is worth keeping:
/// making one may cost more than a small write.
pub trait TransferQueue: fmt::Debug {
    /// Starts a write, or lines it up to be started with the next ones: at the latest when
    /// [`wait`](Self::wait) is called. Blocks while `depth` writes are in flight and none has
    /// completed. A write that fails comes back as a completion, with its buffer.
    ///
    /// # Errors
    /// When the queue itself cannot work any more; the write was not made.
    fn submit(&mut self, write: Write) -> Result<()>;

    /// The next completion; `None` when nothing is in flight.
    fn wait(&mut self) -> Option<Completion>;

    /// A completion that is there already; `None` when nothing has completed. Starts what was lined
    /// up, and waits for nothing.
    fn poll(&mut self) -> Option<Completion>;

    /// How many completions are known already: that many calls of [`wait`](Self::wait) return at
    /// once.
    fn n_ready(&self) -> usize;
}

/// The queue of a device without one: a write is complete when `submit` returns.
#[derive(Debug)]
struct Immediate<'a, D: ?Sized> {
    device: &'a D,
    done: std::collections::VecDeque<Completion>,
}

impl<D: BlockDevice + ?Sized> TransferQueue for Immediate<'_, D> {
    fn submit(&mut self, write: Write) -> Result<()> {
        let result = self.device.write_at(write.offset, &write.buf);
        self.done.push_back(Completion { tag: write.tag, buf: write.buf, result });
        Ok(())
    }

    fn wait(&mut self) -> Option<Completion> {
        self.done.pop_front()
    }

    fn poll(&mut self) -> Option<Completion> {
        self.done.pop_front()
    }

    fn n_ready(&self) -> usize {
        self.done.len()
    }
}
