//! The bad blocks inode: blocks of the device that nobody should use (`process_bad_block`).

use super::{
    inode::{Check, Verdict},
    map::Map,
};
use crate::{
    Place, Problem, Result,
    part::Part,
    problem::pass1::{
        BAD_BLOCK_BITMAP, BAD_BLOCK_ILLEGAL, BAD_BLOCK_IS_LIST, BAD_BLOCKS_IN_BAD_BLOCK,
        BAD_BLOCKS_INODE, BAD_BLOCKS_ON_METADATA, BAD_DESCRIPTORS, BAD_DESCRIPTORS_COPY,
        BAD_INODE_BITMAP, BAD_INODE_TABLE, BAD_SUPERBLOCK, BAD_SUPERBLOCK_COPY,
    },
};
use ext4_ondisk::{indirect, inode::InodeFlags};
use ext4_units::{BlockNr, GroupNr, InodeNr};
use std::collections::HashSet;

/// A walk over the list.
#[derive(Debug, Default)]
struct Walk {
    seen: HashSet<u32>,
    is_lost: bool,
}

impl Check<'_> {
    /// Checks the inode and claims what it lists.
    pub(super) fn bad_blocks(&mut self) -> Result<Verdict> {
        self.found.is_used = true;
        let raw = &self.raw;
        let is_odd = self.has_bad_checksum
            || raw.i_mode.get() != 0
            || raw.i_uid.get() != 0
            || raw.i_gid.get() != 0
            || raw.i_links_count.get() != 0
            || raw.i_file_acl_lo.get() != 0
            || self.has_flag(InodeFlags::INLINE_DATA);
        if is_odd && self.fix(&BAD_BLOCKS_INODE, "", "")? {
            self.wipe();
        }
        if self.has_flag(InodeFlags::EXTENTS) {
            let mut map = Map::default();
            let walked = self.extents(&mut map);
            return Ok(self.judge_walk(&map, walked)?.unwrap_or(Verdict::Kept));
        }
        let mut walk = Walk::default();
        let mut root = self.raw.i_block;
        let mut is_changed = false;
        for (nr, pointer) in (0..).zip(root.chunks_exact_mut(4)) {
            if self.bad_pointer(&mut walk, word(pointer), indirect::root_slot_levels(nr))? {
                pointer.fill(0);
                is_changed = true;
            }
        }
        if walk.is_lost {
            self.wipe();
        } else if is_changed {
            self.raw.i_block = root;
            self.is_dirty = true;
        }
        Ok(Verdict::Kept)
    }

    /// Judges a number in the list. True when it is to be zero.
    fn bad_pointer(&mut self, walk: &mut Walk, nr: u32, levels: u32) -> Result<bool> {
        if nr == 0 || walk.is_lost {
            return Ok(false);
        }
        let blk = BlockNr(nr.into());
        let place = Place::inode(self.ino).at_block(blk);
        if !self.world.is_block(blk) {
            return self.fix_at(&BAD_BLOCK_ILLEGAL, place, "", "");
        }
        let is_metadata = self.world.metadata.contains(blk.0);
        if levels == 0 {
            if self.world.inode_block(InodeNr::BAD_BLOCKS) == Some(blk) {
                walk.is_lost = self.fix_at(&BAD_BLOCKS_IN_BAD_BLOCK, place, "", "")?;
                return Ok(false);
            }
            if is_metadata {
                return self.bad_metadata(blk);
            }
            if walk.seen.contains(&nr) {
                return self.fix_at(&BAD_BLOCK_IS_LIST, place, "", "");
            }
            self.claim(self.world.cluster(blk.0), 1);
            return Ok(false);
        }
        if is_metadata {
            return self.fix_at(&BAD_BLOCKS_ON_METADATA, place, "", "");
        }
        if !walk.seen.insert(nr) {
            return self.fix_at(&BAD_BLOCK_IS_LIST, place, "", "");
        }
        self.claim(self.world.cluster(blk.0), 1);
        let mut block = self.world.image.read(blk)?;
        let mut is_changed = false;
        for pointer in block.chunks_exact_mut(4) {
            if self.bad_pointer(walk, word(pointer), levels - 1)? {
                pointer.fill(0);
                is_changed = true;
            }
        }
        if is_changed {
            self.world.image.write(blk, &block)?;
        }
        Ok(false)
    }

    /// A bad block where the filesystem has something of its own.
    fn bad_metadata(&mut self, blk: BlockNr) -> Result<bool> {
        self.gate.doubt()?;
        let geo = self.world.geo;
        for (group, desc) in (0..).map(GroupNr).zip(self.world.descs) {
            let place = Place { group: Some(group), ..Place::inode(self.ino).at_block(blk) };
            let part: Option<(&'static Problem, Part)> = if desc.block_bitmap == blk {
                Some((&BAD_BLOCK_BITMAP, Part::BlockBitmap))
            } else if desc.inode_bitmap == blk {
                Some((&BAD_INODE_BITMAP, Part::InodeBitmap))
            } else {
                None
            };
            if let Some((problem, part)) = part {
                if self.fix_at(problem, place, "", "")? {
                    self.found.moves.push((group, part));
                }
                return Ok(false);
            }
            let frame = geo.base_metadata(group);
            if !frame.contains(blk) {
                continue;
            }
            let is_super = blk == frame.start || group.0 == 0 && blk == geo.superblock_place().0;
            let has_super = geo.has_super(group);
            return match (group.0, is_super && has_super) {
                (0, true) => self.fix_at(&BAD_SUPERBLOCK, place, "", ""),
                (0, false) => self.fix_at(&BAD_DESCRIPTORS, place, "", ""),
                (_, true) => self.fix_at(&BAD_SUPERBLOCK_COPY, place, "", ""),
                (_, false) => self.fix_at(&BAD_DESCRIPTORS_COPY, place, "", ""),
            };
        }
        // In an inode table. The block was read: to believe the list would cost all inodes in it.
        self.fix_at(&BAD_INODE_TABLE, Place::inode(self.ino).at_block(blk), "", "")
    }
}

fn word(pointer: &[u8]) -> u32 {
    pointer.try_into().map_or(0, u32::from_le_bytes)
}
