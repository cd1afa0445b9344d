//! What the benches share: files to write to, the filesystem opened, sides measured in turn.

use anyhow::Result;
use ext4_blockdev::{FileDevice, OpenMode};
use ext4_fs::{Clock, Filesystem, RecoverOptions, recover};
use ext4_testkit::oracle;
use std::{
    env,
    fs::File,
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

pub(crate) const CHUNK: usize = 1 << 20;

/// The folders named on the command line, else that of the temporary files and /dev/shm.
pub(crate) fn folders() -> Vec<PathBuf> {
    // cargo itself passes --bench.
    let mut folders: Vec<PathBuf> =
        env::args_os().skip(1).filter(|it| it != "--bench").map(PathBuf::from).collect();
    if folders.is_empty() {
        folders = vec![env::temp_dir()];
        folders.extend(Some(PathBuf::from("/dev/shm")).filter(|it| it.is_dir()));
    }
    folders
}

/// A number from the environment.
pub(crate) fn number(name: &str, default: u64) -> u64 {
    env::var(name).ok().and_then(|it| it.parse().ok()).unwrap_or(default)
}

/// An image with room for a file of `bytes`, every block of it allocated on the host.
pub(crate) fn image(folder: &Path, name: &str, bytes: u64) -> Result<PathBuf> {
    let file = written_file(folder, name, bytes + bytes / 16 + (160 << 20))?;
    oracle::mke2fs(&file, ["-t", "ext4", "-b", "4096", "-E", "nodiscard"])?;
    Ok(file)
}

/// A file of `bytes`, all of them written.
pub(crate) fn written_file(folder: &Path, name: &str, bytes: u64) -> Result<PathBuf> {
    let path = folder.join(name);
    let file = File::create(&path)?;
    let chunk = vec![0x5A; CHUNK];
    let mut at = 0;
    while at < bytes {
        file.write_all_at(&chunk, at)?;
        at += CHUNK as u64;
    }
    file.set_len(bytes)?;
    file.sync_all()?;
    Ok(path)
}

/// The filesystem on an image, open for writing.
pub(crate) fn open(image: &Path) -> Result<Filesystem> {
    let device = Arc::new(FileDevice::open(image, OpenMode::Exclusive)?);
    let options = RecoverOptions::new(Clock::fixed(Duration::from_secs(1_700_000_000)));
    Ok(recover(device, &options)?.fs)
}

/// Two sides, measured in turn.
pub(crate) struct Pair {
    name: String,
    aim: Option<f64>,
    times: Vec<(f64, f64)>,
}

impl Pair {
    pub(crate) fn new(name: impl Into<String>, aim: impl Into<Option<f64>>) -> Self {
        Self { name: name.into(), aim: aim.into(), times: Vec::new() }
    }

    pub(crate) fn add(&mut self, ours: Duration, theirs: Duration) {
        self.times.push((ours.as_secs_f64(), theirs.as_secs_f64()));
    }

    /// Prints medians of `amount` a second, and the median of the rounds' ratios.
    pub(crate) fn print(&self, amount: f64, unit: &str) {
        let median = |of: &dyn Fn(&(f64, f64)) -> f64| {
            let mut all: Vec<f64> = self.times.iter().map(of).collect();
            all.sort_by(f64::total_cmp);
            all.get(all.len() / 2).copied().unwrap_or(0.0)
        };
        let ratios: Vec<String> =
            self.times.iter().map(|(ours, theirs)| format!("{:.2}", theirs / ours)).collect();
        let aim = self.aim.map_or("no aim".to_owned(), |it| format!("aim {it:.2}"));
        println!("{}", self.name);
        println!(
            "    ours {:.0} {unit}, theirs {:.0} {unit} (medians); ratio {:.2} ({aim}; rounds {})",
            amount / median(&|it| it.0),
            amount / median(&|it| it.1),
            median(&|it| it.1 / it.0),
            ratios.join(" ")
        );
    }
}
