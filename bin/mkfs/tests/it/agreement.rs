//! dumpe2fs says the same of our filesystem and of the one mke2fs makes with the same options, and
//! e2fsck finds nothing wrong with ours.
//!
//! Not compared: what tells of the run (times, what was written, hash seed, checksums, who made the
//! MMP block) and which blocks of a group are free, for our journal is one run of blocks wherever
//! one is free, and mke2fs's may be in pieces or elsewhere.

use crate::{cases::CASES, image, make};
use ext4_testkit::oracle::{self, FsckMode, Need};
use std::{collections::BTreeMap, path::Path};

const UUID: &str = "5eed5eed-1234-4321-8888-0123456789ab";

const OF_THE_RUN: &[&str] = &[
    "Checksum",
    "Directory Hash Seed",
    "Filesystem created",
    "Journal checksum",
    "Last checked",
    "Last write time",
    "Lifetime writes",
    "MMP_block",
];

/// The head of dumpe2fs's output by line, and each group's structures.
struct Dump {
    head: BTreeMap<String, String>,
    groups: Vec<String>,
}

fn dump(image: &Path) -> Dump {
    let text = oracle::tool("dumpe2fs", [image], b"").unwrap().expect_ok("dumpe2fs").unwrap();
    let mut it = Dump { head: BTreeMap::new(), groups: Vec::new() };
    for line in text.lines() {
        if line.starts_with("Group ") && line.contains("(Blocks") {
            // Whether the journal, or nothing, lies in a group shows in this flag.
            let line = line.split(" csum").next().unwrap_or_default();
            it.groups.push(line.replace("BLOCK_UNINIT", ""));
        } else if let (Some(group), Some(line)) = (it.groups.last_mut(), line.strip_prefix("  ")) {
            let is_structure = ["superblock", "GDT", "bitmap", "Inode table", "descriptor"]
                .iter()
                .any(|what| line.contains(what));
            if is_structure {
                group.push_str("; ");
                group.push_str(line.split(", csum").next().unwrap_or_default());
            }
        } else if let Some((name, value)) = line.split_once(':')
            && !OF_THE_RUN.contains(&name)
            && !line.starts_with(' ')
        {
            it.head.insert(name.to_owned(), value.trim().to_owned());
        }
    }
    it
}

#[test]
fn dumpe2fs_and_e2fsck_agree_with_mke2fs_on_every_option_set() {
    if oracle::skip_without(&[Need::Mke2fs, Need::E2fsck]) {
        return;
    }
    let mut wrong = Vec::new();
    for case in CASES {
        let (_dir, theirs) = image(case.mib);
        let words = format!("-U {UUID} {}", case.options);
        oracle::mke2fs_by_usage(&theirs, words.split_whitespace()).unwrap();
        let (_dir, ours) = image(case.mib);
        make(&words, &ours);
        let (a, b) = (dump(&theirs), dump(&ours));
        let names = a.head.keys().chain(b.head.keys());
        let mut found: Vec<String> =
            names.filter(|it| a.head.get(*it) != b.head.get(*it)).cloned().collect();
        found.sort();
        found.dedup();
        if found != case.differ {
            let told: Vec<_> = found
                .iter()
                .map(|it| format!("{it}: {:?}, ours {:?}", a.head.get(it), b.head.get(it)))
                .collect();
            wrong.push(format!("{} MiB {}: {}", case.mib, case.options, told.join("; ")));
        }
        if let Some((a, b)) = a.groups.iter().zip(&b.groups).find(|(a, b)| a != b) {
            wrong.push(format!("{} MiB {}: {a}, ours {b}", case.mib, case.options));
        }
        let fsck = oracle::e2fsck(&ours, FsckMode::Check).unwrap();
        if !fsck.is_clean() {
            wrong.push(format!("{} MiB {}: e2fsck: {fsck:?}", case.mib, case.options));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn what_is_too_large_for_32_bits_agrees_too() {
    if oracle::skip_without(&[Need::Mke2fs, Need::E2fsck]) {
        return;
    }
    let mib = 17 << 20;
    let (_dir, theirs) = image(mib);
    oracle::mke2fs_by_usage(&theirs, ["-U", UUID, "-t", "ext4"]).unwrap();
    let (_dir, ours) = image(mib);
    make(&format!("-U {UUID} -t ext4"), &ours);
    let (a, b) = (dump(&theirs), dump(&ours));
    assert_eq!(a.head, b.head);
    assert!(a.groups == b.groups);
}
