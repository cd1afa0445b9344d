//! Many names of one hash, which fill leaf after leaf.

use crate::{
    mem::context,
    model::{Pair, name},
};
use ext4_dir::Context;
use ext4_ondisk::dir_hash::{HashAlgorithm, Hasher};

/// One step of the legacy hash.
fn step((h0, h1): (u32, u32), byte: u8) -> (u32, u32) {
    let widened = i32::from(byte.cast_signed()).cast_unsigned();
    let hash = h1.wrapping_add(h0 ^ widened.wrapping_mul(7_152_373));
    (if hash >> 31 == 1 { hash.wrapping_sub(0x7FFF_FFFF) } else { hash }, h0)
}

/// Names of about 210 bytes with the same legacy hash, by brute force: the last byte is not tried
/// but computed, as the hash multiplies it by an odd number.
pub(crate) fn same_hash_names(count: usize) -> Vec<Vec<u8>> {
    const MULTIPLIER: u32 = 7_152_373;
    const WANTED: u32 = 0x1234_5678;
    let inverse = (0..5).fold(1_u32, |inverse, _| {
        inverse.wrapping_mul(2_u32.wrapping_sub(MULTIPLIER.wrapping_mul(inverse)))
    });
    let is_fit = |byte: u8| byte != 0 && byte != b'/';
    let prefix = vec![b'p'; 200];
    let start = prefix.iter().fold((0x12A3_FE2D, 0x37AB_E8F9), |state, &byte| step(state, byte));
    let mut names = Vec::new();
    for nr in 0_u32.. {
        let middle = format!("{nr:x}").into_bytes();
        let state = middle.iter().fold(start, |state, &byte| step(state, byte));
        for next in (1..=255_u8).filter(|byte| is_fit(*byte)) {
            let (h0, h1) = step(state, next);
            // Two sums fold into the same hash.
            for sum in [WANTED, WANTED + 0x7FFF_FFFF] {
                let widened = (sum.wrapping_sub(h1) ^ h0).wrapping_mul(inverse).cast_signed();
                let Ok(last) = i8::try_from(widened) else { continue };
                if is_fit(last.cast_unsigned()) {
                    names
                        .push([&prefix, middle.as_slice(), &[next, last.cast_unsigned()]].concat());
                }
            }
        }
        if names.len() >= count {
            break;
        }
    }
    names
}

#[test]
fn names_of_one_hash_fill_many_leaves_and_are_all_found() {
    let names = same_hash_names(24);
    let hasher =
        Hasher { algorithm: HashAlgorithm::Legacy, is_unsigned: false, seed: [1, 2, 3, 4] };
    assert!(names.iter().all(|name| hasher.hash(name) == hasher.hash(&names[0])));
    for csum in [None, context(1024).csum] {
        let context = Context { default_hash_version: 0, csum, ..context(1024) };
        let mut pair = Pair::new(context);
        for (nr, same) in (0..).zip(&names) {
            pair.insert(same, nr + 100);
            pair.check();
            pair.insert(&name(nr), nr + 5000);
            pair.check();
        }
        pair.check_reading();
        assert!(pair.mem.blocks.len() > 8);
        for same in names.iter().step_by(2) {
            pair.remove(same);
            pair.check();
        }
        for (nr, same) in (0..).zip(&names).step_by(2) {
            pair.insert(same, nr + 9000);
        }
        pair.check();
        pair.check_reading();
    }
}
