//! The filesystem: inodes, maps, directories, attributes, allocation, orphans, recovery.
//!
//! Every metadata write has a [`Handle`]; no data is written while one is open. Files, the clock
//! and the terminal are the caller's.

mod alloc;
mod dir;
mod error;
mod filesystem;
mod group;
mod handle;
mod inode;
mod map;
mod orphan;
mod path;
mod read;
mod walk;
mod xattr;
mod zones;

pub use error::{Error, Result};
pub use ext4_extent::{Mapping, State as MapState};
pub use filesystem::Filesystem;
pub use handle::Handle;
pub use inode::Inode;
pub use path::{Last, Parent};
pub use walk::{Visit, Walk, WalkError};
pub use xattr::Xattr;
