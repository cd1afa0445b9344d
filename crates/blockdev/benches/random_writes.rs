//! Random 4 KiB overwrites with 16 in flight, against fio with io_uring on the same file.
//!
//! `cargo bench -p ext4-blockdev --bench random_writes -- FOLDER...` prints a line per pair of
//! runs and the median of their ratios. A disk's speed swings, so only the two figures of one line
//! can be compared.
#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a program for developers")]

use ext4_blockdev::{AlignedBuf, BlockDevice, FileDevice, OpenMode, Write};
use std::{
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

const LEN: u64 = 1 << 30;
const DEPTH: usize = 16;
const BLOCK: usize = 4096;
const SECONDS: u64 = 2;
const PAIRS: usize = 9;

fn main() {
    let folders: Vec<PathBuf> =
        std::env::args().skip(1).filter(|it| it != "--bench").map(PathBuf::from).collect();
    for folder in folders {
        let path = folder.join("random_writes.img");
        // Written, not only allocated: an unwritten extent costs the host a conversion.
        let zeros = vec![0x5A; 1 << 20];
        let mut file = std::fs::File::create(&path).unwrap();
        for _ in 0..LEN >> 20 {
            std::io::Write::write_all(&mut file, &zeros).unwrap();
        }
        file.sync_all().unwrap();
        drop(file);
        let mut ratios = Vec::new();
        for _ in 0..PAIRS {
            let ours = ours(&path);
            let Some(theirs) = fio(&path) else {
                println!("{}: ours {:.1} k/s; skipped: no fio", path.display(), ours / 1e3);
                continue;
            };
            ratios.push(ours / theirs);
            let (ours, theirs, ratio) = (ours / 1e3, theirs / 1e3, ours / theirs);
            let path = path.display();
            println!("{path}: ours {ours:.1} k/s, fio {theirs:.1} k/s, ratio {ratio:.2}");
        }
        ratios.sort_by(f64::total_cmp);
        if let Some(median) = ratios.get(ratios.len() / 2) {
            println!("{}: median ratio {median:.2} of {} pairs", path.display(), ratios.len());
        }
        std::fs::remove_file(&path).unwrap();
    }
}

/// Writes per second through our queue.
fn ours(path: &Path) -> f64 {
    let device = FileDevice::open(path, OpenMode::Exclusive).unwrap();
    let mut queue = device.queue(DEPTH);
    let mut spare: Vec<_> = (0..DEPTH).map(|_| AlignedBuf::zeroed(BLOCK)).collect();
    let mut random = 88_172_645_463_325_252_u64;
    let (start, mut n) = (Instant::now(), 0_u64);
    while start.elapsed() < Duration::from_secs(SECONDS) {
        let buf = spare.pop().unwrap_or_else(|| {
            let done = queue.wait().unwrap();
            done.result.unwrap();
            done.buf
        });
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        let offset = random % (LEN / BLOCK as u64) * BLOCK as u64;
        queue.submit(Write { offset, buf, tag: n }).unwrap();
        n += 1;
    }
    while let Some(done) = queue.wait() {
        done.result.unwrap();
    }
    #[expect(clippy::cast_precision_loss, reason = "a rate")]
    let n = n as f64;
    n / start.elapsed().as_secs_f64()
}

/// Writes per second of fio; `None` where it is not installed.
fn fio(path: &Path) -> Option<f64> {
    let out = Command::new("fio")
        .args(["--name=x", "--ioengine=io_uring", "--direct=1", "--rw=randwrite", "--bs=4k"])
        .args(["--iodepth=16", "--time_based", "--minimal", "--overwrite=1"])
        .arg(format!("--runtime={SECONDS}"))
        .arg(format!("--filename={}", path.display()))
        .arg(format!("--size={LEN}"))
        .output()
        .ok()?;
    // Field 49 of the terse format is the writes' IOPS.
    String::from_utf8(out.stdout).ok()?.split(';').nth(48)?.parse().ok()
}
