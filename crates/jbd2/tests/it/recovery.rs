//! Recovery of logs made here block by block, and of logs that the kernel and debugfs left.

#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    reason = "the numbers in these tests are small"
)]

mod by_kernel;
mod corpus;
mod crashes;
mod damage;
mod fast_commits;
mod forge;
mod image;
mod interrupted;
mod mutations;
mod replayed;
mod size;
