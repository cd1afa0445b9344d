//! Block and inode bitmaps: bit `n` of the group is bit `n % 8` of byte `n / 8`; set means in use.
//!
//! All functions take any bit number: bits past the end of the bytes read as set and cannot be
//! changed, so a damaged count cannot reach outside.

use crate::checksum::Csum;

/// Whether bit `n` is set. Bits past the end are.
pub fn is_set(bitmap: &[u8], n: u32) -> bool {
    bitmap.get(byte_of(n)).is_none_or(|byte| byte >> (n % 8) & 1 == 1)
}

/// Sets the bits `from..to`.
pub fn set_range(bitmap: &mut [u8], from: u32, to: u32) {
    change_range(bitmap, from, to, |byte, mask| *byte |= mask);
}

/// Clears the bits `from..to`.
pub fn clear_range(bitmap: &mut [u8], from: u32, to: u32) {
    change_range(bitmap, from, to, |byte, mask| *byte &= !mask);
}

/// The first clear bit in `from..to`.
pub fn next_clear(bitmap: &[u8], from: u32, to: u32) -> Option<u32> {
    next(bitmap, from, to, |byte| !byte)
}

/// The first set bit in `from..to`, not looking past the bitmap's end.
pub fn next_set(bitmap: &[u8], from: u32, to: u32) -> Option<u32> {
    next(bitmap, from, to, |byte| byte)
}

/// How many of the bits `0..to` are clear.
pub fn count_clear(bitmap: &[u8], to: u32) -> u32 {
    let whole = byte_of(to).min(bitmap.len());
    let (head, tail) = bitmap.split_at(whole);
    let clear = head.iter().fold(0, |sum: u32, byte| sum + byte.count_zeros());
    let rest = tail.first().filter(|_| !to.is_multiple_of(8)).map_or(0, |byte| {
        // Bits beyond `to` count as set.
        (byte | 0xFF << (to % 8)).count_zeros()
    });
    clear + rest
}

/// Whether every bit of `from..to` has the value asked for. Bits past the end count as set.
pub fn all_are(bitmap: &[u8], from: u32, to: u32, set: bool) -> bool {
    if set {
        next_clear(bitmap, from, to).is_none()
    } else {
        next_set(bitmap, from, to).is_none() && (from >= to || !is_set(bitmap, to - 1))
    }
}

/// The checksum of a bitmap whose group has `n_bits` bits (clusters or inodes per group, also in a
/// short last group): crc32c from the filesystem's seed over `n_bits / 8` bytes
/// (`ext4_block_bitmap_csum_set`, `ext4_inode_bitmap_csum_set`). A descriptor of 32 bytes keeps
/// only the low half.
pub fn checksum(seed: Csum, bitmap: &[u8], n_bits: u32) -> u32 {
    seed.over(bitmap.get(..byte_of(n_bits)).unwrap_or(bitmap)).0
}

const fn byte_of(n: u32) -> usize {
    (n / 8) as usize
}

fn next(bitmap: &[u8], from: u32, to: u32, hits: impl Fn(u8) -> u8) -> Option<u32> {
    if from >= to {
        return None;
    }
    let first = hits(*bitmap.get(byte_of(from))?) & 0xFF << (from % 8);
    let rest = bitmap.get(byte_of(from) + 1..)?;
    let bit = if first == 0 {
        // Most bitmaps are long runs of 00 or FF: eight bytes at a time until something shows.
        let none = hits(0x00) == 0;
        let idle = if none { [0x00; 8] } else { [0xFF; 8] };
        let skip = rest.chunks_exact(8).take_while(|chunk| **chunk == idle).count() * 8;
        let at = rest[skip..].iter().position(|&byte| hits(byte) != 0)? + skip;
        let byte = u32::try_from(byte_of(from) + 1 + at).ok()?;
        byte.checked_mul(8)? + hits(rest[at]).trailing_zeros()
    } else {
        from / 8 * 8 + first.trailing_zeros()
    };
    (bit < to).then_some(bit)
}

fn change_range(bitmap: &mut [u8], from: u32, to: u32, change: impl Fn(&mut u8, u8)) {
    if from >= to {
        return;
    }
    let (first, last) = (byte_of(from), byte_of(to - 1));
    let low = 0xFF << (from % 8);
    let high = if last < bitmap.len() { 0xFF >> (7 - (to - 1) % 8) } else { 0xFF };
    let touched = first.min(bitmap.len())..bitmap.len().min(last + 1);
    match &mut bitmap[touched] {
        [] => {}
        [only] => change(only, low & high),
        [head, middle @ .., tail] => {
            change(head, low);
            for byte in middle {
                change(byte, 0xFF);
            }
            change(tail, high);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_change_only_their_bits() {
        let mut bitmap = [0u8; 4];
        set_range(&mut bitmap, 3, 21);
        assert_eq!(bitmap, [0xF8, 0xFF, 0x1F, 0]);
        clear_range(&mut bitmap, 8, 9);
        assert_eq!(bitmap, [0xF8, 0xFE, 0x1F, 0]);
        set_range(&mut bitmap, 30, 99);
        assert_eq!(bitmap[3], 0xC0);
    }

    #[test]
    fn searches_agree_with_looking_at_each_bit() {
        let mut bitmap = vec![0xFF; 40];
        bitmap.extend([0; 40]);
        bitmap.extend([0x10, 0xEF, 0xFF, 0]);
        let n = 84 * 8;
        for from in 0..n {
            for to in [n, n - 3, from + 9] {
                let to = to.min(n);
                let slow = |want| (from..to).find(|&i| is_set(&bitmap, i) == want);
                assert_eq!(next_clear(&bitmap, from, to), slow(false), "clear {from}..{to}");
                assert_eq!(next_set(&bitmap, from, to), slow(true), "set {from}..{to}");
            }
        }
        for to in 0..n {
            let slow = (0..to).filter(|&i| !is_set(&bitmap, i)).count();
            assert_eq!(count_clear(&bitmap, to) as usize, slow, "0..{to}");
        }
    }

    #[test]
    fn bits_past_the_end_are_in_use() {
        assert!(is_set(&[0], 8));
        assert_eq!(next_clear(&[0xFF], 0, 100), None);
        assert!(!all_are(&[0], 0, 9, false));
        assert!(all_are(&[0], 0, 8, false));
        assert!(all_are(&[0xFF], 2, 6, true));
    }
}
