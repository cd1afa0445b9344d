//! The trees that come out are the ones the kernel makes.

use crate::store::{Error, File, unwritten, written};
use ext4_extent::{State, to_zero};
use ext4_ondisk::extent::Extent;
use ext4_units::{BlockNr, LogicalBlock};

#[track_caller]
fn check(file: &File, shape: &str, depth: u16) {
    assert_eq!(file.shape(), shape);
    assert_eq!(file.check().depth, depth);
}

#[test]
fn direct_writes_into_a_preallocated_file_leave_the_kernels_extents() {
    let mut file = File::with([unwritten(0, 256, 5000)]);
    for (at, shape) in [
        (2, "U0-1 W2-2 U3-255"),
        (3, "U0-1 W2-3 U4-255"),
        (1, "U0-0 W1-3 U4-255"),
        (0, "W0-3 U4-255"),
    ] {
        assert_eq!(file.convert(at, 1), Ok(1));
        check(&file, shape, 0);
    }
    assert_eq!(file.convert(4, 252), Ok(252));
    check(&file, "W0-255", 0);
    assert_eq!(file.mappings()[0].state, State::Written(BlockNr(5000)));
}

#[test]
fn converting_the_front_splits_in_two() {
    let mut file = File::with([unwritten(0, 256, 5000)]);
    assert_eq!(file.convert(0, 2), Ok(2));
    check(&file, "W0-1 U2-255", 0);
    assert_eq!(file.lookup(2).unwrap().state, State::Unwritten(BlockNr(5002)));
}

#[test]
fn converting_goes_one_extent_at_a_time() {
    let mut file = File::with([written(0, 4, 5000), unwritten(4, 4, 6000), unwritten(10, 4, 7000)]);
    assert_eq!(file.convert(0, 14), Ok(4));
    assert_eq!(file.convert(4, 10), Ok(4));
    assert!(matches!(file.convert(8, 6), Err(Error::Corrupt(_))), "a hole cannot be converted");
    assert_eq!(file.convert(12, 100), Ok(2));
    check(&file, "W0-3 W4-7 U10-11 W12-13", 0);
}

#[test]
fn s170_neighbours_merge_up_to_their_longest_length() {
    let far = 100_000;
    let mut file = File::with([unwritten(0, 32767, far), unwritten(32767, 1, far + 32767)]);
    check(&file, "U0-32766 U32767-32767", 0);
    assert_eq!(file.convert(0, 32767), Ok(32767));
    assert_eq!(file.convert(32767, 1), Ok(1));
    check(&file, "W0-32767", 0);
    file.insert(written(32768, 1, far + 32768)).unwrap();
    check(&file, "W0-32767 W32768-32768", 0);
}

#[test]
fn blocks_are_not_handed_to_a_neighbour_that_would_reach_its_longest_length() {
    // The kernel splits and merges then, with the same result.
    for change in [File::convert, File::initialize] {
        let mut file = File::with([written(0, 32760, 100_000), unwritten(32760, 100, 132_760)]);
        assert_eq!(change(&mut file, 32760, 8), Ok(8));
        check(&file, "W0-32767 U32768-32859", 0);
        assert_eq!(change(&mut file, 32768, 8), Ok(8));
        check(&file, "W0-32767 W32768-32775 U32776-32859", 0);
    }
}

/// 84 entries in one leaf, every second one unwritten and all of them contiguous.
fn full_leaf() -> File {
    let it = |it: u32| Extent {
        unwritten: it % 2 == 1,
        ..written(it * 10, 10, 5000 + u64::from(it) * 10)
    };
    let file = File::with((0..84).map(it));
    assert_eq!((file.check().n_tree_blocks, file.check().n_extents), (1, 84));
    file
}

#[test]
fn behind_the_end_of_the_file_blocks_are_handed_over_rather_than_split_off() {
    // A direct write that completed inside the file has split the leaf, as the kernel does. In the second
    // case the neighbour is in the other leaf then.
    for (at, split_off) in [(30, 84), (36, 85)] {
        let mut file = full_leaf();
        assert_eq!(file.initialize(at, 4), Ok(4));
        assert_eq!((file.check().n_tree_blocks, file.check().n_extents), (1, 84));
        let mut file = full_leaf();
        assert_eq!(file.convert(at, 4), Ok(4));
        assert_eq!((file.check().n_tree_blocks, file.check().n_extents), (2, split_off));
    }
}

