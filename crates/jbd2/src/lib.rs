//! The journal: handles, transactions, commits, checkpoints, and recovery after a crash.
//!
//! Knows blocks, never inodes. Nothing here opens a file or reads a clock: the device and the time
//! are inputs.

mod cache;
mod checkpoint;
mod commit;
mod committed;
mod error;
mod gate;
mod handle;
mod home;
mod journal;
mod log;
mod options;
mod ranges;
mod read;
pub mod recovery;
mod state;
mod transaction;
mod writer;

pub use error::{Error, Result};
pub use handle::Handle;
pub use journal::Journal;
pub use log::{Log, Ring};
pub use options::{Clock, Options};
pub use ranges::PendingFree;
pub use read::{Block, MetaRead};
