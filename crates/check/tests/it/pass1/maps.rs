//! Maps of direct and indirect blocks, and indexes of directories.

use crate::kit::{
    Frame, block, finds, finds_among, full, ids, inode, mend, set, set16, told, with_block,
    with_inode, with_superblock, word,
};
use ext4_testkit::{
    image::{Image, Recipe, poison},
    view::View,
};

const FILE: u32 = 12;
const I_BLOCK: usize = 0x28;
const INDIRECT: usize = I_BLOCK + 48;

/// A file of 30 blocks of 1 KiB.
fn image(profile: &str) -> Option<Image> {
    Recipe::new(profile).write("/file", poison(30 * 1024)).image()
}

#[test]
fn a_number_that_is_none_becomes_a_hole() {
    let Some(image) = image("ext2-1k") else { return };
    let expected = ["illegal-block", "inode-blocks"];
    finds(&with_inode(&image, FILE, |it| set(it, I_BLOCK + 8, 1 << 30)), &expected);
    let indirect = word(&inode(&image, FILE), INDIRECT);
    let damaged = with_block(&image, indirect.into(), |it| set(it, 12, 1 << 30));
    let mended = finds(&damaged, &expected);
    assert_eq!(word(&block(&mended, indirect.into()), 12), 0);
    finds(&with_inode(&image, FILE, |it| set(it, INDIRECT, 1 << 30)), &expected);
}

#[test]
fn a_map_full_of_nonsense_is_given_up() {
    let Some(image) = image("ext2-1k") else { return };
    let damaged = with_inode(&image, FILE, |it| it[I_BLOCK..I_BLOCK + 48].fill(0xFF));
    finds(&damaged, &["illegal-block", "too-many-illegal-blocks"]);
}

#[test]
fn a_block_of_pointers_is_not_met_twice() {
    let Some(image) = image("ext2-1k") else { return };
    let indirect = word(&inode(&image, FILE), INDIRECT);
    // Its own child: a loop.
    let damaged = with_inode(&image, FILE, |it| set(it, INDIRECT + 4, indirect));
    finds(&damaged, &["illegal-block"]);
}

#[test]
fn a_directory_without_blocks_goes() {
    let Some(image) = Recipe::new("ext2-1k").mkdir("/dir").image() else { return };
    let damaged = with_inode(&image, FILE, |it| it[I_BLOCK..I_BLOCK + 60].fill(0));
    finds(&damaged, &["directory-without-blocks"]);
}

#[test]
fn a_file_mapped_by_blocks_gets_extents_where_clusters_are_given_out() {
    let Some(image) = Recipe::new("bigalloc-1k").write("/file", poison(5 * 1024)).image() else {
        return;
    };
    let start = word(&inode(&image, FILE), I_BLOCK + 12 + 8);
    let damaged = with_inode(&image, FILE, |it| {
        let flags = word(it, 0x20);
        set(it, 0x20, flags & !0x8_0000);
        it[I_BLOCK..I_BLOCK + 60].fill(0);
        for nr in 0..5 {
            set(it, I_BLOCK + 4 * nr as usize, start + nr);
        }
    });
    let mended = finds(&damaged, &["block-map-with-clusters"]);
    assert_eq!(inode(&mended, FILE)[..0x64], inode(&image, FILE)[..0x64]);
}

/// A directory with an index: many names, then `e2fsck -D`'s work by hand is not needed, since the
/// kernel makes one.
fn indexed() -> Option<(Image, u32)> {
    let image = Recipe::new("ext4-1k")
        .kernel("a directory with an index", "", |root| {
            let dir = root.join("dir");
            std::fs::create_dir(&dir)?;
            for nr in 0..200 {
                std::fs::write(dir.join(format!("a name that takes some room {nr:03}")), "")?;
            }
            Ok(())
        })
        .image()?;
    Some((image, FILE))
}

