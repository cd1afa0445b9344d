//! The targets over bytes of fixed seeds: they compile, run, and find nothing in so short a time.

use ext4_fuzz::{check, decoders, replay};

/// Bytes of a generator (xorshift) begun with `seed`.
fn bytes(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[3]
    };
    std::iter::repeat_with(next).take(len).collect()
}

/// Inputs of several lengths.
fn inputs(n: u64) -> impl Iterator<Item = Vec<u8>> {
    (0..n).map(|seed| bytes(seed, 16 << (seed % 6)))
}

#[test]
fn any_bytes_are_decoded_or_refused() {
    decoders(&[]);
    for kind in 0..=255 {
        for mut input in inputs(8) {
            input[0] = kind;
            decoders(&input);
        }
    }
}

#[test]
fn any_log_is_replayed_or_refused() {
    replay(&[]);
    inputs(120).for_each(|it| replay(&it));
}

#[test]
fn any_damage_is_mended_or_told() {
    for base in 0..7 {
        check(&[base]);
    }
    inputs(300).for_each(|it| check(&it));
}
