//! The kernel mounts what was made, works on it, and e2fsck finds nothing afterwards.

use crate::{
    cases::{CASES, Case},
    image, make,
};
use ext4_testkit::{
    mount::Mount,
    oracle::{self, FsckMode, Need},
    process,
};
use std::{
    ffi::OsStr,
    fs,
    io::Write as _,
    os::unix::fs::{FileExt as _, MetadataExt as _, symlink},
    path::Path,
    time::Duration,
};

const LIMIT: Duration = Duration::from_mins(1);

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

#[test]
fn the_kernel_shows_what_a_manifest_says() {
    if oracle::skip_without(&[Need::Kernel]) {
        return;
    }
    let (dir, path) = image(16);
    let manifest = dir.path().join("list.mtree");
    fs::write(
        &manifest,
        "#mtree\n/set uid=0 gid=0\n./dev/console type=char mode=600 device=native,5,1\n\
         ./dev/sda type=block mode=660 gid=6 device=8,300\n./run/pipe type=fifo uid=100000\n\
         ./etc type=dir default-acl=u::rwx,u:1000:r-x,g::r-x,m::r-x,o::--- \
         time=1700000000.123456789\n\
         ./etc/x type=file mode=2644 acl=u::rw-,u:1000:rwx,g:7:r--,g::r--,m::rw-,o::---\n\
         ./etc/y hardlink=./etc/x\n./lnk type=link link=etc/x\n",
    )
    .unwrap();
    make(&format!("--manifest {}", manifest.display()), &path);
    let mount = Mount::new(&path, "ro").unwrap();
    let seen = |name: &str| {
        let it = fs::symlink_metadata(mount.join(name)).unwrap();
        format!("{:o} {}:{} {:#x} {}", it.mode(), it.uid(), it.gid(), it.rdev(), it.nlink())
    };
    assert_eq!(seen("/dev/console"), "20600 0:0 0x501 1");
    assert_eq!(seen("/dev/sda"), "60660 0:6 0x10082c 1");
    assert_eq!(seen("/run/pipe"), "10644 100000:0 0x0 1");
    // The bits of the group are the mask.
    assert_eq!(seen("/etc/x"), "102660 0:0 0x0 2");
    assert_eq!(fs::read_link(mount.join("/lnk")).unwrap(), Path::new("etc/x"));
    let etc = fs::metadata(mount.join("/etc")).unwrap();
    assert_eq!((etc.mtime(), etc.mtime_nsec()), (1_700_000_000, 123_456_789));
    for (name, says) in [
        ("/etc/x", "user::rw-\nuser:1000:rwx\ngroup::r--\ngroup:7:r--\nmask::rw-\nother::---"),
        ("/etc", "default:user::rwx\ndefault:user:1000:r-x\ndefault:group::r-x\n"),
    ] {
        let file = mount.join(name);
        let args = [OsStr::new("-pnE"), file.as_os_str()];
        match process::run("getfacl", args, &[], b"", LIMIT) {
            Ok(out) => {
                let text = out.expect_ok("getfacl").unwrap();
                assert!(text.contains(says), "{name}: {text}");
            }
            Err(_) => eprintln!("skipped: no getfacl"),
        }
    }
    mount.unmount().unwrap();
}
