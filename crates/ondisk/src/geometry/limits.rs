//! How large a file may be.

use ext4_units::BlockSize;

/// `MAX_LFS_FILESIZE`, the limit of every 64-bit kernel.
const MAX_LFS: u64 = i64::MAX as u64;

/// `s_maxbytes`: the largest size of a file mapped by extents (`ext4_max_size`).
pub(super) const fn max_bytes(size: BlockSize, huge_file: bool) -> u64 {
    let by_lblk = 0xFFFF_FFFF << size.bits();
    if huge_file {
        return by_lblk;
    }
    // Without huge_file `i_blocks` counts sectors in 32 bits.
    let by_blocks = (0xFFFF_FFFF >> (size.bits() - 9)) << size.bits();
    if by_blocks < by_lblk { by_blocks } else { by_lblk }
}

/// `s_bitmap_maxbytes`: the largest size of a file mapped by indirect blocks
/// (`ext4_max_bitmap_size`): what the map addresses, unless `i_blocks`, which counts the map too,
/// can't count so much.
pub(super) const fn bitmap_max_bytes(size: BlockSize, huge_file: bool) -> u64 {
    let per_block = (size.bytes() / 4) as u64;
    let countable = if huge_file { (1 << 48) - 1 } else { 0xFFFF_FFFF >> (size.bits() - 9) };
    let direct = 12;
    let addressed = direct + per_block + per_block.pow(2) + per_block.pow(3);
    let blocks = if addressed + map_blocks(addressed, per_block) <= countable {
        addressed
    } else {
        countable - map_blocks(countable, per_block)
    };
    let bytes = blocks << size.bits();
    if bytes < MAX_LFS { bytes } else { MAX_LFS }
}

/// Indirect blocks that a file of `blocks` blocks without holes needs. More than the direct ones.
const fn map_blocks(blocks: u64, per_block: u64) -> u64 {
    let single = blocks.saturating_sub(12);
    let mut map = 1;
    let double = single.saturating_sub(per_block);
    if double == 0 {
        return map;
    }
    if double < per_block.pow(2) {
        return map + 1 + double.div_ceil(per_block);
    }
    map += 1 + per_block;
    let triple = double - per_block.pow(2);
    if triple == 0 {
        return map;
    }
    map + 1 + triple.div_ceil(per_block) + triple.div_ceil(per_block.pow(2))
}

#[cfg(test)]
mod tests {
    use super::*;

    // Numbers that a running kernel showed with EFBIG.
    #[test]
    fn limits_are_the_kernels() {
        let size = BlockSize::from_bytes(4096).unwrap();
        assert_eq!(max_bytes(size, true), 17_592_186_040_320);
        assert_eq!(bitmap_max_bytes(size, true), 4_402_345_721_856);
        assert_eq!(bitmap_max_bytes(size, false), 2_196_873_666_560);
    }

    #[test]
    fn no_block_size_overflows() {
        for bits in 10..=16 {
            let size = BlockSize::from_bits(bits).unwrap();
            for huge in [false, true] {
                assert!(max_bytes(size, huge) <= 0xFFFF_FFFFu64 << bits);
                assert!(bitmap_max_bytes(size, huge) <= MAX_LFS);
            }
        }
    }
}
