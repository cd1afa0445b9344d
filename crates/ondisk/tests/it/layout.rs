//! Superblocks, group descriptors, bitmaps and inodes of every profile: each checksum that mke2fs
//! and debugfs wrote is the one made here, and what is decoded encodes to the same bytes.

use crate::image::Opened;
use ext4_ondisk::{
    bitmap,
    features::{Operation, check},
    group_desc::GroupFlags,
    mmp::{Owner, RawMmp},
    orphan_file,
    superblock::RawSuperblock,
};
use ext4_testkit::{
    image::{PROFILES, Recipe, profile},
    oracle,
};
use ext4_units::{BlockNr, InodeNr};
use zerocopy::IntoBytes;

/// An image of every profile with a few files.
fn every_profile() -> impl Iterator<Item = (&'static str, Opened)> {
    PROFILES.iter().filter_map(|profile| {
        let recipe = Recipe::new(profile.name)
            .mib(20)
            .mkdir("/d")
            .write("/d/file", vec![7; 100_000])
            .debugfs("symlink /short target")
            .debugfs("mknod /null c 1 3")
            .debugfs("ea_set /d/file user.name value");
        Some((profile.name, Opened::new(recipe.image()?)))
    })
}

#[test]
fn superblocks_verify_and_say_what_dumpe2fs_says() {
    for (name, it) in every_profile() {
        let scratch = oracle::scratch().unwrap();
        let file = scratch.path().join("image");
        it.image.save(&file).unwrap();
        let field = |field| oracle::dumpe2fs_field(&file, field).unwrap();
        assert_eq!(it.sb.features.names().join(" "), field("Filesystem features"), "{name}");
        assert_eq!(it.sb.blocks_count.to_string(), field("Block count"), "{name}");
        assert_eq!(it.sb.free_blocks_count.to_string(), field("Free blocks"), "{name}");
        assert_eq!(it.sb.first_data_block.to_string(), field("First block"), "{name}");
        assert_eq!(it.sb.inode_size.to_string(), field("Inode size"), "{name}");
        assert_eq!(it.sb.first_ino.to_string(), field("First inode"), "{name}");
        assert_eq!(check(Operation::Read, it.sb.features), Ok(()), "{name}");

        let mut raw = it.raw().clone();
        raw.update_checksum();
        assert_eq!(raw.as_bytes(), it.raw().as_bytes(), "{name}");
        raw.s_wtime.set(raw.s_wtime.get() ^ 1);
        let changed = ext4_ondisk::superblock::Superblock::decode(&raw);
        assert_eq!(changed.is_err(), raw.has_checksum(), "{name}");
    }
}

#[test]
fn superblock_copies_are_where_the_geometry_says() {
    for (name, it) in every_profile() {
        for group in it.geo.groups().skip(1) {
            let first = it.block(it.geo.group_blocks(group).start);
            let raw = RawSuperblock::of(first).unwrap();
            let is_copy = raw.s_magic.get() == RawSuperblock::MAGIC
                && u32::from(raw.s_block_group_nr.get()) == group.0 & 0xFFFF
                && raw.s_uuid == it.sb.uuid;
            assert_eq!(is_copy, it.geo.has_super(group), "{name}: group {group}");
        }
    }
}

#[test]
fn group_descriptors_and_bitmaps_verify_and_agree() {
    for (name, it) in every_profile() {
        let (mut free, mut free_inodes) = (0, 0);
        for group in it.geo.groups() {
            let desc = it.desc(group);
            it.geo.check_group_desc(group, &desc).unwrap();
            let mut again = it.desc_bytes(group).to_vec();
            desc.encode(&mut again, group, &it.descs);
            assert_eq!(again, it.desc_bytes(group), "{name}: group {group}");
            free += u64::from(desc.free_clusters) << it.geo.cluster_ratio_bits;
            free_inodes += desc.free_inodes;

            if !desc.has_uninit_block_bitmap(&it.sb) {
                let map = it.block(desc.block_bitmap);
                let clusters = it.geo.group_clusters(group);
                assert_eq!(
                    bitmap::count_clear(map, clusters),
                    desc.free_clusters,
                    "{name}: {group}"
                );
                let end = it.geo.block_size.bytes() * 8;
                assert!(bitmap::all_are(map, clusters, end, true), "{name}: {group}");
                let base = it.geo.base_metadata(group);
                let base = u32::try_from(base.len.div_ceil(it.geo.cluster_ratio().into())).unwrap();
                assert!(bitmap::all_are(map, 0, base, true), "{name}: {group}");
                if let Some(seed) = it.sb.metadata_csum() {
                    let sum = bitmap::checksum(seed, map, it.geo.clusters_per_group);
                    let sum = sum & it.descs.block_bitmap_csum_mask();
                    assert_eq!(sum, desc.block_bitmap_csum, "{name}: {group}");
                }
            }
            if !desc.has_uninit_inode_bitmap(&it.sb) {
                let map = it.block(desc.inode_bitmap);
                let n = bitmap::count_clear(map, it.geo.inodes_per_group);
                assert_eq!(n, desc.free_inodes, "{name}: {group}");
                if let Some(seed) = it.sb.metadata_csum() {
                    let sum = bitmap::checksum(seed, map, it.geo.inodes_per_group);
                    let sum = sum & it.descs.inode_bitmap_csum_mask();
                    assert_eq!(sum, desc.inode_bitmap_csum, "{name}: {group}");
                }
            }
        }
        assert_eq!(free, it.sb.free_blocks_count, "{name}");
        assert_eq!(free_inodes, it.sb.free_inodes_count, "{name}");
    }
}

