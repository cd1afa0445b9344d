//! Extended attributes: in the inode, in a block, in inodes of their own; contents inside the inode.

use crate::kit::{
    block, finds, finds_except, inode, set, set16, with_attributes, with_block, with_inode,
    with_superblock, word,
};
use ext4_testkit::{
    image::{Image, Recipe, poison},
    view::View,
};

const FILE: u32 = 12;
const FLAGS: usize = 0x20;
const I_BLOCK: usize = 0x28;
const FILE_ACL: usize = 0x68;
const BODY: usize = 160;

/// A file with one attribute in its inode, and one in a block.
fn image() -> Option<Image> {
    let long = "v".repeat(200);
    Recipe::new("ext4-1k")
        .write("/file", poison(100))
        .debugfs("ea_set /file user.a value")
        .debugfs(&format!("ea_set /file user.long {long}"))
        .image()
}

#[track_caller]
fn body(edit: impl FnOnce(&mut [u8]), expected: &[&str]) {
    let Some(image) = image() else { return };
    finds(&with_inode(&image, FILE, |it| edit(&mut it[BODY..])), expected);
}

#[track_caller]
fn in_block(edit: impl FnOnce(&mut [u8]), expected: &[&str]) {
    let Some(image) = image() else { return };
    let blk = word(&inode(&image, FILE), FILE_ACL);
    assert_ne!(blk, 0, "an attribute block");
    finds(&with_attributes(&image, blk.into(), edit), expected);
}

#[test]
fn attributes_in_the_inode_hold_together() {
    body(|it| it[4] = 200, &["body-attribute-overlap"]);
    body(|it| set(it, 12, 5000), &["attribute-value-size"]);
    body(|it| set(it, 16, 12_345), &["attribute-hash"]);
    body(|it| set16(it, 6, 0), &["body-attribute-overlap"]);
}

#[test]
fn attributes_in_a_block_hold_together() {
    let gone = |id: &'static str| [id, "inode-blocks"];
    in_block(|it| set(it, 0, 0), &gone("attribute-block-magic"));
    in_block(|it| set(it, 8, 2), &gone("attribute-block-length"));
    in_block(|it| it[33] = 0, &gone("attribute-name"));
    in_block(|it| set(it, 40, 5000), &gone("attribute-value"));
    in_block(|it| set16(it, 34, 0), &gone("attribute-block-overlap"));
    in_block(|it| set(it, 44, 12_345), &gone("attribute-hash"));
    in_block(|it| set(it, 4, 7), &["attribute-block-references"]);
}

#[test]
fn a_wrong_checksum_of_an_attribute_block_alone_costs_nothing() {
    let Some(image) = image() else { return };
    let blk = word(&inode(&image, FILE), FILE_ACL);
    let damaged = with_block(&image, blk.into(), |it| it[16] ^= 1);
    let mended = finds(&damaged, &["attribute-block-checksum"]);
    assert_eq!(block(&mended, blk.into()), block(&image, blk.into()));
}

#[test]
fn a_value_in_an_inode_is_one() {
    let value = "v".repeat(3000);
    let recipe = Recipe::new("ea-inode-1k")
        .write("/file", poison(100))
        .write("/other", poison(3000))
        .kernel("a value in an inode", "", |root| {
            let value = "v".repeat(3000);
            let set = std::process::Command::new("setfattr")
                .args(["-n", "user.big", "-v", &value])
                .arg(root.join("file"))
                .status()?;
            if set.success() { Ok(()) } else { Err(std::io::Error::other("setfattr")) }
        });
    if std::process::Command::new("setfattr").arg("--version").output().is_err() {
        println!("skipped: no setfattr ({})", value.len());
        return;
    }
    let Some(image) = recipe.image() else { return };
    let raw = inode(&image, FILE);
    // The entry is in the inode itself, or in a block.
    let blk = word(&raw, FILE_ACL);
    let (at, is_body) = if blk == 0 { (BODY + 4, true) } else { (32, false) };
    let patched = |edit: &dyn Fn(&mut [u8])| {
        if is_body {
            with_inode(&image, FILE, |it| edit(&mut it[at..]))
        } else {
            with_attributes(&image, blk.into(), |it| edit(&mut it[at..]))
        }
    };
    let entry = if is_body { raw[at..].to_vec() } else { block(&image, blk.into())[at..].to_vec() };
    let value_ino = word(&entry, 4);
    assert_ne!(value_ino, 0);
    let gone: &[&str] = &["attribute-value-inode", "inode-blocks"];
    finds(&patched(&|it| set(it, 4, 1 << 20)), gone);
    finds(&patched(&|it| set(it, 4, 13)), gone);
    finds(&patched(&|it| set(it, 8, 2999)), &["attribute-value-size", "inode-blocks"]);
    let unmarked = with_inode(&image, value_ino, |it| {
        let flags = word(it, FLAGS);
        set(it, FLAGS, flags & !0x20_0000);
    });
    finds(&unmarked, &["attribute-value-inode-unmarked"]);
    let declined = &["attribute-value-inode-unmarked"];
    finds_except(declined, &unmarked, &["attribute-value-inode-flag"]);
    let without = with_superblock(&image, |raw| {
        raw.s_feature_incompat.set(raw.s_feature_incompat.get() & !0x400);
    });
    finds(&without, &["ea-inode-feature"]);
}

