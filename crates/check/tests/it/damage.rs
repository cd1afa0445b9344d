//! Damage to names, links, bitmaps and shared blocks, by name: what is found, and that all of it is
//! mended. The cases of this file are cut while they are written, in [`crash`](crate::crash).

mod bitmaps;
mod index;
mod inodes;
mod links;
mod names;
mod special;

use crate::kit::{ids, inode, mend, set, with_block, with_inode, word};
use ext4_testkit::{
    image::{Image, Recipe, assert_clean},
    oracle::{self, Need, skip_without},
};

/// The inodes of the files of [`base`]: debugfs takes the next free one.
const A: u32 = 12;
const B: u32 = 13;
const D: u32 = 15;
const E: u32 = 16;

/// How an image is damaged.
pub(crate) enum How {
    /// By debugfs, whose checksums are right. `{a}` stands for the first block of `/a`.
    Debugfs(&'static str),
    /// By changing bytes.
    Bytes(fn(&Image) -> Image),
}
use How::{Bytes, Debugfs};

/// Damage with a name.
pub(crate) struct Case {
    pub(crate) name: &'static str,
    /// The image before the damage, of this profile.
    base: fn(&'static str) -> Option<Image>,
    profile: &'static str,
    how: How,
    /// Problems that have to be found, whatever else follows from them.
    finds: &'static [&'static str],
}

const fn case(name: &'static str, how: How, finds: &'static [&'static str]) -> Case {
    Case { name, base, profile: "ext4-1k", how, finds }
}

/// On a filesystem without checksums, where each fault is met for itself.
const fn plain(name: &'static str, how: How, finds: &'static [&'static str]) -> Case {
    Case { profile: "ext3-1k", ..case(name, how, finds) }
}

pub(crate) const CASES: &[Case] = &[
    // Shared blocks.
    case("two files with one map", Bytes(|it| share(it, A, B)), &["shared-blocks"]),
    case("a file with a directory's blocks", Bytes(|it| share(it, D, B)), &["shared-blocks"]),
    plain("two block maps that are one", Bytes(|it| share(it, A, B)), &["shared-blocks"]),
    // Names.
    case("a name for a cleared inode", Debugfs("clri /a"), &["entry-unused-inode"]),
    plain(
        "an inode that cannot be",
        Bytes(|it| dir(it, D, |b| set(b, 24, 60_000))),
        &["entry-inode"],
    ),
    case("a second name for a directory", Debugfs("ln <11> /d/second"), &["entry-second-parent"]),
    case("a name for the root", Debugfs("ln <2> /d/root"), &["entry-root"]),
    case("a name for the directory itself", Debugfs("ln /d /d/self"), &["entry-self"]),
    plain("one name twice", Bytes(|it| dir(it, 2, twice)), &["entry-duplicate"]),
    plain("a name of two files", Bytes(|it| dir(it, 2, |b| b[64] = b'a')), &["entry-not-unique"]),
    case("a fifo with extents", Debugfs("sif /none mode 010644"), &["inode-fifo"]),
    case("no kind of file", Debugfs("sif /none mode 0160644"), &["inode-mode"]),
    case("a directory with a hole", Debugfs("punch /d/e 0 0"), &["directory-without-blocks"]),
    case("an index that is none", Debugfs("sif /d flags 0x81000"), &["index-root-invalid"]),
    case(
        "a directory's checksum",
        Bytes(|it| dir(it, D, |b| b[1020] ^= 1)),
        &["directory-checksum"],
    ),
    plain("`.` elsewhere", Bytes(|it| dir(it, D, |b| set(b, 0, 12))), &["dot-inode"]),
    plain("`..` elsewhere", Bytes(|it| dir(it, D, |b| set(b, 12, 11))), &["dotdot-inode"]),
    plain("`.` with another name", Bytes(|it| dir(it, D, |b| b[8] = b'q')), &["first-not-dot"]),
    plain(
        "`..` with another name",
        Bytes(|it| dir(it, D, |b| b[20] = b'q')),
        &["second-not-dotdot"],
    ),
    plain("no `.`", Bytes(|it| dir(it, D, |b| set(b, 0, 0))), &["dot-missing"]),
    plain("no `..`", Bytes(|it| dir(it, D, |b| set(b, 12, 0))), &["dotdot-missing"]),
    plain(
        "a record of three bytes",
        Bytes(|it| dir(it, D, |b| b[28] = 3)),
        &["directory-corrupted"],
    ),
    plain("a name with a slash", Bytes(|it| dir(it, D, |b| b[32] = b'/')), &["entry-name-bytes"]),
    plain("a directory of zeros", Bytes(|it| dir(it, D, |b| b.fill(0))), &["directory-corrupted"]),
    plain("i_faddr", Bytes(|it| with_inode(it, A, |b| set(b, 0x70, 7))), &["inode-faddr"]),
    plain(
        "i_faddr of the root",
        Bytes(|it| with_inode(it, 2, |b| set(b, 0x70, 7))),
        &["inode-faddr"],
    ),
    // Connectivity.
    case("no root", Debugfs("clri <2>"), &["root-missing"]),
    case("no lost+found", Debugfs("rmdir /lost+found"), &["no-lost-found"]),
    case(
        "lost+found is a file",
        Debugfs("rmdir /lost+found\nln /b /lost+found"),
        &["lost-found-kind"],
    ),
    case("a directory without a name", Debugfs("unlink /d"), &["directory-unconnected"]),
    case("a directory elsewhere", Debugfs("ln /d/e /e2\nunlink /d/e"), &["dotdot-inode"]),
    case("a directory inside itself", Debugfs("ln /d /d/e/d\nunlink /d"), &["directory-loop"]),
    // Links.
    case("a file without a name", Debugfs("unlink /a"), &["unattached-inode"]),
    case("nothing without a name", Debugfs("unlink /none"), &["unattached-empty-inode"]),
    case("too few links", Debugfs("ln /a /d/a2"), &["link-count"]),
    case("too many links", Debugfs("sif /a links_count 9"), &["link-count"]),
    case(
        "links that are said to be too many",
        Debugfs("sif /d links_count 1"),
        &["dir-link-overflow"],
    ),
    // Bitmaps and counts.
    case("a block too many", Debugfs("setb 5000 1"), &["block-marked-used"]),
    case("blocks too many", Debugfs("setb 5000 10"), &["blocks-marked-used"]),
    case("a block too few", Debugfs("freeb {a} 1"), &["block-marked-free"]),
    case("blocks too few", Debugfs("freeb {a} 3"), &["blocks-marked-free"]),
    case("an inode too many", Debugfs("seti <100>"), &["inode-marked-used"]),
    case("an inode too few", Debugfs("freei /a"), &["inode-marked-free"]),
    case("free blocks of all", Debugfs("ssv free_blocks_count 9"), &["free-blocks"]),
    case("free inodes of all", Debugfs("ssv free_inodes_count 9"), &["free-inodes"]),
    case(
        "counts of a group",
        Debugfs(
            "set_bg 0 free_blocks_count 9\nset_bg 0 free_inodes_count 9\n\
             set_bg 0 used_dirs_count 9\nset_bg 0 checksum calc",
        ),
        &["group-free-blocks", "group-free-inodes", "group-directories"],
    ),
];

/// The image that is damaged: files of several blocks, an empty one, a folder in a folder.
fn base(profile: &'static str) -> Option<Image> {
    let contents = |n: u8| (0..5000_u32).map(|it| (it % 251) as u8 ^ n).collect::<Vec<_>>();
    Recipe::new(profile)
        .mib(8)
        .write("/a", contents(1))
        .write("/b", contents(2))
        .write("/none", [])
        .mkdir("/d")
        .mkdir("/d/e")
        .write("/d/x", contents(3))
        .write("/d/e/y", contents(4))
        .image()
}

fn share(image: &Image, from: u32, to: u32) -> Image {
    let map = inode(image, from)[0x28..0x64].to_vec();
    with_inode(image, to, |it| it[0x28..0x64].copy_from_slice(&map))
}

/// The first block of a file.
fn first_block(image: &Image, ino: u32) -> u64 {
    let inode = inode(image, ino);
    let has_extents = word(&inode, 0x20) & 0x8_0000 != 0;
    word(&inode, if has_extents { 0x3C } else { 0x28 }).into()
}

fn dir(image: &Image, ino: u32, edit: fn(&mut [u8])) -> Image {
    with_block(image, first_block(image, ino), edit)
}

/// Makes the name of `/b` a second one of `/a`.
fn twice(root: &mut [u8]) {
    set(root, 56, A);
    root[64] = b'a';
}

impl Case {
    /// The damaged image; `None` when a tool is missing.
    pub(crate) fn image(&self) -> Option<Image> {
        let base = (self.base)(self.profile)?;
        match self.how {
            Bytes(edit) => Some(edit(&base)),
            Debugfs(requests) => {
                let scratch = oracle::scratch().unwrap();
                let file = scratch.path().join("disk.img");
                base.save(&file).unwrap();
                let requests = requests.replace("{a}", &first_block(&base, A).to_string()) + "\n";
                oracle::debugfs_write(&file, &requests).expect("debugfs does it");
                Some(Image::load(&file).unwrap())
            }
        }
    }

    /// What is wrong with how the damage is dealt with.
    fn complaint(&self, image: &Image) -> Option<String> {
        let (outcome, mended) = mend(image, 1);
        let found = ids(&outcome);
        if let Some(missed) = self.finds.iter().find(|it| !found.contains(it)) {
            return Some(format!("{missed} not found, but {found:?}"));
        }
        if outcome.left > 0 || !outcome.is_settled {
            let lines = outcome.findings.iter().map(|it| format!("\n  {it} [{}]", it.problem.id));
            return Some(format!("not mended:{}", lines.collect::<String>()));
        }
        let (by_many, other) = mend(image, 3);
        if ids(&by_many) != found || other.bytes() != mended.bytes() {
            return Some("three threads come to something else".to_owned());
        }
        let rest = ids(&mend(&mended, 1).0);
        if !rest.is_empty() {
            return Some(format!("a second check finds {rest:?}"));
        }
        assert_clean(&*mended.device()).err().map(|it| it.to_string())
    }
}

fn all_are_found_and_mended(cases: &[Case]) {
    if skip_without(&[Need::E2fsck, Need::Debugfs, Need::Mke2fs]) {
        return;
    }
    let complaints: Vec<_> = cases
        .iter()
        .filter_map(|it| Some((it, it.image()?)))
        .filter_map(|(it, image)| Some(format!("{}: {}", it.name, it.complaint(&image)?)))
        .collect();
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
}

#[test]
fn each_damage_is_found_by_its_name_and_mended() {
    all_are_found_and_mended(CASES);
}
