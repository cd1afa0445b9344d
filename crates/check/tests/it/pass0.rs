//! What pass 0 and pass 6 look at, damaged by name: found, mended, and the reference finds nothing.

use crate::kit::{Except, ids};
use ext4_blockdev::BlockDevice as _;
use ext4_check::{Error, Options, Outcome, check};
use ext4_ondisk::{
    geometry::Geometry,
    group_desc::{DescFormat, GroupDesc, GroupFlags},
    inode::InodeFormat,
    superblock::{RawSuperblock, Superblock},
};
use ext4_testkit::{
    image::{Image, Recipe},
    oracle::{FsckMode, Need, e2fsck_device, skip_without},
};
use ext4_units::{BlockNr, GroupNr, InodeNr};

mod frame;
mod journal;
mod orphans;

/// Now, for these tests: behind all times of the images.
const NOW: u64 = 4_000_000_000;

/// Bytes of an image to be damaged, with what it takes to find things in them.
struct Victim {
    bytes: Vec<u8>,
    sb: Superblock,
}

impl Victim {
    fn superblock(&mut self, change: impl FnOnce(&mut RawSuperblock)) {
        let raw = RawSuperblock::of_mut(&mut self.bytes[1024..]).unwrap();
        change(raw);
        raw.update_checksum();
    }

    fn descriptor(&mut self, group: u32, change: impl FnOnce(&mut GroupDesc)) {
        let format = DescFormat::new(&self.sb);
        let (blk, at) = Geometry::new(&self.sb).desc_place(GroupNr(group));
        let at = self.byte(blk) + at;
        let bytes = &mut self.bytes[at..at + format.desc_size()];
        let mut desc = GroupDesc::decode(bytes, GroupNr(group), &format).unwrap();
        change(&mut desc);
        desc.encode(bytes, GroupNr(group), &format);
    }

    fn inode(&mut self, number: u32, change: impl FnOnce(&mut [u8])) {
        let ino = InodeNr::new(number).unwrap();
        let geo = Geometry::new(&self.sb);
        let place = geo.inode_place(ino).unwrap();
        let format = DescFormat::new(&self.sb);
        let (blk, at) = geo.desc_place(place.group);
        let desc = GroupDesc::decode(&self.bytes[self.byte(blk) + at..], place.group, &format);
        let table = desc.unwrap().inode_table.plus(place.table_block.into());
        let at = self.byte(table) + place.offset;
        let bytes = &mut self.bytes[at..at + usize::from(self.sb.inode_size)];
        change(bytes);
        InodeFormat::new(&self.sb).update_checksum(ino, bytes);
    }

    /// The first block of the journal, whose map the superblock has a copy of.
    fn journal(&mut self) -> &mut [u8] {
        self.journal_block(0)
    }

    /// One of its first blocks.
    fn journal_block(&mut self, nr: u64) -> &mut [u8] {
        let blk = BlockNr(u64::from(self.sb.journal_backup.unwrap()[5]) + nr);
        self.block(blk)
    }

    fn block(&mut self, blk: BlockNr) -> &mut [u8] {
        let at = self.byte(blk);
        &mut self.bytes[at..at + self.sb.block_size.len()]
    }

    /// The first block of a file that has extents.
    fn first_block(&mut self, number: u32) -> BlockNr {
        let mut start = [0; 4];
        self.inode(number, |inode| start.copy_from_slice(&inode[0x3C..0x40]));
        BlockNr(u32::from_le_bytes(start).into())
    }

    fn byte(&self, blk: BlockNr) -> usize {
        usize::try_from(blk.byte(self.sb.block_size)).unwrap()
    }
}

/// An image of the profile with a file, which is inode 12, and a second one.
fn sound(profile: &str, options: &str) -> Option<Image> {
    let recipe = Recipe::new(profile).options(options);
    recipe.write("/file", vec![7; 10_000]).write("/second", vec![8; 10_000]).image()
}

fn damaged(image: &Image, damage: impl FnOnce(&mut Victim)) -> Image {
    let raw = RawSuperblock::of(&image.bytes()[1024..]).unwrap();
    let sb = Superblock::decode(raw).unwrap();
    let mut victim = Victim { bytes: image.bytes().to_vec(), sb };
    damage(&mut victim);
    Image::new(victim.bytes)
}

/// The names of what a check finds that is answered no to these, the image it leaves, and the error
/// that ended it.
fn run(image: &Image, no: &'static [&'static str]) -> (Outcome, Image, Option<Error>) {
    let overlay = image.overlay();
    let options = Options::new(NOW);
    let mut outcome = Outcome::default();
    let result = check(&overlay, &options, &mut Except(no), &mut outcome);
    let mut bytes = vec![0; image.bytes().len()];
    overlay.read_at(0, &mut bytes).unwrap();
    (outcome, Image::new(bytes), result.err())
}

