//! Journals that cannot be used as they are.

use super::{Victim, damaged, expect, expect_of, run, sound};
use crate::kit::ids;
use ext4_check::Error;
use ext4_testkit::{
    image::{Image, Recipe},
    view::View,
};

const RECOVER: u32 = 4;

/// The journal begins at its first block.
fn start(it: &mut Victim) {
    it.journal()[0x1F] = 1;
}

fn add_incompat(it: &mut Victim, bits: u32) {
    it.superblock(|raw| raw.s_feature_incompat.set(raw.s_feature_incompat.get() | bits));
}

#[test]
fn a_journal_of_the_future_ends_the_run_or_is_begun_anew() {
    for (id, at, value) in [
        ("journal-version", 7, 9),
        ("journal-unknown-feature", 0x28, 0x80),
        ("journal-unknown-ro-feature", 0x2F, 1),
    ] {
        let Some(image) = sound("ext4-4k", "") else { return };
        let empty = damaged(&image, |it| it.journal()[at] = value);
        // One that holds nothing is no loss.
        expect_of(&empty, &[], &["journal-newer-empty"]);
        let image = damaged(&empty, |it| {
            start(it);
            add_incompat(it, RECOVER);
        });
        let (outcome, after, err) = run(&image, &[]);
        assert!(matches!(err, Some(Error::Unsupported(_))), "{id}: {err:?}");
        assert_eq!(ids(&outcome), [id]);
        assert!(after.bytes() == image.bytes(), "{id}: something was changed");
        let no = &["journal-version", "journal-unknown-feature", "journal-unknown-ro-feature"];
        expect_of(&image, no, &[id, "journal-superblock"]);
        assert_eq!(run(&image, no).0.left, 0, "{id}");
    }
}

#[test]
fn what_a_journal_holds_is_replayed_when_it_is_said_to_hold_something() {
    expect("ext4-4k", &["journal-not-empty"], start);
    expect("ext4-4k", &["journal-replay"], |it| {
        start(it);
        add_incompat(it, RECOVER);
    });
    expect("noflex-1k", &["superblock-damaged", "journal-of-a-copy", "journal-replay"], |it| {
        start(it);
        it.bytes[1024..2048].fill(0);
    });
}

#[test]
fn a_damaged_transaction_is_not_replayed() {
    let recipe = Recipe::new("ext4-1k")
        .debugfs("jo -c -v 3\njw -b 9000 /dev/zero\njw -b 9001 /dev/zero\njc");
    let Some(image) = recipe.image() else { return };
    let image = damaged(&image, |it| it.journal_block(2)[9] ^= 1);
    expect_of(&image, &[], &["journal-transaction"]);
}

#[test]
fn a_journal_that_is_no_file_becomes_one_where_it_is_kept() {
    let Some(image) = sound("ext4-4k", "") else { return };
    let image = damaged(&image, |it| it.inode(8, |inode| inode[1] = 0xC1));
    expect_of(&image, &["journal-map-lost", "journal-inode"], &["journal-inode-mode"]);
}

#[test]
fn a_journal_that_its_copy_of_the_map_does_not_save_is_made_anew() {
    expect("ext3-1k", &["journal-map-lost", "journal-anew"], |it| {
        let mut double = 0;
        it.inode(8, |inode| {
            double = u32::from_le_bytes(inode[0x28 + 52..0x28 + 56].try_into().unwrap());
        });
        // Text in the place of a block of pointers: pass 1 clears the inode for it.
        it.bytes[9000 * 1024..9001 * 1024].fill(0x53);
        let at = double as usize * 1024 + 0x4C;
        it.bytes[at..at + 4].copy_from_slice(&9000_u32.to_le_bytes());
    });
}

#[test]
fn a_journal_with_a_name_is_hidden() {
    for profile in ["ext3-1k", "ext4-4k"] {
        expect(profile, &["journal-visible", "entry-unused-inode"], |it| {
            let mut journal = Vec::new();
            it.inode(8, |inode| {
                journal = inode.to_vec();
                inode.fill(0);
            });
            it.inode(13, |inode| inode.copy_from_slice(&journal));
            it.superblock(|raw| raw.s_journal_inum.set(13));
        });
    }
}

/// The file was given the journal's map then, and its contents were lost.
#[test]
fn a_file_that_the_superblock_takes_for_the_journal_stays_a_file() {
    for (profile, large) in [("ext4-4k", false), ("ext3-1k", true)] {
        let recipe = Recipe::new(profile).write("/file", vec![7; if large { 2 << 20 } else { 9 }]);
        let Some(image) = recipe.image() else { return };
        let other = damaged(&image, |it| it.superblock(|raw| raw.s_journal_inum.set(12)));
        let mended = expect_of(&other, &[], &["superblock-field"]);
        let files = |image: &Image| View::new(image).unwrap().manifest().unwrap();
        assert_eq!(files(&image).differences(&files(&mended)), [""; 0]);
        // Nor is it overwritten where the journal is lost.
        let lost = damaged(&other, |it| it.inode(8, |inode| inode.fill(0)));
        let mended = expect_of(&lost, &[], &["journal-inode"]);
        assert_eq!(files(&image).differences(&files(&mended)), [""; 0]);
    }
}
