//! What the tests stand on: images from recipes, judges other than our own code, and crashes.
//!
//! Only ever a dev-dependency. Nothing in here knows the product's own file-system code: what it
//! needs of it (recovery, a check, an operation) comes in as a closure, so the answers stay
//! independent.

pub mod census;
pub mod corpus;
pub mod corrupt;
pub mod crash;
pub mod explore;
pub mod fault;
pub mod image;
pub mod judge;
pub mod loop_device;
pub mod manifest;
pub mod model;
pub mod mount;
pub mod oddities;
pub mod oracle;
pub mod process;
pub mod program;
pub mod promise;
pub mod recovery;
pub mod rng;
pub mod trace;
pub mod view;

/// An offset or length of something that is in memory.
pub(crate) fn in_memory(n: u64) -> usize {
    usize::try_from(n).expect("what is in memory has an address")
}