#[test]
fn blocks_are_handed_over_when_there_is_no_room_to_split() {
    let mut file = full_leaf();
    file.store.allocs_left = 0;
    let before = file.image();
    assert_eq!(file.convert(33, 4), Err(Error::NoSpace));
    assert_eq!(file.image(), before);
    assert_eq!(file.convert(30, 4), Ok(4));
    assert_eq!(file.convert(36, 4), Ok(4));
    assert_eq!((file.check().n_tree_blocks, file.check().n_extents), (1, 84));
    assert_eq!(file.lookup(33).unwrap().state, State::Written(BlockNr(5033)));
    assert_eq!(file.lookup(34).unwrap().state, State::Unwritten(BlockNr(5034)));
}

#[test]
fn written_blocks_can_become_unwritten_again() {
    let mut file = File::with([written(0, 32768, 100_000)]);
    assert_eq!(file.mark_unwritten(0, 40000), Ok(32767));
    check(&file, "U0-32766 W32767-32767", 0);
    assert_eq!(file.convert(100, 1), Ok(1));
    assert_eq!(file.mark_unwritten(100, 1), Ok(1));
    check(&file, "U0-32766 W32767-32767", 0);
}

#[test]
fn a_hole_filled_between_two_extents_joins_all_three() {
    let mut file = File::with([written(0, 4, 5000), written(8, 4, 5008)]);
    file.insert(written(4, 4, 5004)).unwrap();
    check(&file, "W0-11", 0);
}

#[test]
fn the_fifth_extent_moves_the_root_into_a_block() {
    let mut file = File::alternating(4);
    assert_eq!(file.check().depth, 0);
    file.insert(written(100, 1, 9000)).unwrap();
    let sum = file.check();
    assert_eq!((sum.depth, sum.n_tree_blocks), (1, 1));
    // Filling the gaps joins the first four; two extents fit into the inode again.
    for lblk in [1, 3, 5] {
        file.insert(written(lblk, 1, 100_000 + u64::from(lblk))).unwrap();
    }
    check(&file, "W0-6 W100-100", 0);
}

#[test]
fn appending_leaves_full_leaves_behind() {
    // 84 entries a leaf: as ext4_ext_split at the end of a leaf, nothing moves.
    let file = File::alternating(84 * 4 + 1);
    let sum = file.check();
    assert_eq!((sum.depth, sum.n_tree_blocks), (2, 1 + 5));
    assert_eq!(File::alternating(84 * 4).check().n_tree_blocks, 4);
    assert_eq!(File::alternating(84 * 4).check().depth, 1);
}

#[test]
fn a_split_in_the_middle_moves_what_is_to_the_right() {
    let mut file = File::alternating(84);
    assert_eq!(file.check().n_tree_blocks, 1);
    file.insert(written(21, 1, 9000)).unwrap();
    assert_eq!(file.check().n_tree_blocks, 2);
    // The left leaf has 11 + 1 entries, the right one 73: room for 72 and 11 more.
    for n in 0..11 {
        file.insert(written(145 + n * 2, 1, 20_000 + u64::from(n) * 3)).unwrap();
    }
    assert_eq!(file.check().n_tree_blocks, 2);
    file.insert(written(23, 1, 9500)).unwrap();
    assert_eq!(file.check().n_tree_blocks, 3, "the right leaf is full");
}

#[test]
fn a_full_leaf_uses_the_room_in_the_next_one() {
    let mut file = File::alternating(85);
    assert_eq!(file.check().n_tree_blocks, 2);
    // Behind the first leaf's last extent, 166, and before the second leaf's, 168.
    file.insert(written(167, 1, 9000)).unwrap();
    let sum = file.check();
    assert_eq!((sum.n_tree_blocks, sum.n_extents), (2, 86));
    assert_eq!(file.lookup(167).unwrap().state, State::Written(BlockNr(9000)));
}

#[test]
fn an_extent_before_all_others_changes_the_keys_of_all_ancestors() {
    let mut file =
        File::with((0..84 * 5).map(|it| written(1000 + it * 2, 1, 9000 + u64::from(it) * 2)));
    assert_eq!(file.check().depth, 2);
    file.insert(written(7, 1, 5000)).unwrap();
    file.check();
    assert_eq!(file.lookup(7).unwrap().state, State::Written(BlockNr(5000)));
    file.remove_all(0, 1001, 10);
    assert_eq!(file.lookup(0).unwrap().len, 1002, "the hole ends where the first extent starts");
}

