//! Blocks of the orphan file: an array of inode numbers, then a tail of magic and checksum
//! (`struct ext4_orphan_block_tail`).

use crate::{Corrupt, checksum::Csum};
use byteorder::{ByteOrder, LittleEndian};
use ext4_units::{BlockNr, InodeNr};

/// `EXT4_ORPHAN_BLOCK_MAGIC`.
pub const MAGIC: u32 = 0x0B10_CA04;

/// The most blocks an orphan file may have (`EXT4_MAX_ORPHAN_FILE_BLOCKS`).
pub const MAX_BLOCKS: u64 = 512;

const TAIL: usize = 8;

/// Checks magic and, when `csum` gives the orphan inode's seed, checksum of a whole block that was
/// read from `blk` (`ext4_orphan_file_block_csum_verify`).
pub fn verify(block: &[u8], blk: BlockNr, csum: Option<Csum>) -> Result<(), Corrupt> {
    let place = || format!("orphan file block {blk}");
    let Some((_, tail)) = block.split_last_chunk::<TAIL>() else {
        return Err(Corrupt::new(place(), format!("{} bytes long", block.len())));
    };
    let magic = LittleEndian::read_u32(&tail[..4]);
    if magic != MAGIC {
        let fault = format!("magic {magic:#010x}, expected {MAGIC:#010x}");
        return Err(Corrupt::new(place(), fault));
    }
    if let Some(seed) = csum {
        let (found, expected) = (LittleEndian::read_u32(&tail[4..]), checksum(block, blk, seed));
        if found != expected {
            return Err(Corrupt::checksum(place(), found, expected));
        }
    }
    Ok(())
}

/// How many inode numbers a block of `len` bytes holds.
pub const fn n_slots(len: usize) -> usize {
    len.saturating_sub(TAIL) / 4
}

/// The slots that hold an inode number, with their index.
pub fn entries(block: &[u8]) -> impl Iterator<Item = (usize, InodeNr)> {
    block
        .chunks_exact(4)
        .take(n_slots(block.len()))
        .enumerate()
        .filter_map(|(slot, nr)| Some((slot, InodeNr::new(LittleEndian::read_u32(nr))?)))
}

/// The first free slot.
pub fn free_slot(block: &[u8]) -> Option<usize> {
    block.chunks_exact(4).take(n_slots(block.len())).position(|nr| LittleEndian::read_u32(nr) == 0)
}

/// Puts `ino`, or nothing, into a slot and renews the checksum. Slots past the end are ignored.
pub fn set(block: &mut [u8], slot: usize, ino: Option<InodeNr>, blk: BlockNr, csum: Option<Csum>) {
    if slot >= n_slots(block.len()) {
        return;
    }
    LittleEndian::write_u32(&mut block[slot * 4..slot * 4 + 4], ino.map_or(0, InodeNr::get));
    seal(block, blk, csum);
}

/// Writes magic and checksum into the tail of a block that will lie at `blk`.
pub fn seal(block: &mut [u8], blk: BlockNr, csum: Option<Csum>) {
    let sum = csum.map_or(0, |seed| checksum(block, blk, seed));
    if let Some((_, tail)) = block.split_last_chunk_mut::<TAIL>() {
        LittleEndian::write_u32(&mut tail[..4], MAGIC);
        LittleEndian::write_u32(&mut tail[4..], sum);
    }
}

/// crc32c from the orphan inode's seed over the block's own number (64 bits) and all entries.
fn checksum(block: &[u8], blk: BlockNr, seed: Csum) -> u32 {
    let entries = &block[..n_slots(block.len()) * 4];
    seed.over(&blk.0.to_le_bytes()).over(entries).0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_that_was_set_is_listed_and_the_block_verifies() {
        let (blk, csum) = (BlockNr(77), Some(Csum(5)));
        let mut block = vec![0; 1024];
        seal(&mut block, blk, csum);
        set(&mut block, 3, InodeNr::new(12), blk, csum);
        set(&mut block, n_slots(1024), InodeNr::new(13), blk, csum);
        verify(&block, blk, csum).unwrap();
        assert_eq!(entries(&block).collect::<Vec<_>>(), [(3, InodeNr::new(12).unwrap())]);
        assert_eq!(free_slot(&block), Some(0));
        assert_eq!(n_slots(4096), 1022);
        assert!(verify(&block, BlockNr(78), csum).unwrap_err().is_checksum);
        block[1016] ^= 1;
        assert!(!verify(&block, blk, csum).unwrap_err().is_checksum);
    }
}
