//! How fast, and against what: both sides of every pair in one run, one after the other, and the
//! ratio of their speeds.
//!
//!     cargo bench -p dio-write --bench speed -- [FOLDER ...]
//!
//! Each folder is a disk of its own (by default that of the temporary files, and /dev/shm). Needs
//! mke2fs; root for the kernel's side. `EXT4_BENCH_MIB` (1024) is the size of the sequential write,
//! `EXT4_BENCH_ROUNDS` (5) how often each pair is run, `EXT4_BENCH_INPUT_GIB` (8) the input of the
//! run whose memory is measured.

#![expect(clippy::print_stdout, reason = "figures are what a bench is for")]
#![expect(clippy::cast_precision_loss, reason = "of seconds and bytes, for people to read")]

#[path = "rig/rig.rs"]
mod rig;

use anyhow::{Context as _, Result, ensure};
use ext4_blockdev::{AlignedBuf, BlockDevice, FileDevice, OpenMode, Write};
use ext4_dio::{DirectWrite, Offset, Request, Submitter};
use ext4_fs::{Filesystem, NewFile};
use ext4_testkit::{mount::Mount, oracle, rng::Rng};
use ext4_units::InodeNr;
use rig::{CHUNK, Pair, folders, image, number, open, written_file};
use rustix::fs::OFlags;
use std::{
    fs,
    fs::{File, OpenOptions},
    io::Read,
    os::unix::fs::{FileExt as _, OpenOptionsExt as _},
    path::Path,
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

const DEPTH: usize = 16;
const RANDOM_WRITES: u64 = 40_000;
const RANDOM_FILE: u64 = 256 << 20;

fn main() -> Result<()> {
    if oracle::skip_without(&[oracle::Need::Mke2fs]) {
        return Ok(());
    }
    for folder in folders() {
        let scratch = tempfile::Builder::new().prefix("dio-bench-").tempdir_in(&folder)?;
        let bench = Bench {
            folder: scratch.path(),
            bytes: number("EXT4_BENCH_MIB", 1024) << 20,
            rounds: number("EXT4_BENCH_ROUNDS", 5),
        };
        println!("== {}", folder.display());
        bench.sequential()?;
        bench.random()?;
        bench.memory(number("EXT4_BENCH_INPUT_GIB", 8) << 30)?;
    }
    Ok(())
}

struct Bench<'a> {
    folder: &'a Path,
    bytes: u64,
    rounds: u64,
}

