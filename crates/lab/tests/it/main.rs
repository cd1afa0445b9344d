//! Random programs of several writers, interleaved by seeds: what is left must be explained by some
//! order of the operations, whole or after a crash.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod crash;
mod history;
mod program;
mod schedules;
mod world;
