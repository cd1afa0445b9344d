//! How fast a filesystem is filled from a directory, against mke2fs and `cp -a`: all three on the
//! same files in one run, one after the other, and the ratios of their times.
//!
//!     cargo bench -p ext4-mkfs --bench populate -- [FOLDER ...]
//!
//! Images go to each folder in turn, so each should be on a disk of its own (by default /dev/shm and
//! that of the temporary files). The 100,000 small files are made anew in the first folder; the
//! large tree is /usr, or what `EXT4_BENCH_TREE` names. `EXT4_BENCH_ROUNDS` (3) is how often each is
//! run. Sources are read once before, so they come from the host's cache.

#![expect(clippy::print_stdout, reason = "figures are what a bench is for")]

use ext4_testkit::{oracle, rng::Rng};
use std::{
    fs::{self, File},
    io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

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
    let rounds = rounds.unwrap_or(3);
    let large = std::env::var_os("EXT4_BENCH_TREE").map_or("/usr".into(), PathBuf::from);
    let source = scratch(&folders[0]);
    let small = source.path().join("small");
    make_small_files(&small).expect("room for 100,000 small files");
    for (name, tree) in [("100,000 small files", &small), ("large tree", &large)] {
        let mut found = Found::default();
        found.read(tree, fs::metadata(tree).expect("a tree to read").dev());
        println!(
            "== {name}: {} ({} files, {} MiB, in the host's cache)",
            tree.display(),
            found.files,
            found.bytes >> 20
        );
        for folder in &folders {
            measure(folder, tree, &found, rounds);
        }
    }
}

fn scratch(folder: &Path) -> tempfile::TempDir {
    let scratch = tempfile::Builder::new().prefix("mkfs-bench-").tempdir_in(folder);
    scratch.expect("a folder to write in")
}

/// 100 folders of 1,000 files with 0 to 4 KiB each.
fn make_small_files(root: &Path) -> io::Result<()> {
    let mut rng = Rng::new(1);
    let bytes: Vec<u8> = (0..1024).flat_map(|_| rng.next_u64().to_le_bytes()).collect();
    for folder in 0..100 {
        let folder = root.join(format!("folder{folder:03}"));
        fs::create_dir_all(&folder)?;
        for file in 0..1000 {
            let (from, len) = (rng.below(4096), rng.below(4096));
            fs::write(folder.join(format!("file{file:04}.txt")), &bytes[from..from + len])?;
        }
    }
    Ok(())
}

/// What a tree has.
#[derive(Debug, Default)]
struct Found {
    files: u64,
    bytes: u64,
}

impl Found {
    /// Counts, and reads all of it, so that the host has it in its cache. Other filesystems that
    /// are mounted below are left out, as the tools are told to.
    fn read(&mut self, path: &Path, dev: u64) {
        let Ok(meta) = fs::symlink_metadata(path) else { return };
        self.files += 1;
        if meta.is_dir() && meta.dev() == dev {
            for entry in fs::read_dir(path).into_iter().flatten().flatten() {
                self.read(&entry.path(), dev);
            }
        } else if meta.is_file() {
            self.bytes += meta.len();
            if let Ok(mut file) = File::open(path) {
                let _ = io::copy(&mut file, &mut io::sink());
            }
        }
    }
}

fn measure(folder: &Path, tree: &Path, found: &Found, rounds: usize) {
    let scratch = scratch(folder);
    let (image, copy) = (scratch.path().join("disk.img"), scratch.path().join("copy"));
    // Half as much again, for blocks that are not full and for what describes them.
    let len = (found.bytes * 3 / 2 + found.files * 4096 + (1 << 28)).next_multiple_of(1 << 20);
    let inodes = (found.files + 10_000).to_string();
    let mut mke2fs = Command::new("mke2fs");
    mke2fs.args(["-q", "-F", "-t", "ext4", "-N", &inodes, "-d"]).arg(tree).arg(&image);
    let mut mkfs = Command::new(env!("CARGO_BIN_EXE_ext4-mkfs"));
    mkfs.args(["-q", "-N", &inodes, "-d"]).arg(tree).arg(&image);
    let mut cp = Command::new("cp");
    cp.arg("-a").arg(tree).arg(&copy);
    let mut times = [const { Vec::new() }; 3];
    let mut memory = 0;
    for _ in 0..rounds {
        times[0].push(timed(&mut mke2fs, &image, len).0);
        let (time, peak) = timed(&mut mkfs, &image, len);
        times[1].push(time);
        memory = memory.max(peak);
        let _ = fs::remove_file(&image);
        times[2].push(timed(&mut cp, &image, 0).0);
        fs::remove_dir_all(&copy).expect("what cp made");
    }
    let [mke2fs, mkfs, cp] = times.map(median);
    let ratio = |it: Duration| it.as_secs_f64() / mkfs.as_secs_f64();
    println!(
        "{}: mke2fs -d {mke2fs:.2?}, cp -a {cp:.2?}, ext4-mkfs -d {mkfs:.2?}: {:.2} and {:.2} times \
         as fast; at most {} MiB of memory",
        folder.display(),
        ratio(mke2fs),
        ratio(cp),
        memory >> 20
    );
}

/// Runs it with a new sparse file of `len` bytes, if that is not 0: how long it takes, and the most
/// bytes of memory it is seen to hold.
fn timed(command: &mut Command, image: &Path, len: u64) -> (Duration, u64) {
    if len > 0 {
        let _ = fs::remove_file(image);
        File::create(image).and_then(|it| it.set_len(len)).expect("a sparse file");
    }
    let start = Instant::now();
    let mut child = command.spawn().expect("it can be started");
    let mut peak = 0;
    let status = format!("/proc/{}/status", child.id());
    let success = loop {
        peak = peak.max(most_memory(&status).unwrap_or(0));
        if let Some(status) = child.try_wait().expect("a child") {
            break status.success();
        }
        std::thread::sleep(Duration::from_millis(5));
    };
    let time = start.elapsed();
    assert!(success, "{command:?}");
    (time, peak)
}

/// `VmHWM`, in bytes.
fn most_memory(status: &str) -> Option<u64> {
    let text = fs::read_to_string(status).ok()?;
    let line = text.lines().find_map(|it| it.strip_prefix("VmHWM:"))?;
    Some(line.trim().trim_end_matches(" kB").parse::<u64>().ok()? << 10)
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}
