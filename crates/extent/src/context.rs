//! What must be known of the inode and the filesystem to walk a map.

use crate::Checked;
use ext4_ondisk::checksum::Csum;
use ext4_units::{BlockNr, BlockRange, BlockSize, InodeNr};
use std::sync::Arc;

/// The inode a map belongs to, and where its blocks may lie.
#[derive(Clone, Debug)]
pub struct Context {
    /// The inode, for messages.
    pub ino: InodeNr,
    /// The filesystem's block size.
    pub block_size: BlockSize,
    /// The inode's seed when the filesystem has metadata_csum: extent nodes carry checksums.
    pub csum: Option<Csum>,
    /// The blocks a file may have: behind `s_first_data_block`, up to the end of the filesystem.
    pub blocks: BlockRange,
    /// The blocks inside `blocks` that no file may have: superblocks, group descriptors, bitmaps, inode
    /// tables, and the journal except in the journal's own inode (`ext4_inode_block_valid`). Sorted
    /// by start, not overlapping; may be empty.
    pub zones: Arc<[BlockRange]>,
    /// What was checked before, for all inodes of the filesystem; `None` to check all each time.
    pub checked: Option<Arc<Checked>>,
}

impl Context {
    /// Whether all of `range` may belong to a file.
    pub fn is_legal(&self, range: BlockRange) -> bool {
        let Some(end) = range.start.checked_add(range.len) else { return false };
        let bounds = self.blocks.start <= range.start
            && end <= self.blocks.end()
            && end.0 <= ext4_ondisk::extent::PHYSICAL_END;
        let after = self.zones.partition_point(|zone| zone.end() <= range.start);
        bounds && self.zones.get(after).is_none_or(|zone| !zone.overlaps(range))
    }

    /// Whether a file may have `blk`.
    pub fn is_legal_block(&self, blk: BlockNr) -> bool {
        self.is_legal(BlockRange::new(blk, 1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn system_zones_and_the_outside_are_not_for_files() {
        let zone = |start, len| BlockRange::new(BlockNr(start), len);
        let ctx = Context {
            ino: InodeNr::ROOT,
            block_size: BlockSize::MIN,
            csum: None,
            blocks: zone(2, 98),
            zones: [zone(10, 5), zone(50, 1)].into(),
            checked: None,
        };
        let legal = |start, len| ctx.is_legal(zone(start, len));
        assert!(legal(2, 8) && legal(15, 35) && legal(51, 49));
        assert!(!legal(1, 1) && !legal(99, 2) && !legal(u64::MAX, 2));
        assert!(!legal(9, 2) && !legal(14, 1) && !legal(15, 36) && !legal(2, 98));
    }
}
