//! `super` and `groups` against dumpe2fs.

use crate::{json, run, saved};
use ext4_testkit::{
    image::Recipe,
    oracle::{self, Need},
};
use serde_json::Value;
use std::{collections::BTreeMap, path::Path};

const PROFILES: &[&str] = &[
    "ext4-4k",
    "ext4-1k",
    "ext2-1k",
    "ext3-4k",
    "ext4-gdtcsum-1k",
    "ext4-32bit",
    "bigalloc-4k",
    "orphan-1k",
    "noflex-1k",
    "metabg-1k",
    "super2-4k",
    "inode128-4k",
    "mmp-4k",
    "quota-4k",
];

fn dumpe2fs(image: &Path) -> String {
    let out = oracle::tool("dumpe2fs", [image.as_os_str()], b"").unwrap();
    out.expect_ok("dumpe2fs").unwrap()
}

/// The lines `Name: value` before the groups.
fn header(text: &str) -> BTreeMap<String, String> {
    let lines = text.lines().take_while(|line| !line.starts_with("Group 0:"));
    let pair = |line: &str| line.split_once(':').map(|(a, b)| (a.to_owned(), b.trim().to_owned()));
    lines.filter_map(pair).collect()
}

/// What of ours a line of dumpe2fs should be, as text; `None` for lines that are not about fields.
fn expected(name: &str, ours: &Value) -> Option<String> {
    let number = |key: &str| ours[key].as_u64().unwrap();
    let text = |key: &str| ours[key].as_str().unwrap().to_owned();
    let plain = |key: &str| Some(number(key).to_string());
    let hex = |key: &str| Some(format!("{:#010x}", number(key)));
    let or = |it: String, none: &str| Some(if it.is_empty() { none.to_owned() } else { it });
    let join = |key: &str| {
        let all: Vec<_> =
            ours[key].as_array().unwrap().iter().map(|it| it.as_str().unwrap()).collect();
        all.join(" ")
    };
    match name {
        "Filesystem volume name" => or(text("s_volume_name"), "<none>"),
        "Last mounted on" => or(text("s_last_mounted"), "<not available>"),
        "Filesystem UUID" => Some(text("s_uuid")),
        "Filesystem magic number" => Some(format!("0x{:04X}", number("s_magic"))),
        "Filesystem features" => Some(join("features")),
        "Inode count" => plain("s_inodes_count"),
        "Block count" => plain("blocks_count"),
        "Reserved block count" => plain("r_blocks_count"),
        "Free blocks" => plain("free_blocks_count"),
        "Free inodes" => plain("s_free_inodes_count"),
        "First block" => plain("s_first_data_block"),
        "Block size" => Some((1024 << number("s_log_block_size")).to_string()),
        "Cluster size" | "Fragment size" => {
            Some((1024 << number("s_log_cluster_size")).to_string())
        }
        "Group descriptor size" => plain("s_desc_size"),
        "Reserved GDT blocks" => plain("s_reserved_gdt_blocks"),
        "Blocks per group" => plain("s_blocks_per_group"),
        "Clusters per group" | "Fragments per group" => plain("s_clusters_per_group"),
        "Inodes per group" => plain("s_inodes_per_group"),
        "First meta block group" => plain("s_first_meta_bg"),
        "Flex block group size" => Some((1 << number("s_log_groups_per_flex")).to_string()),
        "Mount count" => plain("s_mnt_count"),
        "Maximum mount count" => Some(match number("s_max_mnt_count") {
            0xFFFF => "-1".to_owned(),
            n => n.to_string(),
        }),
        "First inode" => plain("s_first_ino"),
        "Inode size" => plain("s_inode_size"),
        "Required extra isize" => plain("s_min_extra_isize"),
        "Desired extra isize" => plain("s_want_extra_isize"),
        "Journal inode" => plain("s_journal_inum"),
        "Journal backup" => (number("s_jnl_backup_type") == 1).then(|| "inode blocks".to_owned()),
        "First orphan inode" => plain("s_last_orphan"),
        "Orphan file inode" => plain("s_orphan_file_inum"),
        "Directory Hash Seed" => Some(text("s_hash_seed")),
        "User quota inode" => plain("s_usr_quota_inum"),
        "Group quota inode" => plain("s_grp_quota_inum"),
        "MMP block number" => plain("s_mmp_block"),
        "MMP update interval" => plain("s_mmp_update_interval"),
        "Checksum" => hex("s_checksum"),
        "Checksum seed" => hex("s_checksum_seed"),
        "Backup block groups" => {
            let all = ours["s_backup_bgs"].as_array().unwrap();
            let set: Vec<_> = all.iter().filter(|it| **it != 0).map(Value::to_string).collect();
            Some(set.join(" "))
        }
        _ => None,
    }
}

