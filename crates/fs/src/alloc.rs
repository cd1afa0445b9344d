//! Which blocks and inodes are in use: bitmaps, group descriptors, counts, and who gets what next.
//!
//! Every change goes through a handle, and keeps bitmap, its checksum, the group's counts and the
//! superblock's counts in step, so that each committed state is exact.

mod block;
mod group;
mod inode;
mod search;

pub(crate) use block::{
    Use, allocate_clusters, claim_clusters, data_reserve, free_clusters, goal_for_inode,
};
pub(crate) use group::{GroupHints, block_bitmap, inode_bitmap};
pub(crate) use inode::{allocate_inode, claim_inode, free_inode, is_inode_in_use};
