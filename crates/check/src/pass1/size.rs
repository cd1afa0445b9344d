//! `i_size` and `i_blocks` against what is mapped.

use super::{inode::Check, map::Map};
use crate::{
    Result,
    problem::pass1::{BLOCKS, OLD_MAP_WITH_CLUSTERS, SIZE},
};
use ext4_ondisk::{
    features::{Incompat, RoCompat},
    inode::{FileType, InodeFlags},
};
use ext4_units::BlockSize;

/// Sizes from here on need the feature large_file (`ext2fs_needs_large_file_feature`).
pub(super) const LARGE: u64 = 0x8000_0000;

/// The largest size of a file that is mapped by extents.
pub(super) fn largest_with_extents(size: BlockSize) -> u64 {
    (1 << (32 + size.bits())) - 1
}

impl Check<'_> {
    /// Compares `i_size` with the map.
    pub(super) fn check_size(&mut self, map: &Map) -> Result<()> {
        let bits = self.world.geo.block_size.bits();
        let size = self.size();
        let kind = self.kind();
        let mapped = map.end() << bits;
        let mut expected = None;
        if kind == FileType::Directory {
            let preallocated = u64::from(self.world.raw.s_prealloc_dir_blocks);
            let n = size >> bits;
            if self.has_flag(InodeFlags::INLINE_DATA) {
                let room = self.inline_room().unwrap_or(0);
                expected = (room != size).then_some(room);
            } else if !size.is_multiple_of(1 << bits)
                || n > map.end()
                || map.end() - n > preallocated
            {
                expected = Some(mapped);
            }
        } else {
            let has_extents =
                self.features.has_incompat(Incompat::EXTENTS) && self.has_flag(InodeFlags::EXTENTS);
            let is_short =
                map.last_written.is_some_and(|last| size < last << bits) && !self.may_exceed_size();
            let largest = if has_extents {
                largest_with_extents(self.world.geo.block_size)
            } else {
                let per = 1u64 << (bits - 2);
                (12 + per + per * per + per * per * per).saturating_mul(1 << bits)
            };
            if is_short || size > largest {
                expected = Some(mapped);
            }
        }
        if let Some(expected) = expected
            && kind != FileType::Symlink
            && self.fix(&SIZE, size, expected)?
        {
            self.set_size(expected);
            if expected == 0 && self.has_flag(InodeFlags::INLINE_DATA) {
                self.raw.i_block = [0; 60];
                self.clear_flags(InodeFlags::INLINE_DATA);
            }
        }
        self.found.is_large = kind == FileType::Regular && self.size() >= LARGE;
        Ok(())
    }

    /// Compares `i_blocks` with the clusters that were counted.
    pub(super) fn check_count(&mut self, map: &Map) -> Result<()> {
        if self.world.is_hurd() {
            return Ok(());
        }
        let is_huge = self.features.has_ro_compat(RoCompat::HUGE_FILE)
            && self.has_flag(InodeFlags::HUGE_FILE);
        let unit = if is_huge { 0 } else { self.world.geo.block_size.bits() - 9 };
        let expected = (map.clusters << self.world.geo.cluster_ratio_bits) << unit;
        let found = self.i_blocks();
        let is_wide = is_huge && self.raw.l_i_blocks_high.get() != 0 && expected >> 32 == 0;
        if (found != expected || is_wide) && self.fix(&BLOCKS, found, expected)? {
            self.raw.i_blocks_lo.set((expected & 0xFFFF_FFFF) as u32);
            self.raw.l_i_blocks_high.set((expected >> 32 & 0xFFFF) as u16);
            self.is_dirty = true;
        }
        Ok(())
    }

    /// A file mapped by blocks where clusters are given out, which the kernel refuses to write to.
    pub(super) fn old_map_with_clusters(&mut self, map: &mut Map) -> Result<()> {
        if !self.features.has_ro_compat(RoCompat::BIGALLOC)
            || !matches!(self.kind(), FileType::Regular | FileType::Directory)
            || self.is_special()
            || self.flags().intersects(InodeFlags::EXTENTS | InodeFlags::INLINE_DATA)
        {
            return Ok(());
        }
        let of_attributes = if self.file_acl() == 0 {
            0
        } else {
            u64::from(self.world.geo.block_size.bytes() / 512)
        };
        if self.i_blocks() <= of_attributes {
            return Ok(());
        }
        if self.fix(&OLD_MAP_WITH_CLUSTERS, "", "")? {
            self.found.old_map = Some(std::mem::take(&mut map.blocks));
        }
        Ok(())
    }
}
