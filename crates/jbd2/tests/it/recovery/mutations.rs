//! Any bytes are a log: whatever is in it, recovery ends, and writes only where a tag says.

use super::forge::{BS, Forge, HOMES, Kind, options};
use ext4_blockdev::BlockDevice;
use ext4_jbd2::recovery;
use ext4_units::Tid;
use proptest::prelude::*;
use std::collections::BTreeSet;

/// A log with everything in it.
fn rich(kind: Kind, start: u32) -> Forge {
    let mut it = Forge::starting(kind, start, Tid(u32::MAX - 1));
    it.log_blocks([1, 2, 3, 30, 31, 32, 33]).commit();
    it.revoke(&[31, 900]).log_blocks(100..180).commit();
    it.revoke(&[2]).commit();
    it.log_blocks([2, 31]).commit();
    it.log_blocks([3]);
    it
}

/// Recovers and checks what must hold of any log.
fn must_hold(it: &Forge) {
    let (device, log) = (it.device(), it.at_home());
    let records = recovery::survey(&device, &log, &it.superblock).count();
    assert!(records <= it.superblock.max_len as usize);
    let Ok(scan) = recovery::scan(&device, &log, &options()) else {
        return;
    };
    assert_eq!(scan.verdict().is_ok(), scan.findings.is_empty());
    for finding in &scan.findings {
        let text = finding.to_string();
        assert!(!text.contains('\n') && text.len() < 300, "{text}");
    }
    let homes: BTreeSet<usize> = scan.homes().iter().map(|it| it.0 as usize).collect();
    let replayed = scan.replay(&device, &log, &mut |_, _| {});
    assert_eq!(replayed.is_ok(), scan.verdict().is_ok());
    let after = device.contents();
    for (nr, (new, old)) in after.chunks(BS).zip(it.image.chunks(BS)).enumerate() {
        let is_home = replayed.is_ok() && homes.contains(&nr) && nr < HOMES as usize;
        assert!(new == old || is_home, "block {nr} was written");
    }
    scan.reset(&device, &log).unwrap();
    assert!(recovery::scan(&device, &log, &options()).unwrap().is_empty());
    device.flush().unwrap();
}

fn kinds() -> impl Strategy<Value = Kind> {
    let all = Kind::all();
    (0..all.len(), any::<bool>()).prop_map(move |(i, is_async)| Kind { is_async, ..all[i] })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn flipped_bytes_in_the_log(
        kind in kinds(),
        from_end in 0u32..100,
        flips in proptest::collection::vec((0u32..110, 0usize..64, any::<u8>()), 1..8),
    ) {
        let end = Forge::new(kind).ring().end;
        let start = end - 1 - from_end;
        let mut it = rich(kind, start);
        let ring = it.ring();
        for (block, byte, value) in flips {
            it.log_mut(ring.advance(start, block))[byte] = value;
        }
        must_hold(&it);
    }

    #[test]
    fn blocks_of_the_log_swapped_and_doubled(
        kind in kinds(),
        moves in proptest::collection::vec((0u32..110, 0u32..110), 1..6),
    ) {
        let mut it = rich(kind, 1);
        for (from, to) in moves {
            let block = it.log_mut(1 + from).to_vec();
            it.log_mut(1 + to).copy_from_slice(&block);
        }
        must_hold(&it);
    }

    #[test]
    fn a_superblock_with_any_fields(
        kind in kinds(),
        fields in proptest::collection::vec(
            (0usize..0x60, prop_oneof![any::<u32>(), 0u32..4, 1020u32..1145]), 1..4),
        resum in any::<bool>(),
    ) {
        let mut it = rich(kind, 1);
        for (at, value) in fields {
            it.log_mut(0)[at..at + 4].copy_from_slice(&value.to_be_bytes());
        }
        if resum {
            let jsb = it.log_mut(0);
            jsb[0xFC..0x100].fill(0);
            let sum = ext4_ondisk::checksum::Csum::START.over(&jsb[..1024]).0;
            jsb[0xFC..0x100].copy_from_slice(&sum.to_be_bytes());
        }
        must_hold(&it);
    }

    #[test]
    fn headers_and_garbage(
        kind in kinds(),
        blocks in proptest::collection::vec((0u32..7, 0u32..3, any::<u64>()), 1..200),
    ) {
        let mut it = Forge::new(kind);
        for (block_kind, tid, seed) in blocks {
            let mut block = Forge::header(block_kind, Tid(9 + tid));
            let mut state = seed | 1;
            for byte in &mut block[12..] {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                // Few bits set: small counts and block numbers, so that some of it makes sense.
                *byte = (state >> 56) as u8 & (state >> 40) as u8 & (state >> 24) as u8 & 0x0F;
            }
            it.put(&block);
        }
        must_hold(&it);
    }
}
