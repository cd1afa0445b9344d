//! How fast images are checked, against `e2fsck -fn`: both on the same image in one run, one after the
//! other, warm and cold, and the ratios of their times.
//!
//!     cargo bench -p ext4-fsck --bench check -- [FOLDER]
//!
//! The images (see `images.rs`; about 6 GiB) are made in the folder, by the kernel and so only as root,
//! and are used again where they are there; by default that is a new folder beside the other
//! temporary files. For a cold run the host is told to forget the image's pages, which a folder in
//! memory cannot do. `EXT4_BENCH_ROUNDS` (3) is how often each pair is run, `EXT4_BENCH_ONLY` a part of
//! the names of the images to take.

#![expect(clippy::print_stdout, reason = "figures are what a bench is for")]

mod images;
mod measure;

use ext4_testkit::oracle::{self, Need};
use measure::{Figures, Temperature};
use std::{
    path::{Path, PathBuf},
    process::Command,
};

fn main() {
    if oracle::skip_without(&[Need::Mke2fs, Need::E2fsck, Need::Kernel]) {
        return;
    }
    let typed = std::env::args_os().skip(1).find(|it| it != "--bench").map(PathBuf::from);
    let scratch = tempfile::Builder::new().prefix("fsck-bench-").tempdir().expect("a folder");
    let folder = typed.as_deref().unwrap_or(scratch.path());
    let rounds = std::env::var("EXT4_BENCH_ROUNDS").ok().and_then(|it| it.parse().ok());
    let only = std::env::var("EXT4_BENCH_ONLY").unwrap_or_default();
    for recipe in images::ALL.iter().filter(|it| it.name.contains(&only)) {
        match recipe.image_in(folder) {
            Ok(image) => compare(recipe.name, &image, rounds.unwrap_or(3)),
            Err(why) => println!("{}: skipped: {why:#}", recipe.name),
        }
    }
}

fn compare(name: &str, image: &Path, rounds: usize) {
    println!("== {name}");
    let mut e2fsck = Command::new("e2fsck");
    e2fsck.arg("-fn").arg(image);
    let mut fsck = Command::new(env!("CARGO_BIN_EXE_ext4-fsck"));
    fsck.arg("-fn").arg(image);
    for temperature in [Temperature::Warm, Temperature::Cold] {
        let (mut theirs, mut ours) = (Vec::new(), Vec::new());
        for round in 0..=rounds {
            for (command, all) in [(&mut e2fsck, &mut theirs), (&mut fsck, &mut ours)] {
                if temperature == Temperature::Cold && !measure::chill(image) {
                    println!("cold: skipped: the folder is in memory");
                    return;
                }
                let figures = measure::run(command);
                // The first one warms up.
                if round > 0 {
                    all.push(figures);
                }
            }
        }
        let (theirs, ours) = (Figures::of(theirs), Figures::of(ours));
        println!(
            "{temperature}: e2fsck {theirs}; ext4-fsck {ours}: {:.1} times as fast, {:.1} times less cpu",
            theirs.wall.as_secs_f64() / ours.wall.as_secs_f64(),
            theirs.cpu.as_secs_f64() / ours.cpu.as_secs_f64(),
        );
    }
}
