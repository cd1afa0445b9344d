//! Recovery of logs made here block by block, and of logs that the kernel and debugfs left.

mod corpus;
mod damage;
mod fast_commits;
mod forge;
mod interrupted;
mod mutations;
mod replayed;
mod size;
