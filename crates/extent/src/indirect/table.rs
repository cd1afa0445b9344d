//! A block of pointers, or the 15 of the inode.

use crate::{Context, NodeRead, Root};
use ext4_ondisk::{Corrupt, indirect};
use ext4_units::BlockNr;

/// Pointers, each 0 or within the filesystem (`ext4_check_indirect_blockref`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Table(Vec<u32>);

impl Table {
    /// The pointers of the inode.
    pub(crate) fn of_root(ctx: &Context, root: &Root) -> Result<Self, Corrupt> {
        let place = || format!("block map (inode {})", ctx.ino);
        Self::decode(ctx, root, indirect::ROOT_POINTERS, place)
    }

    /// The pointers of a block, `levels` blocks of pointers below which lies data.
    pub(crate) fn read<S: NodeRead + ?Sized>(
        ctx: &Context,
        store: &S,
        blk: BlockNr,
        levels: u32,
    ) -> Result<Self, S::Error> {
        let place = || {
            format!("indirect block {blk} (inode {}, level {})", ctx.ino, levels.saturating_add(1))
        };
        if !ctx.is_legal_block(blk) {
            let fault =
                format!("a system block or outside {}, expected a file's block", ctx.blocks);
            return Err(Corrupt::new(place(), fault).into());
        }
        let n = indirect::per_block(ctx.block_size);
        Ok(Self::decode(ctx, &store.read(blk)?, n, place)?)
    }

    fn decode(
        ctx: &Context,
        bytes: &[u8],
        n: u32,
        place: impl Fn() -> String,
    ) -> Result<Self, Corrupt> {
        let (words, _) = bytes.as_chunks::<4>();
        let pointers: Vec<u32> =
            words.iter().take(n as usize).map(|it| u32::from_le_bytes(*it)).collect();
        if pointers.len() != n as usize {
            return Err(Corrupt::new(
                place(),
                format!("{} pointers, expected {n}", pointers.len()),
            ));
        }
        for (slot, pointer) in pointers.iter().enumerate() {
            if *pointer != 0 && !ctx.blocks.contains(BlockNr(u64::from(*pointer))) {
                let fault = format!("pointer {slot} is {pointer}, expected within {}", ctx.blocks);
                return Err(Corrupt::new(place(), fault));
            }
        }
        Ok(Self(pointers))
    }

    /// The block a slot points to; `None` for a hole.
    pub(crate) fn get(&self, slot: u32) -> Option<BlockNr> {
        match self.0.get(slot as usize) {
            None | Some(0) => None,
            Some(pointer) => Some(BlockNr(u64::from(*pointer))),
        }
    }

    /// A table without pointers.
    pub(crate) fn holes_only(n: u32) -> Self {
        Self(vec![0; n as usize])
    }

    /// Whether no slot points anywhere.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.iter().all(|it| *it == 0)
    }

    /// Sets a slot; one that does not exist is left alone.
    pub(crate) fn set(&mut self, slot: u32, pointer: u32) {
        if let Some(it) = self.0.get_mut(slot as usize) {
            *it = pointer;
        }
    }

    /// The table's bytes.
    pub(crate) fn encode(&self) -> Vec<u8> {
        self.0.iter().flat_map(|it| it.to_le_bytes()).collect()
    }

    /// How many slots from `slot` on, below `end`, continue it: holes, or one block after the other.
    pub(crate) fn run(&self, slot: u32, end: u32) -> u32 {
        let first = self.get(slot);
        (slot..end)
            .zip(0..)
            .take_while(|(slot, n)| self.get(*slot) == first.and_then(|it| it.checked_add(*n)))
            .fold(0, |n, _| n + 1)
    }

    /// How many slots from `slot` on, below `end`, are holes.
    pub(crate) fn holes(&self, slot: u32, end: u32) -> u32 {
        (slot..end).take_while(|slot| self.get(*slot).is_none()).fold(0, |n, _| n + 1)
    }
}
