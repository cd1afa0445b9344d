//! The older map: against a model, with damage, with failing allocations.

use crate::store::{Error, File, unwritten, written};
use ext4_extent::{Format, State};
use ext4_units::BlockNr;
use proptest::prelude::*;
use std::collections::BTreeMap;

/// First logical blocks of the double and the triple map, with 1 KiB blocks.
const DOUBLE: u32 = 12 + 256;
const TRIPLE: u32 = DOUBLE + 65536;

fn file() -> File {
    File::new(Format::Indirect)
}

fn put(file: &mut File, blk: u64, slot: usize, pointer: u32) {
    let mut bytes = file.store.read_bytes(blk);
    bytes[slot * 4..slot * 4 + 4].copy_from_slice(&pointer.to_le_bytes());
    file.store.blocks.insert(blk, bytes.into());
}

fn root_pointer(file: &File, slot: usize) -> u64 {
    u64::from(u32::from_le_bytes(*file.root[slot * 4..].first_chunk().unwrap()))
}

#[track_caller]
fn refused<T: std::fmt::Debug>(res: Result<T, Error>) -> String {
    match res {
        Err(Error::Corrupt(it)) => it.to_string(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_run_across_all_levels_gets_its_blocks_of_pointers() {
    let mut file = file();
    file.insert(written(8, 300, 5000)).unwrap();
    let sum = file.check();
    // The indirect block, the double one, and one indirect block below it.
    assert_eq!((sum.n_tree_blocks, sum.n_data_blocks), (3, 300));
    assert_eq!(file.shape(), "W8-307");
    file.insert(written(TRIPLE - 1, 2, 9000)).unwrap();
    assert_eq!(file.check().n_tree_blocks, 3 + 1 + 3);
    assert_eq!(file.shape(), format!("W8-307 W{}-{TRIPLE}", TRIPLE - 1));
    let removed = file.remove(0, TRIPLE, 1000).unwrap();
    assert!(!removed.done);
    file.remove_all_steps(0, u32::MAX, 1);
    assert_eq!((file.check().n_tree_blocks, file.root), (0, [0; 60]));
}

#[test]
fn holes_are_followed_over_missing_blocks_of_pointers() {
    let mut file = file();
    assert_eq!(file.lookup(0).unwrap().state, State::Hole);
    file.insert(written(TRIPLE + 1000, 1, 5000)).unwrap();
    let all: Vec<_> = file.all_mappings();
    let shape: Vec<_> = all.iter().map(|it| (it.lblk.0, it.len, it.state == State::Hole)).collect();
    let end = TRIPLE + 1001;
    assert_eq!(
        shape,
        [(0, TRIPLE + 1000, true), (TRIPLE + 1000, 1, false), (end, u32::MAX - end, true)]
    );
}

#[test]
fn a_punch_keeps_both_sides_and_frees_what_became_empty() {
    let mut file = file();
    file.insert(written(0, 2000, 5000)).unwrap();
    let before = file.check().n_tree_blocks;
    // Whole indirect blocks lie at DOUBLE + 256 n.
    file.remove_all_steps(DOUBLE + 10, DOUBLE + 256 * 3 + 10, 1000);
    assert_eq!(file.shape(), format!("W0-{} W{}-1999", DOUBLE + 9, DOUBLE + 778));
    assert_eq!(file.check().n_tree_blocks, before - 2);
    assert_eq!(file.lookup(1999).unwrap().state, State::Written(BlockNr(6999)));
}

#[test]
fn a_failed_allocation_leaves_the_map_as_it_was() {
    let mut base = file();
    base.insert(written(0, 12, 5000)).unwrap();
    for n in 0.. {
        let mut file = base.clone();
        file.store.allocs_left = n;
        match file.insert(written(TRIPLE - 1, 2, 9000)) {
            Ok(()) => {
                assert_eq!((n, file.check().n_tree_blocks), (5, 5));
                break;
            }
            Err(err) => {
                assert_eq!((err, file.image()), (Error::NoSpace, base.image()));
                assert_eq!(file.store.n_writes, 0);
            }
        }
    }
}

#[test]
fn what_the_map_cannot_hold_is_refused() {
    let mut file = file();
    file.insert(written(100, 10, 5000)).unwrap();
    let before = file.image();
    for it in [
        written(105, 1, 9000),
        written(95, 6, 9000),
        written(0, 1, 1 << 32),
        written(0, 2, (1 << 32) - 1),
        written(0, 1, 1),
        written(0, 0, 9000),
        written(TRIPLE + (1 << 24) - 1, 2, 9000),
        unwritten(0, 1, 9000),
    ] {
        refused(file.insert(it));
        assert_eq!(file.image(), before);
    }
    refused(file.convert(99, 1));
    assert_eq!(file.convert(100, 20), Ok(10));
    file.insert(written(TRIPLE + (1 << 24) - 1, 1, 9000)).unwrap();
    assert_eq!(file.lookup(TRIPLE + (1 << 24)).unwrap().len, u32::MAX - TRIPLE - (1 << 24));
}

#[test]
fn a_pointer_outside_the_filesystem_is_refused() {
    let mut file = file();
    file.ctx.blocks.len = 50_000;
    file.insert(written(0, 300, 5000)).unwrap();
    let indirect = root_pointer(&file, 12);
    put(&mut file, indirect, 200, 60_000);
    let before = file.image();
    let text = refused(file.lookup(20));
    assert_eq!(
        text,
        format!(
            "indirect block {indirect} (inode 12, level 1): pointer 200 is 60000, expected within 2-50001"
        )
    );
    assert_eq!(refused(file.validate()), text);
    assert_eq!(refused(file.remove(0, 260, 10)), text);
    file.root[4..8].copy_from_slice(&60_000u32.to_le_bytes());
    assert_eq!(
        refused(file.lookup(0)),
        "block map (inode 12): pointer 1 is 60000, expected within 2-50001"
    );
    assert_eq!(file.image().1, before.1);
}

#[test]
fn a_pointer_to_a_system_block_is_refused() {
    let mut file = file();
    file.insert(written(0, 300, 5000)).unwrap();
    file.ctx.zones = [ext4_units::BlockRange::new(BlockNr(5020), 1)].into();
    refused(file.lookup(15));
    refused(file.validate());
    refused(file.remove(15, 30, 10));
}

#[test]
fn a_map_that_points_to_itself_ends() {
    let mut file = file();
    file.ctx.blocks.len = 10_000;
    file.insert(written(DOUBLE, 1, 5000)).unwrap();
    let double = root_pointer(&file, 13);
    // Every pointer of the double block leads back to it.
    for slot in 0..256 {
        put(&mut file, double, slot, u32::try_from(double).unwrap());
    }
    refused(file.validate());
    file.all_mappings();
    let before = file.image();
    refused(file.remove(0, u32::MAX, 10_000));
    assert_eq!(file.image(), before);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, ..ProptestConfig::default() })]

    #[test]
    fn the_map_equals_the_model(changes in prop::collection::vec(
        (prop_oneof![0..600u32, TRIPLE - 600..TRIPLE + 600], 1..400u32, any::<bool>(), 1..40usize),
        1..40,
    )) {
        let mut file = file();
        let mut model = BTreeMap::new();
        let mut fresh = 100_000u64;
        for (at, len, insert, budget) in changes {
            if insert {
                let free = model.range(at..).next().map_or(u32::MAX, |(it, _)| *it) - at;
                let len = len.min(free);
                if len == 0 {
                    continue;
                }
                file.insert(written(at, len, fresh)).unwrap();
                model.extend((0..len).map(|it| (at + it, fresh + u64::from(it))));
                fresh += u64::from(len) + 1;
            } else {
                for (lblk, run) in file.remove_all_steps(at, at + len, budget) {
                    for (it, blk) in run.iter().enumerate() {
                        let lblk = lblk.0 + u32::try_from(it).unwrap();
                        prop_assert_eq!(model.remove(&lblk), Some(blk.0));
                    }
                }
                prop_assert_eq!(model.range(at..at + len).count(), 0);
            }
            prop_assert_eq!(file.check().n_data_blocks, model.len() as u64);
        }
        let found: BTreeMap<u32, u64> = file
            .mappings()
            .iter()
            .flat_map(|it| {
                let lblk = it.lblk.0;
                it.blocks().unwrap().iter().zip(lblk..).map(|(blk, lblk)| (lblk, blk.0)).collect::<Vec<_>>()
            })
            .collect();
        prop_assert!(found == model, "the map has other blocks than the model");
        file.remove_all_steps(0, u32::MAX, 1000);
        prop_assert_eq!((file.root, file.store.used.len()), ([0; 60], 0));
    }
}
