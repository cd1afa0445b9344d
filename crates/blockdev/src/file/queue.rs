//! Chooses how each queued write is made: at once, by io_uring, or by threads.

use super::{Shared, ring::RingQueue, threads::ThreadQueue};
use crate::{Completion, Result, TransferQueue, Write};
use std::{collections::VecDeque, fmt, sync::Arc};

/// Longest write that may be made at once.
const MAX_AT_ONCE: usize = 64 << 10;

/// The queue of a file. A ring is only made when two writes are to be in flight: making it takes
/// longer than a small write.
pub(super) struct FileQueue {
    shared: Arc<Shared>,
    depth: usize,
    /// A first small write; made when it is waited for, or lined up with the second.
    first: Option<Write>,
    many: Option<Box<dyn TransferQueue>>,
    done: VecDeque<Completion>,
}

impl FileQueue {
    pub(super) fn new(shared: &Arc<Shared>, depth: usize) -> Self {
        let done = VecDeque::new();
        Self { shared: Arc::clone(shared), depth: depth.max(1), first: None, many: None, done }
    }

    fn write_at_once(&self, write: Write) -> Completion {
        let result = self.shared.write_direct(write.offset, &write.buf);
        Completion { tag: write.tag, buf: write.buf, result }
    }

    fn many(&mut self) -> &mut dyn TransferQueue {
        let (shared, depth) = (&self.shared, self.depth);
        self.many
            .get_or_insert_with(|| {
                // Buffered writes gain nothing from a ring. A block device must not have one: the
                // host drops what was read beside a direct write only before the write returns
                // (`blkdev_direct_write`), and a write of a ring returns before it is done. And a
                // container may forbid io_uring.
                let direct = shared.direct.as_ref().filter(|_| !shared.is_block_device);
                match direct.map(|direct| RingQueue::new(shared, direct, depth)) {
                    Some(Ok(ring)) => Box::new(ring),
                    Some(Err(_)) | None => Box::new(ThreadQueue::new(shared, depth)),
                }
            })
            .as_mut()
    }
}

impl TransferQueue for FileQueue {
    fn submit(&mut self, write: Write) -> Result<()> {
        let is_small = write.buf.len() <= MAX_AT_ONCE;
        if is_small && self.shared.is_in_memory {
            // A copy in memory takes less time than handing it to anybody.
            let done = self.write_at_once(write);
            self.done.push_back(done);
            return Ok(());
        }
        if is_small && self.many.is_none() && self.first.is_none() {
            self.first = Some(write);
            return Ok(());
        }
        if let Some(first) = self.first.take() {
            self.many().submit(first)?;
        }
        self.many().submit(write)
    }

    fn wait(&mut self) -> Option<Completion> {
        if let Some(done) = self.done.pop_front() {
            return Some(done);
        }
        if let Some(first) = self.first.take() {
            return Some(self.write_at_once(first));
        }
        self.many.as_mut()?.wait()
    }

    fn poll(&mut self) -> Option<Completion> {
        if let Some(done) = self.done.pop_front() {
            return Some(done);
        }
        if let Some(first) = self.first.take() {
            return Some(self.write_at_once(first));
        }
        self.many.as_mut()?.poll()
    }

    fn n_ready(&self) -> usize {
        self.done.len() + self.many.as_ref().map_or(0, |many| many.n_ready())
    }
}

impl Drop for FileQueue {
    /// Finishes what was submitted; it is the queue's caller that wrote it.
    fn drop(&mut self) {
        while self.wait().is_some() {}
    }
}

impl fmt::Debug for FileQueue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FileQueue(depth {} on {:?})", self.depth, self.shared)
    }
}
