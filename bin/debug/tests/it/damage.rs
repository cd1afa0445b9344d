//! What is damaged is named, and the rest is shown all the same.

use crate::{json, pattern, run, saved};
use ext4_testkit::{
    corpus::Corpus,
    image::{Image, Recipe},
    rng::Rng,
};
use serde_json::Value;

fn recipe() -> Recipe {
    let mut holes = pattern(1000, 1024);
    for (nr, block) in holes.chunks_mut(1024).enumerate() {
        if nr % 2 == 1 {
            block.fill(0);
        }
    }
    Recipe::new("ext4-1k").mkdir("/dir").write("/holes", holes).write("/dir/a", "a")
}

#[test]
fn a_damaged_superblock_is_shown_and_a_copy_can_be_used() {
    let Some(image) = recipe().image() else { return };
    let broken = image.patched([(1024 + 0x68, &b"broken uuid!"[..])]).unwrap();
    let (_folder, file) = saved(&broken);
    let out = run(&file, ["super", "--json"]);
    assert_eq!(out.code, Some(4));
    let shown: Value = serde_json::from_slice(&out.stdout).unwrap();
    let damage = shown["damage"][0].as_str().unwrap();
    assert!(damage.starts_with("superblock: checksum 0x"), "{damage}");
    assert_eq!(shown["blocks_count"], 16384);

    let out = run(&file, ["ls"]);
    let line = String::from_utf8(out.stderr).unwrap();
    assert_eq!((out.code, out.stdout.len()), (Some(4), 0));
    assert!(line.ends_with("; there is a good copy: --superblock 8193\n"), "{line}");

    let out = run(&file, ["ls", "--superblock", "8193"]);
    assert_eq!(out.code, Some(0), "{}", out.text());
    assert!(out.text().contains(" dir\n"));
    let out = run(&file, ["ls", "--superblock", "8194"]);
    assert_eq!(out.code, Some(8), "{}", out.text());
    assert!(std::fs::read(&file).unwrap() == broken.bytes()[..]);
}

#[test]
fn a_damaged_node_is_named_and_its_neighbours_are_shown() {
    let Some(image) = recipe().image() else { return };
    let (_folder, file) = saved(&image);
    let before = json(&file, ["extents", "/holes"]);
    let nodes: Vec<u64> =
        before["pieces"].as_array().unwrap().iter().filter_map(|it| it["block"].as_u64()).collect();
    assert!(nodes.len() > 1, "a tree of several nodes: {nodes:?}");
    let bad = nodes[nodes.len() - 2];
    let broken = image.patched([(bad * 1024, &b"\0\0"[..])]).unwrap();
    let (_folder, file) = saved(&broken);
    let out = run(&file, ["extents", "/holes", "--json"]);
    assert_eq!(out.code, Some(4));
    let shown: Value = serde_json::from_slice(&out.stdout).unwrap();
    let expected = format!("extent node at block {bad} (inode ");
    let damage = shown["damage"][0].as_str().unwrap();
    assert!(damage.starts_with(&expected), "{damage}");
    assert!(damage.ends_with("magic 0x0000, expected 0xf30a"), "{damage}");
    let left = shown["pieces"].as_array().unwrap();
    assert!(nodes.iter().all(|nr| *nr == bad || left.iter().any(|it| it["block"] == *nr)));
    assert!(left.len() > 80 && left.len() < before["pieces"].as_array().unwrap().len());
    // A node is where damage can be looked at.
    let text = run(&file, ["block", &nodes[nodes.len() - 1].to_string()]).text();
    assert!(text.contains("extent node of depth "), "{text}");
}

