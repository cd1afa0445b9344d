//! `block N` against `icheck`, `ncheck` and `testb` of debugfs.

use crate::{json, pattern, run, saved};
use ext4_testkit::{
    image::Recipe,
    manifest::hex,
    oracle::{self, Need},
};
use std::{collections::BTreeMap, path::Path};

/// Block to inode, by icheck.
fn icheck(file: &Path, blocks: &[u64]) -> BTreeMap<u64, u64> {
    let list: Vec<String> = blocks.iter().map(u64::to_string).collect();
    let text = oracle::debugfs(file, &format!("icheck {}", list.join(" "))).unwrap();
    text.lines()
        .filter_map(|line| {
            let (blk, ino) = line.split_once('\t')?;
            Some((blk.trim().parse().ok()?, ino.trim().parse().ok()?))
        })
        .collect()
}

fn is_used(file: &Path, blk: u64) -> bool {
    oracle::debugfs(file, &format!("testb {blk}")).unwrap().contains("marked in use")
}

#[test]
fn the_owner_of_a_block_is_that_of_icheck() {
    if oracle::skip_without(&[Need::Mke2fs, Need::Debugfs]) {
        return;
    }
    let mut n_owned = 0;
    for (profile, size, step) in [
        ("ext4-1k", 1024, 331),
        ("ext3-1k", 1024, 333),
        ("ext4-4k", 4096, 67),
        ("metabg-1k", 1024, 257),
    ] {
        let recipe = Recipe::new(profile).mkdir("/dir").write("/a", pattern(900, size));
        let image = recipe.write("/b", pattern(40, size)).image().expect("mke2fs and debugfs");
        let (_folder, file) = saved(&image);
        let count = json(&file, ["super"])["blocks_count"].as_u64().unwrap();
        let mut blocks: Vec<u64> = (1..count).step_by(step).collect();
        // Every kind of block of the file is among them.
        let pieces = json(&file, ["extents", "/a"]);
        let firsts = pieces["pieces"]
            .as_array()
            .unwrap()
            .iter()
            .filter_map(|it| it["start"].as_u64().or(it["block"].as_u64()));
        blocks.extend(firsts.take(8));
        let theirs = icheck(&file, &blocks);
        for &blk in &blocks {
            let ours = json(&file, ["block", &blk.to_string()]);
            let owner = ours["owners"].as_array().unwrap().first();
            let ino = owner.map(|it| it["ino"].as_u64().unwrap());
            // icheck does not count the journal's blocks as system's, we name both.
            assert_eq!(ino, theirs.get(&blk).copied(), "{profile}: block {blk}: {ours}");
            assert_eq!(ours["allocated"], is_used(&file, blk), "{profile}: block {blk}");
            n_owned += u32::from(ino.is_some());
        }
    }
    println!("{n_owned} blocks have the owner that icheck gives");
    assert!(n_owned > 40);
}

#[test]
fn the_logical_block_and_the_path_of_data_are_told() {
    let recipe = Recipe::new("ext4-1k").mkdir("/dir").write("/dir/a", pattern(40, 1024));
    let Some(image) = recipe.debugfs("ln /dir/a /b").image() else { return };
    let (_folder, file) = saved(&image);
    let map = json(&file, ["extents", "/b"]);
    let start = map["pieces"][1]["start"].as_u64().unwrap();
    let blk = (start + 7).to_string();
    let ours = json(&file, ["block", &blk, "--path", "--hex"]);
    assert_eq!((&ours["kind"], &ours["owners"][0]["lblk"]), (&"data".into(), &7.into()));
    let paths: Vec<_> =
        ours["paths"].as_array().unwrap().iter().map(|it| it["path"].as_str().unwrap()).collect();
    assert_eq!(paths, ["/b", "/dir/a"]);
    let at = usize::try_from((start + 7) * 1024).unwrap();
    assert_eq!(ours["hex"], hex(&image.bytes()[at..at + 1024]));
}

#[test]
fn the_systems_own_blocks_are_named() {
    let Some(image) = Recipe::new("ext4-1k").image() else { return };
    let (_folder, file) = saved(&image);
    let group = &json(&file, ["groups", "--group", "0"])["groups"][0];
    for (blk, kind) in [
        (0, "boot"),
        (1, "superblock"),
        (2, "group_descriptors"),
        (3, "reserved_gdt"),
        (group["bg_block_bitmap"].as_u64().unwrap(), "block_bitmap"),
        (group["bg_inode_bitmap"].as_u64().unwrap(), "inode_bitmap"),
        (group["bg_inode_table"].as_u64().unwrap() + 1, "inode_table"),
        (8193, "superblock"),
        (8194, "group_descriptors"),
    ] {
        let ours = json(&file, ["block", &blk.to_string()]);
        assert_eq!(ours["kind"], kind, "block {blk}: {ours}");
    }
    let journal = json(&file, ["extents", "<8>"])["pieces"][1]["start"].as_u64().unwrap();
    let ours = json(&file, ["block", &(journal + 5).to_string()]);
    assert_eq!((&ours["kind"], &ours["log_block"]), (&"journal".into(), &5.into()));
    let free = json(&file, ["block", "16000"]);
    assert_eq!(free["kind"], "free");
    let out = run(&file, ["block", "99999"]);
    let line = String::from_utf8(out.stderr).unwrap();
    assert_eq!(out.code, Some(8));
    assert!(line.ends_with("disk.img: block 99999: expected below 16384\n"), "{line}");
}
