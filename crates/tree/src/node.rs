//! One file of the tree: what it is and whom it belongs to.

use crate::{Contents, NodeId};
use std::collections::BTreeMap;

/// A point in time since 1970, as `stat` gives it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Time {
    /// Whole seconds; negative before 1970.
    pub sec: i64,
    /// Nanoseconds on top, below 1,000,000,000.
    pub nsec: u32,
}

/// Extended attributes by full name (`user.a`, `security.selinux`,
/// `system.posix_acl_access`), with values as the kernel's `getxattr` gives them.
pub type Xattrs = BTreeMap<Box<[u8]>, Box<[u8]>>;

/// What every kind of file has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Attributes {
    /// Permission bits with setuid, setgid and sticky: `0o7777` at most.
    pub perms: u16,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// When the contents last changed.
    pub mtime: Time,
    /// Extended attributes, ACLs among them.
    pub xattrs: Xattrs,
}

/// A file of any kind.
#[derive(Clone, Debug)]
pub struct Node {
    /// Owner, permissions, time, attributes.
    pub attributes: Attributes,
    /// What it is.
    pub kind: Kind,
}

/// What a file is.
#[derive(Clone, Debug)]
pub enum Kind {
    /// Names, in the order of their bytes. `.` and `..` are not among them.
    Directory(BTreeMap<Box<[u8]>, NodeId>),
    /// A file with contents.
    Regular(Contents),
    /// A symbolic link with its target.
    Symlink(Box<[u8]>),
    /// A named pipe.
    Fifo,
    /// A socket.
    Socket,
    /// A character device.
    CharDevice {
        /// Major number.
        major: u32,
        /// Minor number.
        minor: u32,
    },
    /// A block device.
    BlockDevice {
        /// Major number.
        major: u32,
        /// Minor number.
        minor: u32,
    },
}

impl Kind {
    /// What it is called in a message.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Directory(_) => "directory",
            Self::Regular(_) => "regular file",
            Self::Symlink(_) => "symbolic link",
            Self::Fifo => "fifo",
            Self::Socket => "socket",
            Self::CharDevice { .. } => "character device",
            Self::BlockDevice { .. } => "block device",
        }
    }
}
