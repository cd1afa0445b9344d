//! Trees of extents, one entry or node wrong at a time.

use crate::kit::{block, finds, inode, set, set16, with_block, with_inode, with_node, word};
use ext4_testkit::image::{Image, Recipe, poison};

const FILE: u32 = 12;
const ROOT: usize = 0x28;

/// A file with every other of 40 blocks of 1 KiB: 20 extents, in one leaf below the root.
fn image() -> Option<Image> {
    let mut bytes = Vec::new();
    for _ in 0..20 {
        bytes.extend(poison(1024));
        bytes.extend([0; 1024]);
    }
    bytes.extend(poison(1));
    Recipe::new("ext4-1k").write("/file", bytes).image()
}

/// The leaf below the root.
fn leaf(image: &Image) -> u64 {
    let inode = inode(image, FILE);
    assert_eq!(inode[ROOT + 6], 1, "depth");
    word(&inode, ROOT + 12 + 4).into()
}

/// The damage to an entry of the leaf and what it is found as.
#[track_caller]
fn entry(nr: usize, edit: impl FnOnce(&mut [u8]), expected: &[&str]) {
    let Some(image) = image() else { return };
    let at = 12 + 12 * nr;
    finds(&with_node(&image, FILE, leaf(&image), |node| edit(&mut node[at..at + 12])), expected);
}

#[test]
fn an_extent_is_inside_the_filesystem_and_not_empty() {
    entry(5, |it| set(it, 8, 1 << 30), &["extent-start", "inode-blocks"]);
    entry(5, |it| set(it, 8, 16_383), &[]);
    entry(5, |it| set16(it, 4, 0), &["extent-empty", "inode-blocks"]);
}

#[test]
fn extents_are_in_order_and_do_not_overlap() {
    entry(5, |it| set(it, 0, 3), &["extent-order", "inode-blocks"]);
    entry(5, |it| set(it, 0, 8), &["extent-overlap", "inode-blocks"]);
}

#[test]
fn one_extent_too_far_off_does_not_cost_those_behind_it() {
    let Some(image) = image() else { return };
    let blk = leaf(&image);
    let damaged = with_node(&image, FILE, blk, |node| set(node, 12 + 12 * 5, 0x400_000A));
    let mended = finds(&damaged, &["extent-bounds", "inode-blocks"]);
    let (old, new) = (block(&image, blk), block(&mended, blk));
    assert_eq!(word(&new, 0) >> 16, 20, "entries");
    assert_eq!(old[12 + 72..12 + 252], new[12 + 60..12 + 240]);
}

#[test]
fn a_part_of_a_directory_too_long_is_cut() {
    let Some(image) = directory() else { return };
    let blk = leaf(&image);
    let damaged = with_node(&image, FILE, blk, |node| set16(node, 12 + 12 + 4, 513));
    let mended = finds(&damaged, &["extent-length"]);
    assert_eq!(block(&mended, blk), block(&image, blk));
}

#[test]
fn a_wrong_depth_of_the_root_costs_nothing() {
    let Some(image) = image() else { return };
    let damaged = with_inode(&image, FILE, |it| set16(it, ROOT + 6, 0x201));
    let mended = finds(&damaged, &["extents-depth"]);
    assert_eq!(inode(&mended, FILE)[ROOT..ROOT + 24], inode(&image, FILE)[ROOT..ROOT + 24]);
    let Some(image) = Recipe::new("ext4-1k").write("/file", poison(3000)).image() else { return };
    let damaged = with_inode(&image, FILE, |it| set16(it, ROOT + 6, 0x200));
    let mended = finds(&damaged, &["extents-depth"]);
    assert_eq!(inode(&mended, FILE)[ROOT..ROOT + 24], inode(&image, FILE)[ROOT..ROOT + 24]);
}

#[test]
fn the_first_extent_of_a_leaf_too_far_off_does_not_move_the_index() {
    let Some(image) = image() else { return };
    let blk = leaf(&image);
    let damaged = with_node(&image, FILE, blk, |node| set(node, 12, 0x400_0000));
    let mended = finds(&damaged, &["extent-bounds", "inode-blocks"]);
    let (old, new) = (block(&image, blk), block(&mended, blk));
    assert_eq!(old[24..12 + 252], new[12..12 + 240]);
}

#[test]
fn a_leaf_with_another_depth_keeps_its_extents() {
    let Some(image) = image() else { return };
    let blk = leaf(&image);
    for depth in [1, 5, 256] {
        let damaged = with_node(&image, FILE, blk, |node| set16(node, 6, depth));
        let mended = finds(&damaged, &["extent-node-depth"]);
        assert_eq!(block(&mended, blk), block(&image, blk));
    }
}

#[test]
fn an_extent_that_is_too_long_does_not_cost_those_behind_it() {
    let Some(image) = image() else { return };
    let blk = leaf(&image);
    let damaged = with_node(&image, FILE, blk, |node| set16(node, 12 + 12 * 3 + 4, 513));
    let mended = finds(&damaged, &["extent-length"]);
    assert_eq!(block(&mended, blk), block(&image, blk));
}

#[test]
fn an_empty_file_is_not_lost_for_the_depth_of_its_tree() {
    let Some(image) = Recipe::new("ext4-1k").write("/file", []).image() else { return };
    for depth in [1, 4, 32, 0x2000] {
        let damaged = with_inode(&image, FILE, |it| set16(it, ROOT + 6, depth));
        let mended = finds(&damaged, &["extents-depth"]);
        assert_eq!(inode(&mended, FILE), inode(&image, FILE));
    }
}

