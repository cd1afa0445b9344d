//! Bitmaps, their padding, checksums and flags.

use super::{
    Case,
    How::{Bytes, Debugfs},
    all_are_found_and_mended, case,
};
use crate::kit::{
    Frame, block, finds_among, ids, mend, with_block, with_descriptor, with_superblock,
};
use ext4_ondisk::group_desc::GroupFlags;
use ext4_testkit::{
    image::{Image, Recipe},
    oracle::{FsckMode, Need, e2fsck_device, skip_without},
};
use ext4_units::BlockNr;

const CASES: &[Case] = &[
    Case {
        profile: "ext3-1k",
        ..case(
            "no padding behind the inodes",
            Bytes(|it| inodes(it, |b| b[1023] = 0)),
            &["inode-bitmap-padding"],
        )
    },
    Case {
        profile: "ext3-4k",
        ..case(
            "no padding behind the blocks",
            Bytes(|it| blocks(it, |b| b[4095] = 0)),
            &["block-bitmap-padding"],
        )
    },
    case("inodes too many", Debugfs("seti <100>\nseti <101>\nseti <102>"), &["inodes-marked-used"]),
    case("inodes too few", Debugfs("freei <12>\nfreei <13>"), &["inodes-marked-free"]),
    case(
        "a bit of the block bitmap",
        Bytes(|it| blocks(it, |b| b[900] ^= 1)),
        &["block-bitmap-checksum"],
    ),
    case(
        "a bit of the inode bitmap",
        Bytes(|it| inodes(it, |b| b[60] ^= 1)),
        &["inode-bitmap-checksum"],
    ),
    Case {
        profile: "noflex-1k",
        ..case(
            "files in a group without a block bitmap",
            Debugfs("set_bg 0 flags 6\nset_bg 0 checksum calc"),
            &["block-bitmap-uninit"],
        )
    },
    Case {
        profile: "noflex-1k",
        ..case(
            "the root in a group without inodes",
            Debugfs("set_bg 0 flags 5\nset_bg 0 checksum calc"),
            &["inode-bitmap-uninit"],
        )
    },
];

fn blocks(image: &Image, edit: impl FnOnce(&mut [u8])) -> Image {
    with_block(image, Frame::of(image).desc(0).block_bitmap.0, edit)
}

fn inodes(image: &Image, edit: impl FnOnce(&mut [u8])) -> Image {
    with_block(image, Frame::of(image).desc(0).inode_bitmap.0, edit)
}

#[test]
fn each_wrong_bitmap_is_found_by_its_name_and_mended() {
    all_are_found_and_mended(CASES);
}

#[test]
fn a_bitmap_of_another_group_is_not_free_in_a_group_without_one() {
    let Some(image) = Recipe::new("ext4-4k").mib(12).options("-g 1024").image() else { return };
    assert!(Frame::of(&image).desc(1).flags.contains(GroupFlags::BLOCK_UNINIT));
    let bitmap = block(&image, Frame::of(&image).desc(0).block_bitmap.0);
    let copied = with_block(&image, 1500, |it| it.copy_from_slice(&bitmap));
    let moved = with_descriptor(&copied, 0, |it| it.block_bitmap = BlockNr(1500));
    finds_among(&moved, &["block-bitmap-uninit"]);
}

/// As for e2fsck; the kernel counts anew.
#[test]
fn the_high_half_of_a_count_counts_with_64_bits_alone() {
    for (profile, expected) in [("ext3-1k", &[][..]), ("ext4-1k", &["free-blocks"])] {
        let Some(image) = Recipe::new(profile).image() else { return };
        let high = with_superblock(&image, |raw| raw.s_free_blocks_count_hi.set(2));
        let (outcome, _) = mend(&high, 1);
        assert_eq!(ids(&outcome), expected, "{profile}");
        if !skip_without(&[Need::E2fsck]) {
            let fsck = e2fsck_device(&*high.device(), FsckMode::Check).unwrap();
            let is_told = fsck.lines.iter().any(|it| it.contains("Free blocks count wrong"));
            assert_eq!(is_told, !expected.is_empty(), "{profile}");
        }
    }
}
