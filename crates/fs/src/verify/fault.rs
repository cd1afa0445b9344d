//! What can be wrong between an inode and its mapping.

use ext4_ondisk::Corrupt;
use ext4_units::{BlockSize, InodeNr};
use std::fmt;

/// Something wrong with one inode.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The inode.
    pub ino: InodeNr,
    /// What is wrong with it.
    pub fault: Fault,
}

/// What is wrong with an inode, found and expected.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// The inode itself is damaged.
    Inode(Corrupt),
    /// Its mapping is damaged.
    Mapping(Corrupt),
    /// In use, but no name and no orphan record lead to it: its space is lost.
    NoLinks,
    /// Written blocks behind the last one that the size reaches into, and no orphan record: an
    /// extension would show what they hold.
    BeyondEnd {
        /// The first of them, a logical block.
        first: u64,
        /// How many they are.
        blocks: u64,
        /// `i_size` in bytes.
        size: u64,
    },
    /// `i_size` beyond what the format of its mapping can hold, in bytes.
    TooBig {
        /// `i_size`.
        size: u64,
        /// The most there can be.
        max: u64,
    },
    /// A hole, or blocks never written, where the size says there must be contents: in a directory
    /// or the target of a symlink. In files holes are legal.
    Hole {
        /// The first block, logical.
        first: u64,
        /// How many.
        blocks: u64,
    },
    /// The size of a directory is not a whole number of blocks.
    DirectorySize {
        /// `i_size` in bytes.
        size: u64,
        /// A block.
        block_size: BlockSize,
    },
    /// `i_blocks` does not count what is mapped, in units of 512 bytes.
    Sectors {
        /// What the inode says.
        found: u64,
        /// Data, map and attribute block together.
        expected: u64,
    },
}

impl Fault {
    /// A short name that does not change, for programs.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Inode(_) => "damaged-inode",
            Self::Mapping(_) => "damaged-mapping",
            Self::NoLinks => "no-links",
            Self::BeyondEnd { .. } => "blocks-beyond-end",
            Self::TooBig { .. } => "size-too-big",
            Self::Hole { .. } => "hole",
            Self::DirectorySize { .. } => "directory-size",
            Self::Sectors { .. } => "wrong-i-blocks",
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Inode(fault) | Self::Mapping(fault) => fault.fmt(f),
            Self::NoLinks => f.write_str("in use, but without links or an orphan record"),
            Self::BeyondEnd { first, blocks, size } => {
                let plural = if *blocks == 1 { "" } else { "s" };
                write!(
                    f,
                    "{blocks} written block{plural} from logical block {first} on, expected none \
                     behind i_size {size}"
                )
            }
            Self::TooBig { size, max } => write!(f, "i_size {size}, expected at most {max}"),
            Self::Hole { first, blocks } => {
                let plural = if *blocks == 1 { "" } else { "s" };
                write!(
                    f,
                    "hole of {blocks} block{plural} at logical block {first}, expected contents"
                )
            }
            Self::DirectorySize { size, block_size } => {
                write!(f, "i_size {size} of a directory, expected a multiple of {block_size}")
            }
            Self::Sectors { found, expected } => write!(f, "i_blocks {found}, expected {expected}"),
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.fault {
            // These say where they are.
            fault @ (Fault::Inode(_) | Fault::Mapping(_)) => fault.fmt(f),
            fault => write!(f, "inode {}: {fault}", self.ino),
        }
    }
}
