//! Recipes give the images they promise.

use ext4_testkit::{
    image::{Image, PROFILES, Recipe, assert_clean},
    mount::Mount,
    oracle::{self, Need, skip_without},
};

/// A recipe with a bit of everything debugfs can do.
fn populated(name: &str) -> Recipe {
    let extents = ext4_testkit::image::profile(name).extents;
    let recipe = Recipe::new(name)
        .mkdir("/d")
        .mkdir("/d/e")
        .write("/d/e/f", vec![b'x'; 30_000])
        .write("/short", *b"short")
        .debugfs("symlink /l /d/e/f");
    if extents { recipe.write("/pre", [b'p'; 500]).debugfs("fallocate /pre 4 7") } else { recipe }
}

#[test]
fn every_profile_makes_a_clean_file_system_with_its_files() {
    if skip_without(&[Need::Mke2fs, Need::Debugfs, Need::E2fsck]) {
        return;
    }
    for profile in PROFILES {
        let image = populated(profile.name).make().unwrap();
        assert_clean(&image).unwrap_or_else(|it| panic!("{}: {it:#}", profile.name));
        let scratch = oracle::scratch().unwrap();
        let file = scratch.path().join("image");
        image.save(&file).unwrap();
        let bytes = oracle::debugfs_cat(&file, "/d/e/f").unwrap();
        assert!(bytes == vec![b'x'; 30_000], "{}: {} bytes", profile.name, bytes.len());
    }
}

#[test]
fn the_kernel_mounts_every_profile_and_sees_the_same_bytes() {
    if skip_without(&[Need::Mke2fs, Need::Debugfs, Need::Kernel]) {
        return;
    }
    for profile in PROFILES.iter().filter(|it| it.mountable) {
        let scratch = oracle::scratch().unwrap();
        let file = scratch.path().join("image");
        populated(profile.name).make().unwrap().save(&file).unwrap();
        let mount = Mount::new(&file, "").unwrap_or_else(|it| panic!("{}: {it}", profile.name));
        assert_eq!(mount.read("/d/e/f").unwrap(), vec![b'x'; 30_000], "{}", profile.name);
        let manifest = mount.manifest().unwrap();
        assert_eq!(manifest.0["l"].content, "/d/e/f");
        mount.unmount().unwrap();
    }
}

#[test]
fn the_same_recipe_gives_the_same_bytes() {
    if skip_without(&[Need::Mke2fs, Need::Debugfs]) {
        return;
    }
    // An option that changes nothing makes a second entry in the cache.
    let one = populated("ext4-1k").make().unwrap();
    std::thread::sleep(std::time::Duration::from_millis(1100));
    let two = populated("ext4-1k").options("-b 1024").make().unwrap();
    let differs = one.bytes().chunks(1024).zip(two.bytes().chunks(1024));
    let differs: Vec<_> =
        differs.enumerate().filter(|(_, (a, b))| a != b).map(|(i, _)| i).collect();
    assert_eq!(differs, Vec::<usize>::new(), "blocks that differ");
}

#[test]
fn free_space_is_poisoned() {
    let Some(image) = Recipe::new("ext4-4k").image() else { return };
    let poison = ext4_testkit::image::poison(4096);
    let n = image.bytes().chunks(4096).filter(|it| **it == poison[..]).count();
    assert!(n > 1000, "only {n} poisoned blocks");
}

#[test]
fn a_refused_mount_leaves_nothing_attached() {
    if skip_without(&[Need::Kernel]) {
        return;
    }
    let scratch = oracle::scratch().unwrap();
    let file = scratch.path().join("no-ext4");
    Image::new(vec![0; 1 << 20]).save(&file).unwrap();
    assert!(Mount::new(&file, "").is_err());
    let loops = std::process::Command::new("losetup").arg("-a").output().unwrap();
    let loops = String::from_utf8_lossy(&loops.stdout).into_owned();
    assert!(!loops.contains(&*file.to_string_lossy()), "{loops}");
}

#[test]
fn damage_is_found_by_e2fsck() {
    if skip_without(&[Need::Mke2fs, Need::E2fsck]) {
        return;
    }
    let image = Recipe::new("ext4-4k").make().unwrap();
    let free_blocks: &[u8] = &1234_u32.to_le_bytes();
    let bad = image.patched([(1024 + 0x0c, free_blocks)]).unwrap();
    assert!(assert_clean(&bad).is_err());
}