#[test]
fn descriptors_also_verify_behind_other_groups_of_many() {
    // Enough groups for several blocks of descriptors, in each of the three layouts.
    for name in ["noflex-1k", "metabg-1k", "ext4-gdtcsum-1k"] {
        let recipe = Recipe::new(name).mib(64).options("-g 1024");
        let Some(image) = recipe.image() else { continue };
        let it = Opened::new(image);
        assert!(it.geo.desc_blocks() > 1, "{name}");
        for group in it.geo.groups() {
            let desc = it.desc(group);
            it.geo.check_group_desc(group, &desc).unwrap();
            assert!(!desc.flags.contains(GroupFlags::from_bits_retain(0x8000)), "{name}");
        }
    }
}

#[test]
fn inodes_verify_and_survive() {
    for (name, it) in every_profile() {
        let used = it.used_inodes();
        assert!(used.len() > 11, "{name}");
        for ino in used {
            let inode = it.inode(ino);
            let mut again = it.inode_bytes(ino).to_vec();
            inode.encode(&mut again, ino, &it.inodes).unwrap();
            assert_eq!(again, it.inode_bytes(ino), "{name}: inode {ino}");

            // One field changed: nothing but it and the checksum is.
            let mut changed = inode.clone();
            changed.dtime ^= 0x0102_0304;
            changed.encode(&mut again, ino, &it.inodes).unwrap();
            let differ = (0..again.len()).filter(|&at| again[at] != it.inode_bytes(ino)[at]);
            let allowed =
                |at: usize| [0x14..0x18, 0x7C..0x7E, 0x82..0x84].iter().any(|r| r.contains(&at));
            assert!(differ.clone().all(allowed), "{name}: inode {ino}");
            assert!(differ.count() >= 4, "{name}: inode {ino}");
        }
    }
}

#[test]
fn a_damaged_inode_is_told_by_its_checksum() {
    let Some(image) = Recipe::new("ext4-4k").image() else { return };
    let it = Opened::new(image);
    let ino = InodeNr::ROOT;
    for at in 0..it.inodes.inode_size() {
        let mut bytes = it.inode_bytes(ino).to_vec();
        bytes[at] ^= 0x04;
        let err = ext4_ondisk::inode::Inode::decode(&bytes, ino, &it.inodes).unwrap_err();
        // A wrong i_extra_isize is found before the checksum.
        assert_eq!(
            err.is_checksum,
            !(0x80..0x82).contains(&at) || bytes[0x80].is_multiple_of(4) && bytes[0x81] == 0,
            "byte {at:#x}: {err}"
        );
    }
}

#[test]
fn the_mmp_block_verifies() {
    let Some(image) = Recipe::new("mmp-4k").image() else { return };
    let it = Opened::new(image);
    let blk = it.sb.mmp_block.unwrap();
    let raw = RawMmp::decode(it.block(blk), blk, it.sb.metadata_csum()).unwrap();
    assert_eq!(raw.owner(), Owner::Clean);
    let mut again = it.block(blk).to_vec();
    raw.encode(&mut again, it.sb.metadata_csum());
    assert_eq!(again, it.block(blk));
}

#[test]
fn the_orphan_file_verifies() {
    for name in ["orphan-4k", "orphan-1k"] {
        assert!(profile(name).extents);
        let Some(image) = Recipe::new(name).image() else { return };
        let it = Opened::new(image);
        let ino = it.sb.orphan_file_inum.unwrap();
        let inode = it.inode(ino);
        let seed = it.inodes.seed(ino, inode.generation);
        let blocks = Opened::blocks_of(&inode);
        for &blk in &blocks {
            orphan_file::verify(it.block(blk), blk, seed).unwrap();
            assert!(orphan_file::verify(it.block(blk), BlockNr(blk.0 + 1), seed).is_err());
        }
        let n = blocks.len() as u64;
        assert_eq!(n, inode.size >> it.geo.block_size.bits());
    }
}