#[test]
fn the_root_of_an_index_is_one() {
    let Some((image, dir)) = indexed() else { return };
    let root = u64::from(word(&inode(&image, dir), I_BLOCK + 12 + 8));
    // The block's checksum is pass 2's to judge: the flag is gone before.
    for (at, value, id) in [
        (24, 1, "index-root-invalid"),
        (28, 9, "index-hash"),
        (28, 6, "index-siphash"),
        (30, 4, "index-too-deep"),
        (31, 1, "index-flags"),
    ] {
        finds(&with_block(&image, root, |it| it[at] = value), &[id]);
    }
    let without = with_superblock(&image, |raw| {
        raw.s_feature_compat.set(raw.s_feature_compat.get() & !0x20);
    });
    finds(&without, &["index-without-feature"]);
}

#[test]
fn an_index_of_encrypted_names_has_the_hash_with_a_key() {
    let recipe = Recipe::new("ext4-1k")
        .options("-O casefold,encrypt")
        .mkdir("/dir")
        .debugfs("ea_set /dir user.c version3");
    let Some(image) = recipe.image() else { return };
    let root = u64::from(word(&inode(&image, FILE), I_BLOCK + 12 + 8));
    let encrypted = with_inode(&image, FILE, |it| {
        let flags = word(it, 0x20);
        set(it, 0x20, flags | 0x4000_1800);
        it[165] = 9;
    });
    let indexed = with_block(&encrypted, root, |it| {
        it[24..28].fill(0);
        it[28] = 1;
        it[29] = 8;
        it[30..32].fill(0);
    });
    finds_among(&indexed, &["index-needs-siphash"]);
}

#[test]
fn a_map_is_not_kept_on_structures_of_the_filesystem() {
    let Some(image) = image("ext2-1k") else { return };
    let bitmap = u32::try_from(Frame::of(&image).desc(0).inode_bitmap.0).unwrap();
    let damaged = with_inode(&image, FILE, |it| set(it, INDIRECT, bitmap));
    finds_among(&damaged, &["map-on-metadata", "shared-blocks"]);
}

#[test]
fn clusters_of_one_block_are_clusters_too() {
    let bigalloc = |image: &Image| {
        with_superblock(image, |raw| {
            raw.s_feature_ro_compat.set(raw.s_feature_ro_compat.get() | 0x200);
        })
    };
    let Some(extents) = Recipe::new("ext3-1k").options("-O extent").mkdir("/dir").image() else {
        return;
    };
    let old = with_inode(&extents, FILE, |it| {
        let start = word(it, I_BLOCK + 20);
        set(it, 0x20, 0);
        it[I_BLOCK..I_BLOCK + 60].fill(0);
        set(it, I_BLOCK, start);
    });
    finds_among(&bigalloc(&old), &["block-map-with-clusters"]);
    // Without extents there is no such thing.
    let Some(without) = image("ext2-1k") else { return };
    finds_among(&bigalloc(&without), &["superblock-field"]);
}

#[test]
fn an_inode_that_goes_gives_its_blocks_back_at_once() {
    let target = "t".repeat(100);
    let Some(image) = Recipe::new("ext2-1k").debugfs(&format!("symlink /link {target}")).image()
    else {
        return;
    };
    // A target that does not end where the size says.
    let damaged = with_inode(&image, FILE, |it| set(it, 4, 70));
    let (outcome, mended) = mend(&damaged, 1);
    assert_eq!(ids(&outcome)[0], "inode-symlink", "{}", told(&outcome));
    assert!(outcome.findings.iter().all(|it| it.round == 1), "{}", told(&outcome));
    assert!(mend(&mended, 1).0.findings.is_empty());
}

#[test]
fn blocks_keep_their_place_in_a_cluster() {
    let Some(image) = Recipe::new("bigalloc-1k").write("/file", poison(5 * 1024)).image() else {
        return;
    };
    let start = word(&inode(&image, FILE), I_BLOCK + 12 + 8);
    let damaged = with_inode(&image, FILE, |it| set(it, I_BLOCK + 12 + 8, start + 1));
    finds_among(&damaged, &["cluster-misaligned"]);
}

