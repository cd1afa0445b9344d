//! Clean metadata blocks kept in memory, the least recently used of them forgotten first.

use crate::Block;
use ext4_units::{BlockNr, BlockRange};
use std::collections::{BTreeMap, HashMap};

/// A bounded map from block number to contents. Holds only what the device holds too.
#[derive(Debug)]
pub(crate) struct Cache {
    blocks: HashMap<BlockNr, Entry>,
    /// Use stamp to block, oldest first.
    ages: BTreeMap<u64, BlockNr>,
    stamp: u64,
    max_blocks: usize,
}

#[derive(Debug)]
struct Entry {
    data: Block,
    stamp: u64,
}

impl Cache {
    pub(crate) fn new(max_blocks: usize) -> Self {
        Self { blocks: HashMap::new(), ages: BTreeMap::new(), stamp: 0, max_blocks }
    }

    pub(crate) fn get(&mut self, blk: BlockNr) -> Option<Block> {
        let entry = self.blocks.get_mut(&blk)?;
        self.ages.remove(&entry.stamp);
        self.stamp += 1;
        entry.stamp = self.stamp;
        self.ages.insert(self.stamp, blk);
        Some(Block::clone(&entry.data))
    }

    pub(crate) fn insert(&mut self, blk: BlockNr, data: Block) {
        if self.max_blocks == 0 {
            return;
        }
        self.remove(blk);
        while self.blocks.len() >= self.max_blocks {
            let Some((_, oldest)) = self.ages.pop_first() else { break };
            self.blocks.remove(&oldest);
        }
        self.stamp += 1;
        self.ages.insert(self.stamp, blk);
        self.blocks.insert(blk, Entry { data, stamp: self.stamp });
    }

    pub(crate) fn remove(&mut self, blk: BlockNr) {
        if let Some(entry) = self.blocks.remove(&blk) {
            self.ages.remove(&entry.stamp);
        }
    }

    /// Forgets every block of `run`, in time bounded by the cache whatever the run's length.
    pub(crate) fn remove_run(&mut self, run: BlockRange) {
        if run.len <= self.blocks.len() as u64 {
            for blk in run.iter() {
                self.remove(blk);
            }
        } else {
            let gone: Vec<_> = self.blocks.keys().copied().filter(|&b| run.contains(b)).collect();
            for blk in gone {
                self.remove(blk);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(byte: u8) -> Block {
        Block::from(vec![byte; 1024])
    }

    #[test]
    fn the_least_recently_used_block_is_forgotten_first() {
        let mut cache = Cache::new(2);
        cache.insert(BlockNr(1), block(1));
        cache.insert(BlockNr(2), block(2));
        assert!(cache.get(BlockNr(1)).is_some());
        cache.insert(BlockNr(3), block(3));
        assert!(cache.get(BlockNr(2)).is_none());
        assert_eq!(cache.get(BlockNr(1)), Some(block(1)));
        assert_eq!(cache.get(BlockNr(3)), Some(block(3)));
    }

    #[test]
    fn a_long_run_is_forgotten_without_walking_it() {
        let mut cache = Cache::new(8);
        cache.insert(BlockNr(1), block(1));
        cache.insert(BlockNr(u64::MAX - 1), block(2));
        cache.remove_run(BlockRange::new(BlockNr(2), u64::MAX));
        assert!(cache.get(BlockNr(1)).is_some());
        assert!(cache.get(BlockNr(u64::MAX - 1)).is_none());
    }
}
