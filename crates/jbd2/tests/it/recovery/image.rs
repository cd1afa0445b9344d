//! The little of ext4 that it takes to find an image's log: an independent reader, for tests only.

use ext4_blockdev::BlockDevice;
use ext4_jbd2::Log;
use ext4_units::{BlockNr, BlockRange, BlockSize};

/// An ext4 image.
pub(super) struct Ext4<'a> {
    device: &'a dyn BlockDevice,
    superblock: Vec<u8>,
    pub(super) block_size: BlockSize,
    pub(super) inode_size: u16,
    pub(super) has_metadata_csum: bool,
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes(*bytes[at..].first_chunk().unwrap())
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(*bytes[at..].first_chunk().unwrap())
}

impl<'a> Ext4<'a> {
    /// `None` without the magic.
    pub(super) fn open(device: &'a dyn BlockDevice) -> Option<Self> {
        let mut superblock = vec![0; 1024];
        device.read_at(1024, &mut superblock).unwrap();
        if u16_at(&superblock, 0x38) != 0xEF53 {
            return None;
        }
        Some(Self {
            device,
            block_size: BlockSize::from_bits(10 + u32_at(&superblock, 0x18))?,
            inode_size: u16_at(&superblock, 0x58),
            has_metadata_csum: u32_at(&superblock, 0x64) & 0x400 != 0,
            superblock,
        })
    }

    pub(super) fn device(&self) -> &'a dyn BlockDevice {
        self.device
    }

    /// All blocks of the filesystem.
    pub(super) fn blocks(&self) -> BlockRange {
        let has_64bit = u32_at(&self.superblock, 0x60) & 0x80 != 0;
        let high = if has_64bit { u64::from(u32_at(&self.superblock, 0x150)) << 32 } else { 0 };
        BlockRange::new(BlockNr(0), high | u64::from(u32_at(&self.superblock, 4)))
    }

    fn block(&self, nr: u64) -> Vec<u8> {
        let mut bytes = vec![0; self.block_size.len()];
        self.device.read_at(nr * u64::from(self.block_size.bytes()), &mut bytes).unwrap();
        bytes
    }

    /// Where the blocks of the journal inode, 8, are.
    pub(super) fn log(&self) -> Log {
        // Group 0's descriptor is in the block after the superblock's; inode 8 is the eighth.
        let table = u32_at(&self.block(1024 / u64::from(self.block_size.bytes()) + 1), 8);
        let mut inode = vec![0; 128];
        let at = u64::from(table) * u64::from(self.block_size.bytes());
        self.device.read_at(at + 7 * u64::from(self.inode_size), &mut inode).unwrap();
        let mut ranges = vec![];
        if u32_at(&inode, 0x20) & 0x8_0000 != 0 {
            self.extents(&inode[0x28..0x28 + 60], &mut ranges);
        } else {
            let pointers = &inode[0x28..0x28 + 60];
            for i in 0..12 {
                self.pointer(u32_at(pointers, 4 * i), 0, &mut ranges);
            }
            for level in 1..=3 {
                self.pointer(u32_at(pointers, 4 * (11 + level)), level, &mut ranges);
            }
        }
        Log::internal(ranges)
    }

    fn extents(&self, node: &[u8], ranges: &mut Vec<BlockRange>) {
        let depth = u16_at(node, 6);
        for entry in node[12..].chunks(12).take(usize::from(u16_at(node, 2))) {
            if depth == 0 {
                let start = u64::from(u16_at(entry, 6)) << 32 | u64::from(u32_at(entry, 8));
                ranges.push(BlockRange::new(BlockNr(start), u64::from(u16_at(entry, 4))));
            } else {
                let child = u64::from(u16_at(entry, 8)) << 32 | u64::from(u32_at(entry, 4));
                self.extents(&self.block(child), ranges);
            }
        }
    }

    fn pointer(&self, block: u32, level: usize, ranges: &mut Vec<BlockRange>) {
        if block == 0 {
            return;
        }
        if level == 0 {
            ranges.push(BlockRange::new(BlockNr(block.into()), 1));
            return;
        }
        for entry in self.block(block.into()).chunks(4) {
            self.pointer(u32_at(entry, 0), level - 1, ranges);
        }
    }
}
