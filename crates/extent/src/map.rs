//! Both kinds of map behind one face.

use crate::{
    Context, Mapping, Mappings, NodeRead, NodeStore, Removed, Root, State, Summary, indirect,
};
use ext4_ondisk::{
    Corrupt,
    extent::{Extent, ROOT_LEN, empty_root},
    inode::InodeFlags,
};
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
    /// That of an inode with these flags.
    pub const fn of(flags: InodeFlags) -> Self {
        if flags.contains(InodeFlags::EXTENTS) { Self::Extents } else { Self::Indirect }
    }

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

    /// The root of a file without blocks.
    pub fn empty_root(self) -> Root {
        match self {
            Self::Extents => empty_root(),
            Self::Indirect => [0; ROOT_LEN],
        }
    }

    /// Maps a hole to `new`; see [`insert`](crate::insert()) and [`indirect::insert`]. The older map has no
    /// unwritten blocks: it refuses them.
    pub fn insert<S: NodeStore + ?Sized>(
        self,
        ctx: &Context,
        root: &mut Root,
        store: &mut S,
        new: Extent,
    ) -> Result<(), S::Error> {
        match self {
            Self::Extents => crate::insert(ctx, root, store, new),
            Self::Indirect if new.unwritten => {
                let place = format!("block map (inode {})", ctx.ino);
                let fault = format!("unwritten blocks {} have no place in it", new.blocks());
                Err(Corrupt::new(place, fault).into())
            }
            Self::Indirect => indirect::insert(ctx, root, store, new.lblk, new.blocks()),
        }
    }

    /// Marks `len` blocks from `from` on as written, as far as their run goes; gives how many that are; see
    /// [`convert`](crate::convert()). In the older map all blocks are.
    pub fn convert<S: NodeStore + ?Sized>(
        self,
        ctx: &Context,
        root: &mut Root,
        store: &mut S,
        from: LogicalBlock,
        len: u32,
    ) -> Result<u32, S::Error> {
        match self {
            Self::Extents => crate::convert(ctx, root, store, from, len),
            Self::Indirect => already_written(ctx, root, store, from, len),
        }
    }

    /// As [`Format::convert`], for blocks behind the end of the file; see
    /// [`initialize`](crate::initialize()).
    pub fn initialize<S: NodeStore + ?Sized>(
        self,
        ctx: &Context,
        root: &mut Root,
        store: &mut S,
        from: LogicalBlock,
        len: u32,
    ) -> Result<u32, S::Error> {
        match self {
            Self::Extents => crate::initialize(ctx, root, store, from, len),
            Self::Indirect => already_written(ctx, root, store, from, len),
        }
    }

    /// One step of unmapping the logical blocks from `from` up to, not including, `to`; see
    /// [`remove`](crate::remove()) and [`indirect::remove`].
    pub fn remove<S: NodeStore + ?Sized>(
        self,
        ctx: &Context,
        root: &mut Root,
        store: &mut S,
        from: LogicalBlock,
        to: LogicalBlock,
        budget: usize,
    ) -> Result<Removed, S::Error> {
        match self {
            Self::Extents => crate::remove(ctx, root, store, from, to, budget),
            Self::Indirect => indirect::remove(ctx, root, store, from, to, budget),
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

/// What converting comes to in the older map: no hole, and nothing to do.
fn already_written<S: NodeRead + ?Sized>(
    ctx: &Context,
    root: &Root,
    store: &S,
    from: LogicalBlock,
    len: u32,
) -> Result<u32, S::Error> {
    let found = indirect::lookup(ctx, root, store, from)?;
    if found.state == State::Hole {
        let place = format!("block map (inode {})", ctx.ino);
        let fault = format!("hole at logical block {from}, expected a block");
        return Err(Corrupt::new(place, fault).into());
    }
    Ok(found.len.min(len))
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
