//! Inodes that are looked at when a name for them is met.

use super::{
    A, Case, D, How,
    How::{Bytes, Debugfs},
    all_are_found_and_mended, plain,
};
use crate::kit::{set, set16, with_inode, with_superblock};
use ext4_testkit::image::{Image, Recipe};

/// The inodes of [`kinds`].
const CHAR: u32 = 12;
const BLOCK: u32 = 13;
const PIPE: u32 = 14;
const LINK: u32 = 15;

const FLAGS: usize = 0x20;
const IMMUTABLE: u32 = 0x10;

/// Devices, a pipe and a symlink.
const fn kind(name: &'static str, how: How, finds: &'static [&'static str]) -> Case {
    Case { base: kinds, ..plain(name, how, finds) }
}

const CASES: &[Case] = &[
    kind(
        "an immutable character device with a map",
        Bytes(|it| with_map(it, CHAR)),
        &["inode-char-device"],
    ),
    kind(
        "an immutable block device with a map",
        Bytes(|it| with_map(it, BLOCK)),
        &["inode-block-device"],
    ),
    kind(
        "an immutable socket with a map",
        Bytes(|it| with_map(&with_inode(it, PIPE, |b| set16(b, 0, 0o140_644)), PIPE)),
        &["inode-socket"],
    ),
    kind(
        "a symlink without a target",
        Bytes(|it| with_inode(it, LINK, |b| set(b, 4, 0))),
        &["inode-symlink"],
    ),
    kind("a symlink longer than its target", Debugfs("sif /link size 40"), &["inode-symlink"]),
    plain(
        "more blocks than a small count holds",
        Bytes(|it| with_inode(it, A, |b| set16(b, 0x74, 1))),
        &["inode-blocks-high"],
    ),
    plain(
        "a far attribute block",
        Bytes(|it| with_inode(it, A, |b| set16(b, 0x76, 1))),
        &["inode-file-acl-high"],
    ),
    plain(
        "a huge directory",
        Bytes(|it| with_inode(it, D, |b| set(b, 0x6C, 1))),
        &["directory-size-high"],
    ),
    plain(
        "an attribute block beyond the end",
        Bytes(|it| with_inode(it, A, |b| set(b, 0x68, 60_000))),
        &["inode-file-acl-range"],
    ),
    Case {
        base: super::names::untyped,
        ..plain(
            "fragments, which only the Hurd has fields for",
            Bytes(|it| {
                let with = with_inode(it, A, |b| set16(b, 0x74, 0x0201));
                with_superblock(&with, |raw| raw.s_creator_os.set(1))
            }),
            &["inode-frag", "inode-fsize"],
        )
    },
    plain(
        "attributes without the feature",
        Bytes(|it| {
            let with = with_inode(it, A, |b| set(b, 0x68, 5000));
            with_superblock(&with, |raw| {
                let compat = raw.s_feature_compat.get();
                raw.s_feature_compat.set(compat & !8);
            })
        }),
        &["inode-file-acl"],
    ),
    plain(
        "a large file without the feature",
        Bytes(|it| {
            let with = with_inode(it, A, |b| set(b, 4, 0x9000_0000));
            with_superblock(&with, |raw| {
                let ro = raw.s_feature_ro_compat.get();
                raw.s_feature_ro_compat.set(ro & !2);
            })
        }),
        &["feature-large-file"],
    ),
];

fn kinds(profile: &'static str) -> Option<Image> {
    Recipe::new(profile)
        .mib(8)
        .debugfs("mknod char c 1 3")
        .debugfs("mknod block b 8 1")
        .debugfs("mknod pipe p")
        .debugfs("symlink link target")
        .image()
}

fn with_map(image: &Image, ino: u32) -> Image {
    with_inode(image, ino, |it| {
        set(it, FLAGS, IMMUTABLE);
        set(it, 0x28 + 16, 7);
    })
}

#[test]
fn each_inode_that_cannot_be_is_found_with_its_name() {
    all_are_found_and_mended(CASES);
}
