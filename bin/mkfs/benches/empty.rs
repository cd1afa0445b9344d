//! How fast an empty filesystem is made, against mke2fs: both on a new sparse file, one after the
//! other in one run, and the ratio of their times.
//!
//!     cargo bench -p ext4-mkfs --bench empty -- [FOLDER ...]
//!
//! Each folder is a disk of its own (by default /dev/shm and that of the temporary files).
//! `EXT4_BENCH_ROUNDS` (7) is how often each pair is run.

#![expect(clippy::print_stdout, reason = "figures are what a bench is for")]

use ext4_testkit::oracle;
use std::{
    fs::File,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

const SIZES: &[(&str, u64)] = &[("64 GiB", 1 << 36), ("1 TiB", 1 << 40), ("8 TiB", 8 << 40)];

fn main() {
    if oracle::skip_without(&[oracle::Need::Mke2fs]) {
        return;
    }
    let mut folders: Vec<PathBuf> =
        std::env::args_os().skip(1).filter(|it| it != "--bench").map(PathBuf::from).collect();
    if folders.is_empty() {
        folders = vec!["/dev/shm".into(), std::env::temp_dir()];
    }
    let rounds = std::env::var("EXT4_BENCH_ROUNDS").ok().and_then(|it| it.parse().ok());
    for folder in folders {
        println!("== {}", folder.display());
        for &(name, len) in SIZES {
            pair(&folder, name, len, rounds.unwrap_or(7));
        }
    }
}

fn pair(folder: &Path, name: &str, len: u64, rounds: usize) {
    let scratch = tempfile::Builder::new().prefix("mkfs-bench-").tempdir_in(folder);
    let scratch = scratch.expect("a folder to write in");
    let image = scratch.path().join("disk.img");
    let (mut theirs, mut ours) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        let mke2fs =
            Command::new("mke2fs").args(["-q", "-F", "-t", "ext4"]).arg(&image).time(&image, len);
        let mkfs =
            Command::new(env!("CARGO_BIN_EXE_ext4-mkfs")).arg("-q").arg(&image).time(&image, len);
        let (Some(mke2fs), Some(mkfs)) = (mke2fs, mkfs) else {
            println!("{name}: skipped: the folder's filesystem has no files of that size");
            return;
        };
        theirs.push(mke2fs);
        ours.push(mkfs);
    }
    let (theirs, ours) = (median(theirs), median(ours));
    let ratio = theirs.as_secs_f64() / ours.as_secs_f64();
    println!("{name}: mke2fs {theirs:.1?}, ext4-mkfs {ours:.1?}: {ratio:.2} times as fast");
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}

trait Timed {
    /// How long it takes on a new file of `len` bytes; `None` when there can be none.
    fn time(&mut self, image: &Path, len: u64) -> Option<Duration>;
}

impl Timed for Command {
    fn time(&mut self, image: &Path, len: u64) -> Option<Duration> {
        let _ = std::fs::remove_file(image);
        File::create(image).and_then(|it| it.set_len(len)).ok()?;
        let start = Instant::now();
        let out = self.output().expect("it can be started");
        let time = start.elapsed();
        assert!(out.status.success(), "{self:?}: {out:?}");
        Some(time)
    }
}
