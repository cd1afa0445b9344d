//! Inodes with a duty, and the filesystem's own blocks.

use crate::kit::{Frame, finds, ids, mend, set, set16, with_block, with_inode};
use ext4_testkit::image::{Image, Recipe, poison};

fn image(profile: &str) -> Option<Image> {
    Recipe::new(profile).write("/file", poison(3000)).image()
}

#[test]
fn a_root_that_is_no_directory_is_made_anew() {
    let Some(image) = image("ext4-1k") else { return };
    finds(&with_inode(&image, 2, |it| set16(it, 0, 0x81ED)), &["root-not-directory"]);
}

#[test]
fn reserved_inodes_have_no_mode() {
    let Some(image) = image("ext4-1k") else { return };
    finds(&with_inode(&image, 9, |it| set16(it, 0, 0x81ED)), &["reserved-inode-mode"]);
    finds(&with_inode(&image, 5, |it| set16(it, 0, 0x41ED)), &["reserved-inode-mode"]);
}

#[test]
fn an_inode_without_its_duty_is_empty() {
    let Some(image) = image("ext2-1k") else { return };
    let used = |it: &mut [u8]| {
        set16(it, 0, 0x8180);
        set16(it, 0x1A, 1);
    };
    finds(&with_inode(&image, 8, used), &["journal-inode-not-clear"]);
    finds(&with_inode(&image, 3, used), &["quota-inode-not-clear"]);
}

#[test]
fn hidden_files_are_regular_ones() {
    let Some(quota) = image("quota-4k") else { return };
    finds(&with_inode(&quota, 3, |it| set16(it, 0, 0xC180)), &["quota-inode-mode"]);
    let Some(orphans) = image("orphan-4k") else { return };
    let ino = Frame::of(&orphans).sb.orphan_file_inum.unwrap().get();
    finds(&with_inode(&orphans, ino, |it| set16(it, 0, 0xC180)), &["orphan-file-mode"]);
}

#[test]
fn the_list_of_bad_blocks_is_a_list_and_nothing_else() {
    let Some(image) = image("ext4-1k") else { return };
    finds(&with_inode(&image, 1, |it| set16(it, 0, 0x81A4)), &["bad-blocks-inode"]);
    let list = |blk: u64| {
        let blk = u32::try_from(blk).unwrap();
        with_inode(&image, 1, |it| set(it, 0x28, blk))
    };
    finds(&list(1 << 30), &["bad-block-illegal"]);
    finds(&list(1), &["bad-block-under-superblock"]);
    finds(&list(2), &["bad-block-under-descriptors"]);
    let frame = Frame::of(&image);
    let desc = frame.desc(0);
    finds(&list(desc.inode_table.0), &["bad-blocks-in-bad-block"]);
    finds(&list(desc.inode_table.0 + 9), &["bad-block-under-inode-table"]);
    finds(&list(desc.block_bitmap.0), &["bad-block-under-block-bitmap"]);
    finds(&list(desc.inode_bitmap.0), &["bad-block-under-inode-bitmap"]);
    // Kept in blocks of pointers.
    let kept_in = |blk: u64| {
        let nr = u32::try_from(blk).unwrap();
        with_inode(&image, 1, |it| set(it, 0x28 + 48, nr))
    };
    finds(&kept_in(desc.inode_table.0 + 9), &["bad-blocks-on-metadata"]);
    let listed = with_block(&kept_in(9000), 9000, |it| {
        it.fill(0);
        set(it, 0, 9000);
    });
    // That block is one of the journal's, which gets another.
    finds(&listed, &["bad-block-under-bad-blocks", "shared-blocks"]);
}

#[test]
fn a_bad_copy_is_worth_a_word() {
    let Some(image) = image("noflex-1k") else { return };
    // The copy of the superblock is the first block of the group, those of the descriptors follow.
    for (blk, id) in
        [(2049, "bad-block-under-superblock-copy"), (2050, "bad-block-under-descriptors-copy")]
    {
        let (outcome, _) = mend(&with_inode(&image, 1, |it| set(it, 0x28, blk)), 1);
        assert!(ids(&outcome).contains(&id), "{:#?}", outcome.findings);
        assert_eq!(outcome.left, 0, "{id}: a remark only");
    }
}
