//! Filesystems with files from the start, planned by the library and judged by e2fsck.

#![expect(clippy::unwrap_used, reason = "in a test's helper too a panic is the answer")]

mod fit;
mod identity;
mod interrupted;
mod kernel;
mod populate;
mod trees;
