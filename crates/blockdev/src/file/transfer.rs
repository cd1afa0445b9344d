//! Writes in flight: threads with positioned writes.

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
