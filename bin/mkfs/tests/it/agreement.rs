//! dumpe2fs says the same of our filesystem and of the one mke2fs makes with the same options, and
//! e2fsck finds nothing wrong with ours.
//!
//! Not compared: what tells of the run (times, what was written, hash seed, checksums, who made the
//! MMP block). Each group's flags, counts and free blocks are the same but for the option sets of
//! [`ELSEWHERE`].

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

/// Where mke2fs leaves other blocks free. Its journal may be in pieces, or begin in front of what is
/// free in a group, where ours is one run; of a fast commit area it takes another length (see
/// `cases.rs`); and without discard it leaves inode tables to the kernel, ours are zeroed already.
const ELSEWHERE: &[(u64, &str)] = &[
    (64, "-t ext3"),
    (1, "-t ext4"),
    (2, "-t ext4"),
    (3, "-t ext4"),
    (8, "-t ext4"),
    (64, "-t ext4 -b 4096"),
    (64, "-t ext4 -b 8192"),
    (128, "-t ext4 -b 16384"),
    (256, "-t ext4 -b 32768"),
    (400, "-t ext4 -b 65536"),
    (256, "-t ext4 -O fast_commit -J size=16"),
    (256, "-t ext4 -O fast_commit -J size=16,fast_commit_size=2"),
    (64, "-t ext4 -O ^flex_bg -E stride=16,stripe-width=64"),
    (64, "-t ext4 -O ^extent,^64bit"),
    (64, "-t ext4 -O none -J size=4"),
    (64, "-t ext4 -b 1024 -E packed_meta_blocks=1"),
    (64, "-t ext4 -E lazy_journal_init=1,nodiscard"),
    (64, "-t ext4 -T largefile"),
    (64, "-t ext4 -T news"),
    (64, "-t ext4 -T largefile4"),
    (64, "-t ext3 -O ^resize_inode"),
    (17 << 10, "-t ext3"),
];

/// The head of dumpe2fs's output by line, and each group's structures.
struct Dump {
    head: BTreeMap<String, String>,
    groups: Vec<String>,
    /// Each group's flags, counts and what is free.
    free: Vec<String>,
}

fn dump(image: &Path) -> Dump {
    let text = oracle::tool("dumpe2fs", [image], b"").unwrap().expect_ok("dumpe2fs").unwrap();
    let mut it = Dump { head: BTreeMap::new(), groups: Vec::new(), free: Vec::new() };
    for line in text.lines() {
        if line.starts_with("Group ") && line.contains("(Blocks") {
            let flags = line.split_once('[').map_or("", |it| it.1);
            it.free.push(flags.to_owned());
            it.groups.push(line.split([' ', ')']).take(4).collect());
        } else if let (Some(group), Some(line)) = (it.groups.last_mut(), line.strip_prefix("  ")) {
            let is_structure = ["superblock", "GDT", "bitmap", "Inode table", "descriptor"]
                .iter()
                .any(|what| line.contains(what));
            if line.contains(" free ") || line.starts_with("Free ") {
                let free = it.free.last_mut().unwrap();
                free.push_str("; ");
                free.push_str(line);
            } else if is_structure {
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
        let other = a.free.iter().zip(&b.free).find(|(a, b)| a != b);
        let is_known = ELSEWHERE.contains(&(case.mib, case.options));
        if other.is_some() != is_known {
            let (mib, options) = (case.mib, case.options);
            wrong.push(format!("{mib} MiB {options}: known {is_known}, free: {other:?}"));
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
    // Of the blocks of the journal's map only.
    let other: Vec<_> = a.free.iter().zip(&b.free).filter(|(a, b)| a != b).collect();
    assert!(other.len() <= 2, "{} groups: {:?}", other.len(), other.first());
}
