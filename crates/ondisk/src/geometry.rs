//! Where things are: groups, tables and limits, from a checked superblock.
//!
//! Pure arithmetic; the numbers it gives for numbers in range are in range.

mod limits;

use crate::{
    Corrupt,
    features::{Compat, Incompat, RoCompat},
    group_desc::GroupDesc,
    superblock::{RawSuperblock, Superblock},
};
use ext4_units::{BlockNr, BlockRange, BlockSize, GroupNr, InodeNr};

/// The filesystem's layout. Small and free to copy.
#[derive(Clone, Copy, Debug)]
pub struct Geometry {
    /// Block size.
    pub block_size: BlockSize,
    /// Blocks of the filesystem.
    pub blocks_count: u64,
    /// First block of group 0.
    pub first_data_block: BlockNr,
    /// Groups.
    pub groups_count: u32,
    /// Blocks in a full group.
    pub blocks_per_group: u32,
    /// Clusters in a full group.
    pub clusters_per_group: u32,
    /// Inodes in a group.
    pub inodes_per_group: u32,
    /// Inodes in all groups.
    pub inodes_count: u32,
    /// First inode that is not reserved.
    pub first_ino: u32,
    /// log2 of the blocks in a cluster.
    pub cluster_ratio_bits: u32,
    /// Bytes in an inode.
    pub inode_size: u16,
    /// Bytes in a group descriptor.
    pub desc_size: u16,
    /// log2 of the groups in a flex group.
    pub log_groups_per_flex: u8,
    /// The largest size of a file mapped by extents, `s_maxbytes`.
    pub max_bytes: u64,
    /// The largest size of a file mapped by indirect blocks, `s_bitmap_maxbytes`.
    pub bitmap_max_bytes: u64,
    sparse_super: bool,
    sparse_super2: bool,
    backup_bgs: [u32; 2],
    meta_bg: bool,
    first_meta_bg: u32,
    reserved_gdt_blocks: u16,
}

/// Where an inode's bytes are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InodePlace {
    /// The group whose table it is in.
    pub group: GroupNr,
    /// Its index in the group, from 0: its bit in the inode bitmap.
    pub index: u32,
    /// The block of the table, from the table's start.
    pub table_block: u32,
    /// The byte inside that block.
    pub offset: usize,
}

impl Geometry {
    /// The layout that a checked superblock describes.
    pub fn new(sb: &Superblock) -> Self {
        let huge_file = sb.features.has_ro_compat(RoCompat::HUGE_FILE);
        Self {
            block_size: sb.block_size,
            blocks_count: sb.blocks_count,
            first_data_block: sb.first_data_block,
            groups_count: sb.groups_count,
            blocks_per_group: sb.blocks_per_group,
            clusters_per_group: sb.clusters_per_group,
            inodes_per_group: sb.inodes_per_group,
            inodes_count: sb.inodes_count,
            first_ino: sb.first_ino,
            cluster_ratio_bits: sb.cluster_ratio_bits,
            inode_size: sb.inode_size,
            desc_size: sb.desc_size,
            log_groups_per_flex: sb.log_groups_per_flex,
            max_bytes: limits::max_bytes(sb.block_size, huge_file),
            bitmap_max_bytes: limits::bitmap_max_bytes(sb.block_size, huge_file),
            sparse_super: sb.features.has_ro_compat(RoCompat::SPARSE_SUPER),
            sparse_super2: sb.features.has_compat(Compat::SPARSE_SUPER2),
            backup_bgs: sb.backup_bgs,
            meta_bg: sb.features.has_incompat(Incompat::META_BG),
            first_meta_bg: sb.first_meta_bg,
            reserved_gdt_blocks: sb.reserved_gdt_blocks,
        }
    }

    /// The block that holds the first superblock, and the byte inside it.
    pub const fn superblock_place(&self) -> (BlockNr, usize) {
        let blk = RawSuperblock::OFFSET >> self.block_size.bits();
        (BlockNr(blk), self.block_size.within(RawSuperblock::OFFSET) as usize)
    }

    /// All groups, in order.
    pub fn groups(&self) -> impl Iterator<Item = GroupNr> + use<> {
        (0..self.groups_count).map(GroupNr)
    }

    /// Whether `blk` is a block that files and metadata may have: inside the filesystem and not
    /// before its first block.
    pub const fn contains(&self, blk: BlockNr) -> bool {
        blk.0 >= self.first_data_block.0 && blk.0 < self.blocks_count
    }

    /// Whether all of the run lies inside the filesystem.
    pub const fn contains_range(&self, range: BlockRange) -> bool {
        range.start.0 >= self.first_data_block.0
            && range.start.0 <= self.blocks_count
            && range.len <= self.blocks_count - range.start.0
    }