#[test]
fn the_tree_grows_to_depth_two_and_merges_back_into_the_inode() {
    let n = 84 * 6;
    let mut file = File::alternating(n);
    assert_eq!(file.check().depth, 2);
    // Extents of different leaves are never joined, so each leaf keeps one.
    for it in 0..n {
        file.insert(written(it * 2 + 1, 1, 100_001 + u64::from(it) * 2)).unwrap();
    }
    let sum = file.check();
    assert_eq!((sum.depth, sum.n_extents), (2, 6));
    file.remove_all(84 * 2, u32::MAX, 100);
    // As in the kernel a truncate does not make the tree lower.
    check(&file, "W0-167", 2);
    file.remove_all(0, u32::MAX, 100);
    check(&file, "", 0);
    assert_eq!(file.root, File::extents().root);
}

#[test]
fn a_leaf_that_is_left_alone_moves_up_with_the_next_insert() {
    let mut file = File::alternating(10);
    file.remove_all(4, u32::MAX, 100);
    check(&file, "W0-0 W2-2", 1);
    file.insert(written(9, 1, 5000)).unwrap();
    check(&file, "W0-0 W2-2 W9-9", 0);
}

#[test]
fn a_punch_inside_an_extent_leaves_both_ends() {
    let mut file = File::with([unwritten(10, 100, 5000)]);
    let removed = file.remove(20, 30, 8).unwrap();
    assert!(removed.done);
    assert_eq!(removed.freed.len(), 1);
    assert_eq!(removed.freed[0].0, LogicalBlock(20));
    assert_eq!((removed.freed[0].1.start, removed.freed[0].1.len), (BlockNr(5010), 10));
    check(&file, "U10-19 U30-109", 0);
    assert_eq!(file.lookup(30).unwrap().state, State::Unwritten(BlockNr(5020)));
    file.remove_all(0, 15, 8);
    file.remove_all(100, 2000, 8);
    check(&file, "U15-19 U30-99", 0);
}

#[test]
fn a_punch_across_leaves_keeps_what_is_on_both_sides() {
    let mut file = File::alternating(84 * 6);
    let steps = file.remove_all(100, 900, 7);
    assert!(steps >= 400 / 7);
    let mappings = file.mappings();
    assert_eq!(mappings.len(), 84 * 6 - 400);
    assert!(mappings.iter().all(|it| it.lblk.0 < 100 || it.lblk.0 >= 900));
}

#[test]
fn conversion_without_room_can_zero_the_rest_and_convert_it_whole() {
    let mut file = File::with((0..4).map(|it| unwritten(it * 100, 50, 5000 + u64::from(it) * 200)));
    file.store.allocs_left = 0;
    let before = file.image();
    assert_eq!(file.convert(110, 5), Err(Error::NoSpace));
    assert_eq!(file.image(), before);

    let extent = Extent { unwritten: true, ..written(100, 50, 5200) };
    let zeroed: Vec<_> = to_zero(&extent, LogicalBlock(110), LogicalBlock(115)).collect();
    assert_eq!(zeroed, [unwritten(100, 10, 5200), unwritten(115, 35, 5215)]);
    file.convert_whole(110).unwrap();
    check(&file, "U0-49 W100-149 U200-249 U300-349", 0);
}

#[test]
fn generation_and_unused_bits_survive() {
    let mut file = File::alternating(84 * 2);
    assert_eq!(file.check().depth, 1);
    file.root[8..12].copy_from_slice(&77u32.to_le_bytes());
    file.root[12 + 10..12 + 12].copy_from_slice(&0xBEEFu16.to_le_bytes());
    file.insert(written(1001, 1, 5000)).unwrap();
    file.check();
    assert_eq!(file.root[8..12], 77u32.to_le_bytes());
    assert_eq!(file.root[22..24], 0xBEEFu16.to_le_bytes());
}

#[test]
fn holes_reach_to_the_next_extent_whatever_leaf_it_is_in() {
    let mut file = File::alternating(200);
    file.remove_all(100, 300, 1000);
    assert_eq!((file.lookup(99).unwrap().len, file.lookup(99).unwrap().state), (201, State::Hole));
    assert_eq!(file.lookup(398).unwrap().len, 1);
    assert_eq!(file.lookup(399).unwrap().len, u32::MAX - 399);
}

#[test]
fn what_is_mapped_cannot_be_inserted_again() {
    let mut file = File::alternating(200);
    let before = file.image();
    for it in [
        written(2, 1, 5000),
        written(3, 2, 5000),
        written(0, 1, 5000),
        written(167, 2, 5000),
        written(401, 0, 5000),
        written(401, 32769, 5000),
        unwritten(401, 32768, 5000),
        written(u32::MAX, 1, 5000),
        written(401, 1, 1),
        written(401, 1, 1 << 48),
    ] {
        assert!(matches!(file.insert(it), Err(Error::Corrupt(_))), "{it:?}");
    }
    assert_eq!(file.image(), before);
}