#[test]
fn what_is_shared_becomes_a_hole_where_there_is_no_room() {
    let recipe = Recipe::new("nojournal-4k").mib(8);
    let recipe = recipe.write("/file", poison(8192)).write("/other", poison(8192));
    let Some(image) = recipe.image() else { return };
    let image = full(&image, FILE);
    let map = inode(&image, FILE)[I_BLOCK..I_BLOCK + 60].to_vec();
    let shared = with_inode(&image, FILE + 1, |it| it[I_BLOCK..I_BLOCK + 60].copy_from_slice(&map));
    finds_among(&shared, &["shared-blocks-left"]);
}

/// Each run of blocks was taken for a cluster then, and the second file was given copies too: of the
/// first one's clusters alone, and so many that there was no room for them.
#[test]
fn a_shared_cluster_counts_once_in_a_file_with_holes() {
    let every_other = (0..240 * 1024).map(|at| u8::from(at / 1024 % 2 == 0) * 7);
    let recipe = Recipe::new("bigalloc-1k").write("/file", every_other.collect::<Vec<_>>());
    let Some(image) = recipe.write("/other", poison(240 * 1024)).image() else { return };
    let leaf = word(&inode(&image, FILE), I_BLOCK + 12 + 4);
    let start = word(&block(&image, leaf.into()), 12 + 8);
    // The other file lies on the file with holes now.
    let shared = with_inode(&image, FILE + 1, |it| set(it, I_BLOCK + 12 + 8, start));
    let (outcome, _) = mend(&shared, 1);
    let told: Vec<_> =
        outcome.findings.iter().filter(|it| it.problem.id == "shared-blocks").collect();
    assert_eq!(told.len(), 1, "{told:#?}");
    assert!(told[0].found.starts_with("15 clusters"), "{}", told[0].found);
    let mended = finds(&shared, &["shared-blocks"]);
    let files = |image: &Image| View::new(image).unwrap().manifest().unwrap().0;
    assert_eq!(files(&mended)["file"].content, files(&image)["file"].content);
}

#[test]
fn a_symlink_has_one_block() {
    let target = "t".repeat(100);
    let Some(image) = Recipe::new("ext2-1k").debugfs(&format!("symlink /link {target}")).image()
    else {
        return;
    };
    let damaged = with_inode(&image, FILE, |it| {
        set(it, I_BLOCK + 4, 9000);
        set16(it, 0x1C, 4);
    });
    let mended = finds(&damaged, &["symlink-too-big", "inode-blocks"]);
    // Its first block, which is sound, had been taken from it with the others.
    assert_eq!(inode(&mended, FILE), inode(&image, FILE));
    let outside = with_inode(&image, FILE, |it| set(it, I_BLOCK + 16, 1 << 30));
    let mended = finds(&outside, &["illegal-block"]);
    assert_eq!(inode(&mended, FILE), inode(&image, FILE));
}

#[test]
fn the_high_half_of_its_blocks_does_not_cost_a_symlink_its_target() {
    let Some(image) = Recipe::new("ext4-1k").debugfs("symlink /link target").image() else {
        return;
    };
    let damaged = with_inode(&image, FILE, |it| set16(it, 0x74, 9));
    let mended = finds(&damaged, &["inode-blocks"]);
    assert_eq!(inode(&mended, FILE), inode(&image, FILE));
}

#[test]
fn a_flag_that_is_cleared_does_not_cost_a_symlink_its_target_nor_a_device_its_inode() {
    for (profile, made) in [
        ("ext4-1k", "symlink /link target"),
        ("ext2-1k", "symlink /link target"),
        ("ext4-1k", "mknod dev c 5 1"),
    ] {
        let Some(image) = Recipe::new(profile).debugfs(made).image() else { return };
        let damaged = with_inode(&image, FILE, |it| set(it, 0x20, word(it, 0x20) | 0x1000));
        let mended = finds(&damaged, &["index-without-directory"]);
        assert_eq!(inode(&mended, FILE), inode(&image, FILE), "{profile}: {made}");
    }
}