/// Damages an image of the profile, and expects these problems to be among those found.
#[track_caller]
fn expect(profile: &str, ids: &[&str], damage: impl FnOnce(&mut Victim)) {
    if skip_without(&[Need::E2fsck]) {
        return;
    }
    let Some(image) = sound(profile, "") else { return };
    expect_of(&damaged(&image, damage), &[], ids);
}

/// Expects these problems to be among those found when these are answered with no, and the rest to be
/// mended.
#[track_caller]
fn expect_of(image: &Image, no: &'static [&'static str], expected: &[&str]) -> Image {
    let (outcome, mended, err) = run(image, no);
    let found = ids(&outcome);
    assert!(err.is_none(), "{err:?} after {:#?}", outcome.findings);
    for id in expected {
        assert!(found.contains(id), "{id} is not among {found:?}");
    }
    let fsck = e2fsck_device(&*mended.device(), FsckMode::Check).unwrap();
    assert!(fsck.is_clean(), "{expected:?}: {:?}\n{found:?}", fsck.lines);
    let again = run(&mended, &[]).0;
    assert!(again.findings.is_empty(), "{expected:?}: {:?}", again.findings);
    mended
}

#[test]
fn a_clean_image_gives_no_finding() {
    for profile in ["ext4-4k", "ext3-1k", "ext2-4k", "bigalloc-1k", "metabg-1k", "super2-4k"] {
        expect(profile, &[], |_| {});
    }
}

#[test]
fn fields_that_follow_from_others_are_set() {
    expect("ext4-4k", &["first-data-block"], |it| {
        it.superblock(|raw| raw.s_first_data_block.set(1));
    });
    expect("ext4-4k", &["inodes-count"], |it| {
        it.superblock(|raw| raw.s_inodes_count.set(raw.s_inodes_count.get() + 8));
    });
    expect("ext4-4k", &["superblock-field"], |it| {
        it.superblock(|raw| raw.s_r_blocks_count_lo.set(4000));
    });
    expect("ext4-4k", &["superblock-field"], |it| it.superblock(|raw| raw.s_inode_size.set(77)));
    expect("ext4-4k", &["superblock-field"], |it| it.superblock(|raw| raw.s_desc_size.set(0)));
    // 64 is the smallest that is legal with 64bit; without, the field means nothing, but not anything.
    expect("ext2-4k", &["superblock-field"], |it| it.superblock(|raw| raw.s_desc_size.set(77)));
    expect("ext4-4k", &["fragment-size"], |it| {
        it.superblock(|raw| raw.s_log_cluster_size.set(0));
    });
    expect("ext4-4k", &["group-size"], |it| {
        it.superblock(|raw| raw.s_clusters_per_group.set(8192));
    });
    expect("bigalloc-4k", &["group-size"], |it| {
        it.superblock(|raw| raw.s_blocks_per_group.set(8));
    });
    expect("ext4-4k", &["min-extra-isize", "want-extra-isize"], |it| {
        it.superblock(|raw| {
            raw.s_min_extra_isize.set(3);
            raw.s_want_extra_isize.set(500);
        });
    });
}

#[test]
fn features_that_do_not_go_together_are_parted() {
    expect("ext4-4k", &["both-checksums"], |it| {
        it.superblock(|raw| raw.s_feature_ro_compat.set(raw.s_feature_ro_compat.get() | 0x10));
    });
    expect("ext4-4k", &["64bit-without-extents"], |it| {
        it.superblock(|raw| raw.s_feature_incompat.set(raw.s_feature_incompat.get() & !0x40));
    });
    expect("ext4-nocsum", &["csum-seed-alone"], |it| {
        it.superblock(|raw| raw.s_feature_incompat.set(raw.s_feature_incompat.get() | 0x2000));
    });
    expect("super2-4k", &["reserved-gdt"], |it| {
        it.superblock(|raw| raw.s_reserved_gdt_blocks.set(5));
    });
    expect("inode128-4k", &["revision"], |it| it.superblock(|raw| raw.s_rev_level.set(0)));
    expect("ext4-4k", &["quota-inode-number"], |it| {
        it.superblock(|raw| raw.s_usr_quota_inum.set(8));
    });
    expect("ext4-4k", &["future-mount-time", "future-write-time"], |it| {
        it.superblock(|raw| {
            raw.s_mtime.set(4_200_000_000);
            raw.s_wtime.set(4_200_000_000);
        });
    });
    expect("ext4-4k", &["future-mount-time-slightly", "test-filesystem"], |it| {
        it.superblock(|raw| {
            raw.s_mtime.set(4_000_001_000);
            raw.s_flags.set(raw.s_flags.get() | 4);
        });
    });
    expect("ext2-4k", &["no-uuid"], |it| it.superblock(|raw| raw.s_uuid = [0; 16]));
}

