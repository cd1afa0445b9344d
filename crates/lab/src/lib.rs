//! The laboratory: operations on one open filesystem, interleaved.
//!
//! A [`Script`] is a job file: one operation a line, with a label that says who does it. A
//! [`Session`] runs it on a filesystem that the caller has opened: every operation is stepped, none
//! waits, so one thread can interleave any number of them, in the given order or in one that a
//! seed chooses. What happened comes out as [`Row`]s.
//!
//! Opens no image and prints nothing.

mod error;
mod schedule;
mod script;
mod stamp;
mod task;
mod trace;

pub use error::{Error, Waiting};
pub use schedule::{Ended, Order, Session};
pub use script::{Action, Contents, Expect, Line, Op, Script, ScriptError, Way, Write, errno_name};
pub use stamp::{Stamp, describe};
pub use trace::{HEADER, Row};
