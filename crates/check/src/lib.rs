//! The full check and repair: every inconsistency that a filesystem on disk can have, found, told
//! with its place, and mended.
//!
//! All of it happens on an [`Overlay`](ext4_blockdev::Overlay): a run reads, asks, changes the
//! overlay, and runs again until nothing is left to find. What the overlay then holds is the plan;
//! nothing has been written to the device. The same run with other answers is `-n`, `-y`, `-p` and
//! the interactive way.
//!
//! The passes believe no structure: they read `Raw*` types and check each field themselves. They
//! never use the filesystem library, whose faults must not be hidden by using it to judge itself.

mod bits;
mod changes;
mod error;
mod facts;
mod finding;
mod finish;
mod gate;
mod history;
mod image;
mod inode_tables;
mod names;
mod optimize;
mod part;
mod pass0;
mod pass1;
mod pass1b;
mod pass2;
mod pass3;
mod pass4;
mod pass5;
mod pass6;
mod paths;
mod pieces;
pub mod problem;
mod repair;
pub mod rescue;
mod run;
mod session;
mod snapshot;
mod survey;
mod table;
mod todo;
pub mod undo;

pub use changes::{Changes, Way, mark_unsound};
pub use error::{Error, Result};
pub use finding::{Finding, Place};
pub use gate::{Answer, Answers};
pub use optimize::{Optimize, Optimized};
pub use problem::{Pass, Preen, Problem, Severity};
pub use run::{JournalDevice, Options, Outcome, check};
pub use survey::{Break, Survey, survey};
