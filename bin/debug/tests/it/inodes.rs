//! `inode`, `stat`, `extents`, `ls` and `xattr` against debugfs.

use crate::{json, pattern, rows, run, saved};
use ext4_testkit::{
    image::{Image, Recipe},
    oracle::{self, Need},
};
use serde_json::Value;
use std::{collections::BTreeSet, path::Path};

/// Files of each kind of map: runs, holes, unwritten blocks, many extents, a large one.
fn recipe(profile: &str, size: u32) -> Recipe {
    let mut sparse = pattern(400, size);
    for (nr, block) in sparse.chunks_mut(size as usize).enumerate() {
        if nr % 3 == 1 {
            block.fill(0);
        }
    }
    Recipe::new(profile)
        .mkdir("/dir")
        .write("/small", "hello\n")
        .write("/empty", "")
        .write("/sparse", sparse)
        .write("/large", pattern(600, size))
        .debugfs("symlink /link /dir/target")
        .debugfs("mknod dev c 4 64")
        .debugfs("mknod pipe p")
        .debugfs("ea_set /small user.one first")
        .debugfs("set_inode_field /small uid 70000")
        .debugfs("set_inode_field /small mode 0104755")
}

const PROFILES: &[(&str, u32)] = &[
    ("ext4-4k", 4096),
    ("ext4-1k", 1024),
    ("ext3-1k", 1024),
    ("ext2-4k", 4096),
    ("ext4-indirect-1k", 1024),
    ("bigalloc-1k", 1024),
    ("inode128-4k", 4096),
    ("inline-4k", 4096),
];

/// What debugfs prints, without its banner.
fn debugfs(file: &Path, request: &str) -> String {
    let text = oracle::debugfs(file, request).unwrap();
    text.lines()
        .filter(|line| !line.starts_with("debugfs 1."))
        .fold(String::new(), |all, line| all + line + "\n")
}

/// Calls `each` with an image of each profile.
fn each(each: impl Fn(&str, &Path)) {
    if oracle::skip_without(&[Need::Mke2fs, Need::Debugfs]) {
        return;
    }
    for (profile, size) in PROFILES {
        let image: Image = recipe(profile, *size).image().expect("mke2fs and debugfs are there");
        let (_folder, file) = saved(&image);
        each(profile, &file);
    }
}

const PATHS: [&str; 9] =
    ["/", "/dir", "/small", "/empty", "/sparse", "/large", "/link", "/dev", "/pipe"];

/// The word after `name` in the output of `stat`.
fn word<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let at = text.find(name)?;
    text[at + name.len()..].split_whitespace().next()
}

#[test]
fn an_inode_is_that_of_debugfs() {
    each(|profile, file| {
        for path in PATHS {
            let theirs = debugfs(file, &format!("stat {path}"));
            let ours = json(file, ["inode", path]);
            let fields = [
                ("Inode: ", "ino"),
                ("User: ", "i_uid"),
                ("Group: ", "i_gid"),
                ("Size: ", "i_size"),
                ("Links: ", "i_links_count"),
                ("Blockcount: ", "i_blocks"),
                ("Generation: ", "i_generation"),
                ("File ACL: ", "i_file_acl"),
            ];
            for (theirs_name, key) in fields {
                let expected = word(&theirs, theirs_name).unwrap();
                // The size of devices is not shown.
                if expected.parse::<u64>().is_ok() {
                    assert_eq!(ours[key].to_string(), expected, "{profile} {path}: {key}");
                }
            }
            let mode = u32::from_str_radix(word(&theirs, "Mode: ").unwrap(), 8).unwrap();
            assert_eq!(ours["i_mode"].as_u64().unwrap() & 0o7777, u64::from(mode), "{path}");
            let hex = |name| {
                let text = word(&theirs, name)?.trim_start_matches("0x");
                u64::from_str_radix(text, 16).ok()
            };
            assert_eq!(ours["i_flags"].as_u64(), hex("Flags: "), "{profile} {path}");
            if let Some(checksum) = hex("Inode checksum: ") {
                assert_eq!(ours["i_checksum"].as_u64(), Some(checksum), "{profile} {path}");
            }
            if let Some(extra) = word(&theirs, "Size of extra inode fields: ") {
                assert_eq!(ours["i_extra_isize"].to_string(), extra, "{profile} {path}");
            }
            for (name, key) in
                [("ctime: ", "i_ctime"), ("atime: ", "i_atime"), ("mtime: ", "i_mtime")]
            {
                let raw = hex(name).or_else(|| {
                    let text = word(&theirs, name)?.split(':').next()?.trim_start_matches("0x");
                    u64::from_str_radix(text, 16).ok()
                });
                assert_eq!(ours[key][0].as_u64(), raw, "{profile} {path}: {key}");
            }
            let stat = json(file, ["stat", path]);
            for (key, same) in [
                ("st_ino", "ino"),
                ("st_mode", "i_mode"),
                ("st_size", "i_size"),
                ("st_uid", "i_uid"),
                ("st_nlink", "i_links_count"),
                ("st_mtime", "i_mtime"),
                ("type", "type"),
            ] {
                assert_eq!(stat[key], ours[same], "{profile} {path}: {key}");
            }
        }
        assert_eq!(json(file, ["inode", "/link"])["target"], "/dir/target");
        assert_eq!(json(file, ["inode", "/dev"])["rdev"], serde_json::json!([4, 64]));
        assert_eq!(json(file, ["inode", "/dir/"])["type"], "directory");
        assert_eq!(json(file, ["inode", "/dir/.."])["ino"], 2);
    });
}

