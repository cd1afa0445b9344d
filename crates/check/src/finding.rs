//! One inconsistency that was met: which, where, what was found there and what should be.

use crate::Problem;
use ext4_ondisk::name::Name;
use ext4_units::{BlockNr, GroupNr, InodeNr};
use std::fmt;

/// An inconsistency that was met.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Which kind.
    pub problem: &'static Problem,
    /// Where.
    pub place: Place,
    /// The path of the inode it is in, where it has one: as it was before anything was mended, so that
    /// it is known also of what a repair takes away. A name in a directory has the directory's.
    ///
    /// Known when a check has come to its end; when a question is asked if [`wants_path`] says so, but
    /// for findings of pass 0, which come before the way to the inodes is known.
    ///
    /// [`wants_path`]: crate::Answers::wants_path
    pub path: Option<Box<[u8]>>,
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
    pub(crate) fn what(what: &'static str) -> Self {
        Self { what: Some(what), ..Self::default() }
    }

    /// A group.
    pub(crate) fn group(group: GroupNr) -> Self {
        Self { group: Some(group), ..Self::default() }
    }

    /// An inode.
    pub(crate) fn inode(inode: InodeNr) -> Self {
        Self { inode: Some(inode), ..Self::default() }
    }

    /// A block of the device.
    pub(crate) fn block(block: BlockNr) -> Self {
        Self { block: Some(block), ..Self::default() }
    }

    /// The same place, at this block of the device.
    #[must_use]
    pub(crate) fn at_block(self, block: BlockNr) -> Self {
        Self { block: Some(block), ..self }
    }

    /// The same place, at this block of the inode.
    #[must_use]
    pub(crate) fn at_lblk(self, lblk: impl Into<u64>) -> Self {
        Self { lblk: Some(lblk.into()), ..self }
    }

    /// The same place, at this byte of the block.
    #[must_use]
    pub(crate) fn at_offset(self, offset: usize) -> Self {
        Self { offset: u32::try_from(offset).ok(), ..self }
    }

    /// The same place, at this name in the directory, which is for the inode `target`.
    #[must_use]
    pub(crate) fn at_name(self, name: &[u8], target: u32) -> Self {
        Self { name: Some(name.into()), target: Some(target), ..self }
    }
}

/// `inode 12, block 3 (8193), byte 40, name "a"`, in what can be pasted into `ext4-debug`.
impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.show(f, None)
    }
}

impl Place {
    /// The parts that are known, the inode's with its path.
    fn show(&self, f: &mut fmt::Formatter<'_>, path: Option<&[u8]>) -> fmt::Result {
        let mut comma = "";
        let mut part = |text: fmt::Arguments<'_>| {
            write!(f, "{comma}{text}")?;
            comma = ", ";
            Ok(())
        };
        if let Some(what) = self.what {
            part(format_args!("{what}"))?;
        }
        if let Some(group) = self.group {
            part(format_args!("group {group}"))?;
        }
        match (self.inode, path) {
            (Some(inode), Some(path)) => part(format_args!("inode {inode} ({})", Name(path)))?,
            (Some(inode), None) => part(format_args!("inode {inode}"))?,
            (None, _) => {}
        }
        match (self.lblk, self.block) {
            (Some(lblk), Some(block)) => part(format_args!("block {lblk} (at {block})"))?,
            (Some(lblk), None) => part(format_args!("block {lblk}"))?,
            (None, Some(block)) => part(format_args!("block at {block}"))?,
            (None, None) => {}
        }
        if let Some(offset) = self.offset {
            part(format_args!("byte {offset}"))?;
        }
        if let Some(name) = &self.name {
            part(format_args!("name \"{}\"", Name(name)))?;
        }
        if let Some(target) = self.target {
            part(format_args!("for inode {target}"))?;
        }
        Ok(())
    }
}

/// One line: where, what is wrong, found, expected.
impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.place != Place::default() {
            self.place.show(f, self.path.as_deref())?;
            f.write_str(": ")?;
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
