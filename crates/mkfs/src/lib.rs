//! Making an ext2, ext3 or ext4 filesystem: choose, plan, write.
//!
//! [`plan`] is pure and shows what would be; [`write`](fn@write) carries out exactly that. Knows
//! nothing of how a filesystem is used: what it makes is judged by others.
//!
//! The smallest filesystem with one file in it, in memory:
//!
//! ```
//! use ext4_blockdev::MemoryDevice;
//! use ext4_mkfs::{Options, Room, fit, write};
//! use ext4_tree::{Attributes, Contents, Kind, Node, NodeId, Tree};
//! use std::{num::NonZero, sync::Arc};
//!
//! let folder = Attributes { perms: 0o755, ..Attributes::default() };
//! let kind = Kind::Regular(Contents::bytes(*b"good morning\n"));
//! let attributes = Attributes { perms: 0o644, ..Attributes::default() };
//! let mut tree = Tree::new(folder);
//! tree.add(NodeId::ROOT, b"motd", Node { attributes, kind })?;
//!
//! let options = Options { tree: Some(Arc::new(tree)), ..Options::default() };
//! let plan = fit(&options, Room::Min)?.plan;
//! assert_eq!(plan.counts().map(|it| it.regular), Some(1));
//! let device = MemoryDevice::new(vec![0; usize::try_from(plan.len())?]);
//! let written = write(&plan, &device, NonZero::<usize>::MIN, &mut ())?;
//! println!("uuid {}", ext4_ondisk::uuid::text(&written.uuid));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Trees come from a directory, an archive or a manifest, too: [`ext4_tree`]. With
//! [`Options::size`] and [`plan`] the size is the caller's choice.

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
pub use plan::{GroupLayout, Plan, plan};
pub use populate::Counts;
pub use probe::{Found, probe};
pub use tables::GroupTables;
pub use write::{Progress, Written, write, write_superblocks};
