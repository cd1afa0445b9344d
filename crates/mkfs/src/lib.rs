//! Making an ext2, ext3 or ext4 filesystem: choose, plan, write.
//!
//! [`plan`] is pure and shows what would be; [`write`](fn@write) carries out exactly that. Knows
//! nothing of how a filesystem is used: what it makes is judged by others.

mod builder;
mod copy;
mod error;
pub mod features;
mod fit;
mod groups;
mod journal;
pub mod journal_device;
mod mapping;
pub mod options;
mod plan;
mod populate;
pub mod presets;
mod probe;
mod quota;
mod runs;
mod seal;
mod settings;
mod shape;
mod special;
mod tables;
pub mod usage;
mod write;

pub use builder::SpecialFile;
pub use error::{Error, Result};
pub use fit::{Fitted, Room, fit};
pub use groups::GroupState;
pub use options::Options;
pub use plan::{GroupLayout, Plan, plan, uuid};
pub use populate::Counts;
pub use probe::{Found, probe};
pub use tables::GroupTables;
pub use write::{Progress, Written, write, write_superblocks};