#[test]
fn a_damaged_inode_and_descriptor_are_named() {
    let Some(image) = recipe().image() else { return };
    let (_folder, file) = saved(&image);
    let place = json(&file, ["inode", "/holes"]);
    let at = place["block"].as_u64().unwrap() * 1024 + place["offset"].as_u64().unwrap();
    let (_folder, file) = saved(&image.patched([(at + 4, &[1u8][..])]).unwrap());
    let out = run(&file, ["inode", "/holes"]);
    assert_eq!(out.code, Some(4));
    assert!(out.text().contains("damage         inode 13: checksum 0x"), "{}", out.text());
    assert_eq!(run(&file, ["cat", "/holes"]).code, Some(4));
    assert_eq!(run(&file, ["ls"]).code, Some(4));

    let (_folder, file) = saved(&image.patched([(2048 + 64 + 0xC, &[1u8][..])]).unwrap());
    let out = run(&file, ["groups"]);
    assert_eq!(out.code, Some(4));
    assert!(out.text().contains("  damage: group 1 descriptor: checksum 0x"), "{}", out.text());
}

/// What a message says is what can be typed: `inode 13`, `block 8193`.
#[test]
fn addresses_in_messages_can_be_typed() {
    let Some(image) = recipe().image() else { return };
    let (_folder, file) = saved(&image);
    assert_eq!(json(&file, ["inode", "13"]), json(&file, ["inode", "<13>"]));
    assert_eq!(json(&file, ["inode", "/holes"])["ino"], 13);
    assert_eq!(json(&file, ["block", "8193"])["kind"], "superblock");
}

/// The damage that a kernel's journal, orphan list and orphan file were given, one by one.
#[test]
fn damaged_journals_and_orphans_are_shown_as_far_as_they_go() {
    let Some(corpus) = Corpus::find() else { return };
    let (mut n_images, mut n_damaged) = (0, 0);
    for mutation in corpus.mutations().unwrap().iter().step_by(5) {
        let (_folder, file) = saved(&mutation.image().unwrap());
        let mut is_damaged = false;
        for args in [&["journal"][..], &["orphans"], &["sizes", "<12>"], &["ls", "--replayed"]] {
            let out = run(&file, args);
            let code = out.code;
            assert!(matches!(code, Some(0 | 4 | 8)), "{} {args:?}: {code:?}", mutation.what);
            is_damaged |= code != Some(0);
        }
        n_images += 1;
        n_damaged += u32::from(is_damaged);
    }
    println!("{n_images} damaged journals and orphans are shown, {n_damaged} as damaged");
    assert!(n_damaged > 0);
}

/// Any bytes are an image that can be looked at: nothing panics, hangs or changes.
#[test]
fn random_damage_never_stops_the_program() {
    let Some(image) = recipe().image() else { return };
    let mut rng = Rng::new(7);
    let mut codes = [0; 3];
    for round in 0..60 {
        let mut bytes = image.bytes().to_vec();
        for _ in 0..=rng.below(200) {
            // Mostly metadata: the first group's.
            let at = 1024 + rng.below(600 * 1024);
            bytes[at] = u8::try_from(rng.below(256)).unwrap();
        }
        if round % 2 == 0 {
            // A superblock that is whole lets the rest be seen.
            bytes[1024..2048].copy_from_slice(&image.bytes()[1024..2048]);
        }
        let (_folder, file) = saved(&Image::new(bytes));
        for args in [
            &["super"][..],
            &["groups"],
            &["inode", "<2>"],
            &["extents", "<8>"],
            &["ls", "-R"],
            &["xattr", "<12>"],
            &["journal"],
            &["orphans"],
            &["block", "3000"],
            &["sizes", "<12>"],
            &["manifest"],
            &["ls", "--replayed"],
            &["stat", "/dir"],
            &["cat", "/dir/a"],
        ] {
            let out = run(&file, args);
            match out.code {
                Some(0) => codes[0] += 1,
                Some(4) => codes[1] += 1,
                Some(8) => codes[2] += 1,
                code => panic!("round {round} {args:?}: exit {code:?}: {}", out.text()),
            }
        }
    }
    println!("{} sound answers, {} with damage, {} refusals", codes[0], codes[1], codes[2]);
    assert!(codes[0] > 0 && codes[1] > 0);
}