impl Bench<'_> {
    fn mib(&self) -> f64 {
        self.bytes as f64 / f64::from(1 << 20)
    }

    /// A new file of so many bytes, against a plain preallocated file, the kernel through a loop
    /// device, and debugfs.
    fn sequential(&self) -> Result<()> {
        let ours = image(self.folder, "ours.img", self.bytes)?;
        let theirs = image(self.folder, "kernel.img", self.bytes)?;
        let plain = written_file(self.folder, "plain", self.bytes)?;
        let input = written_file(self.folder, "input", self.bytes)?;

        let mut pair = Pair::new("sequential write against a plain file, O_DIRECT", 0.90);
        for _ in 0..self.rounds {
            pair.add(self.ours_sequential(&ours)?, self.plain_sequential(&plain)?);
        }
        pair.print(self.mib(), "MiB/s");

        if !oracle::skip_without(&[oracle::Need::Kernel]) {
            let name = "sequential write against the kernel, O_DIRECT through a loop mount";
            let mut pair = Pair::new(name, 1.5);
            for _ in 0..self.rounds {
                pair.add(self.ours_sequential(&ours)?, self.kernel_sequential(&theirs)?);
            }
            pair.print(self.mib(), "MiB/s");
        }
        if !oracle::skip_without(&[oracle::Need::Debugfs]) {
            let mut pair = Pair::new("sequential write against debugfs -w write", 8.0);
            for _ in 0..self.rounds.min(2) {
                pair.add(self.ours_sequential(&ours)?, debugfs_sequential(&theirs, &input)?);
            }
            pair.print(self.mib(), "MiB/s");
        }
        ensure!(oracle::e2fsck(&ours, oracle::FsckMode::Check)?.is_clean(), "e2fsck -fn");
        for file in [ours, theirs, plain, input] {
            fs::remove_file(file)?;
        }
        Ok(())
    }

    fn ours_sequential(&self, image: &Path) -> Result<Duration> {
        let begin = Instant::now();
        let fs = open(image)?;
        let ino = fs.create(InodeNr::ROOT, b"new.bin", &NewFile::of_root(0o644))?;
        let mut source = Pattern { left: self.bytes };
        let mut request = Request::new(Offset::At(0), Some(self.bytes));
        (request.depth, request.chunk) = (DEPTH, CHUNK);
        let outcome = DirectWrite::new(&fs, ino, request, &mut source).run()?;
        fs.close()?;
        let took = begin.elapsed();
        ensure!(outcome.written == self.bytes && outcome.buffered == 0, "{outcome:?}");
        let fs = open(image)?;
        fs.unlink(InodeNr::ROOT, b"new.bin")?;
        fs.close()?;
        Ok(took)
    }

    fn plain_sequential(&self, file: &Path) -> Result<Duration> {
        let begin = Instant::now();
        let device = FileDevice::open(file, OpenMode::Exclusive)?;
        let mut source = Pattern { left: self.bytes };
        let mut queue = device.queue(DEPTH);
        let mut spare = vec![AlignedBuf::zeroed(CHUNK); DEPTH];
        let mut at = 0;
        while at < self.bytes {
            let mut buf = match spare.pop() {
                Some(buf) => buf,
                None => queue.wait().context("a write in flight")?.buf,
            };
            source.read_exact(&mut buf)?;
            queue.submit(Write { offset: at, buf, tag: at })?;
            at += CHUNK as u64;
        }
        while let Some(done) = queue.wait() {
            done.result?;
        }
        drop(queue);
        device.flush()?;
        Ok(begin.elapsed())
    }

    fn kernel_sequential(&self, image: &Path) -> Result<Duration> {
        let begin = Instant::now();
        let mount = Mount::new(image, "")?;
        let path = mount.join("new.bin");
        let flags = i32::try_from(OFlags::DIRECT.bits())?;
        let file =
            OpenOptions::new().write(true).create_new(true).custom_flags(flags).open(&path)?;
        let mut source = Pattern { left: self.bytes };
        let mut buf = AlignedBuf::zeroed(CHUNK);
        let mut at = 0;
        while at < self.bytes {
            source.read_exact(&mut buf)?;
            file.write_all_at(&buf, at)?;
            at += CHUNK as u64;
        }
        file.sync_all()?;
        drop(file);
        let took = begin.elapsed();
        fs::remove_file(path)?;
        mount.unmount()?;
        Ok(took)
    }

    /// 4 KiB overwrites at random places, many in flight, against the same on a plain file.
    fn random(&self) -> Result<()> {
        let image = image(self.folder, "random.img", RANDOM_FILE)?;
        let plain = written_file(self.folder, "plain", RANDOM_FILE)?;
        let fs = open(&image)?;
        let ino = fs.create(InodeNr::ROOT, b"db.bin", &NewFile::of_root(0o644))?;
        let mut source = Pattern { left: RANDOM_FILE };
        let request = Request::new(Offset::At(0), Some(RANDOM_FILE));
        DirectWrite::new(&fs, ino, request, &mut source).run()?;
        fs.commit()?;
        let device = FileDevice::open(&plain, OpenMode::Exclusive)?;
        let mut pair =
            Pair::new("random 4 KiB overwrites, 16 in flight, against a plain file", 0.85);
        for round in 0..self.rounds {
            pair.add(ours_random(&fs, ino, round)?, plain_random(&device, round)?);
        }
        pair.print(RANDOM_WRITES as f64, "writes/s");
        fs.close()?;
        ensure!(oracle::e2fsck(&image, oracle::FsckMode::Check)?.is_clean(), "e2fsck -fn");
        fs::remove_file(image)?;
        fs::remove_file(plain)?;
        Ok(())
    }

    /// The program's peak memory with a large input.
    fn memory(&self, bytes: u64) -> Result<()> {
        let image = self.folder.join("large.img");
        File::create(&image)?.set_len(bytes + (1 << 30))?;
        oracle::mke2fs(&image, ["-t", "ext4", "-b", "4096"])?;
        let input = self.folder.join("large");
        File::create(&input)?.set_len(bytes)?;
        let mut child = Command::new(env!("CARGO_BIN_EXE_dio-write"))
            .arg(format!("{}:/large", image.display()))
            .arg("--input")
            .arg(&input)
            .stdout(Stdio::null())
            .spawn()?;
        let mut peak = 0;
        let status = loop {
            peak = peak.max(peak_kib(child.id()).unwrap_or(0));
            if let Some(status) = child.try_wait()? {
                break status;
            }
            thread::sleep(Duration::from_millis(5));
        };
        ensure!(status.success(), "dio-write: {status}");
        println!(
            "{} GiB through dio-write: peak memory {:.1} MiB (aim below 64)",
            bytes >> 30,
            peak as f64 / 1024.0
        );
        fs::remove_file(image)?;
        fs::remove_file(input)?;
        Ok(())
    }
}

