//! Tests of the write path on images that mke2fs made.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on has failed")]

mod campaign;
mod crash;
mod faults;
mod full;
mod jobs;
mod scenarios;
mod threads;
mod world;
