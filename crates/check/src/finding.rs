//! One inconsistency that was met: which, where, what was found there and what should be.

use crate::Problem;
use ext4_units::{BlockNr, GroupNr, InodeNr};
use std::fmt;

/// An inconsistency that was met.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Which kind.
    pub problem: &'static Problem,
    /// Where.
    pub place: Place,
    /// The path of the inode it is about, where it has one.
    pub path: Option<String>,
    /// What is there; empty when the problem's text says all.
    pub found: String,
    /// What should be there; empty when the problem's text says all.
    pub expected: String,
    /// Whether it was mended, in the overlay.
    pub is_fixed: bool,
    /// The round that met it, from 1: what mending others laid open comes in a later one.
    pub round: u32,
}

/// Where something is: as much of an address as is known.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Place {
    /// A structure that has no number: `superblock`, `journal`.
    pub what: Option<&'static str>,
    /// A group.
    pub group: Option<GroupNr>,
    /// The inode it is in, or is about.
    pub inode: Option<InodeNr>,
    /// A block of the device.
    pub block: Option<BlockNr>,
    /// A block of the inode, `u64` because it may be beyond what an inode can have.
    pub lblk: Option<u64>,
    /// A byte in the block.
    pub offset: Option<u32>,
    /// A name in a directory: the directory is `inode`.
    pub name: Option<Box<[u8]>>,
    /// The inode that the name is for.
    pub target: Option<u32>,
}

impl Place {
    /// A structure that has no number.
    pub fn what(what: &'static str) -> Self {
        Self { what: Some(what), ..Self::default() }
    }

    /// A group.
    pub fn group(group: GroupNr) -> Self {
        Self { group: Some(group), ..Self::default() }
    }

    /// An inode.
    pub fn inode(inode: InodeNr) -> Self {
        Self { inode: Some(inode), ..Self::default() }
    }

    /// A block of the device.
    pub fn block(block: BlockNr) -> Self {
        Self { block: Some(block), ..Self::default() }
    }

    /// The same place, at this block of the device.
    #[must_use]
    pub fn at_block(self, block: BlockNr) -> Self {
        Self { block: Some(block), ..self }
    }

    /// The same place, at this block of the inode.
    #[must_use]
    pub fn at_lblk(self, lblk: impl Into<u64>) -> Self {
        Self { lblk: Some(lblk.into()), ..self }
    }

    /// The same place, at this byte of the block.
    #[must_use]
    pub fn at_offset(self, offset: usize) -> Self {
        Self { offset: u32::try_from(offset).ok(), ..self }
    }

    /// The same place, at this name in the directory, which is for the inode `target`.
    #[must_use]
    pub fn at_name(self, name: &[u8], target: u32) -> Self {
        Self { name: Some(name.into()), target: Some(target), ..self }
    }
}

/// `inode 12, block 3 (8193), byte 40, name "a"`, in what can be pasted into `ext4-debug`.
impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut comma = "";
        let mut part = |f: &mut fmt::Formatter<'_>, text: fmt::Arguments<'_>| {
            write!(f, "{comma}{text}")?;
            comma = ", ";
            Ok(())
        };
        if let Some(what) = self.what {
            part(f, format_args!("{what}"))?;
        }
        if let Some(group) = self.group {
            part(f, format_args!("group {group}"))?;
        }
        if let Some(inode) = self.inode {
            part(f, format_args!("inode {inode}"))?;
        }
        match (self.lblk, self.block) {
            (Some(lblk), Some(block)) => part(f, format_args!("block {lblk} (at {block})"))?,
            (Some(lblk), None) => part(f, format_args!("block {lblk}"))?,
            (None, Some(block)) => part(f, format_args!("block at {block}"))?,
            (None, None) => {}
        }
        if let Some(offset) = self.offset {
            part(f, format_args!("byte {offset}"))?;
        }
        if let Some(name) = &self.name {
            part(f, format_args!("name \"{}\"", name.escape_ascii()))?;
        }
        if let Some(target) = self.target {
            part(f, format_args!("for inode {target}"))?;
        }
        Ok(())
    }
}

/// One line: where, what is wrong, found, expected.
impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let where_ = self.place.to_string();
        if !where_.is_empty() {
            write!(f, "{where_}: ")?;
        }
        write!(f, "{}", self.problem.text)?;
        if !self.found.is_empty() {
            write!(f, ": found {}", self.found)?;
        }
        if !self.expected.is_empty() {
            write!(f, ", expected {}", self.expected)?;
        }
        Ok(())
    }
}
