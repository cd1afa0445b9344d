//! Where a file's blocks are: the extent tree, and the older map of indirect blocks.
//!
//! Sees blocks only through [`NodeRead`] and [`NodeStore`]; knows no inode, no journal, no bitmap. The
//! root is the inode's `i_block`, 60 bytes that the caller reads and writes.
//!
//! Each node is checked when it is read ([`validate`]). A change is planned in memory first: every
//! block the tree will need is allocated before the first one is written, so that an operation which
//! fails leaves the tree as it was.

mod checked;
mod context;
mod convert;
mod cost;
mod edit;
pub mod indirect;
mod insert;
mod iter;
mod leaf;
mod lookup;
mod map;
mod mapping;
mod merge;
mod node;
mod node_store;
mod path;
mod quick;
mod remove;
mod split;
mod validate;

pub use checked::Checked;
pub use context::Context;
pub use convert::{convert, convert_whole, initialize, mark_unwritten, to_zero};
pub use cost::Cost;
pub use insert::insert;
pub use iter::Mappings;
pub use lookup::{extent_at, goal, lookup};
pub use map::{Format, Iter};
pub use mapping::{Mapping, State};
pub use node_store::{NodeRead, NodeStore};
pub use remove::{Removed, remove};
pub use validate::{Summary, depth, validate};

/// The inode's `i_block`: the root of an extent tree, or the 15 pointers of the older map.
pub type Root = [u8; ext4_ondisk::extent::ROOT_LEN];
