//! Bitmaps, their padding, checksums and flags.

use super::{
    Case,
    How::{Bytes, Debugfs},
    all_are_found_and_mended, case,
};
use crate::kit::{Frame, with_block};
use ext4_testkit::image::Image;

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
