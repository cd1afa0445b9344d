//! Entries of directories, one wrong at a time.

use super::{
    A, Case, D, E,
    How::{self, Bytes},
    all_are_found_and_mended, case, dir, first_block, plain,
};
use crate::kit::{Frame, inode, set, set16, with_block, with_descriptor, with_inode, word};
use ext4_ondisk::group_desc::GroupFlags;
use ext4_testkit::image::{Image, Recipe};

const CASES: &[Case] = &[
    plain("`.` with more behind it", Bytes(|it| dir(it, D, |b| b[9] = b'q')), &["dot-termination"]),
    plain(
        "`..` with more behind it",
        Bytes(|it| dir(it, D, |b| b[22] = b'q')),
        &["dotdot-termination"],
    ),
    plain(
        "`.` with all the block, and `..` still in it",
        Bytes(|it| dir(it, E, |b| set16(b, 4, 1024))),
        &["dot-room"],
    ),
    plain(
        "`.` with all the block",
        Bytes(|it| {
            dir(it, E, |b| {
                set16(b, 4, 1024);
                b[20..22].fill(0);
            })
        }),
        &["dot-room", "dotdot-missing"],
    ),
    plain("a second `.`", Bytes(|it| dir(it, E, |b| b[32] = b'.')), &["dot-duplicate"]),
    plain(
        "a second `..`",
        Bytes(|it| {
            dir(it, E, |b| {
                b[30] = 2;
                b[32..34].fill(b'.');
            })
        }),
        &["dotdot-duplicate"],
    ),
    plain("a name of no bytes", Bytes(|it| dir(it, E, |b| b[30] = 0)), &["entry-name-empty"]),
    plain(
        "another kind than the inode's",
        Bytes(|it| dir(it, E, |b| b[31] = 3)),
        &["entry-filetype"],
    ),
    plain("a kind that is none", Bytes(|it| dir(it, E, |b| b[31] = 200)), &["entry-filetype"]),
    plain("`..` of another kind", Bytes(|it| dir(it, E, |b| b[19] = 1)), &["entry-filetype"]),
    case("a block without a checksum", Bytes(no_tail), &["directory-no-checksum"]),
    two("an inode of an unused group", Bytes(|it| hidden(it, 7)), &["entry-inode-uninit"]),
    two("an inode of the unused part", Bytes(|it| hidden(it, 6)), &["entry-inode-unused-part"]),
    Case {
        base: untyped,
        ..plain(
            "a kind where names have none",
            Bytes(|it| dir(it, 2, |b| b[7] = 2)),
            &["entry-filetype-set"],
        )
    },
];

/// On a filesystem of two groups.
const fn two(name: &'static str, how: How, finds: &'static [&'static str]) -> Case {
    Case { base: two_groups, profile: "ext4-gdtcsum-1k", ..plain(name, how, finds) }
}

fn two_groups(profile: &'static str) -> Option<Image> {
    Recipe::new(profile).mib(16).write("/a", [7; 5000]).image()
}

/// Whose names do not tell the kind of file.
pub(super) fn untyped(profile: &'static str) -> Option<Image> {
    Recipe::new(profile).mib(8).options("-O ^filetype").write("/a", [7; 5000]).image()
}

/// The directory's one record reaches to the end of the block, over the tail.
fn no_tail(image: &Image) -> Image {
    dir(image, E, |block| {
        set16(block, 28, 1000);
        block[1012..].fill(0);
    })
}

/// `/a` is an inode of the second group, whose flags say that it is not in use.
fn hidden(image: &Image, flags: u16) -> Image {
    let frame = Frame::of(image);
    let ino = frame.geo.inodes_per_group + 5;
    let of_a = inode(image, A);
    let moved = with_inode(image, ino, |it| it.copy_from_slice(&of_a));
    let moved = with_inode(&moved, A, |it| it.fill(0));
    let named = with_block(&moved, first_block(&moved, 2), |root| {
        let at =
            (0..root.len() - 8).step_by(4).find(|at| word(root, *at) == A && root[at + 8] == b'a');
        set(root, at.unwrap(), ino);
    });
    with_descriptor(&named, 1, |desc| desc.flags = GroupFlags::from_bits_retain(flags))
}

#[test]
fn each_wrong_entry_is_found_by_its_name_and_mended() {
    all_are_found_and_mended(CASES);
}
