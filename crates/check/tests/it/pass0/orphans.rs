//! Lists and files of orphans that cannot be worked off.

use super::{Victim, damaged, expect, expect_of, sound};
use crate::kit::inode;
use ext4_ondisk::{
    group_desc::{DescFormat, GroupDesc},
    inode::{InodeFormat, RawInode},
    orphan_file,
    superblock::RawSuperblock,
};
use ext4_units::{GroupNr, InodeNr};

const ORPHAN_FILE: u32 = 0x1000;

fn mark(it: &mut Victim) {
    it.superblock(|raw| raw.s_feature_ro_compat.set(raw.s_feature_ro_compat.get() | 1 << 16));
}

/// The inode with the orphan file.
fn file(it: &Victim) -> u32 {
    it.sb.orphan_file_inum.unwrap().get()
}

fn clear_compat(raw: &mut RawSuperblock, bits: u32) {
    raw.s_feature_compat.set(raw.s_feature_compat.get() & !bits);
}

#[test]
fn an_orphan_with_blocks_that_it_cannot_have_is_checked_like_others() {
    expect("ext3-1k", &["orphan-illegal-block", "orphans-left", "illegal-block"], |it| {
        it.superblock(|raw| raw.s_last_orphan.set(12));
        it.inode(12, |inode| inode[0x28..0x2C].fill(0xEE));
    });
    expect("ext4-4k", &["orphan-free-block", "orphans-left"], |it| {
        it.superblock(|raw| raw.s_last_orphan.set(12));
        let first = it.first_block(12).0;
        let desc = GroupDesc::decode(&it.bytes[4096..], GroupNr(0), &DescFormat::new(&it.sb));
        let bit = usize::try_from(first).unwrap();
        it.block(desc.unwrap().block_bitmap)[bit / 8] &= !(1 << (bit % 8));
    });
}

#[test]
fn a_damaged_orphan_file_is_made_anew() {
    for is_marked in [true, false] {
        let damage = |change: fn(&mut Victim)| {
            move |it: &mut Victim| {
                if is_marked {
                    mark(it);
                }
                change(it);
            }
        };
        let ids = |marked, other| [if is_marked { marked } else { other }, "orphan-file-damaged"];
        let anew = "orphan-file-damaged";
        expect(
            "orphan-4k",
            &ids("orphan-file-magic", anew),
            damage(|it| {
                let first = it.first_block(file(it));
                it.block(first)[4096 - 8] ^= 1;
            }),
        );
        expect(
            "orphan-4k",
            &ids("orphan-file-checksum", anew),
            damage(|it| {
                let first = it.first_block(file(it));
                it.block(first)[4096 - 1] ^= 1;
            }),
        );
        expect(
            "orphan-4k",
            &ids("orphan-file-size", "orphan-file-length"),
            damage(|it| {
                it.inode(file(it), |inode| inode[4] = 1);
            }),
        );
        expect(
            "orphan-4k",
            &ids("orphan-file-hole", "orphan-file-gap"),
            damage(|it| {
                it.inode(file(it), |inode| inode[0x38] = 1);
            }),
        );
    }
}

#[test]
fn an_orphan_file_holds_nothing_when_nothing_is_to_be_done() {
    expect("orphan-4k", &["orphan-file-dirty"], |it| {
        let ino = InodeNr::new(file(it)).unwrap();
        let mut generation = 0;
        it.inode(ino.get(), |inode| generation = RawInode::read(inode).i_generation.get());
        let seed = InodeFormat::new(&it.sb).seed(ino, generation);
        let first = it.first_block(ino.get());
        orphan_file::set(it.block(first), 3, InodeNr::new(12), first, seed);
    });
}

#[test]
fn an_orphan_file_goes_with_the_journal_or_the_feature() {
    expect("orphan-4k", &["orphan-file-without-journal"], |it| {
        it.superblock(|raw| {
            clear_compat(raw, 4);
            raw.s_journal_inum.set(0);
        });
    });
    expect("orphan-4k", &["orphan-file-not-clear"], |it| {
        it.superblock(|raw| clear_compat(raw, ORPHAN_FILE));
    });
    // What is no orphan file is no part of it.
    let Some(image) = sound("ext4-4k", "") else { return };
    let damaged = damaged(&image, |it| it.superblock(|raw| raw.s_orphan_file_inum.set(12)));
    let mended = expect_of(&damaged, &[], &["orphan-file-not-clear"]);
    assert_eq!(inode(&mended, 12), inode(&image, 12));
}
