//! Writes in flight where there is no io_uring: threads with positioned writes.

use super::Shared;
use crate::{Completion, Result, TransferQueue, Write};
use std::{
    collections::VecDeque,
    fmt,
    sync::{Arc, Condvar, Mutex, PoisonError},
    thread::JoinHandle,
};

/// Up to `depth` threads, each with one write in its hands.
pub(super) struct ThreadQueue {
    shared: Arc<Shared>,
    board: Arc<Board>,
    threads: Vec<JoinHandle<()>>,
    depth: usize,
    in_flight: usize,
}

#[derive(Default)]
struct Board {
    state: Mutex<State>,
    work: Condvar,
    done: Condvar,
}

#[derive(Default)]
struct State {
    todo: VecDeque<Write>,
    done: VecDeque<Completion>,
    is_closed: bool,
}

impl ThreadQueue {
    pub(super) fn new(shared: &Arc<Shared>, depth: usize) -> Self {
        Self {
            shared: Arc::clone(shared),
            board: Arc::default(),
            threads: Vec::new(),
            depth: depth.max(1),
            in_flight: 0,
        }
    }
}

fn work(shared: &Shared, board: &Board) {
    let mut state = board.state.lock().unwrap_or_else(PoisonError::into_inner);
    loop {
        if let Some(write) = state.todo.pop_front() {
            drop(state);
            let result = shared.write_direct(write.offset, &write.buf);
            state = board.state.lock().unwrap_or_else(PoisonError::into_inner);
            state.done.push_back(Completion { tag: write.tag, buf: write.buf, result });
            board.done.notify_one();
        } else if state.is_closed {
            return;
        } else {
            state = board.work.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl TransferQueue for ThreadQueue {
    fn submit(&mut self, write: Write) -> Result<()> {
        let mut state = self.board.state.lock().unwrap_or_else(PoisonError::into_inner);
        while self.in_flight - state.done.len() >= self.depth {
            state = self.board.done.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.todo.push_back(write);
        drop(state);
        self.in_flight += 1;
        if self.threads.len() < self.depth.min(self.in_flight) {
            let (shared, board) = (Arc::clone(&self.shared), Arc::clone(&self.board));
            self.threads.push(std::thread::spawn(move || work(&shared, &board)));
        } else {
            self.board.work.notify_one();
        }
        Ok(())
    }

    fn wait(&mut self) -> Option<Completion> {
        if self.in_flight == 0 {
            return None;
        }
        let mut state = self.board.state.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if let Some(done) = state.done.pop_front() {
                self.in_flight -= 1;
                return Some(done);
            }
            state = self.board.done.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn poll(&mut self) -> Option<Completion> {
        let mut state = self.board.state.lock().unwrap_or_else(PoisonError::into_inner);
        let done = state.done.pop_front()?;
        self.in_flight -= 1;
        Some(done)
    }

    fn n_ready(&self) -> usize {
        self.board.state.lock().unwrap_or_else(PoisonError::into_inner).done.len()
    }
}

impl Drop for ThreadQueue {
    fn drop(&mut self) {
        self.board.state.lock().unwrap_or_else(PoisonError::into_inner).is_closed = true;
        self.board.work.notify_all();
        for thread in self.threads.drain(..) {
            let _ = thread.join(); // its panic, if any, was told where it happened
        }
    }
}

impl fmt::Debug for ThreadQueue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "ThreadQueue({} of {} in flight on {:?})",
            self.in_flight, self.depth, self.shared
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{AlignedBuf, BlockDevice, FileDevice, OpenMode};

    /// The host of a test has io_uring, so this queue is asked for by name.
    #[test]
    fn threads_do_what_a_ring_does() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("disk.img");
        std::fs::write(&path, vec![0; 1 << 20]).unwrap();
        let device = FileDevice::open(&path, OpenMode::Exclusive).unwrap();
        let mut queue = ThreadQueue::new(&device.shared, 4);
        assert!(queue.wait().is_none());
        let mut n_done = 0;
        for nr in 0..256 {
            let buf = AlignedBuf::copy_of(&[u8::try_from(nr % 251).unwrap(); 4096]);
            queue.submit(Write { offset: nr * 4096, buf, tag: nr }).unwrap();
            if nr % 2 == 1 {
                queue.wait().unwrap().result.unwrap();
                n_done += 1;
            }
        }
        queue.submit(Write { offset: 1 << 20, buf: AlignedBuf::zeroed(512), tag: 777 }).unwrap();
        while let Some(done) = queue.wait() {
            assert_eq!(done.result.is_ok(), done.tag != 777, "{done:?}");
            n_done += 1;
        }
        assert_eq!(n_done, 257);
        assert!(queue.threads.len() <= 4);
        drop(queue);
        let mut all = vec![0; 1 << 20];
        device.read_at(0, &mut all).unwrap();
        assert!(
            all.chunks(4096)
                .zip(0..)
                .all(|(blk, nr)| blk == [u8::try_from(nr % 251).unwrap(); 4096])
        );
    }
}
