//! `i_flags`.

use bitflags::bitflags;

bitflags! {
    /// `i_flags`, unknown bits kept.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct InodeFlags: u32 {
        /// Secure deletion (not implemented).
        const SECRM = 0x1;
        /// Undelete (not implemented).
        const UNRM = 0x2;
        /// Compressed (not implemented).
        const COMPR = 0x4;
        /// Synchronous updates.
        const SYNC = 0x8;
        /// May not change.
        const IMMUTABLE = 0x10;
        /// May only grow.
        const APPEND = 0x20;
        /// Not to be dumped.
        const NODUMP = 0x40;
        /// Access time is not kept.
        const NOATIME = 0x80;
        /// Compressed file is dirty.
        const DIRTY = 0x100;
        /// Has compressed clusters.
        const COMPRBLK = 0x200;
        /// Not to be compressed.
        const NOCOMPR = 0x400;
        /// Encrypted.
        const ENCRYPT = 0x800;
        /// The directory is a hash tree.
        const INDEX = 0x1000;
        /// AFS directory.
        const IMAGIC = 0x2000;
        /// Data goes through the journal.
        const JOURNAL_DATA = 0x4000;
        /// Tails are not merged.
        const NOTAIL = 0x8000;
        /// Directory changes are synchronous.
        const DIRSYNC = 0x1_0000;
        /// Top of a directory hierarchy, for Orlov's allocator.
        const TOPDIR = 0x2_0000;
        /// `i_blocks` counts filesystem blocks.
        const HUGE_FILE = 0x4_0000;
        /// Mapped by extents.
        const EXTENTS = 0x8_0000;
        /// Under fs-verity.
        const VERITY = 0x10_0000;
        /// Holds the value of an extended attribute.
        const EA_INODE = 0x20_0000;
        /// Blocks are allocated beyond the size (no longer set).
        const EOFBLOCKS = 0x40_0000;
        /// DAX.
        const DAX = 0x200_0000;
        /// Contents live in the inode.
        const INLINE_DATA = 0x1000_0000;
        /// Files created below get this directory's project.
        const PROJINHERIT = 0x2000_0000;
        /// The directory ignores case.
        const CASEFOLD = 0x4000_0000;
        /// Reserved for the library of e2fsprogs.
        const RESERVED = 0x8000_0000;
        const _ = !0;
    }
}

impl InodeFlags {
    /// What `FS_IOC_GETFLAGS` shows (`EXT4_FL_USER_VISIBLE`).
    pub const USER_VISIBLE: Self = Self::from_bits_retain(0x725B_DFFF);
}
