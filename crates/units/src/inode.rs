//! Inode numbers.

use std::{fmt, num::NonZeroU32};

/// An inode number, from 1. Zero, which on disk means "none", is not one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InodeNr(NonZeroU32);

impl InodeNr {
    /// The list of blocks that cannot be used (`EXT4_BAD_INO`).
    pub const BAD_BLOCKS: Self = Self(NonZeroU32::new(1).expect("1 is not zero"));
    /// The root directory, inode 2.
    pub const ROOT: Self = Self(NonZeroU32::new(2).expect("2 is not zero"));
    /// Quota by user (`EXT4_USR_QUOTA_INO`).
    pub const USER_QUOTA: Self = Self(NonZeroU32::new(3).expect("3 is not zero"));
    /// Quota by group (`EXT4_GRP_QUOTA_INO`).
    pub const GROUP_QUOTA: Self = Self(NonZeroU32::new(4).expect("4 is not zero"));
    /// The boot loader (`EXT4_BOOT_LOADER_INO`).
    pub const BOOT_LOADER: Self = Self(NonZeroU32::new(5).expect("5 is not zero"));
    /// The blocks reserved for more group descriptors (`EXT4_RESIZE_INO`).
    pub const RESIZE: Self = Self(NonZeroU32::new(7).expect("7 is not zero"));
    /// The usual journal inode, 8.
    pub const JOURNAL: Self = Self(NonZeroU32::new(8).expect("8 is not zero"));

    /// The inode numbered `nr`; `None` for 0.
    pub const fn new(nr: u32) -> Option<Self> {
        match NonZeroU32::new(nr) {
            Some(nr) => Some(Self(nr)),
            None => None,
        }
    }

    /// The plain number, as the disk has it.
    pub const fn get(self) -> u32 {
        self.0.get()
    }
}

impl fmt::Display for InodeNr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
