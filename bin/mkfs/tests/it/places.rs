//! Image files that are made and grown, offsets, partitions, and the plan.

use crate::{image, make, mkfs, refused};
use ext4_testkit::oracle::{self, FsckMode, Need};
use std::{fs, os::unix::fs::MetadataExt as _, process::Command};

#[test]
fn an_image_is_made_of_the_size_asked_for_and_sparse() {
    let dir = oracle::scratch().unwrap();
    let path = dir.path().join("new.img");
    make("--size 2G", &path);
    let meta = fs::metadata(&path).unwrap();
    assert_eq!(meta.len(), 2 << 30);
    assert!(meta.blocks() * 512 < 4 << 20, "{} bytes on the host", meta.blocks() * 512);
    // Grown when it must be, never cut.
    make("-F --size 3G", &path);
    assert_eq!(fs::metadata(&path).unwrap().len(), 3 << 30);
    make("-F --size 1G", &path);
    assert_eq!(fs::metadata(&path).unwrap().len(), 3 << 30);
    if !oracle::skip_without(&[Need::E2fsck]) {
        assert!(oracle::e2fsck(&path, FsckMode::Check).unwrap().is_clean());
    }
}

#[test]
fn a_size_is_understood_as_mke2fs_does() {
    let (_dir, path) = image(64);
    let blocks = |size: &str, options: &str| {
        let mut words: Vec<&str> = options.split_whitespace().collect();
        words.extend(["-n", "--json", path.to_str().unwrap(), size]);
        let text = mkfs(words).expect_ok("plan").unwrap();
        let plan: serde_json::Value = serde_json::from_str(&text).unwrap();
        (plan["blocks"].as_u64().unwrap(), plan["block_size"].as_u64().unwrap())
    };
    assert_eq!(blocks("16384", ""), (16384, 1024));
    assert_eq!(blocks("8192", "-b 4096"), (8192, 4096));
    assert_eq!(blocks("32M", "-b 4096"), (8192, 4096));
    assert_eq!(blocks("65536s", ""), (32768, 1024));
}

#[test]
fn nothing_outside_of_the_window_changes() {
    let (_dir, path) = image(32);
    fs::write(&path, vec![0x5A; 32 << 20]).unwrap();
    let place = format!("{}@3M", path.display());
    mkfs(["--size", "16M", &place]).expect_ok("mkfs").unwrap();
    let bytes = fs::read(&path).unwrap();
    assert!(bytes[..3 << 20].iter().all(|&it| it == 0x5A));
    assert!(bytes[19 << 20..].iter().all(|&it| it == 0x5A));
    assert_eq!(bytes[(3 << 20) + 1080..(3 << 20) + 1082], [0x53, 0xEF]);
    if oracle::skip_without(&[Need::E2fsck]) {
        return;
    }
    let inner = path.with_extension("inner");
    fs::write(&inner, &bytes[3 << 20..19 << 20]).unwrap();
    assert!(oracle::e2fsck(&inner, FsckMode::Check).unwrap().is_clean());
}

#[test]
fn a_partition_is_used_and_its_table_kept() {
    let has_sfdisk = Command::new("sfdisk").arg("-v").output().is_ok_and(|it| it.status.success());
    if !has_sfdisk {
        eprintln!("skipped: no sfdisk");
        return;
    }
    let (_dir, path) = image(64);
    let table = "label: gpt\nstart=2048,size=32768\nstart=36864,size=65536\n";
    let stdin = path.with_extension("table");
    fs::write(&stdin, table).unwrap();
    let done = Command::new("sfdisk")
        .arg("-q")
        .arg(&path)
        .stdin(fs::File::open(&stdin).unwrap())
        .status()
        .unwrap();
    assert!(done.success());
    // The whole of it holds a table, which is named.
    let (code, line) = refused("", &path);
    assert_eq!(code, 8);
    assert!(line.contains("partition table"), "{line}");
    let before = fs::read(&path).unwrap();
    let place = format!("{}#2", path.display());
    mkfs([&place]).expect_ok("mkfs").unwrap();
    let after = fs::read(&path).unwrap();
    let (from, to) = (36864 * 512, (36864 + 65536) * 512);
    assert!(before[..from] == after[..from] && before[to..] == after[to..]);
    assert_eq!(after[from + 1080..from + 1082], [0x53, 0xEF]);
}

#[test]
fn the_plan_that_is_shown_is_the_one_that_is_carried_out() {
    let (_dir, path) = image(64);
    let json = |dry: &[&str]| {
        let mut words = dry.to_vec();
        words.extend(["--json", "-O", "orphan_file,quota", path.to_str().unwrap()]);
        let text = mkfs(words).expect_ok("mkfs").unwrap();
        serde_json::from_str::<serde_json::Value>(&text).unwrap()
    };
    let plan = json(&["--dry-run"]);
    assert!(fs::read(&path).unwrap().iter().all(|&it| it == 0));
    let made = json(&[]);
    for field in ["uuid", "blocks", "free_blocks", "inodes", "features", "files", "backups"] {
        assert_eq!(plan[field], made[field], "{field}");
    }
    assert_eq!(plan["layout"].as_array().unwrap().len(), 8);
    assert!(made.get("layout").is_none());
    if oracle::skip_without(&[Need::E2fsck]) {
        return;
    }
    let groups = oracle::tool("dumpe2fs", [&path], b"").unwrap().expect_ok("dumpe2fs").unwrap();
    for group in plan["layout"].as_array().unwrap() {
        let table = &group["inode_table"];
        let from = table["start"].as_u64().unwrap();
        let to = from + table["len"].as_u64().unwrap() - 1;
        assert!(groups.contains(&format!("Inode table at {from}-{to}")), "{group}");
    }
}

#[test]
fn bad_blocks_are_kept_out_of_use() {
    if oracle::skip_without(&[Need::E2fsck, Need::Debugfs]) {
        return;
    }
    let (_dir, path) = image(16);
    let list = path.with_extension("bad");
    fs::write(&list, "9000\n9001\n12000\n700\n").unwrap();
    make(&format!("-l {}", list.display()), &path);
    let fsck = oracle::e2fsck(&path, FsckMode::Check).unwrap();
    assert!(fsck.is_clean(), "{fsck:?}");
    let said = oracle::debugfs(&path, "testb 9000 2").unwrap();
    assert_eq!(said.matches("marked in use").count(), 2, "{said}");
    fs::write(&list, "2\n").unwrap();
    let (_dir, path) = image(16);
    let (code, line) = refused(&format!("-l {}", list.display()), &path);
    assert_eq!(code, 16);
    assert!(line.contains("which must be good"), "{line}");
}
