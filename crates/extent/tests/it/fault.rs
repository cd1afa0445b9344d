//! Every allocation of a node fails once: the tree is as it was, and no block is lost.

use crate::store::{Error, File, unwritten, written};

/// Runs `change` with room for 0, 1, 2 ... allocations until it works; gives how many it needed.
#[track_caller]
fn allocs_needed(file: &File, change: impl Fn(&mut File) -> Result<(), Error>) -> usize {
    for n in 0.. {
        let mut it = file.clone();
        it.store.allocs_left = n;
        match change(&mut it) {
            Ok(()) => {
                it.check();
                return n;
            }
            Err(err) => {
                assert_eq!(err, Error::NoSpace);
                assert_eq!(it.image(), file.image(), "after {n} allocations");
                assert_eq!(it.store.n_writes, file.store.n_writes);
            }
        }
    }
    unreachable!()
}

#[test]
fn an_insert_that_splits_every_level() {
    // Depth 1, root and all four leaves full: a level under the root, which then has room, and a leaf.
    let file = File::alternating(84 * 4);
    assert_eq!(allocs_needed(&file, |it| it.insert(written(1001, 1, 5000))), 2);
    assert_eq!(allocs_needed(&file, |it| it.insert(written(21, 1, 5000))), 2);
    assert_eq!(allocs_needed(&File::alternating(4), |it| it.insert(written(101, 1, 5000))), 1);
    assert_eq!(allocs_needed(&File::alternating(3), |it| it.insert(written(101, 1, 5000))), 0);
}

#[test]
fn a_conversion_in_the_middle_of_a_full_leaf() {
    let mut file = File::extents();
    for it in 0..84 {
        file.insert(unwritten(it * 20, 10, 5000 + u64::from(it) * 20)).unwrap();
    }
    assert_eq!(file.check().n_tree_blocks, 1);
    let convert = |it: &mut File| it.convert(405, 2).map(|_| ());
    assert_eq!(allocs_needed(&file, convert), 1);
    let mut done = file.clone();
    convert(&mut done).unwrap();
    assert_eq!(done.mappings().len(), 86);
}

#[test]
fn a_punch_inside_an_extent_of_a_full_leaf() {
    let mut file = File::extents();
    for it in 0..84 {
        file.insert(written(it * 20, 10, 5000 + u64::from(it) * 20)).unwrap();
    }
    assert_eq!(allocs_needed(&file, |it| it.remove(403, 405, 10).map(|_| ())), 1);
    assert_eq!(allocs_needed(&file, |it| it.remove(395, 405, 10).map(|_| ())), 0);
}

#[test]
fn an_allocator_gone_wrong_is_refused() {
    let mut file = File::alternating(4);
    let before = file.image();
    file.ctx.blocks.len = 900;
    assert!(matches!(file.insert(written(9, 1, 500)), Err(Error::Corrupt(_))));
    file.ctx.blocks.len = 1 << 40;
    assert_eq!(file.image(), before);
}