    /// All blocks of the filesystem.
    pub const fn all_blocks(&self) -> BlockRange {
        BlockRange::new(self.first_data_block, self.blocks_count - self.first_data_block.0)
    }

    /// The group a block is in; `None` outside the filesystem.
    pub fn group_of_block(&self, blk: BlockNr) -> Option<GroupNr> {
        if !self.contains(blk) {
            return None;
        }
        let group = (blk.0 - self.first_data_block.0) / u64::from(self.blocks_per_group);
        u32::try_from(group).ok().map(GroupNr)
    }

    /// The blocks of a group; the last group may be short. Empty past the last.
    pub const fn group_blocks(&self, group: GroupNr) -> BlockRange {
        let per_group = self.blocks_per_group as u64;
        let start = self.first_data_block.0 + group.0 as u64 * per_group;
        let left = self.blocks_count.saturating_sub(start);
        BlockRange::new(BlockNr(start), if left < per_group { left } else { per_group })
    }

    /// The clusters of a group, the last one of the filesystem maybe in part beyond its end.
    #[expect(clippy::cast_possible_truncation, reason = "at most blocks_per_group, a u32")]
    pub const fn group_clusters(&self, group: GroupNr) -> u32 {
        let blocks = self.group_blocks(group).len;
        let ratio = 1u64 << self.cluster_ratio_bits;
        blocks.div_ceil(ratio) as u32
    }

    /// Blocks in a cluster.
    pub const fn cluster_ratio(&self) -> u32 {
        1 << self.cluster_ratio_bits
    }

    /// The group and the bit of its bitmap that stand for this block's cluster.
    pub fn cluster_bit(&self, blk: BlockNr) -> Option<(GroupNr, u32)> {
        let group = self.group_of_block(blk)?;
        let within = blk.0 - self.group_blocks(group).start.0;
        u32::try_from(within >> self.cluster_ratio_bits).ok().map(|bit| (group, bit))
    }

    /// The first block of the cluster a bit of a group's bitmap stands for.
    pub const fn cluster_block(&self, group: GroupNr, bit: u32) -> BlockNr {
        BlockNr(self.group_blocks(group).start.0 + ((bit as u64) << self.cluster_ratio_bits))
    }

    /// Where inode `ino` is; `None` above the last inode.
    pub const fn inode_place(&self, ino: InodeNr) -> Option<InodePlace> {
        if ino.get() > self.inodes_count {
            return None;
        }
        let nr = ino.get() - 1;
        let index = nr % self.inodes_per_group;
        let per_block = self.inodes_per_block();
        Some(InodePlace {
            group: GroupNr(nr / self.inodes_per_group),
            index,
            table_block: index / per_block,
            offset: (index % per_block) as usize * self.inode_size as usize,
        })
    }

    /// The inode at an index of a group; `None` when there is none.
    pub fn inode_at(&self, group: GroupNr, index: u32) -> Option<InodeNr> {
        if index >= self.inodes_per_group {
            return None;
        }
        let nr = group.0.checked_mul(self.inodes_per_group)?.checked_add(index)?;
        InodeNr::new(nr.checked_add(1)?).filter(|ino| ino.get() <= self.inodes_count)
    }

    /// Inodes in a block of an inode table.
    pub const fn inodes_per_block(&self) -> u32 {
        self.block_size.bytes() / self.inode_size as u32
    }

    /// Blocks of each inode table.
    pub const fn itable_blocks(&self) -> u32 {
        self.inodes_per_group.div_ceil(self.inodes_per_block())
    }

    /// The flex group of a group.
    pub const fn flex_group(&self, group: GroupNr) -> u32 {
        group.0 >> self.log_groups_per_flex
    }

    /// Group descriptors in a block.
    pub const fn descs_per_block(&self) -> u32 {
        self.block_size.bytes() / self.desc_size as u32
    }

    /// Blocks of all group descriptors.
    pub const fn desc_blocks(&self) -> u32 {
        self.groups_count.div_ceil(self.descs_per_block())
    }

    /// Whether the group has the superblock or a copy of it (`ext4_bg_has_super`).
    pub const fn has_super(&self, group: GroupNr) -> bool {
        let nr = group.0;
        if nr == 0 {
            true
        } else if self.sparse_super2 {
            nr == self.backup_bgs[0] || nr == self.backup_bgs[1]
        } else if nr == 1 || !self.sparse_super {
            true
        } else {
            is_power_of_3_5_or_7(nr)
        }
    }

