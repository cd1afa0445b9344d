//! The second reader agrees with the kernel, and the judge finds what is planted.

use ext4_blockdev::BlockDevice;
use ext4_testkit::{
    image::{Image, PROFILES, Recipe},
    judge::{self, judge},
    manifest::Manifest,
    mount::Mount,
    oracle::{self, Need, corpus, skip_without},
    view::View,
};
use rustix::fs::{Mode, XattrFlags};
use std::{fs, io, os::unix::fs::FileExt, path::Path};

/// A tree with what file systems have: holes, links, attributes, many names, devices.
fn work(root: &Path) -> io::Result<()> {
    let file = fs::File::create(root.join("sparse"))?;
    for at in [0, 5000, 70_000, 700_001] {
        file.write_all_at(b"some bytes", at)?;
    }
    file.set_len(900_000)?;
    for i in 0..60_u64 {
        file.write_all_at(&[b'f'; 100], 1_000_000 + i * 20_000)?;
    }
    fs::hard_link(root.join("sparse"), root.join("link"))?;
    std::os::unix::fs::symlink("x".repeat(40), root.join("fast"))?;
    std::os::unix::fs::symlink("y".repeat(200), root.join("slow"))?;
    fs::create_dir(root.join("many"))?;
    for i in 0..120 {
        fs::write(root.join(format!("many/{i}-{}", "n".repeat(40))), i.to_string())?;
    }
    for name in ["attributes", "many/7-nnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnn"] {
        let path = root.join(name);
        fs::write(&path, b"content")?;
        for (key, n) in [("user.a", 5), ("user.b", 300), ("trusted.c", 100)] {
            rustix::fs::lsetxattr(&path, key, &vec![b'v'; n], XattrFlags::empty())?;
        }
    }
    let acl = [2_u32.to_le_bytes().to_vec(), acl_entry(1, 6, u32::MAX), acl_entry(2, 4, 1000)];
    let rest = [acl_entry(4, 4, u32::MAX), acl_entry(16, 7, u32::MAX), acl_entry(32, 0, u32::MAX)];
    let acl = [acl.concat(), rest.concat()].concat();
    let path = root.join("attributes");
    rustix::fs::lsetxattr(&path, "system.posix_acl_access", &acl, XattrFlags::empty())?;
    fs::create_dir(root.join("small"))?;
    fs::write(root.join("small/a"), b"tiny")?;
    fs::write(root.join("small/b"), [b'z'; 120])?;
    rustix::fs::mkfifoat(rustix::fs::CWD, root.join("fifo"), Mode::from_raw_mode(0o600))?;
    fs::create_dir(root.join("gone"))?;
    fs::write(root.join("gone/file"), [1; 10_000])?;
    fs::remove_dir_all(root.join("gone"))
}

fn acl_entry(tag: u16, perm: u16, id: u32) -> Vec<u8> {
    [&tag.to_le_bytes()[..], &perm.to_le_bytes(), &id.to_le_bytes()].concat()
}

#[track_caller]
fn compare(name: &str, image: &Image) {
    let scratch = oracle::scratch().unwrap();
    let file = scratch.path().join("image");
    image.save(&file).unwrap();
    let mount = Mount::as_it_stands(&file).unwrap();
    let kernel = mount.manifest().unwrap();
    mount.unmount().unwrap();
    let ours =
        View::new(image).and_then(|it| it.manifest()).unwrap_or_else(|it| panic!("{name}: {it:#}"));
    let differs = kernel.differences(&ours);
    assert!(differs.is_empty(), "{name}: {differs:#?}");
}

#[test]
fn the_second_reader_sees_what_the_kernel_wrote_and_finds_it_in_order() {
    if skip_without(&[Need::Mke2fs, Need::Kernel]) {
        return;
    }
    for profile in PROFILES.iter().filter(|it| it.mountable) {
        let image =
            Recipe::new(profile.name).kernel("a bit of everything", "", work).make().unwrap();
        compare(profile.name, &image);
        let found = judge(&image);
        assert!(found.is_empty(), "{}: {found:#?}", profile.name);
    }
}

#[test]
fn the_second_reader_and_the_kernel_agree_on_the_corpus() {
    if skip_without(&[Need::Corpus, Need::Kernel]) {
        return;
    }
    let mut n = 0;
    for entry in fs::read_dir(corpus().unwrap().join("clean")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|it| it != "img") {
            continue;
        }
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        // Of these, the kernel hides or rewrites what lies on the disk.
        let is_plain =
            !["casefold", "encrypt", "quota", "project"].iter().any(|it| name.contains(it));
        let image = Image::load(&path).unwrap();
        if let (true, Ok(mount)) = (is_plain, Mount::as_it_stands(&path)) {
            let kernel: Manifest = mount.manifest().unwrap();
            mount.unmount().unwrap();
            let ours = View::new(&image).and_then(|it| it.manifest());
            let ours = ours.unwrap_or_else(|it| panic!("{name}: {it:#}"));
            let differs = kernel.differences(&ours);
            assert!(differs.is_empty(), "{name}: {differs:#?}");
            n += 1;
        }
        // An external journal lies there as well.
        let Ok(view) = View::new(&image) else { continue };
        let found = judge::accounts(&view);
        assert!(found.is_empty(), "{name}: {found:#?}");
    }
    assert!(n > 40, "only {n} images");
}

#[test]
fn planted_faults_are_found() {
    let recipe = Recipe::new("orphan-1k").write("/f", vec![b'x'; 50_000]);
    let Some(image) = recipe.image() else { return };
    assert_eq!(judge(&image), []);
    let view = View::new(&image).unwrap();
    let node = view.inode(view.paths().unwrap()["f"]).unwrap();
    let first = view.runs(&node).unwrap()[0].start;
    let group = &view.groups[0];
    let plant = |at: u64, bytes: &[u8]| judge(&image.patched([(at, bytes)]).unwrap());
    let has = |at: u64, bytes: &[u8], code: &str| {
        let found = plant(at, bytes);
        assert!(found.iter().any(|it| it.code == code), "{code}: {found:?}");
    };
    let byte = |at: u64| {
        let mut byte = [0];
        image.read_at(at, &mut byte).unwrap();
        byte[0]
    };
    // A block of the file marked free; a free block marked used.
    let bit_of_first = group.block_bitmap * 1024 + (first - 1) / 8;
    has(bit_of_first, &[0], "free in use");
    has(group.block_bitmap * 1024 + 1022, &[byte(group.block_bitmap * 1024 + 1022) ^ 8], "leak");
    has(group.inode_bitmap * 1024 + 20, &[1], "leak");
    has(first * 1024 + 512, b"POISON!STALE-BLK", "stale");
    has(first * 1024, &ext4_testkit::model::pattern(5, 1, 512, 512), "stale");
    // The orphan file's first block is what its inode maps.
    let orphans = view.inode(view.orphan_file().unwrap()).unwrap();
    has(view.runs(&orphans).unwrap()[0].start * 1024, &[12], "at rest");
    has(1024 + 0xE8, &[12], "superblock");
}
