//! Maps of direct and indirect blocks, read without any belief.
//!
//! `process_block` of e2fsck. What bounds the walk: three levels, and no block is a block of pointers of
//! the same map twice.

use super::{
    inode::{Check, Verdict},
    map::Map,
};
use crate::{
    Place, Problem, Result,
    problem::pass1::{
        DIRECTORY_TOO_BIG, FILE_TOO_BIG, ILLEGAL_BLOCK, MAP_ON_METADATA, SYMLINK_TOO_BIG,
        TOO_MANY_ILLEGAL,
    },
};
use ext4_ondisk::{
    features::{Incompat, RoCompat},
    indirect,
    inode::FileType,
};
use ext4_units::{BlockNr, InodeNr};
use std::collections::HashSet;

/// So many numbers that are none make the inode not worth keeping.
const TOO_MANY: u32 = 12;

/// A walk over a map.
#[derive(Debug, Default)]
struct Walk {
    seen: HashSet<u32>,
    illegal: u32,
    /// The inode is to be cleared.
    is_lost: bool,
}

/// Where a pointer is.
#[derive(Clone, Copy, Debug)]
struct Slot {
    /// Blocks of pointers between it and the contents.
    levels: u32,
    /// The first logical block below it.
    lblk: u64,
    /// The block it is in may be written to.
    may_mend: bool,
}

impl Check<'_> {
    /// Walks the map.
    pub(super) fn block_map(&mut self, map: &mut Map) -> Result<Verdict> {
        let mut walk = Walk::default();
        let mut root = self.raw.i_block;
        let size = self.world.geo.block_size;
        let mut is_changed = false;
        for (nr, pointer) in (0..).zip(root.chunks_exact_mut(4)) {
            let slot = Slot {
                levels: indirect::root_slot_levels(nr),
                lblk: indirect::root_slot_start(nr, size),
                may_mend: true,
            };
            if is_zero(pointer) {
                continue;
            }
            if self.pointer(map, &mut walk, word(pointer), slot)? {
                pointer.fill(0);
                is_changed = true;
            }
            if walk.is_lost {
                return Ok(Verdict::Cleared);
            }
        }
        if is_changed {
            self.raw.i_block = root;
            self.is_dirty = true;
        }
        // There is nothing unwritten without extents.
        map.last_written = map.last;
        Ok(Verdict::Kept)
    }

    /// Judges a pointer and walks over what is below. True when it is to be zero.
    fn pointer(&mut self, map: &mut Map, walk: &mut Walk, nr: u32, slot: Slot) -> Result<bool> {
        let blk = BlockNr(nr.into());
        let is_resize = self.ino == InodeNr::RESIZE;
        let place = Place::inode(self.ino).at_lblk(slot.lblk).at_block(blk);
        let mut problem = self.pointer_fault(map, blk, slot);
        if problem.is_none() && slot.levels > 0 && !walk.seen.insert(nr) {
            problem = Some(&ILLEGAL_BLOCK);
        }
        if problem.is_none() && slot.levels > 0 && !is_resize {
            self.spend(map, self.world.cluster(nr.into()), 1)?;
        }
        let is_on_metadata = slot.levels > 0 && !is_resize && self.world.metadata.contains(blk.0);
        if is_on_metadata {
            self.gate.doubt()?;
            self.fix_at(&MAP_ON_METADATA, place.clone(), "", "")?;
        }
        if let Some(problem) = problem {
            self.gate.doubt()?;
            if !slot.may_mend {
                return Ok(false);
            }
            walk.illegal += 1;
            if walk.illegal == TOO_MANY && self.fix(&TOO_MANY_ILLEGAL, walk.illegal, "")? {
                walk.is_lost = true;
                return Ok(false);
            }
            return self.fix_at(problem, place, "", "");
        }
        if is_resize {
            // All but its double indirect block is the filesystem's own.
            if slot.levels == 2 {
                self.claim(self.world.cluster(blk.0), 1);
            }
            map.clusters += 1;
            if slot.levels == 0 {
                map.last = Some(slot.lblk);
            }
            map.previous = blk.0;
        } else if slot.levels > 0 {
            self.claim_node(map, blk);
            map.previous = blk.0;
            if self.may_convert() {
                map.blocks.nodes.push(blk);
            }
        } else {
            self.claim_run(map, slot.lblk, blk.0, 1, true)?;
            if self.may_convert() {
                map.blocks.add(slot.lblk, blk);
            }
        }
        if slot.levels > 0 {
            self.pointers(map, walk, blk, slot, !is_on_metadata)?;
        }
        Ok(false)
    }

    /// Walks over a block of pointers.
    fn pointers(
        &mut self,
        map: &mut Map,
        walk: &mut Walk,
        blk: BlockNr,
        slot: Slot,
        may_mend: bool,
    ) -> Result<()> {
        let mut block = self.world.image.read(blk)?;
        let levels = slot.levels - 1;
        let span = indirect::span(self.world.geo.block_size, levels);
        let mut is_changed = false;
        for (nr, pointer) in (0..).zip(block.chunks_exact_mut(4)) {
            if is_zero(pointer) {
                continue;
            }
            let below = Slot { levels, lblk: slot.lblk + nr * span, may_mend };
            if self.pointer(map, walk, word(pointer), below)? {
                pointer.fill(0);
                is_changed = true;
            }
            if walk.is_lost {
                return Ok(());
            }
        }
        if is_changed {
            self.world.image.write(blk, &block)?;
        }
        Ok(())
    }

    /// Whether the map may have to become one of extents.
    fn may_convert(&self) -> bool {
        self.features.has_ro_compat(RoCompat::BIGALLOC) && self.gate.may_mend()
    }

    /// What is wrong with a number.
    fn pointer_fault(&self, map: &Map, blk: BlockNr, slot: Slot) -> Option<&'static Problem> {
        let bits = self.world.geo.block_size.bits();
        let most = 1u64 << (31 - (bits - 10));
        if !self.world.is_block(blk) {
            return Some(&ILLEGAL_BLOCK);
        }
        match self.kind() {
            FileType::Directory => {
                let is_small = !self.features.has_incompat(Incompat::LARGEDIR)
                    && self.raw.i_size_high.get() == 0;
                let is_beyond = slot.levels == 0 && slot.lblk > 1 << (31 - bits);
                let is_too_big = is_small && is_beyond || map.clusters + 1 >= most;
                is_too_big.then_some(&DIRECTORY_TOO_BIG)
            }
            FileType::Regular => (map.clusters + 1 >= most).then_some(&FILE_TOO_BIG),
            _ => (slot.levels == 0 && slot.lblk > 0).then_some(&SYMLINK_TOO_BIG),
        }
    }
}

fn is_zero(pointer: &[u8]) -> bool {
    pointer == [0; 4]
}

fn word(pointer: &[u8]) -> u32 {
    pointer.try_into().map_or(0, u32::from_le_bytes)
}
