//! How a run can end badly.

use crate::script::errno_name;
use std::fmt;

/// A job that did not go as it says.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// An operation failed, and nobody had expected it to.
    #[error("line {line}: {op}: {}{message}", prefix(*errno))]
    Failed {
        /// Number of the line.
        line: usize,
        /// The operation.
        op: String,
        /// The kernel's errno for it; 0 when what it read was not what the script says.
        errno: i32,
        /// What was wrong.
        message: String,
    },
    /// An operation ended in another way than the script says.
    #[error("line {line}: {op}: {found}, expected {expected}")]
    Unexpected {
        /// Number of the line.
        line: usize,
        /// The operation.
        op: String,
        /// How it ended.
        found: String,
        /// How it should have.
        expected: String,
    },
    /// Everybody waits for somebody.
    #[error("nothing can go on: {}", list(.0))]
    Deadlock(Vec<Waiting>),
}

/// Somebody who cannot go on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// Number of the line.
    pub line: usize,
    /// The operation.
    pub op: String,
    /// What it waits for.
    pub on: String,
}

impl fmt::Display for Waiting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { line, op, on } = self;
        write!(f, "line {line}, {op}, {on}")
    }
}

fn prefix(errno: i32) -> String {
    if errno == 0 { String::new() } else { format!("{}: ", errno_name(errno)) }
}

fn list(waiting: &[Waiting]) -> String {
    waiting.iter().map(Waiting::to_string).collect::<Vec<_>>().join("; ")
}
