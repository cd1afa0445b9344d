//! The direct-IO write path: what `write(2)` on an O_DIRECT descriptor does, on an image.
//!
//! The order of steps is `ext4_dio_write_iter`'s: checks, times and privileges, the orphan record of
//! an extending write, then per piece a mapping and its data, and when all data is on the device the
//! conversion of unwritten blocks and the new size. [`DirectWrite`] does one step at a time, so that
//! tests can stand between any two.

mod checks;
mod error;
mod modified;
mod operation;
mod piece;
mod plan;
mod request;
mod ring;
mod source;
mod step;
mod submitter;
mod write;

pub use checks::check_request as check;
pub use error::{Error, Result};
pub use ext4_fs::LockMode;
pub use plan::Plan;
pub use request::{Caller, Offset, Request, Sync};
pub use step::{Blocked, Outcome, Step};
pub use submitter::{Completed, Submitter};
pub use write::{BufferedWrite, DirectWrite};
