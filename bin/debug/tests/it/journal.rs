//! `journal`, `orphans`, `sizes` and `--replayed` on what real crashes left behind.

use crate::{json, run, saved};
use ext4_testkit::corpus::{Corpus, Tree};
use serde_json::Value;
use std::path::PathBuf;

/// What another parser counted in the image.
fn facts(name: &str) -> Value {
    let folder = PathBuf::from(std::env::var_os("EXT4_CORPUS").unwrap());
    let file = folder.join("crash-images").join(format!("{name}.json"));
    let json: Value = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
    json["facts_raw"].clone()
}

#[test]
fn a_journal_holds_what_another_parser_counts() {
    let Some(corpus) = Corpus::find() else { return };
    let (mut n_images, mut n_transactions) = (0, 0);
    for crash in corpus.crashes().unwrap() {
        let (_folder, file) = saved(&crash.image().unwrap());
        let (facts, name) = (facts(&crash.name), &crash.name);
        let ours = json(&file, ["journal"]);
        let theirs = &facts["journal"];
        if theirs.is_null() {
            assert_eq!(ours["has_journal"], false, "{name}");
            continue;
        }
        assert_eq!(ours["s_start"], theirs["s_start"], "{name}");
        assert_eq!(ours["s_sequence"], theirs["s_sequence"], "{name}");
        let all = ours["transactions"].as_array().unwrap();
        let whole: Vec<_> = all.iter().filter(|it| !it["commit"].is_null()).collect();
        if let Some(count) = theirs["txn_count"].as_u64() {
            assert_eq!(whole.len() as u64, count, "{name}");
        }
        let txns = theirs["txns"].as_array().map(Vec::as_slice).unwrap_or_default();
        // A long list leaves out its middle.
        for theirs in txns.iter().filter(|it| it.is_object()) {
            let ours = whole.iter().find(|it| it["tid"] == theirs["seq"]).expect(name);
            assert_eq!(ours["log_block"], theirs["start"], "{name}");
            assert_eq!(ours["commit"]["log_block"], theirs["commit"], "{name}");
            assert_eq!(ours["commit"]["sec"], theirs["ctime"], "{name}");
            let n_tags = ours["logged"].as_array().unwrap().len() as u64;
            assert_eq!(Some(n_tags), theirs["tags"].as_u64(), "{name}");
            n_transactions += 1;
        }
        let escaped = whole
            .iter()
            .flat_map(|it| it["logged"].as_array().unwrap())
            .filter(|it| it["escaped"] == true)
            .count();
        if let Some(count) = theirs["escaped_tags"].as_u64() {
            assert_eq!(escaped as u64, count, "{name}");
        }
        n_images += 1;
    }
    println!("{n_images} journals with {n_transactions} transactions are as counted");
    assert!(n_transactions > 0);
}

#[test]
fn orphans_are_those_that_another_parser_finds() {
    let Some(corpus) = Corpus::find() else { return };
    let mut n_orphans = 0;
    for crash in corpus.crashes().unwrap() {
        let (_folder, file) = saved(&crash.image().unwrap());
        let (facts, name) = (facts(&crash.name), &crash.name);
        let out = run(&file, ["orphans", "--json"]);
        let ours: Value = serde_json::from_slice(&out.stdout).unwrap();
        let count = |key: &str| ours[key].as_array().unwrap().len() as u64;
        assert_eq!(ours["s_last_orphan"], facts["s_last_orphan"], "{name}");
        if facts["orphan_chain_note"].is_null() {
            assert_eq!(Some(count("list")), facts["orphan_chain_len"].as_u64(), "{name}");
        }
        assert_eq!(Some(count("file")), facts["orphan_file_entries"].as_u64(), "{name}");
        n_orphans += count("list") + count("file");
        // Recovery has dealt with all of them.
        let after = json(&file, ["orphans", "--replayed"]);
        for key in ["list", "file"] {
            assert_eq!(after[key], Value::Array(vec![]), "{name}");
        }
    }
    println!("{n_orphans} orphans are where another parser finds them");
}

#[test]
fn sizes_end_with_what_the_kernel_recovers() {
    let Some(corpus) = Corpus::find() else { return };
    let (mut n_files, mut n_logged) = (0, 0);
    for crash in corpus.crashes().unwrap().iter().filter(|it| it.kernel_is_right) {
        let Tree::Whole(manifest) = &crash.expected.kernel.tree else { continue };
        let (_folder, file) = saved(&crash.image().unwrap());
        let files = manifest.0.iter().filter(|(_, it)| it.kind == 'f');
        for (path, entry) in files.rev().take(3) {
            let path = format!("/{}", path.trim_start_matches('/'));
            let out = run(&file, ["sizes", &path, "--json"]);
            assert!(matches!(out.code, Some(0 | 4)), "{} {path}: {}", crash.name, out.text());
            let ours: Value = serde_json::from_slice(&out.stdout).unwrap();
            let size = ours["after_recovery"]["i_size"].as_u64();
            assert_eq!(size, Some(entry.size), "{} {path}: {ours}", crash.name);
            let logged = ours["logged"].as_array().unwrap();
            // Without fast commits, what replay brings is the last copy that is not revoked.
            let last = logged.iter().rev().find(|it| it["revoked"] == false);
            if let Some(last) = last.filter(|_| !crash.has_fast_commits) {
                assert_eq!(ours["after_replay"]["i_size"], last["i_size"], "{} {path}", crash.name);
            }
            n_logged += logged.len();
            n_files += 1;
        }
    }
    println!("{n_files} files have the size that the kernel recovers, by {n_logged} logged inodes");
    assert!(n_files > 0);
}

#[test]
fn looking_at_a_crash_changes_nothing() {
    let Some(corpus) = Corpus::find() else { return };
    let Some(crash) = corpus.crashes().unwrap().into_iter().next() else { return };
    let image = crash.image().unwrap();
    let (_folder, file) = saved(&image);
    for command in ["super", "groups", "ls", "journal", "orphans", "manifest"] {
        run(&file, [command, "--replayed"]);
        run(&file, [command]);
    }
    assert!(std::fs::read(&file).unwrap() == image.bytes()[..]);
}
