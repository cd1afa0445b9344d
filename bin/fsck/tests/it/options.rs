//! What is done besides the check, how progress is told, and what is refused.

use crate::rig::{EXE, Scratch, damaged, expect, sound};
use ext4_testkit::{image::Recipe, oracle};
use serde_json::Value;
use std::{
    ffi::OsStr,
    fs,
    os::unix::fs::MetadataExt as _,
    process::{Command, Stdio},
};

/// Names enough for several blocks, without an index.
fn many_names() -> Option<Scratch> {
    let mut recipe = Recipe::new("ext4-1k").mib(8).mkdir("/d");
    for nr in 0..100 {
        recipe = recipe.write(&format!("/d/a_name_of_some_length_{nr}"), [nr; 3000]);
    }
    Some(Scratch::new(&recipe.image()?))
}

fn json(scratch: &Scratch, options: &[&str], code: i32) -> Value {
    let all: Vec<&str> = options.iter().copied().chain(["--json"]).collect();
    let out = scratch.run(&all);
    expect(&out, code);
    serde_json::from_slice(&out.stdout).unwrap()
}

#[test]
fn directories_are_optimised_once_and_never_with_n() {
    let Some(scratch) = many_names() else { return };
    let before = scratch.bytes();
    let told = json(&scratch, &["-n", "-D", "--plan", "@plan"], 0);
    let directories = told["optimized"]["directories"].as_u64().unwrap();
    assert!(directories > 0, "{told:#}");
    assert!(scratch.bytes() == before, "-n wrote something");
    // The plan knows what was asked for.
    expect(&scratch.run(&["--apply", "@plan"]), 1);
    assert!(scratch.bytes() != before && scratch.is_clean());
    let htree = oracle::debugfs(&scratch.file, "htree_dump /d").unwrap();
    assert!(htree.contains("Indirect levels"), "{htree}");
    let told = json(&scratch, &["-y", "-D"], 0);
    assert_eq!(told["optimized"]["directories"], 0);
}

#[test]
fn an_optimisation_is_taken_back_by_its_undo_file() {
    let Some(scratch) = many_names() else { return };
    let before = scratch.bytes();
    expect(&scratch.run(&["-y", "-D", "-z", "@undo"]), 1);
    assert!(scratch.bytes() != before);
    expect(&scratch.run(&["--rollback", "@undo"]), 1);
    assert!(scratch.bytes() == before);
}

#[test]
fn what_is_not_mended_is_not_optimised_either() {
    let Some(image) = damaged() else { return };
    let scratch = Scratch::new(&image);
    expect(&scratch.run(&["-p", "-D"]), 4);
    let told = json(&scratch, &["-y", "-D"], 1);
    assert!(told["optimized"].is_object(), "{told:#}");
    assert!(scratch.is_clean());
}

#[test]
fn free_blocks_become_holes_and_files_stay() {
    let Some(scratch) = many_names() else { return };
    // Dirt in what is free.
    oracle::debugfs_write(&scratch.file, "rm /d/a_name_of_some_length_7\n").unwrap();
    let bytes = scratch.bytes();
    fs::write(&scratch.file, &bytes).unwrap();
    let held = |scratch: &Scratch| fs::metadata(&scratch.file).unwrap().blocks();
    let before = held(&scratch);
    json(&scratch, &["-n", "-E", "discard"], 0);
    assert_eq!(held(&scratch), before, "-n gave something back");
    let told = json(&scratch, &["-y", "-E", "discard"], 0);
    assert!(told["discarded_bytes"].as_u64().unwrap() > 4 << 20, "{told:#}");
    assert!(held(&scratch) < before);
    assert!(scratch.is_clean());
    let file = oracle::debugfs_cat(&scratch.file, "/d/a_name_of_some_length_8").unwrap();
    assert_eq!(file, [8; 3000]);
}

#[test]
fn files_in_pieces_are_told_and_everything_is_counted() {
    let hole: Vec<u8> = (0..8 * 1024_u32).map(|it| if it >> 10 == 3 { 0 } else { 5 }).collect();
    let recipe = Recipe::new("ext4-1k")
        .mib(8)
        .write("/one", [1; 5000])
        .write("/two", hole)
        .write("/three", [1; 9000])
        .debugfs("symlink link one")
        .debugfs("mknod pipe p")
        .debugfs("rm one");
    // The next file begins in the gap.
    let Some(image) = recipe.write("/long", vec![3; 40_000]).image() else { return };
    let scratch = Scratch::new(&image);
    let told = json(&scratch, &["-n", "-v", "-E", "fragcheck"], 0);
    let counts = &told["statistics"];
    for (what, n) in [("regular_files", 3), ("directories", 2), ("fifos", 1), ("symbolic_links", 1)]
    {
        assert_eq!(counts[what], n, "{what}: {told:#}");
    }
    assert_eq!(counts["fast_symbolic_links"], 1);
    // The same counts from the other program.
    let theirs =
        oracle::tool("e2fsck", [OsStr::new("-fnv"), scratch.file.as_os_str()], b"").unwrap();
    let theirs = theirs.text();
    let of = |what: &str| {
        let line = theirs.lines().find(|it| it.contains(what)).unwrap();
        line.split_whitespace().next().unwrap().parse::<u64>().unwrap()
    };
    let pieces = counts["discontiguous_files"].as_u64().unwrap();
    // The other program also counts the journal, which is in pieces here or not.
    assert!((pieces..=pieces + 1).contains(&of("non-contiguous file")), "{theirs}\n{told:#}");
    assert_eq!(counts["files"], of(" files").max(of("regular files") + 4), "{theirs}");
    let listed = told["discontiguous"].as_array().unwrap();
    assert_eq!(listed.is_empty(), counts["discontiguous_files"] == 0, "{told:#}");
}

