//! Trees as deep as they may be, and what is said when there is no more room.

use crate::{
    mem::{MemError, context, ino},
    model::{Pair, name},
};
use ext4_dir::{Context, Error, insert};
use ext4_ondisk::dir_entry::FileType;

fn long(nr: u32) -> Vec<u8> {
    format!("{nr:0>255}").into_bytes()
}

#[test]
fn a_full_index_says_so_and_largedir_gives_it_one_more_level() {
    let mut pair = Pair::new(context(1024));
    let mut nr = 0;
    let before = loop {
        let before = pair.mem.blocks.clone();
        pair.mem.begin();
        match insert(&pair.context, &mut pair.mem, &long(nr), ino(nr + 100), FileType::Regular) {
            Ok(outcome) => pair.context.is_indexed = outcome.now_indexed,
            Err(MemError::Dir(error @ Error::IndexFull { .. })) => {
                let said = error.to_string();
                assert_eq!(said, "directory inode 20: directory index full, 2 levels");
                break before;
            }
            Err(error) => panic!("{error:?}"),
        }
        pair.model.insert(long(nr), (nr + 100, 1));
        nr += 1;
    };
    assert!(nr > 10_000, "only {nr} names before the index was full");
    assert_eq!(pair.mem.blocks, before);
    pair.check();
    pair.context.has_largedir = true;
    for nr in nr..nr + 300 {
        pair.insert(&long(nr), nr + 100);
    }
    assert_eq!(pair.mem.blocks[0][30], 2, "indirect levels");
    pair.check();
    pair.check_reading();
    for nr in 0..3000 {
        pair.remove(&long(nr));
    }
    pair.check();
}

#[test]
fn running_out_of_space_at_any_block_changes_no_entry() {
    let mut n_failures = 0;
    for csum in [None, context(1024).csum] {
        let mut pair = Pair::new(Context { csum, ..context(1024) });
        for nr in 0..1500 {
            // Once with no block to be had, once with one too few for a split of two.
            for spare in 0..2 {
                let mut full = pair.mem.clone();
                full.begin();
                full.max_blocks = Some(full.blocks.len() + spare);
                let result =
                    insert(&pair.context, &mut full, &name(nr), ino(nr + 100), FileType::Regular);
                if result == Err(MemError::NoSpace) {
                    full.blocks.truncate(pair.mem.blocks.len());
                    assert_eq!(full.blocks, pair.mem.blocks);
                    n_failures += 1;
                }
            }
            pair.insert(&name(nr), nr + 100);
        }
    }
    assert!(n_failures > 100, "{n_failures}");
}
