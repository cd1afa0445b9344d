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

use anyhow::{Context as _, Result, ensure};
use ext4_blockdev::{AlignedBuf, BlockDevice, FileDevice, OpenMode, Write};
use ext4_dio::{Caller, DirectWrite, Offset, Overwriter, Request, Sync};
use ext4_fs::Clock;
use ext4_fs::{Filesystem, NewFile, RecoverOptions, recover};
use ext4_testkit::{mount::Mount, oracle, rng::Rng};
use ext4_units::InodeNr;
use rustix::fs::OFlags;
use std::{
    env, fs,
    fs::{File, OpenOptions},
    io::Read,
    os::unix::fs::{FileExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

const CHUNK: usize = 1 << 20;
const DEPTH: usize = 16;
const RANDOM_WRITES: u64 = 40_000;
const RANDOM_FILE: u64 = 256 << 20;

fn main() -> Result<()> {
    // cargo itself passes --bench.
    let mut folders: Vec<PathBuf> =
        env::args_os().skip(1).filter(|it| it != "--bench").map(PathBuf::from).collect();
    if folders.is_empty() {
        folders = vec![env::temp_dir()];
        folders.extend(Some(PathBuf::from("/dev/shm")).filter(|it| it.is_dir()));
    }
    if oracle::skip_without(&[oracle::Need::Mke2fs]) {
        return Ok(());
    }
    for folder in folders {
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

fn number(name: &str, default: u64) -> u64 {
    env::var(name).ok().and_then(|it| it.parse().ok()).unwrap_or(default)
}

struct Bench<'a> {
    folder: &'a Path,
    bytes: u64,
    rounds: u64,
}

impl Bench<'_> {
    /// A new file of so many bytes, against a plain preallocated file, the kernel through a loop
    /// device, and debugfs.
    fn sequential(&self) -> Result<()> {
        let ours = self.image("ours.img", self.bytes)?;
        let theirs = self.image("kernel.img", self.bytes)?;
        let plain = self.written_file("plain", self.bytes)?;
        let input = self.written_file("input", self.bytes)?;

        let mut pair = Pair::new("sequential write against a plain file, O_DIRECT", 0.90);
        for _ in 0..self.rounds {
            pair.add(self.ours_sequential(&ours)?, self.plain_sequential(&plain)?);
        }
        pair.print(self.bytes);

        if !oracle::skip_without(&[oracle::Need::Kernel]) {
            let name = "sequential write against the kernel, O_DIRECT through a loop mount";
            let mut pair = Pair::new(name, 1.5);
            for _ in 0..self.rounds {
                pair.add(self.ours_sequential(&ours)?, self.kernel_sequential(&theirs)?);
            }
            pair.print(self.bytes);
        }
        if !oracle::skip_without(&[oracle::Need::Debugfs]) {
            let mut pair = Pair::new("sequential write against debugfs -w write", 8.0);
            for _ in 0..self.rounds.min(2) {
                pair.add(self.ours_sequential(&ours)?, debugfs_sequential(&theirs, &input)?);
            }
            pair.print(self.bytes);
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
        let image = self.image("random.img", RANDOM_FILE)?;
        let plain = self.written_file("plain", RANDOM_FILE)?;
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
        pair.print(RANDOM_WRITES * 4096);
        println!("    ours {:.0} writes/s", pair.rate(RANDOM_WRITES));
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

    /// An image with room for a file of `bytes`, every block of it allocated on the host.
    fn image(&self, name: &str, bytes: u64) -> Result<PathBuf> {
        let file = self.written_file(name, bytes + bytes / 16 + (160 << 20))?;
        oracle::mke2fs(&file, ["-t", "ext4", "-b", "4096", "-E", "nodiscard"])?;
        Ok(file)
    }

    fn written_file(&self, name: &str, bytes: u64) -> Result<PathBuf> {
        let path = self.folder.join(name);
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
}

fn open(image: &Path) -> Result<Filesystem> {
    let device = Arc::new(FileDevice::open(image, OpenMode::Exclusive)?);
    let options = RecoverOptions::new(Clock::fixed(Duration::from_secs(1_700_000_000)));
    Ok(recover(device, &options)?.fs)
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
    let mut writer = Overwriter::new(fs, ino, DEPTH, &Caller::default())?;
    let mut spare = vec![AlignedBuf::zeroed(4096); DEPTH];
    for at in random_places(round) {
        let buf = if let Some(buf) = spare.pop() {
            buf
        } else {
            let done = writer.wait().context("a write in flight")?;
            done.result?;
            done.buf
        };
        writer.submit(at, buf)?;
    }
    writer.finish(Sync::Data)?;
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

/// Two sides, measured in turn.
struct Pair {
    name: &'static str,
    aim: f64,
    times: Vec<(f64, f64)>,
}

impl Pair {
    fn new(name: &'static str, aim: f64) -> Self {
        Self { name, aim, times: Vec::new() }
    }

    fn add(&mut self, ours: Duration, theirs: Duration) {
        self.times.push((ours.as_secs_f64(), theirs.as_secs_f64()));
    }

    fn print(&self, bytes: u64) {
        let mib = bytes as f64 / f64::from(1 << 20);
        let median = |of: &dyn Fn(&(f64, f64)) -> f64| {
            let mut all: Vec<f64> = self.times.iter().map(of).collect();
            all.sort_by(f64::total_cmp);
            all.get(all.len() / 2).copied().unwrap_or(0.0)
        };
        let ratios: Vec<String> =
            self.times.iter().map(|(ours, theirs)| format!("{:.2}", theirs / ours)).collect();
        println!("{}", self.name);
        println!(
            "    ours {:.0} MiB/s, theirs {:.0} MiB/s (medians); ratio {:.2} (aim {:.2}; rounds {})",
            mib / median(&|it| it.0),
            mib / median(&|it| it.1),
            median(&|it| it.1 / it.0),
            self.aim,
            ratios.join(" ")
        );
    }

    fn rate(&self, ops: u64) -> f64 {
        let total: f64 = self.times.iter().map(|it| it.0).sum();
        ops as f64 * self.times.len() as f64 / total
    }
}

/// The peak of resident memory of a process so far.
fn peak_kib(pid: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    line.split_whitespace().nth(1)?.parse().ok()
}