#[test]
fn the_replay_alone_leaves_damage_alone() {
    let Some(image) = damaged() else { return };
    let scratch = Scratch::new(&image);
    let told = json(&scratch, &["-y", "-E", "journal_only"], 0);
    assert_eq!(told["only_replayed"], true);
    assert!(scratch.bytes() == image.bytes()[..]);
}

#[test]
fn a_stopped_unattended_run_leaves_the_mark_that_makes_the_next_one_look() {
    let Some(image) = damaged() else { return };
    let scratch = Scratch::new(&image);
    oracle::debugfs_write(&scratch.file, "ssv state 1\n").unwrap();
    let before = scratch.bytes();
    expect(&scratch.run(&["-p", "-f"]), 4);
    let after = scratch.bytes();
    assert_eq!(after[1024 + 0x3A] & 3, 2, "errors, and not valid");
    assert!(after[..1024] == before[..1024] && after[2048..] == before[2048..]);
    // Without -f.
    expect(&scratch.run(&["-p"]), 4);
}

#[test]
fn without_a_terminal_nobody_is_asked() {
    let Some(image) = damaged() else { return };
    let scratch = Scratch::new(&image);
    let out = scratch.run(&[]);
    expect(&out, 8);
    let told = String::from_utf8_lossy(&out.stderr).into_owned();
    assert!(told.lines().count() == 1 && told.contains("no terminal"), "{told}");
    assert!(scratch.bytes() == image.bytes()[..]);
}

#[test]
fn progress_goes_to_a_descriptor_in_lines_of_four_words() {
    let Some(image) = sound() else { return };
    let scratch = Scratch::new(&image);
    let run = |fd: &str, redirect: &str| {
        let line = format!("exec \"$0\" -n -C {fd} \"$1\" {redirect}");
        let mut shell = Command::new("sh");
        shell.args(["-c", &line, EXE]).arg(&scratch.file).stdin(Stdio::null());
        shell.output().unwrap()
    };
    let out = run("3", "3>&1 >/dev/null");
    assert_eq!(out.status.code(), Some(0));
    let told = String::from_utf8(out.stdout).unwrap();
    let mut passes = Vec::new();
    for line in told.lines() {
        let words: Vec<&str> = line.split(' ').collect();
        let [pass, done, total, device] = words[..] else { panic!("{line}") };
        let [pass, done, total] = [pass, done, total].map(|it| it.parse::<u64>().unwrap());
        assert!(done <= total && device == scratch.file.to_str().unwrap(), "{line}");
        passes.push(pass);
    }
    assert!(passes.is_sorted(), "{told}");
    passes.dedup();
    assert_eq!(passes, [1, 2, 3, 4, 5], "{told}");
    // Silent until a signal comes.
    let out = run("-3", "3>&1 >/dev/null");
    assert_eq!((out.status.code(), out.stdout.len()), (Some(0), 0));
    let out = run("3", "3>&-");
    assert_eq!(out.status.code(), Some(8), "a descriptor that is not open");
    let out = run("0", "");
    assert!(String::from_utf8_lossy(&out.stderr).contains("checking"), "asked for");
}

#[test]
fn times_are_told_on_request() {
    let Some(image) = sound() else { return };
    let scratch = Scratch::new(&image);
    assert!(json(&scratch, &["-n"], 0)["timing"].is_null());
    let told = json(&scratch, &["-n", "-t"], 0);
    assert!(
        told["timing"]["seconds"].as_f64().unwrap() > 0.0 && told["timing"]["passes"].is_null()
    );
    let told = json(&scratch, &["-n", "-tt"], 0);
    assert_eq!(told["timing"]["passes"].as_array().unwrap().len(), 7);
}

#[test]
fn what_cannot_be_is_refused_before_anything_is_opened() {
    let Some(image) = damaged() else { return };
    let scratch = Scratch::new(&image);
    for options in [
        &["-y", "-E", "readahead_kb=8"][..],
        &["-y", "-E", "fixes_only,bmap2extent"],
        &["-y", "-E", "journal_only", "-D"],
        &["-y", "-E", "nonsense"],
        &["-y", "-c"],
    ] {
        let out = scratch.run(options);
        expect(&out, 16);
        assert_eq!(String::from_utf8_lossy(&out.stderr).lines().count(), 1, "{options:?}");
    }
    assert!(scratch.bytes() == image.bytes()[..]);
}
