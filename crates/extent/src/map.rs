//! Both kinds of map behind one face.

use crate::{Context, Mapping, Mappings, NodeRead, Root, Summary, indirect};
use ext4_units::LogicalBlock;

/// How an inode maps its blocks: by `EXT4_EXTENTS_FL`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// A tree of extents.
    Extents,
    /// Direct, indirect, double and triple blocks of pointers.
    Indirect,
}

impl Format {
    /// What `lblk` is mapped to, and how far that goes at least; see [`lookup`](crate::lookup()) and
    /// [`indirect::lookup`].
    pub fn lookup<S: NodeRead + ?Sized>(
        self,
        ctx: &Context,
        root: &Root,
        store: &S,
        lblk: LogicalBlock,
    ) -> Result<Mapping, S::Error> {
        match self {
            Self::Extents => crate::lookup(ctx, root, store, lblk),
            Self::Indirect => indirect::lookup(ctx, root, store, lblk),
        }
    }

    /// The mappings and holes from `from` up to, not including, `to`.
    pub fn iter<'a, S: NodeRead + ?Sized>(
        self,
        ctx: &'a Context,
        root: &'a Root,
        store: &'a S,
        from: LogicalBlock,
        to: LogicalBlock,
    ) -> Iter<'a, S> {
        match self {
            Self::Extents => Iter::Extents(Mappings::new(ctx, root, store, from, to)),
            Self::Indirect => Iter::Indirect(indirect::Mappings::new(ctx, root, store, from, to)),
        }
    }

    /// Reads and checks the whole map, and counts its blocks.
    pub fn validate<S: NodeRead + ?Sized>(
        self,
        ctx: &Context,
        root: &Root,
        store: &S,
    ) -> Result<Summary, S::Error> {
        match self {
            Self::Extents => crate::validate(ctx, root, store),
            Self::Indirect => indirect::validate(ctx, root, store),
        }
    }
}

/// The mappings of a range, from [`Format::iter`].
#[derive(Debug)]
pub enum Iter<'a, S: ?Sized> {
    /// Of a tree of extents.
    Extents(Mappings<'a, S>),
    /// Of a map of pointers.
    Indirect(indirect::Mappings<'a, S>),
}

impl<S: NodeRead + ?Sized> Iterator for Iter<'_, S> {
    type Item = Result<Mapping, S::Error>;

    fn next(&mut self) -> Option<Self::Item> {
        match self {
            Self::Extents(it) => it.next(),
            Self::Indirect(it) => it.next(),
        }
    }
}
