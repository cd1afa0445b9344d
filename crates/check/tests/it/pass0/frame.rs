//! Superblock, descriptors and the filesystem's own files, against each other and against the device.

use super::{Victim, damaged, expect, expect_of, run, sound};
use crate::kit::{Frame, full, ids, set, set16, told};
use ext4_check::Error;
use ext4_ondisk::{
    geometry::Geometry,
    group_desc::{DescFormat, GroupDesc},
};
use ext4_testkit::{
    image::Image,
    oracle::{FsckMode, Need, e2fsck_device, skip_without},
    view::View,
};
use ext4_units::GroupNr;

#[test]
fn a_filesystem_larger_than_its_device_is_left_alone() {
    let Some(image) = sound("ext4-4k", "") else { return };
    let len = image.bytes().len();
    let cut = Image::new(&image.bytes()[..len - (1 << 20)]);
    let (outcome, after, err) = run(&cut, &[]);
    assert!(matches!(err, Some(Error::TooShort { .. })), "{err:?}");
    assert_eq!(ids(&outcome), ["device-too-short"]);
    assert!(after.bytes() == cut.bytes(), "something was changed");
}

#[test]
fn types_in_directories_are_not_for_the_hurd() {
    let of_hurd = |it: &mut Victim| it.superblock(|raw| raw.s_creator_os.set(1));
    expect("ext2-1k", &["hurd-filetype"], of_hurd);
    expect("ext2-4k", &["hurd-filetype"], of_hurd);
    // With features that the Hurd never had it is no filesystem of the Hurd.
    expect("ext4-4k", &["superblock-field"], of_hurd);
}

#[test]
fn what_only_helps_is_put_right_too() {
    expect("ext4-4k", &["dir-hash-hint"], |it| {
        it.superblock(|raw| raw.s_flags.set(raw.s_flags.get() & !3));
    });
    expect("ext4-4k", &["future-write-time-slightly"], |it| {
        it.superblock(|raw| raw.s_wtime.set(4_000_001_000));
    });
}

#[test]
fn descriptors_that_go_in_two_ways_go_in_one() {
    let add_meta_bg = |it: &mut Victim, first| {
        it.superblock(|raw| {
            raw.s_feature_incompat.set(raw.s_feature_incompat.get() | 0x10);
            raw.s_first_meta_bg.set(first);
        });
    };
    expect("ext4-4k", &["resize-inode-meta-bg"], |it| add_meta_bg(it, 1));
    let Some(image) = sound("ext4-4k", "-O meta_bg,^resize_inode") else { return };
    expect_of(&damaged(&image, |it| add_meta_bg(it, 9999)), &[], &["first-meta-bg"]);
}

#[test]
fn a_superblock_that_the_descriptors_do_not_know_is_taken_from_a_copy() {
    let Some(image) = sound("ext4-4k", "-g 1024") else { return };
    // The seed of all checksums: nothing but the superblock makes sense with another.
    let other = damaged(&image, |it| it.superblock(|raw| raw.s_uuid[5] ^= 4));
    let mended = expect_of(&other, &[], &["superblock-damaged"]);
    assert_eq!(mended.bytes()[1024 + 0x68..][..16], image.bytes()[1024 + 0x68..][..16]);
}

#[test]
fn a_superblock_of_too_many_inodes_is_not_believed() {
    let many = |it: &mut Victim| {
        it.superblock(|raw| {
            raw.s_blocks_count_lo.set(u32::MAX);
            raw.s_blocks_per_group.set(256);
            raw.s_clusters_per_group.set(256);
            raw.s_inodes_per_group.set(8192);
        });
    };
    expect("noflex-1k", &["too-many-inodes", "superblock-damaged"], many);
}

/// e2fsck looks at the first quarter of the lists.
#[test]
fn the_resize_inode_lists_the_copies_there_are() {
    let wrong = |it: &mut Victim, nr: fn(u64) -> u64| {
        let geo = Geometry::new(&it.sb);
        let first = geo.superblock_place().0.plus(1 + u64::from(geo.desc_blocks()));
        let blk = first.plus(nr(it.sb.reserved_gdt_blocks.into()));
        it.block(blk)[0] ^= 1;
    };
    expect("noflex-1k", &["resize-inode"], |it| wrong(it, |_| 0));
    expect("noflex-1k", &["resize-inode"], |it| wrong(it, |n| n / 4 - 1));
    expect("noflex-1k", &["resize-inode-late"], |it| wrong(it, |n| n / 4));
    if skip_without(&[Need::E2fsck]) {
        return;
    }
    let Some(image) = sound("noflex-1k", "") else { return };
    for (early, nr) in [(true, (|n| n / 4 - 1) as fn(u64) -> u64), (false, |n| n / 4)] {
        let other = damaged(&image, |it| wrong(it, nr));
        let fsck = e2fsck_device(&*other.device(), FsckMode::Check).unwrap();
        assert_eq!(fsck.lines.iter().any(|it| it.contains("Resize inode not valid")), early);
    }
}

#[test]
fn structures_on_each_other_are_moved_apart() {
    expect("ext4-4k", &["block-bitmap-conflict"], |it| {
        it.descriptor(0, |desc| desc.block_bitmap = desc.inode_table);
    });
    expect("ext4-4k", &["inode-bitmap-conflict"], |it| {
        it.descriptor(0, |desc| desc.inode_bitmap = desc.block_bitmap);
    });
    // Without checksums it is not looked for by its root.
    expect("ext4-nocsum", &["inode-table-conflict"], |it| {
        // The table of the first group is where the descriptors are.
        it.descriptor(0, |desc| desc.inode_table.0 = 1);
    });
}

