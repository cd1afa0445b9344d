//! The bytes of ext4 and jbd2: one file per structure, checksums, features, geometry.
//!
//! Does no IO and knows no policy. `RawX` is what the disk says, believed by nobody; `X` is
//! checked and in units.

pub mod acl;
pub mod bitmap;
pub mod checksum;
pub mod corrupt;
pub mod dir_entry;
pub mod dir_hash;
pub mod extent;
pub mod fast_commit;
pub mod features;
pub mod geometry;
pub mod group_desc;
pub mod htree;
pub mod indirect;
pub mod inline_data;
pub mod inode;
pub mod jbd2;
pub mod mmp;
pub mod name;
pub mod orphan_file;
pub mod quota;
pub mod superblock;
pub mod time;
pub mod uuid;
pub mod xattr;

pub use corrupt::Corrupt;