#[test]
fn a_lost_superblock_is_taken_from_a_copy() {
    let zero = |it: &mut Victim| it.bytes[1024..2048].fill(0);
    expect("noflex-1k", &["superblock-damaged"], zero);
    expect("metabg-1k", &["superblock-damaged"], zero);
    expect("ext4-1k", &["superblock-damaged"], zero);
    expect("ext4-4k", &["superblock-checksum"], |it| it.bytes[1024 + 0x3FC] ^= 1);
    // By another seed nothing that has a checksum would be right.
    expect("ext4-1k", &["superblock-damaged"], |it| it.bytes[1024 + 0x61] ^= 0x21);
    // Every file below it was a reserved inode, and cleared.
    expect("noflex-1k", &["superblock-damaged"], |it| it.bytes[1024 + 0x54] ^= 0x30);
    expect("ext3-1k", &["superblock-damaged"], |it| it.bytes[1024 + 0x54] ^= 0x20);
    // Nor are there inodes of this size in a filesystem of revision 0.
    expect("ext3-1k", &["superblock-damaged"], |it| it.bytes[1024 + 0x4C] = 0);
    expect("noflex-1k", &["superblock-copies"], |it| {
        let at = (1 + 2048) * 1024;
        it.bytes[at..at + 1024].fill(0);
    });
}

/// A filesystem of one group has no copy; what a field says that is wrong would be believed.
#[test]
fn a_bit_of_the_superblock_is_set_right_by_its_checksum() {
    let Some(image) = sound("ext4-4k", "") else { return };
    // Blocks, inodes of a group, first inode, size of inodes, a feature, the UUID, one of the last bytes.
    for at in [0x06, 0x28, 0x54, 0x58, 0x61, 0x68, 0x3F0] {
        let flipped = damaged(&image, |it| it.bytes[1024 + at] ^= 0x10);
        let mended = expect_of(&flipped, &[], &["superblock-bit"]);
        assert_eq!(mended.bytes()[1024 + at], image.bytes()[1024 + at], "byte {at:#x}");
    }
}

#[test]
fn descriptors_are_mended() {
    expect("noflex-1k", &["descriptor-copy"], |it| {
        it.descriptor(2, |desc| desc.inode_table = BlockNr(1));
    });
    expect("noflex-1k", &["descriptor-copy"], |it| {
        it.descriptor(2, |desc| desc.inode_table = desc.block_bitmap);
    });
    expect("ext4-4k", &["block-bitmap-place"], |it| {
        it.descriptor(0, |desc| desc.block_bitmap = BlockNr(1 << 40));
    });
    expect("ext4-4k", &["inode-bitmap-place"], |it| {
        it.descriptor(0, |desc| desc.inode_bitmap = BlockNr(0));
    });
    expect("ext4-4k", &["inode-table-place"], |it| {
        it.descriptor(0, |desc| desc.inode_table = BlockNr(4095));
    });
    expect("ext4-4k", &["descriptor-checksum"], |it| {
        let (blk, at) = Geometry::new(&it.sb).desc_place(GroupNr(0));
        let at = it.byte(blk) + at + 0x1E;
        it.bytes[at] ^= 0x55;
    });
    expect("ext2-4k", &["descriptor-uninit"], |it| {
        it.descriptor(0, |desc| desc.flags |= GroupFlags::INODE_UNINIT);
    });
    expect("ext4-4k", &["itable-unused", "last-group-uninit"], |it| {
        it.descriptor(0, |desc| {
            desc.itable_unused = 60_000;
            desc.flags |= GroupFlags::BLOCK_UNINIT;
        });
    });
}

