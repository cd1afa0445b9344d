//! Fields of inodes, one wrong at a time.

use crate::kit::{
    finds, inode, set, set16, with_inode, with_inode_unsealed, with_superblock, word,
};
use ext4_ondisk::xattr;
use ext4_testkit::image::{Image, Recipe, poison};

const FILE: u32 = 12;
const DIR: u32 = 13;
const LINK: u32 = 14;
const PIPE: u32 = 15;

const MODE: usize = 0x00;
const SIZE: usize = 0x04;
const DTIME: usize = 0x14;
const LINKS: usize = 0x1A;
const BLOCKS: usize = 0x1C;
const FLAGS: usize = 0x20;
const I_BLOCK: usize = 0x28;
const EXTRA: usize = 0x80;

fn image() -> Option<Image> {
    Recipe::new("ext4-1k")
        .write("/file", poison(10 * 1024))
        .mkdir("/dir")
        .debugfs("symlink /link target")
        .debugfs("mknod /pipe p")
        .image()
}

/// The damage to a field and what it is found as.
#[track_caller]
fn field(ino: u32, edit: impl FnOnce(&mut [u8]), expected: &[&str]) {
    let Some(image) = image() else { return };
    finds(&with_inode(&image, ino, edit), expected);
}

fn add_flag(inode: &mut [u8], flag: u32) {
    let flags = word(inode, FLAGS);
    set(inode, FLAGS, flags | flag);
}

#[test]
fn nothing_is_found_where_nothing_is_wrong() {
    let Some(image) = image() else { return };
    finds(&image, &[]);
}

#[test]
fn a_deleted_inode_says_when() {
    field(FILE, |it| set16(it, LINKS, 0), &["deleted-without-time"]);
}

#[test]
fn an_inode_in_use_has_no_deletion_time() {
    field(FILE, |it| set(it, DTIME, 1_700_000_000), &["used-with-deletion-time"]);
    field(2, |it| set(it, DTIME, 1_700_000_000), &["root-deletion-time"]);
}

#[test]
fn a_small_deletion_time_is_what_is_left_of_the_orphan_list() {
    field(FILE, |it| set(it, DTIME, 13), &["orphan-list-remains"]);
}

#[test]
fn a_size_covers_what_is_mapped() {
    let Some(image) = image() else { return };
    let mended = finds(&with_inode(&image, FILE, |it| set(it, SIZE, 1024)), &["inode-size"]);
    assert_eq!(word(&inode(&mended, FILE), SIZE), 10 * 1024);
    field(DIR, |it| set(it, SIZE, 4096), &["inode-size"]);
    field(DIR, |it| set(it, SIZE, 1000), &["inode-size"]);
}

#[test]
fn blocks_are_counted() {
    field(FILE, |it| set(it, BLOCKS, 2), &["inode-blocks"]);
    // Counted in blocks of the filesystem instead of sectors.
    field(FILE, |it| add_flag(it, 0x4_0000), &["inode-blocks"]);
}

#[test]
fn flags_keep_to_their_kinds_and_features() {
    field(FILE, |it| add_flag(it, 0x2000), &["imagic-flag"]);
    field(FILE, |it| add_flag(it, 0x1000), &["index-without-directory"]);
    field(FILE, |it| add_flag(it, 0x4000_0000), &["casefold-without-directory"]);
    field(DIR, |it| add_flag(it, 0x4000_0000), &["casefold-without-feature"]);
    field(DIR, |it| add_flag(it, 0x20_0000), &["ea-inode-kind"]);
    field(FILE, |it| add_flag(it, 0x800), &["encryption-context-missing"]);
    field(PIPE, |it| add_flag(it, 0x10), &["special-file-immutable"]);
    field(LINK, |it| add_flag(it, 0x20), &["special-file-immutable"]);
    field(LINK, |it| add_flag(it, 0x8_0000), &["fast-symlink-extents"]);
    field(PIPE, |it| set(it, SIZE, 5), &["special-file-size"]);
}

#[test]
fn an_inode_does_not_say_that_its_contents_are_inside_when_they_are_not() {
    field(FILE, |it| set(it, FLAGS, 0x1000_0000), &["inline-data-flag"]);
    field(FILE, |it| add_flag(it, 0x1000_0000), &["inline-flag-on-extents"]);
    field(PIPE, |it| add_flag(it, 0x1008_0000), &["special-file-mapped"]);
    let junk = |it: &mut [u8]| {
        set(it, FLAGS, 0x1008_0000);
        it[I_BLOCK..I_BLOCK + 60].fill(0xFF);
    };
    field(FILE, junk, &["extents-and-inline"]);
}

#[test]
fn extents_and_their_flag_and_feature_go_together() {
    field(FILE, |it| set(it, FLAGS, 0), &["extents-without-flag"]);
    field(FILE, |it| it[I_BLOCK..I_BLOCK + 12].fill(0), &["extent-header"]);
}

