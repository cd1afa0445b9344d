//! The filesystem: inodes, maps, directories, attributes, allocation, orphans, recovery.
//!
//! Every metadata write has a [`Handle`]; data is written while one is open only where it must be
//! on the device before the handle shows it: a file's contents that move out of its inode, and
//! buffered data in ordered mode. Files, the clock and the terminal are the
//! caller's.

mod acl;
mod alloc;
mod damage;
mod decoded;
mod dir;
mod error;
mod fast_commit;
mod filesystem;
mod group;
mod handle;
mod incore;
mod inline;
mod inode;
mod log;
mod map;
mod mmp;
mod names;
mod open;
mod ops;
mod orphan;
mod pages;
mod path;
mod read;
mod recover;
mod size;
mod superblock;
mod unsynced;
mod verify;
mod walk;
mod xattr;
mod zones;

pub use error::{Error, Result};
pub use ext4_extent::{Mapping, State as MapState};
pub use ext4_jbd2::{Clock, MetaRead};
pub use filesystem::Filesystem;
pub use handle::Handle;
pub use incore::{DioGuard, InCore, InodeGuard, LockMode};
pub use inode::Inode;
pub use ops::{NewFile, Replace, Setattr, Unlinked};
pub use orphan::{Orphan, OrphanFate};
pub use pages::{Delayed, WbStep, Writeback};
pub use path::{Last, Parent};
pub use read::type_name;
pub use recover::{
    Options as RecoverOptions, Recovered, Report, Scope, Stop, recover, recover_into,
};
pub use verify::{Fault, Finding, GroupSummary};
pub use walk::{Visit, Walk, WalkError};
pub use xattr::{SetXattr, Xattr};