#[test]
fn a_damaged_journal_is_mended_or_made_anew() {
    expect("ext4-4k", &["journal-superblock"], |it| it.journal()[..4].fill(0));
    expect("ext4-1k", &["journal-superblock"], |it| it.journal()[0x10..0x14].fill(0xFF));
    expect("ext4-4k", &["journal-map-lost"], |it| it.inode(8, |inode| inode.fill(0)));
    for profile in ["ext4-4k", "ext4-1k", "bigalloc-4k", "orphan-4k"] {
        expect(profile, &["journal-inode", "journal-anew"], |it| {
            it.inode(8, |inode| inode.fill(0));
            it.superblock(|raw| raw.s_jnl_backup_type = 0);
        });
    }
    expect("ext3-1k", &["superblock-field"], |it| {
        it.superblock(|raw| raw.s_journal_inum.set(0));
    });
    expect("ext4-4k", &["journal-without-feature"], |it| {
        it.superblock(|raw| raw.s_feature_compat.set(raw.s_feature_compat.get() & !4));
    });
    expect("nojournal-4k", &["recovery-without-journal"], |it| {
        it.superblock(|raw| raw.s_feature_incompat.set(raw.s_feature_incompat.get() | 4));
    });
    expect("ext4-4k", &["journal-backup"], |it| {
        it.superblock(|raw| raw.s_jnl_blocks[16].set(0));
    });
    expect("ext4-4k", &["journal-errno"], |it| it.journal()[0x20..0x24].fill(0xFF));
    expect("ext4-4k", &["journal-users"], |it| it.journal()[0x43] = 2);
    expect("ext4-4k", &["journal-v2-fields"], |it| {
        let superblock = it.journal();
        // The type of one of version 1.
        (superblock[7], superblock[0x43]) = (3, 2);
    });
}

#[test]
fn mmp_and_the_resize_inode_are_made_anew() {
    expect("mmp-4k", &["mmp-block"], |it| it.superblock(|raw| raw.s_mmp_block.set(1 << 40)));
    let block = |it: &Victim| it.byte(it.sb.mmp_block.unwrap());
    expect("mmp-4k", &["mmp-magic"], |it| {
        let at = block(it);
        it.bytes[at] ^= 1;
    });
    expect("mmp-4k", &["mmp-checksum"], |it| {
        let at = block(it) + 0x3FC;
        it.bytes[at] ^= 1;
    });
    for profile in ["ext4-4k", "ext4-1k", "noflex-1k", "ext2-1k"] {
        expect(profile, &["resize-inode"], |it| it.inode(7, |inode| inode[0x28..0x64].fill(0)));
    }
    // Not even an inode: it was passed over, cleared, and missed by e2fsck.
    expect("ext4-1k", &["resize-inode"], |it| it.inode(7, |inode| inode.fill(0xFF)));
    expect("super2-4k", &["resize-inode-in-use"], |it| it.inode(7, |inode| inode[0x28] = 9));
}

#[test]
fn orphans_that_lead_nowhere_are_dropped() {
    expect("ext4-4k", &["orphan-head"], |it| {
        it.superblock(|raw| raw.s_last_orphan.set(99_999_999));
    });
    expect("ext4-4k", &["orphan-chain"], |it| {
        it.superblock(|raw| raw.s_last_orphan.set(12));
        it.inode(12, |inode| inode[0x14..0x18].fill(0xEE));
    });
    expect("ext4-4k", &["orphans-left"], |it| it.superblock(|raw| raw.s_last_orphan.set(12)));
    expect("nojournal-4k", &["orphan-present-alone"], |it| {
        it.superblock(|raw| raw.s_feature_ro_compat.set(raw.s_feature_ro_compat.get() | 1 << 16));
    });
    let mark = |raw: &mut RawSuperblock| {
        raw.s_feature_ro_compat.set(raw.s_feature_ro_compat.get() | 1 << 16);
    };
    expect("orphan-4k", &["orphan-present-clean"], |it| it.superblock(mark));
    expect("orphan-4k", &["orphan-file-hole", "orphan-file-damaged"], |it| {
        it.superblock(mark);
        let ino = it.sb.orphan_file_inum.unwrap().get();
        it.inode(ino, |inode| inode[0x28 + 12 + 4] = 1);
    });
    expect("orphan-1k", &["orphan-file-damaged"], |it| {
        it.superblock(|raw| raw.s_orphan_file_inum.set(0));
    });
}

#[test]
fn quota_is_counted_anew() {
    /// The first record of a file of few: behind the header, four tables and the record's block's
    /// own header.
    const RECORD: usize = 5 * 1024 + 16;
    let file = |it: &mut Victim| {
        let first = it.first_block(3);
        it.byte(first)
    };
    expect("quota-4k", &["quota-usage"], |it| {
        let at = file(it) + RECORD + 0x18;
        it.bytes[at] ^= 1;
    });
    expect("quota-4k", &["quota-usage"], |it| {
        let at = file(it);
        it.bytes[at] ^= 1;
    });
}
