//! Directories: names in blocks, linear and indexed, and inside the inode.
//!
//! Pure over blocks, which it sees only through [`DirRead`] and [`DirStore`]; knows nothing of
//! inodes, allocation or the journal. After an error of an operation that writes, the caller
//! abandons what the store was told: nothing is half done only then.

mod area;
mod block;
mod build;
mod change;
mod context;
mod entries;
mod error;
mod find;
mod index;
pub mod inline;
mod insert;
mod leaf;
mod probe;
mod store;

pub use block::{Kind as BlockKind, seal_block};
pub use build::{Built, BuiltBlock, Fill, Member, build};
pub use change::{remove, set_entry};
pub use context::Context;
pub use entries::{Entries, Entry, Place, entries, is_empty};
pub use error::Error;
pub use find::find;
pub use insert::{Outcome, insert, insert_appends, insert_blocks, insert_new};
pub use leaf::new_directory;
pub use store::{DirRead, DirStore};