fn debugfs_sequential(image: &Path, input: &Path) -> Result<Duration> {
    let begin = Instant::now();
    oracle::debugfs_write(image, &format!("write {} new.bin\n", input.display()))?;
    File::open(image)?.sync_all()?;
    let took = begin.elapsed();
    oracle::debugfs_write(image, "rm new.bin\n")?;
    Ok(took)
}

/// The bytes of one random write and its place.
fn random_places(round: u64) -> impl Iterator<Item = u64> {
    let mut rng = Rng::new(round);
    let blocks = usize::try_from(RANDOM_FILE / 4096).expect("small");
    (0..RANDOM_WRITES).map(move |_| rng.below(blocks) as u64 * 4096)
}

fn ours_random(fs: &Filesystem, ino: InodeNr, round: u64) -> Result<Duration> {
    let begin = Instant::now();
    let mut writer = Submitter::new(fs, DEPTH);
    let mut spare = vec![AlignedBuf::zeroed(4096); DEPTH];
    for at in random_places(round) {
        let buf = if let Some(buf) = spare.pop() {
            buf
        } else {
            let done = writer.wait().context("a write in flight")?;
            done.result?;
            done.buf
        };
        writer.submit(ino, Request::new(Offset::At(at), None), buf, at);
    }
    while let Some(done) = writer.wait() {
        done.result?;
    }
    drop(writer);
    fs.journal().sync_data()?;
    Ok(begin.elapsed())
}

fn plain_random(device: &FileDevice, round: u64) -> Result<Duration> {
    let begin = Instant::now();
    let mut queue = device.queue(DEPTH);
    let mut spare = vec![AlignedBuf::zeroed(4096); DEPTH];
    for at in random_places(round) {
        let buf = if let Some(buf) = spare.pop() {
            buf
        } else {
            let done = queue.wait().context("a write in flight")?;
            done.result?;
            done.buf
        };
        queue.submit(Write { offset: at, buf, tag: at })?;
    }
    while let Some(done) = queue.wait() {
        done.result?;
    }
    drop(queue);
    device.flush()?;
    Ok(begin.elapsed())
}

/// What is written: the same megabyte over and over, copied as from a file.
struct Pattern {
    left: u64,
}

impl Read for Pattern {
    fn read(&mut self, buf: &mut [u8]) -> std::io::Result<usize> {
        static BYTES: [u8; CHUNK] = [0xA5; CHUNK];
        let n = buf.len().min(CHUNK).min(usize::try_from(self.left).unwrap_or(CHUNK));
        buf[..n].copy_from_slice(&BYTES[..n]);
        self.left -= n as u64;
        Ok(n)
    }
}

/// The peak of resident memory of a process so far.
fn peak_kib(pid: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    line.split_whitespace().nth(1)?.parse().ok()
}
