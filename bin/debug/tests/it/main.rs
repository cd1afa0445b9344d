//! What is shown of an image is what other tools say of it.
#![cfg(test)]

mod blocks;
mod contents;
mod damage;
mod inodes;
mod journal;
mod superblock;

use ext4_testkit::{
    image::Image,
    oracle,
    process::{self, Output},
};
use serde_json::Value;
use std::{
    ffi::OsStr,
    path::{Path, PathBuf},
    time::Duration,
};
use tempfile::TempDir;

/// No question takes longer.
const LIMIT: Duration = Duration::from_mins(1);

/// Runs `ext4-debug IMAGE ARGS..`.
#[track_caller]
fn run<S: AsRef<OsStr>>(image: &Path, args: impl IntoIterator<Item = S>) -> Output {
    let args = args.into_iter().map(|it| it.as_ref().to_owned());
    let all: Vec<_> = [image.as_os_str().to_owned()].into_iter().chain(args).collect();
    let out = process::run(env!("CARGO_BIN_EXE_ext4-debug"), &all, &[], b"", LIMIT)
        .expect("it can be started");
    assert!(!out.timed_out, "{all:?} does not end");
    out
}

/// What it prints as JSON; it must find no damage.
#[track_caller]
fn json<S: AsRef<OsStr>>(image: &Path, args: impl IntoIterator<Item = S>) -> Value {
    let args = args.into_iter().map(|it| it.as_ref().to_owned()).chain(["--json".into()]);
    let args: Vec<_> = args.collect();
    let out = run(image, &args);
    assert_eq!(out.code, Some(0), "{args:?}: {}", out.text());
    serde_json::from_slice(&out.stdout).unwrap_or_else(|err| panic!("{args:?}: {err}"))
}

/// The lines it prints, each a JSON object.
#[track_caller]
fn rows<S: AsRef<OsStr>>(image: &Path, args: impl IntoIterator<Item = S>) -> Vec<Value> {
    let args = args.into_iter().map(|it| it.as_ref().to_owned()).chain(["--json".into()]);
    let out = run(image, args);
    let text = String::from_utf8(out.stdout).expect("JSON is text");
    text.lines().map(|line| serde_json::from_str(line).expect("a JSON object a line")).collect()
}

/// An image in a file of its own.
fn saved(image: &Image) -> (TempDir, PathBuf) {
    let folder = oracle::scratch().expect("a folder for the test");
    let file = folder.path().join("disk.img");
    image.save(&file).expect("write the image");
    (folder, file)
}

/// The bytes of a file whose every block differs.
fn pattern(blocks: u32, size: u32) -> Vec<u8> {
    (0..blocks)
        .flat_map(|blk| (0..size / 4).flat_map(move |word| (blk << 12 | word).to_le_bytes()))
        .collect()
}
