//! Nodes that were checked and are the same still: not checked again at each lookup.

use crate::{Context, validate::Expected};
use ext4_ondisk::checksum::Csum;
use ext4_units::{BlockNr, BlockSize, InodeNr};
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// Memory held, in bytes of nodes.
const MAX_BYTES: usize = 8 << 20;

/// Remembers which contents of which blocks passed the check, for which inode and parent.
///
/// It holds on to the very bytes it saw, which therefore nobody can change: a node is known only as
/// long as reading gives that same memory. For all inodes of one filesystem.
#[derive(Debug, Default)]
pub struct Checked(Mutex<HashMap<BlockNr, Known>>);

#[derive(Debug)]
struct Known {
    bytes: Arc<[u8]>,
    claim: Claim,
}

/// What a node was checked against; blocks and zones of a filesystem do not change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Claim {
    ino: InodeNr,
    csum: Option<Csum>,
    expected: Expected,
}

impl Checked {
    fn known(&self) -> MutexGuard<'_, HashMap<BlockNr, Known>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether these bytes, the contents of `blk`, have passed the check in this place.
    pub(crate) fn knows(
        &self,
        ctx: &Context,
        blk: BlockNr,
        bytes: &Arc<[u8]>,
        expected: Expected,
    ) -> bool {
        let claim = Claim { ino: ctx.ino, csum: ctx.csum, expected };
        self.known().get(&blk).is_some_and(|it| Arc::ptr_eq(&it.bytes, bytes) && it.claim == claim)
    }

    /// Remembers that they have.
    pub(crate) fn learn(&self, ctx: &Context, blk: BlockNr, bytes: Arc<[u8]>, expected: Expected) {
        let claim = Claim { ino: ctx.ino, csum: ctx.csum, expected };
        let mut known = self.known();
        if known.len() >= max_nodes(ctx.block_size) {
            known.clear();
        }
        known.insert(blk, Known { bytes, claim });
    }
}

fn max_nodes(size: BlockSize) -> usize {
    MAX_BYTES / size.len()
}