/// Both kept the block: the journal as one of its own, and the attributes, for which files make room.
#[test]
fn attributes_in_a_block_of_the_journal_are_moved() {
    let Some(image) = image() else { return };
    let old = word(&inode(&image, FILE), FILE_ACL);
    let attributes = block(&image, old.into());
    let journal = word(&inode(&image, 8), I_BLOCK + 12 + 8) + 900;
    let there = with_attributes(
        &with_block(&image, journal.into(), |it| it.copy_from_slice(&attributes)),
        journal.into(),
        |_| {},
    );
    let damaged = with_inode(&there, FILE, |it| set(it, FILE_ACL, journal));
    let mended = finds(&damaged, &["shared-blocks"]);
    let xattrs =
        |image: &Image| View::new(image).unwrap().manifest().unwrap().0["file"].xattrs.clone();
    assert_eq!(xattrs(&mended), xattrs(&image));
}

fn content(image: &Image) -> String {
    View::new(image).unwrap().manifest().unwrap().0["file"].content.clone()
}

#[test]
fn contents_inside_the_inode_have_their_attribute() {
    let Some(image) = Recipe::new("inline-4k").write("/file", poison(40)).image() else { return };
    let has_flag = word(&inode(&image, FILE), FLAGS) & 0x1000_0000 != 0;
    assert!(has_flag, "contents inside");
    let mended =
        finds(&with_inode(&image, FILE, |it| set(it, BODY, 0)), &["inline-data-attribute"]);
    assert_eq!(content(&mended), content(&image));
    let both = with_inode(&image, FILE, |it| {
        let flags = word(it, FLAGS);
        set(it, FLAGS, flags | 0x8_0000);
    });
    finds(&both, &["extents-flag-on-inline"]);
    let without = with_superblock(&image, |raw| {
        raw.s_feature_incompat.set(raw.s_feature_incompat.get() & !0x8000);
    });
    finds(&without, &["inline-data-feature"]);
    let map = with_inode(&image, FILE, |it| {
        set(it, FLAGS, 0x1008_0000);
        set(it, 4, 1 << 20);
        it[I_BLOCK..I_BLOCK + 60].fill(0);
    });
    finds(&map, &["flags-on-block-map"]);
}

/// The kernel does not read attributes with such a name, and the file was made empty.
#[test]
fn damaged_attributes_do_not_cost_an_inode_its_contents() {
    let recipe = Recipe::new("inline-4k").write("/file", poison(100));
    let Some(image) = recipe.debugfs("ea_set /file user.a abcd").image() else { return };
    // Behind the magic and `system.data`.
    let second = BODY + 4 + 20;
    assert_eq!(&inode(&image, FILE)[second - 4..second], b"data");
    let nameless = with_inode(&image, FILE, |it| it[second + 16] = 0);
    assert_eq!(content(&finds(&nameless, &["inline-data-attribute"])), content(&image));
    let outside = with_inode(&image, FILE, |it| set16(it, second + 2, 0xFFF0));
    assert_eq!(content(&finds(&outside, &["inline-data-attribute"])), content(&image));
    // A place that only e2fsck asks for: that of a value without bytes.
    let empty = Recipe::new("inline-4k").write("/file", poison(40)).image().unwrap();
    let place = with_inode(&empty, FILE, |it| set16(it, BODY + 4 + 2, 0xFFF0));
    assert_eq!(content(&finds(&place, &["inline-data-attribute"])), content(&empty));
    // Attributes are looked for where a size that can be would have them.
    for size in [0, 2, 65_532] {
        let misplaced = with_inode(&image, FILE, |it| set16(it, 0x80, size));
        assert_eq!(content(&finds(&misplaced, &["inline-data-attribute"])), content(&image));
    }
}