#[test]
fn a_map_is_that_of_debugfs() {
    each(|profile, file| {
        for path in ["/", "/dir", "/small", "/empty", "/sparse", "/large", "<8>", "<7>"] {
            let number = if path == "/" { "<2>" } else { path };
            let ours = json(file, ["extents", number]);
            if ours["format"] == "inline_data" {
                continue;
            }
            let pieces = ours["pieces"].as_array().unwrap();
            let mut blocks = BTreeSet::new();
            for piece in pieces {
                match piece["kind"].as_str().unwrap() {
                    "extent" | "run" => {
                        let start = piece["start"].as_u64().unwrap();
                        blocks.extend(start..start + piece["len"].as_u64().unwrap());
                    }
                    _ => blocks.extend(piece["block"].as_u64()),
                }
            }
            let theirs = debugfs(file, &format!("blocks {number}"));
            let theirs: BTreeSet<u64> =
                theirs.split_whitespace().map(|it| it.parse().expect(&theirs)).collect();
            assert_eq!(blocks, theirs, "{profile} {path}");
            if ours["format"] == "extents" {
                check_extents(file, number, pieces);
            }
        }
    });
}

/// Compares with the lines ` 1/ 1   2/ 3   10 -  11   600 -  601      2 Uninit` of `ex`.
fn check_extents(file: &Path, number: &str, pieces: &[Value]) {
    let theirs = debugfs(file, &format!("ex {number}"));
    let mut expected = Vec::new();
    for line in theirs.lines().skip(1) {
        let line = line.replace(['/', '-'], " ");
        let words: Vec<u64> = line.split_whitespace().filter_map(|it| it.parse().ok()).collect();
        // Only leaves: level, levels, entry, entries, then four numbers and the length.
        if words.len() == 9 && words[0] == words[1] {
            expected.push((words[4], words[6], words[8], line.contains("Uninit")));
        }
    }
    let number_of = |piece: &Value, key| piece[key].as_u64().unwrap();
    let found: Vec<_> = pieces
        .iter()
        .filter(|it| it["kind"] == "extent")
        .map(|it| {
            let unwritten = it["unwritten"].as_bool().unwrap();
            (number_of(it, "lblk"), number_of(it, "start"), number_of(it, "len"), unwritten)
        })
        .collect();
    assert_eq!(found, expected, "{theirs}");
}

#[test]
fn unwritten_extents_are_told_from_written_ones() {
    let recipe = Recipe::new("ext4-4k").write("/a", "x").debugfs("fallocate /a 1 20");
    let Some(image) = recipe.image() else { return };
    let (_folder, file) = saved(&image);
    let ours = json(&file, ["extents", "/a"]);
    check_extents(&file, "/a", ours["pieces"].as_array().unwrap());
    assert!(run(&file, ["extents", "/a"]).text().contains("unwritten"));
}

#[test]
fn a_folder_is_that_of_debugfs() {
    each(|profile, file| {
        let theirs = debugfs(file, "ls -l /");
        let theirs: Vec<Vec<&str>> = theirs
            .lines()
            .map(|line| line.split_whitespace().collect::<Vec<_>>())
            .filter(|words| words.len() >= 9)
            .collect();
        let ours = rows(file, ["ls", "/"]);
        assert_eq!(ours.len(), theirs.len(), "{profile}");
        for (ours, theirs) in ours.iter().zip(theirs) {
            assert_eq!(ours["ino"].to_string(), theirs[0], "{profile}");
            let mode = format!("{:o}", ours["i_mode"].as_u64().unwrap());
            assert_eq!(mode, theirs[1], "{profile}");
            assert_eq!(ours["i_uid"].to_string(), theirs[3], "{profile}");
            assert_eq!(ours["name"].as_str(), theirs.last().copied(), "{profile}");
        }
        let all = rows(file, ["ls", "-R"]);
        assert!(all.iter().any(|it| it["name"] == "/lost+found"), "{profile}");
        let lines = run(file, ["ls", "/small"]).text();
        assert!(lines.starts_with("-rwsr-xr-x   1 70000     0            6 "), "{lines}");
    });
}

#[test]
fn attributes_are_those_of_debugfs() {
    let Some(image) = recipe("ext4-4k", 4096)
        .debugfs("ea_set /small user.two second")
        .debugfs(&format!("ea_set /large user.big {}", "v".repeat(900)))
        .image()
    else {
        return;
    };
    let (_folder, file) = saved(&image);
    let ours = json(&file, ["xattr", "/small"]);
    let found: Vec<_> = ours["xattrs"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| (it["name"].as_str().unwrap(), it["value_hex"].as_str().unwrap(), &it["place"]))
        .collect();
    assert_eq!(
        found,
        [
            ("user.one", "6669727374", &"inode".into()),
            ("user.two", "7365636f6e64", &"inode".into())
        ]
    );
    let ours = json(&file, ["xattr", "/large"]);
    assert_eq!(ours["xattrs"][0]["place"], "block");
    assert_eq!(ours["xattrs"][0]["block"], ours["i_file_acl"]);
    assert_eq!(ours["xattrs"][0]["e_value_size"], 900);
    let blk = ours["i_file_acl"].to_string();
    let owner = json(&file, ["block", &blk]);
    assert_eq!(owner["owners"][0]["kind"], "xattr_block");
}
