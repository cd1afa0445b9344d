//! Options that only a superblock tells of, and superblocks written anew over an old filesystem.

use crate::{image, make};
use ext4_testkit::oracle::{self, FsckMode, Need};
use std::{fs::File, os::unix::fs::FileExt as _};

const UUID: &str = "00112233-4455-6677-8899-aabbccddeeff";

#[test]
fn dumpe2fs_tells_the_system_the_hash_and_the_descriptors() {
    if oracle::skip_without(&[Need::E2fsck]) {
        return;
    }
    for (options, says) in [
        ("-o freebsd -O ^metadata_csum", "Filesystem OS type:       FreeBSD"),
        ("-t ext2 -I 128 -O ^filetype -o hurd", "Filesystem OS type:       Hurd"),
        ("-E hash_alg=tea", "Default directory hash:   tea"),
        ("-E desc_size=128", "Group descriptor size:    128"),
        ("-E desc_size=1024", "Group descriptor size:    1024"),
    ] {
        let (_dir, path) = image(64);
        make(options, &path);
        let dump = oracle::tool("dumpe2fs", [&path], b"").unwrap().expect_ok("dumpe2fs").unwrap();
        assert!(dump.contains(says), "{options}: {dump}");
        let fsck = oracle::e2fsck(&path, FsckMode::Check).unwrap();
        assert!(fsck.is_clean(), "{options}: {fsck:?}");
    }
}

#[test]
fn e2fsck_finds_the_files_of_a_filesystem_that_lost_its_superblocks() {
    if oracle::skip_without(&[Need::Mke2fs, Need::E2fsck, Need::Debugfs]) {
        return;
    }
    let (dir, path) = image(64);
    let source = dir.path().join("hello");
    std::fs::write(&source, vec![b'x'; 100_000]).unwrap();
    oracle::mke2fs_by_usage(&path, ["-t", "ext4", "-b", "1024", "-U", UUID]).unwrap();
    oracle::debugfs_write(&path, &format!("write {} hello", source.display())).unwrap();

    // Superblocks and descriptors are gone, and every copy of them.
    let file = File::options().write(true).open(&path).unwrap();
    for group in [0_u64, 1, 3, 5, 7] {
        file.write_all_at(&[0xA5; 2048], (group * 8192 + 1) * 1024).unwrap();
    }
    drop(file);
    assert!(oracle::e2fsck(&path, FsckMode::Check).map_or(true, |it| !it.is_clean()));

    make(&format!("-S -b 1024 -U {UUID}"), &path);
    oracle::e2fsck(&path, FsckMode::Repair).unwrap();
    let fsck = oracle::e2fsck(&path, FsckMode::Check).unwrap();
    assert!(fsck.is_clean(), "{fsck:?}");
    assert_eq!(oracle::debugfs_cat(&path, "/hello").unwrap(), vec![b'x'; 100_000]);
}