    /// The block and the byte inside it of a group's (primary) descriptor (`descriptor_loc`).
    pub fn desc_place(&self, group: GroupNr) -> (BlockNr, usize) {
        let per_block = self.descs_per_block();
        let nr = group.0 / per_block;
        let offset = (group.0 % per_block) as usize * usize::from(self.desc_size);
        (self.desc_block(nr), offset)
    }

    /// The `nr`th block of the (primary) descriptor table.
    pub fn desc_block(&self, nr: u32) -> BlockNr {
        if !self.meta_bg || nr < self.first_meta_bg {
            return self.superblock_place().0.plus(1 + u64::from(nr));
        }
        let first = GroupNr(nr.saturating_mul(self.descs_per_block()));
        let mut before = u64::from(self.has_super(first));
        if first.0 == 0 && self.has_boot_block_in_group_0() {
            before += 1;
        }
        self.group_blocks(first).start.plus(before)
    }

    /// 1 KiB blocks with bigalloc: group 0 starts at block 0, which is the boot block, and the
    /// superblock is in block 1.
    const fn has_boot_block_in_group_0(&self) -> bool {
        self.block_size.bits() == 10 && self.first_data_block.0 == 0
    }

    /// Blocks at a group's start taken by a superblock, descriptors and their reserve
    /// (`ext4_num_base_meta_blocks`).
    pub fn base_metadata(&self, group: GroupNr) -> BlockRange {
        let has_super = self.has_super(group);
        let start = self.group_blocks(group).start;
        let mut len = u64::from(has_super);
        if group.0 == 0 && self.has_boot_block_in_group_0() {
            len += 1;
        }
        let meta_group = group.0 / self.descs_per_block();
        if !self.meta_bg || meta_group < self.first_meta_bg {
            if has_super {
                let descs = if self.meta_bg { self.first_meta_bg } else { self.desc_blocks() };
                len += u64::from(descs) + u64::from(self.reserved_gdt_blocks);
            }
        } else {
            let first = meta_group * self.descs_per_block();
            let last = first.saturating_add(self.descs_per_block() - 1);
            let holds = group.0 == first || group.0 == first.saturating_add(1) || group.0 == last;
            len += u64::from(holds);
        }
        BlockRange::new(start, len.min(self.group_blocks(group).len))
    }

    /// Checks that a group's bitmaps and table lie inside the filesystem, and inside the group when
    /// there are no flex groups (`ext4_check_descriptors`).
    pub fn check_group_desc(&self, group: GroupNr, desc: &GroupDesc) -> Result<(), Corrupt> {
        let home = match self.log_groups_per_flex {
            0 => self.group_blocks(group),
            _ => self.all_blocks(),
        };
        let table = BlockRange::new(desc.inode_table, u64::from(self.itable_blocks()));
        let parts = [
            ("block bitmap", BlockRange::new(desc.block_bitmap, 1)),
            ("inode bitmap", BlockRange::new(desc.inode_bitmap, 1)),
            ("inode table", table),
        ];
        for (what, range) in parts {
            let inside = range.start >= home.start
                && range.start.0.checked_add(range.len).is_some_and(|end| end <= home.end().0);
            let is_super = range.contains(self.superblock_place().0);
            if !inside || is_super {
                return Err(Corrupt::new(
                    format!("group {group} descriptor"),
                    format!("{what} at blocks {range}, expected inside {home}"),
                ));
            }
        }
        Ok(())
    }

    /// The largest size a file may have.
    pub const fn max_size(&self, has_extents: bool) -> u64 {
        if has_extents { self.max_bytes } else { self.bitmap_max_bytes }
    }

    /// Whether an inode number may be an ordinary file's (`ext4_valid_inum`): the root, or above
    /// the reserved ones.
    pub const fn is_ordinary_inode(&self, ino: InodeNr) -> bool {
        ino.get() <= self.inodes_count && (ino.get() == 2 || ino.get() >= self.first_ino)
    }
}

/// Asked of every group, so without a loop: only powers of a prime divide a power of it, here the
/// largest that 32 bits hold.
const fn is_power_of_3_5_or_7(n: u32) -> bool {
    3u32.pow(20).is_multiple_of(n)
        || 5u32.pow(13).is_multiple_of(n)
        || 7u32.pow(11).is_multiple_of(n)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sparse_copies_are_at_powers_of_3_5_and_7() {
        let found: Vec<u32> = (2..400).filter(|&n| is_power_of_3_5_or_7(n)).collect();
        assert_eq!(found, [3, 5, 7, 9, 25, 27, 49, 81, 125, 243, 343]);
        assert!(!is_power_of_3_5_or_7(u32::MAX));
    }
}