#[test]
fn a_feature_that_inodes_need_is_set() {
    let Some(image) = Recipe::new("ext4-32bit").write("/file", poison(5000)).image() else {
        return;
    };
    let without = with_superblock(&image, |raw| {
        raw.s_feature_incompat.set(raw.s_feature_incompat.get() & !0x40);
    });
    finds(&without, &["extents-feature"]);
}

#[test]
fn extents_are_not_where_the_feature_is_not() {
    let Some(image) = Recipe::new("ext2-1k").write("/file", poison(5000)).image() else { return };
    finds(&with_inode(&image, FILE, |it| add_flag(it, 0x8_0000)), &["extents-flag"]);
}

#[test]
fn a_feature_that_inodes_need_asks_for_a_revision_with_features() {
    let recipe = Recipe::new("ext2-1k").options("-r 0 -O none").write("/file", poison(5000));
    let Some(image) = recipe.image() else { return };
    let start = word(&inode(&image, FILE), I_BLOCK);
    let mapped = with_inode(&image, FILE, |it| {
        add_flag(it, 0x8_0000);
        it[I_BLOCK..I_BLOCK + 60].fill(0);
        set(it, I_BLOCK, 0x0001_F30A);
        set(it, I_BLOCK + 4, 4);
        set(it, I_BLOCK + 16, 5);
        set(it, I_BLOCK + 20, start);
    });
    finds(&mapped, &["extents-feature", "revision-with-features"]);
}

#[test]
fn an_encryption_context_is_one_or_the_inode_goes() {
    let recipe =
        Recipe::new("ext4-1k").write("/file", poison(100)).debugfs("ea_set /file user.c v");
    let Some(image) = recipe.image() else { return };
    let damaged = with_inode(&image, FILE, |it| {
        add_flag(it, 0x800);
        // The entry behind the magic: its namespace, and a value of no bytes.
        it[165] = 9;
        set16(it, 166, 0);
        set(it, 172, 0);
        set(it, 176, xattr::entry_hash(b"c", &[]));
    });
    finds(&damaged, &["encryption-context"]);
}

#[test]
fn the_extra_fields_have_a_size_that_can_be() {
    field(FILE, |it| set16(it, EXTRA, 65_535), &["extra-isize"]);
    field(FILE, |it| set16(it, EXTRA, 30), &["extra-isize"]);
}

#[test]
fn times_of_old_kernels_are_before_1970_where_the_filesystem_is_old() {
    let Some(image) = image() else { return };
    let far = with_inode(&image, FILE, |it| {
        set(it, 0x10, 0x8000_0001);
        set(it, 0x88, 3);
    });
    finds(&far, &[]);
    let old = with_superblock(&far, |raw| raw.s_mkfs_time.set(1_300_000_000));
    let mended = finds(&old, &["time-out-of-range"]);
    assert_eq!(word(&inode(&mended, FILE), 0x88), 0);
}

#[test]
fn a_target_that_is_whole_is_not_taken_for_a_map() {
    let Some(image) = image() else { return };
    for (at, value) in [(0x1C, 0x800_u32), (0x74, 0x8000)] {
        let damaged = with_inode(&image, LINK, |it| set(it, at, value | word(it, at)));
        let mended = finds(&damaged, &["inode-blocks"]);
        assert_eq!(inode(&mended, LINK)[0x28..0x64], inode(&image, LINK)[0x28..0x64]);
    }
}

#[test]
fn checksums_are_made_also_where_no_system_is_known_to_have_made_the_filesystem() {
    let Some(image) = image() else { return };
    let unknown = with_superblock(&image, |raw| raw.s_creator_os.set(0x305));
    let damaged = with_inode(&unknown, FILE, |it| set16(it, EXTRA, 65_535));
    finds(&damaged, &["extra-isize"]);
}

#[test]
fn a_wrong_checksum_alone_costs_nothing() {
    let Some(image) = image() else { return };
    let damaged = with_inode_unsealed(&image, FILE, |it| it[0x7C] ^= 1);
    let mended = finds(&damaged, &["inode-checksum"]);
    assert_eq!(inode(&mended, FILE), inode(&image, FILE));
}

#[test]
fn a_block_of_garbage_is_cleared_and_its_neighbours_are_kept() {
    let Some(image) = image() else { return };
    // Inodes 13 to 16 share a block of 1 KiB.
    let mut damaged = image;
    for ino in [DIR, LINK, PIPE] {
        damaged = with_inode_unsealed(&damaged, ino, |it| it[4..].fill(0xA5));
    }
    finds(&damaged, &["inode-garbage"]);
}

#[test]
fn what_looks_like_a_directory_becomes_one_again() {
    field(DIR, |it| set16(it, MODE, 0x21ED), &["treat-as-directory"]);
}