#[test]
fn case_folded_names_have_an_encoding() {
    let Some(image) = sound("ext4-4k", "-O casefold") else { return };
    let damaged = damaged(&image, |it| it.superblock(|raw| raw.s_encoding.set(0)));
    expect_of(&damaged, &[], &["superblock-field"]);
}

#[test]
fn a_quota_file_with_a_name_is_hidden() {
    expect("quota-4k", &["quota-visible", "entry-unused-inode"], |it| {
        let mut quota = Vec::new();
        it.inode(3, |inode| {
            quota = inode.to_vec();
            inode.fill(0);
        });
        it.inode(13, |inode| inode.copy_from_slice(&quota));
        it.superblock(|raw| raw.s_usr_quota_inum.set(13));
    });
}

/// A filesystem without a journal, and nothing free.
fn without_room() -> Option<Image> {
    Some(full(&sound("nojournal-4k", "")?, 12))
}

#[test]
fn without_room_there_is_no_new_journal() {
    let Some(image) = without_room() else { return };
    let named = damaged(&image, |it| {
        it.superblock(|raw| {
            raw.s_feature_compat.set(raw.s_feature_compat.get() | 4);
            raw.s_journal_inum.set(8);
        });
    });
    expect_of(&named, &[], &["journal-inode", "journal-no-room"]);
}

#[test]
fn what_cannot_be_mended_for_want_of_room_is_told_and_left() {
    let Some(image) = without_room() else { return };
    let bitmap = Frame::of(&image).desc(0).inode_bitmap.0;
    let on_bad_block = damaged(&image, |it| {
        it.inode(1, |list| set(list, 0x28, u32::try_from(bitmap).unwrap()));
    });
    let (outcome, _, err) = run(&on_bad_block, &[]);
    assert!(ids(&outcome).contains(&"no-room-to-move"), "{err:?}{}", told(&outcome));
    assert!(outcome.left > 0);
    // The old lost+found becomes the new one, for which there is no room.
    let no_root = damaged(&image, |it| it.inode(2, |inode| inode.fill(0)));
    let (outcome, _, err) = run(&no_root, &[]);
    assert!(err.is_none() && outcome.left == 0, "{err:?}{}", told(&outcome));
    let no_lost_found = damaged(&no_root, |it| it.inode(11, |inode| set16(inode, 0, 0o100_600)));
    let (outcome, _, err) = run(&no_lost_found, &[]);
    assert!(ids(&outcome).contains(&"repair-failed"), "{err:?}{}", told(&outcome));
    assert!(outcome.left > 0);
}

#[track_caller]
fn has_the_files(image: &Image, mended: &Image) {
    let files = |image: &Image| View::new(image).unwrap().manifest().unwrap();
    assert_eq!(files(image).differences(&files(mended)), [""; 0]);
}

/// All files were lost then: what lies there are no inodes, and so the root was none.
#[test]
fn a_table_that_is_somewhere_else_by_a_copy_is_looked_for_there() {
    for profile in ["ext4-1k", "ext3-1k", "noflex-1k"] {
        let Some(image) = sound(profile, "") else { return };
        for far in [1, 0x20, 0x400] {
            let moved = damaged(&image, |it| {
                it.descriptor(0, |desc| desc.inode_table = desc.inode_table.plus(far));
            });
            let mended = expect_of(&moved, &[], &["descriptor-copy"]);
            has_the_files(&image, &mended);
        }
        // The other group has no inodes, and says so.
        let other = *Frame::of(&image).desc(1);
        let swapped = damaged(&image, |it| {
            it.descriptor(1, |desc| *desc = *Frame::of(&image).desc(0));
            it.descriptor(0, |desc| *desc = other);
        });
        let mended = expect_of(&swapped, &[], &["descriptor-copy"]);
        has_the_files(&image, &mended);
    }
}

/// A filesystem of one group has no copies.
#[test]
fn the_first_table_is_found_by_its_root() {
    let Some(image) = sound("ext4-4k", "") else { return };
    for far in [1, 0x20, 0x400] {
        let moved = damaged(&image, |it| {
            it.descriptor(0, |desc| desc.inode_table = desc.inode_table.plus(far));
        });
        let mended = expect_of(&moved, &[], &["inode-table-place"]);
        has_the_files(&image, &mended);
    }
}

#[test]
fn a_copy_that_is_wrong_does_not_move_a_table() {
    let Some(image) = sound("ext4-1k", "") else { return };
    // The copy of the descriptors behind the copy of the superblock in group 1.
    let at = (8193 + 1) * 1024 + 8;
    let other = damaged(&image, |it| it.bytes[at] ^= 0x40);
    let resealed = damaged(&other, |it| {
        let format = DescFormat::new(&it.sb);
        let bytes = &mut it.bytes[at - 8..][..format.desc_size()];
        let desc = GroupDesc::decode_unverified(bytes, GroupNr(0), &format).unwrap();
        desc.encode(bytes, GroupNr(0), &format);
    });
    for wrong in [other, resealed] {
        let (outcome, after, _) = run(&wrong, &[]);
        assert!(outcome.findings.is_empty(), "{}", told(&outcome));
        assert!(after.bytes() == wrong.bytes());
    }
}
