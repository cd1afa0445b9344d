//! The tree of files that goes into a new filesystem: what each is, whom it belongs to, and where
//! its bytes can be read.
//!
//! Knows nothing of ext4. A tree is complete before the first byte of contents is read, so that a
//! filesystem can be planned from it; contents are read once, by whoever writes them.

pub mod acl;
mod archive;
mod contents;
mod directory;
mod error;
mod manifest;
mod name;
mod node;
mod tree;

pub use acl::Acl;
pub use archive::{ArchiveOptions, Names, from_archive, from_stream};
pub use contents::{Contents, Open, Origin};
pub use directory::{ScanOptions, Seen, from_directory};
pub use error::{Error, Result};
pub use manifest::Manifest;
pub use name::{check_name, check_path};
pub use node::{Attributes, Kind, Node, Time, Xattrs};
pub use tree::{NodeId, Tree};