/// Lines of dumpe2fs that say in words what the text form of ours says in brackets.
const NAMED: [(&str, &str); 5] = [
    ("Filesystem state", "s_state"),
    ("Errors behavior", "s_errors"),
    ("Filesystem OS type", "s_creator_os"),
    ("Default directory hash", "s_def_hash_version"),
    ("Default mount options", "s_default_mount_opts"),
];

#[test]
fn every_field_of_the_superblock_is_that_of_dumpe2fs() {
    if oracle::skip_without(&[Need::Dumpe2fs]) {
        return;
    }
    let (mut n_fields, mut n_images) = (0, 0);
    for profile in PROFILES {
        let Some(image) = Recipe::new(profile).image() else { return };
        let (_folder, file) = saved(&image);
        let ours = json(&file, ["super"]);
        let words = run(&file, ["super"]).text();
        for (name, theirs) in header(&dumpe2fs(&file)) {
            if let Some(expected) = expected(&name, &ours) {
                assert_eq!(
                    expected.trim_start_matches("0x"),
                    theirs.trim_start_matches("0x"),
                    "{profile}: {name}"
                );
                n_fields += 1;
            }
            if let Some((_, field)) = NAMED.iter().find(|(it, _)| *it == name) {
                let line =
                    words.lines().find(|line| line.split(' ').next() == Some(field)).unwrap();
                let named = line.split_once('(').unwrap().1.trim_end_matches(')');
                let theirs = theirs.to_lowercase().replace("(none)", "none");
                assert_eq!(named.to_lowercase(), theirs, "{profile}: {name}");
                n_fields += 1;
            }
        }
        n_images += 1;
    }
    println!("{n_fields} fields of {n_images} superblocks are as dumpe2fs has them");
    assert!(n_fields > 30 * n_images);
}

/// The first number after `word` in `text`.
fn after(text: &str, word: &str) -> Option<u64> {
    let rest = &text[text.find(word)? + word.len()..];
    let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().ok()
}

/// The number before `word` in `text`.
fn before(text: &str, word: &str) -> Option<u64> {
    let rest = &text[..text.find(word)?];
    rest.split(|it: char| !it.is_ascii_digit()).next_back()?.parse().ok()
}

#[test]
fn every_group_is_that_of_dumpe2fs() {
    if oracle::skip_without(&[Need::Dumpe2fs]) {
        return;
    }
    let mut n_groups = 0;
    for profile in PROFILES {
        let Some(image) = Recipe::new(profile).image() else { return };
        let (_folder, file) = saved(&image);
        let ours = json(&file, ["groups"]);
        let text = dumpe2fs(&file);
        let theirs: Vec<&str> = text
            .split("\nGroup ")
            .filter(|it| it.starts_with(|first: char| first.is_ascii_digit()))
            .collect();
        let ours = ours["groups"].as_array().unwrap();
        assert_eq!(ours.len(), theirs.len(), "{profile}");
        for (ours, theirs) in ours.iter().zip(theirs) {
            let pairs = [
                ("first_block", after(theirs, "(Blocks ")),
                ("bg_block_bitmap", after(theirs, "Block bitmap at ")),
                ("bg_inode_bitmap", after(theirs, "Inode bitmap at ")),
                ("bg_inode_table", after(theirs, "Inode table at ")),
                ("bg_free_inodes_count", before(theirs, " free inodes")),
                ("bg_used_dirs_count", before(theirs, " directories")),
            ];
            for (key, expected) in pairs {
                assert_eq!(ours[key].as_u64(), expected, "{profile}: {key} of {theirs}");
            }
            let free = before(theirs, " free clusters").or(before(theirs, " free blocks"));
            assert_eq!(ours["bg_free_blocks_count"].as_u64(), free, "{profile}: {theirs}");
            // Flags mean something only where descriptors have checksums.
            let has_csum = theirs.lines().next().is_some_and(|line| line.contains("csum"));
            let flags = ours["flags"].as_array().unwrap();
            for (ours, theirs_name) in [
                ("inode_uninit", "INODE_UNINIT"),
                ("block_uninit", "BLOCK_UNINIT"),
                ("inode_zeroed", "ITABLE_ZEROED"),
            ]
            .into_iter()
            .filter(|_| has_csum)
            {
                let is_set = flags.iter().any(|it| it == ours);
                assert_eq!(is_set, theirs.contains(theirs_name), "{profile}: {ours} of {theirs}");
            }
            n_groups += 1;
        }
    }
    println!("{n_groups} groups are as dumpe2fs has them");
}
