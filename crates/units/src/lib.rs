//! The numbers of ext4, each wearing its kind: block, logical block, inode, group, transaction.
//!
//! Knows nothing of bytes, devices or policy. Arithmetic exists only where it means something.

mod block;
mod group;
mod inode;
mod logical;
mod seq;
mod size;

pub use block::{BlockNr, BlockRange};
pub use group::GroupNr;
pub use inode::InodeNr;
pub use logical::LogicalBlock;
pub use seq::Tid;
pub use size::BlockSize;
