//! Indexes of directories that lead astray.

use super::{
    Case,
    How::{self, Bytes, Debugfs},
    all_are_found_and_mended,
};
use crate::kit::{Frame, block, inode, set, set16, with_block, with_inode, word};
use ext4_ondisk::htree::DxContext;
use ext4_testkit::{
    image::{Image, Recipe},
    oracle,
};
use ext4_units::InodeNr;
use std::fmt::Write as _;

/// The directory with the index.
const DIR: u32 = 12;
/// Where the entries of the root begin, and of a node: limit and count, then the first block.
const ROOT: usize = 32;
const NODE: usize = 8;

/// Without checksums, where each fault is met for itself.
const fn flat(name: &'static str, how: How, finds: &'static [&'static str]) -> Case {
    Case { name, base: one_level, profile: "ext4-gdtcsum-1k", how, finds }
}

/// The same with a level of nodes between root and leaves.
const fn deep(name: &'static str, how: How, finds: &'static [&'static str]) -> Case {
    Case { base: two_levels, ..flat(name, how, finds) }
}

const CASES: &[Case] = &[
    flat(
        "a leaf that nothing leads to",
        Bytes(|it| root(it, |b| set16(b, ROOT + 2, count(b) - 1))),
        &["index-unreferred", "index-invalid"],
    ),
    flat(
        "a leaf that two entries lead to",
        Bytes(|it| root(it, |b| set(b, ROOT + 20, word(b, ROOT + 12)))),
        &["index-twice", "index-unreferred"],
    ),
    flat(
        "a leaf with a hash below what the root says",
        Bytes(|it| root(it, |b| set(b, ROOT + 8, word(b, ROOT + 16)))),
        &["index-min-hash"],
    ),
    flat(
        "a leaf with a hash above what the root says",
        Bytes(|it| root(it, |b| set(b, ROOT + 16, word(b, ROOT + 8) + 2))),
        &["index-max-hash"],
    ),
    flat(
        "a leaf beyond the end",
        Bytes(|it| root(it, |b| set(b, ROOT + 12, 9999))),
        &["index-block"],
    ),
    flat("an info of nine bytes", Bytes(|it| root(it, |b| b[29] = 9)), &["index-root"]),
    flat(
        "room for less than there is",
        Bytes(|it| root(it, |b| set16(b, ROOT, 50))),
        &["index-limit"],
    ),
    flat("no entry", Bytes(|it| root(it, |b| set16(b, ROOT + 2, 0))), &["index-count"]),
    flat("more than fit", Bytes(|it| root(it, |b| set16(b, ROOT + 2, 500))), &["index-count"]),
    flat(
        "hashes out of order",
        Bytes(|it| root(it, |b| set(b, ROOT + 8, word(b, ROOT + 16) + 2))),
        &["index-order"],
    ),
    Case {
        profile: "ext3-1k",
        ..flat("a hole among the leaves", Debugfs("punch /dir 2 2"), &["directory-hole"])
    },
    flat(
        "a size that only large directories have",
        Bytes(|it| with_inode(it, DIR, |b| set(b, 4, 0x9000_0000))),
        &["inode-size", "feature-largedir"],
    ),
    deep(
        "a leaf where a node should be",
        Bytes(|it| {
            let node = word(&block(it, place(it, 0)), ROOT + 4);
            let leaf = word(&block(it, place(it, node)), NODE + 12);
            root(it, |b| set(b, ROOT + 12, leaf))
        }),
        &["index-depth"],
    ),
    deep("a node without room", Bytes(|it| node(it, |b| set16(b, NODE, 2))), &["index-limit"]),
    Case {
        profile: "ext4-1k",
        ..flat(
            "a root with another checksum",
            Bytes(|it| with_block(it, place(it, 0), |b| b[1020] ^= 1)),
            &["index-root-checksum"],
        )
    },
    Case {
        profile: "ext4-1k",
        ..deep(
            "a node with another checksum",
            Bytes(|it| {
                let node = word(&block(it, place(it, 0)), ROOT + 4);
                with_block(it, place(it, node), |b| b[1020] ^= 1)
            }),
            &["index-node-checksum"],
        )
    },
    Case {
        base: folded,
        ..flat(
            "a folded name in the wrong leaf",
            Bytes(|it| root(it, |b| set(b, ROOT + 16, word(b, ROOT + 8) + 2))),
            &["index-max-hash"],
        )
    },
    Case {
        profile: "ext4-1k",
        ..flat(
            "a sealed root that leads to no block",
            Bytes(|it| root(it, |b| set(b, ROOT + 12, 9999))),
            &["index-block"],
        )
    },
];

fn one_level(profile: &'static str) -> Option<Image> {
    indexed(Recipe::new(profile).mkdir("/dir"), 90, 100)
}

/// Of names that are compared without regard to case.
fn folded(profile: &'static str) -> Option<Image> {
    let recipe = Recipe::new(profile).options("-O casefold -E encoding=utf8");
    indexed(recipe.debugfs("mkdir dir\nsif dir flags 0x40080000"), 90, 100)
}

/// 124 entries fit into the root, three names into a leaf.
fn two_levels(profile: &'static str) -> Option<Image> {
    indexed(Recipe::new(profile).mkdir("/dir"), 450, 255)
}

/// A directory of `n` names of `len` bytes, indexed by e2fsck.
fn indexed(recipe: Recipe, n: u32, len: usize) -> Option<Image> {
    let mut requests = String::from("cd /dir");
    for nr in 0..n {
        let _ = write!(requests, "\nmknod {nr:N>len$} p");
    }
    let image = recipe.mib(8).debugfs(&requests).image()?;
    let scratch = oracle::scratch().unwrap();
    let file = scratch.path().join("disk.img");
    image.save(&file).unwrap();
    let options = ["-fyD".as_ref(), file.as_os_str()];
    oracle::tool("e2fsck", options, b"").unwrap();
    Some(Image::load(&file).unwrap())
}

/// The place of the directory's block `lblk`, which the extents in the inode tell.
fn place(image: &Image, lblk: u32) -> u64 {
    let inode = inode(image, DIR);
    let map = &inode[0x28..0x64];
    assert_eq!(map[6], 0, "a tree of extents in the inode alone");
    let extents = map[12..].chunks_exact(12).take(map[2].into());
    let start = |it: &[u8]| u64::from(word(it, 8)) + u64::from(lblk - word(it, 0));
    let is_it = |it: &&[u8]| (word(it, 0)..word(it, 0) + u32::from(it[4])).contains(&lblk);
    extents.filter(is_it).map(start).next().unwrap()
}

/// The number of entries of the root.
fn count(root: &[u8]) -> u16 {
    u16::from_le_bytes([root[ROOT + 2], root[ROOT + 3]])
}

/// The image with the root changed, its checksum right where there is one.
fn root(image: &Image, edit: impl FnOnce(&mut [u8])) -> Image {
    sealed(image, 0, edit)
}

/// The image with the first node changed.
fn node(image: &Image, edit: impl FnOnce(&mut [u8])) -> Image {
    let node = word(&block(image, place(image, 0)), ROOT + 4);
    sealed(image, node, edit)
}

fn sealed(image: &Image, lblk: u32, edit: impl FnOnce(&mut [u8])) -> Image {
    let frame = Frame::of(image);
    let ino = InodeNr::new(DIR).unwrap();
    let context = DxContext {
        ino,
        block_size: frame.geo.block_size,
        csum: frame.format.seed(ino, word(&inode(image, DIR), 0x64)),
        has_largedir: false,
        n_blocks: 1000,
    };
    with_block(image, place(image, lblk), |block| {
        edit(block);
        let _ = context.reseal(block);
    })
}

#[test]
fn an_index_that_leads_astray_is_made_anew() {
    all_are_found_and_mended(CASES);
}
