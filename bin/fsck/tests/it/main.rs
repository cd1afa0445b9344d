//! The whole program on images of its own: what it writes, what it takes back, and what it says.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on ends")]

mod cut;
mod journal_device;
mod options;
mod plan;
mod preen;
mod rescue;
mod rig;
mod run;
mod storm;
mod terminal;
mod undo;
