//! The kernel mounts what was made, works on it, and e2fsck finds nothing afterwards.

use crate::{
    cases::{CASES, Case},
    image, make,
};
use ext4_testkit::{
    mount::Mount,
    oracle::{self, FsckMode, Need},
};
use std::{
    fs,
    io::Write as _,
    os::unix::fs::{FileExt as _, symlink},
    path::Path,
};

/// Whether the kernel mounts what mke2fs makes with these options: it may be built without quota,
/// Unicode or large blocks.
fn can_mount(case: &Case) -> bool {
    let (_dir, image) = image(case.mib);
    let made = oracle::mke2fs_by_usage(&image, case.options.split_whitespace());
    made.and_then(|()| Mount::new(&image, "")?.unmount()).is_ok()
}

/// Files, folders, links, holes, growth and removal.
fn work(root: &Path, n_files: usize) -> std::io::Result<()> {
    for i in 0..n_files {
        let folder = root.join(format!("folder{}", i % 7));
        fs::create_dir_all(&folder)?;
        fs::write(folder.join(format!("file{i}")), vec![b'x'; i * 37])?;
    }
    let large = fs::File::create(root.join("large"))?;
    large.write_all_at(&vec![1; 100_000], 0)?;
    large.write_all_at(&[2; 1000], 300_000)?;
    large.sync_all()?;
    symlink("large", root.join("link"))?;
    fs::hard_link(root.join("large"), root.join("hard"))?;
    if n_files > 7 {
        fs::remove_file(root.join("folder0/file7"))?;
        fs::rename(root.join("folder1"), root.join("moved"))?;
    }
    fs::File::options().append(true).open(root.join("hard"))?.write_all(b"end")?;
    assert!(root.join("lost+found").is_dir());
    assert_eq!(fs::read(root.join("large"))?.len(), 301_003);
    Ok(())
}

#[test]
fn the_kernel_works_on_every_option_set_it_can_mount() {
    if oracle::skip_without(&[Need::E2fsck, Need::Kernel]) {
        return;
    }
    let (mut wrong, mut worked, mut skipped) = (Vec::new(), 0, Vec::new());
    for case in CASES {
        let (_dir, image) = image(case.mib);
        make(case.options, &image);
        let res = Mount::new(&image, "").and_then(|mount| {
            // Few inodes hold few files.
            let n_files = if case.options.contains("largefile") { 0 } else { 60 };
            work(mount.path(), n_files)?;
            mount.unmount()
        });
        if let Err(err) = res {
            if oracle::skip_without(&[Need::Mke2fs]) || !can_mount(case) {
                skipped.push(case.options);
                continue;
            }
            wrong.push(format!("{} MiB {}: {err:#}", case.mib, case.options));
            continue;
        }
        let fsck = oracle::e2fsck(&image, FsckMode::Check).unwrap();
        if !fsck.is_clean() {
            wrong.push(format!("{} MiB {}: {fsck:?}", case.mib, case.options));
        }
        worked += 1;
    }
    eprintln!("{worked} option sets mounted and worked on");
    if !skipped.is_empty() {
        eprintln!("skipped: not for this kernel: {}", skipped.join("; "));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_full_filesystem_has_no_block_too_few() {
    if oracle::skip_without(&[Need::E2fsck, Need::Kernel]) {
        return;
    }
    for options in ["-t ext4 -m 0", "-t ext4 -b 4096 -m 0 -O bigalloc -C 16384", "-t ext3 -m 0"] {
        let (_dir, image) = image(40);
        make(options, &image);
        let mount = Mount::new(&image, "").unwrap();
        // Every block is taken: one that was forgotten in a bitmap would be overwritten now.
        let mut file = fs::File::create(mount.join("/fill")).unwrap();
        let piece = vec![7; 65536];
        while file.write_all(&piece).is_ok() {}
        drop(file);
        mount.unmount().unwrap();
        let fsck = oracle::e2fsck(&image, FsckMode::Check).unwrap();
        assert!(fsck.is_clean(), "{options}: {fsck:?}");
    }
}