/// A directory with more blocks than there is room for in its inode.
fn directory() -> Option<Image> {
    let mut recipe = Recipe::new("ext4-1k").mkdir("/dir");
    for nr in 0..200 {
        recipe = recipe.write(&format!("/dir/a-name-of-some-length-{nr}"), b"x".to_vec());
    }
    let image = recipe.image()?;
    assert_eq!(inode(&image, FILE)[ROOT + 6], 1, "depth");
    Some(image)
}

#[test]
fn a_block_of_a_directory_too_far_off_is_brought_near() {
    let Some(image) = directory() else { return };
    let blk = leaf(&image);
    let damaged = with_node(&image, FILE, blk, |node| {
        let (at, lblk) = (12 + 12, word(node, 12 + 12));
        set(node, at, lblk | 0x100);
    });
    let mended = finds(&damaged, &["directory-gap"]);
    assert_eq!(block(&mended, blk), block(&image, blk));
}

#[test]
fn what_is_left_of_a_damaged_leaf_is_kept() {
    let Some(image) = image() else { return };
    let blk = leaf(&image);
    let damaged = with_node(&image, FILE, blk, |node| set(node, 12 + 12 * 5 + 8, 1 << 30));
    let mended = finds(&damaged, &["extent-start", "inode-blocks"]);
    let (old, new) = (block(&image, blk), block(&mended, blk));
    assert_eq!(word(&new, 0) >> 16, 20, "entries");
    assert_eq!(old[12..12 + 60], new[12..12 + 60]);
    assert_eq!(old[12 + 72..12 + 252], new[12 + 60..12 + 240]);
}

#[test]
fn a_node_that_is_none_goes() {
    let Some(image) = image() else { return };
    let expected = ["extent-node", "inode-blocks"];
    finds(&with_node(&image, FILE, leaf(&image), |node| node[..4].fill(0)), &expected);
    // Of another depth, and nothing in it could be an extent.
    let index = with_node(&image, FILE, leaf(&image), |node| {
        set16(node, 6, 1);
        set16(node, 12 + 4, 0);
    });
    finds(&index, &expected);
    let outside = with_inode(&image, FILE, |it| set(it, ROOT + 12 + 4, 1 << 30));
    finds(&outside, &["extent-start", "inode-blocks"]);
}

#[test]
fn an_index_begins_where_its_child_begins() {
    entry(0, |it| set(it, 0, 1), &["extent-index-start"]);
}

#[test]
fn a_wrong_checksum_of_a_node_alone_costs_nothing() {
    let Some(image) = image() else { return };
    let blk = leaf(&image);
    let damaged = with_block(&image, blk, |node| node[1020] ^= 1);
    let mended = finds(&damaged, &["extent-checksum"]);
    assert_eq!(block(&mended, blk), block(&image, blk));
}

#[test]
fn a_tree_that_is_too_deep_is_made_anew() {
    let Some(image) = image() else { return };
    // A chain of six nodes, each with one child, above the leaf: in free blocks.
    let mut damaged = image.clone();
    let mut child = leaf(&image);
    for depth in 1..6_u16 {
        let blk = 16_000 + u64::from(depth);
        damaged = with_node(&damaged, FILE, blk, |node| {
            node.fill(0);
            set16(node, 0, 0xF30A);
            set16(node, 2, 1);
            set16(node, 4, 84);
            set16(node, 6, depth);
            set(node, 16, u32::try_from(child).unwrap());
        });
        child = blk;
    }
    damaged = with_inode(&damaged, FILE, |it| {
        set16(it, ROOT + 6, 6);
        set(it, ROOT + 16, u32::try_from(child).unwrap());
    });
    let mended = finds(&damaged, &["extents-depth"]);
    assert_eq!(inode(&mended, FILE)[ROOT + 6], 1);
}

#[test]
fn an_extent_that_ends_outside_goes() {
    let Some(image) = Recipe::new("ext4-1k").write("/file", poison(3000)).image() else { return };
    let damaged = with_inode(&image, FILE, |it| {
        set16(it, ROOT + 12 + 4, 3);
        set(it, ROOT + 12 + 8, 16_382);
    });
    finds(&damaged, &["extent-end", "inode-blocks"]);
}

#[test]
fn an_extent_keeps_to_its_part_of_the_file() {
    let mut bytes = Vec::new();
    for _ in 0..120 {
        bytes.extend(poison(1024));
        bytes.extend([0; 1024]);
    }
    bytes.extend(poison(1));
    let Some(image) = Recipe::new("ext4-1k").write("/file", bytes).image() else { return };
    let first = leaf(&image);
    let n = usize::from(block(&image, first)[2]);
    let last = 12 + 12 * (n - 1);
    let damaged = with_node(&image, FILE, first, |node| set16(node, last + 4, 4));
    finds(&damaged, &["extent-bounds", "inode-blocks"]);
}

#[test]
fn a_directory_has_no_holes_and_nothing_unwritten() {
    let Some(image) = Recipe::new("ext4-1k").mkdir("/dir").image() else { return };
    let unwritten = with_inode(&image, FILE, |it| set16(it, ROOT + 12 + 4, 0x8001));
    finds(&unwritten, &["directory-unwritten"]);
    let hole = with_inode(&image, FILE, |it| {
        set(it, ROOT + 12, 3);
        set(it, 4, 4096);
    });
    finds(&hole, &["directory-gap", "inode-size"]);
    let huge = with_inode(&image, FILE, |it| set(it, ROOT + 12, 0x30_0000));
    finds(&huge, &["directory-too-big", "directory-without-blocks"]);
}
