//! Many small direct writes at once, against fio's io_uring engine: four writers with sixteen writes
//! of 4 KiB in flight each, into holes, into unwritten blocks, over written blocks, and appending.
//!
//!     cargo bench -p dio-write --bench random -- [FOLDER ...]
//!
//! Each folder is a disk of its own (by default that of the temporary files, and /dev/shm). The other
//! sides are the kernel's ext4 on a loop mount of the same kind of image, and a plain file beside it.
//! The sides take turns in one run. A time is from the first write to the end of the one fsync after
//! the last. Needs mke2fs and fio; root for the loop mount. `EXT4_BENCH_ROUNDS` (5) is how often each
//! is run, `EXT4_BENCH_WRITER_MIB` (64) how much each writer writes, `EXT4_BENCH_KINDS` (all) which
//! of holes, unwritten, written, appended to run.

#![expect(clippy::print_stdout, reason = "figures are what a bench is for")]
#![expect(clippy::cast_precision_loss, reason = "of seconds and bytes, for people to read")]

#[path = "rig/rig.rs"]
mod rig;

use anyhow::{Context as _, Result, ensure};
use ext4_blockdev::AlignedBuf;
use ext4_dio::{DirectWrite, Offset, Request, Submitter};
use ext4_fs::{Filesystem, NewFile};
use ext4_testkit::{mount::Mount, oracle, rng::Rng};
use ext4_units::InodeNr;
use rig::{Pair, folders, image, number, open};
use rustix::fs::FallocateFlags;
use std::{
    env,
    fs::{self, File, OpenOptions},
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::{Duration, Instant},
};

const WRITERS: u64 = 4;
const DEPTH: usize = 16;
const BLOCK: u64 = 4096;
const BLOCK_LEN: usize = 4096;

/// What the writes find.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Holes,
    Unwritten,
    Written,
    /// Each writer appends to a file of its own.
    Appended,
}

impl Kind {
    const ALL: [Self; 4] = [Self::Holes, Self::Unwritten, Self::Written, Self::Appended];

    fn name(self) -> &'static str {
        match self {
            Self::Holes => "holes",
            Self::Unwritten => "unwritten",
            Self::Written => "written",
            Self::Appended => "appended",
        }
    }

    fn text(self) -> &'static str {
        match self {
            Self::Holes => "4 KiB at random into holes",
            Self::Unwritten => "4 KiB at random into unwritten blocks",
            Self::Written => "4 KiB at random over written blocks",
            Self::Appended => "4 KiB appended, a file a writer",
        }
    }
}

fn main() -> Result<()> {
    if oracle::skip_without(&[oracle::Need::Mke2fs]) {
        return Ok(());
    }
    let kinds = env::var("EXT4_BENCH_KINDS").unwrap_or_default();
    for folder in folders() {
        let scratch = tempfile::Builder::new().prefix("dio-bench-").tempdir_in(&folder)?;
        println!("== {}", folder.display());
        let bench = Bench {
            folder: scratch.path(),
            rounds: number("EXT4_BENCH_ROUNDS", 5),
            part: number("EXT4_BENCH_WRITER_MIB", 64) << 20,
        };
        let kinds =
            Kind::ALL.into_iter().filter(|it| kinds.is_empty() || kinds.contains(it.name()));
        bench.run(kinds)?;
    }
    Ok(())
}

struct Bench<'a> {
    folder: &'a Path,
    rounds: u64,
    /// Bytes of one writer.
    part: u64,
}

impl Bench<'_> {
    fn run(&self, kinds: impl Iterator<Item = Kind>) -> Result<()> {
        let has_fio = Command::new("fio").arg("--version").output().is_ok();
        if !has_fio {
            println!("skipped: no fio, so nothing to compare with");
        }
        let has_kernel = has_fio && !oracle::skip_without(&[oracle::Need::Kernel]);
        if has_fio && !has_kernel {
            println!("skipped: no loop mount, only a plain file to compare with");
        }
        let all = self.part * WRITERS;
        let ours = image(self.folder, "ours.img", all)?;
        let theirs = has_kernel.then(|| image(self.folder, "kernel.img", all)).transpose()?;
        for kind in kinds {
            let aim = if kind == Kind::Written { Some(0.85) } else { None };
            let text = kind.text();
            let mut mounted = Pair::new(format!("{text}, against a loop mount"), 1.0);
            let mut plain = Pair::new(format!("{text}, against a plain file"), aim);
            for round in 0..self.rounds {
                let took = self.ours(&ours, kind, round)?;
                if let Some(image) = &theirs {
                    let mount = Mount::new(image, "noinit_itable")?;
                    mounted.add(took, self.fio(mount.path(), kind)?);
                    mount.unmount()?;
                }
                if has_fio {
                    plain.add(took, self.fio(self.folder, kind)?);
                }
            }
            let writes = (all / BLOCK) as f64;
            mounted.print(writes, "writes/s");
            plain.print(writes, "writes/s");
        }
        for image in theirs.iter().chain([&ours]) {
            ensure!(oracle::e2fsck(image, oracle::FsckMode::Check)?.is_clean(), "e2fsck -fn");
        }
        println!("e2fsck -fn finds nothing");
        Ok(())
    }

    /// The files that the writers write to: one for all, or one for each.
    fn names(kind: Kind) -> Vec<String> {
        let n = if kind == Kind::Appended { WRITERS } else { 1 };
        (0..n).map(|nr| format!("bench.{nr}")).collect()
    }

    fn ours(&self, image: &Path, kind: Kind, round: u64) -> Result<Duration> {
        let fs = open(image)?;
        let new =
            |name: &String| fs.create(InodeNr::ROOT, name.as_bytes(), &NewFile::of_root(0o644));
        let names = Self::names(kind);
        let inos = names.iter().map(new).collect::<Result<Vec<_>, _>>()?;
        let all = self.part * WRITERS;
        match kind {
            Kind::Holes => fs.truncate(inos[0], all)?,
            Kind::Unwritten => fs.fallocate(inos[0], 0, all, false)?,
            Kind::Written => {
                let request = Request::new(Offset::At(0), Some(all));
                DirectWrite::new(&fs, inos[0], request, &mut std::io::repeat(0xA5)).run()?;
            }
            Kind::Appended => {}
        }
        fs.journal().sync()?;

        let n_blocks = usize::try_from(self.part / BLOCK)?;
        let places = (0..WRITERS).map(|nr| match kind {
            Kind::Appended => vec![None; n_blocks],
            _ => self.places(nr, round * WRITERS + nr),
        });
        let places: Vec<_> = places.collect();
        let begin = Instant::now();
        thread::scope(|scope| {
            let writers: Vec<_> = places
                .iter()
                .zip(inos.iter().cycle())
                .map(|(places, &ino)| {
                    let fs = &fs;
                    scope.spawn(move || write_each(fs, ino, places))
                })
                .collect();
            writers.into_iter().try_for_each(|it| it.join().expect("a writer does not panic"))
        })?;
        fs.journal().sync()?;
        let took = begin.elapsed();

        for (name, &ino) in names.iter().zip(&inos) {
            let size = fs.inode(fs.meta(), ino)?.i_size;
            ensure!(size == all / names.len() as u64, "{name} has {size} bytes");
            fs.unlink(InodeNr::ROOT, name.as_bytes())?;
        }
        fs.close()?;
        Ok(took)
    }

    /// Each block of a writer's part once, shuffled.
    fn places(&self, writer: u64, seed: u64) -> Vec<Option<u64>> {
        let first = writer * self.part;
        let mut places: Vec<_> = (first..first + self.part).step_by(BLOCK_LEN).map(Some).collect();
        let mut rng = Rng::new(seed);
        for at in (1..places.len()).rev() {
            places.swap(at, rng.below(at + 1));
        }
        places
    }

    /// The same by fio, on files in `folder`.
    fn fio(&self, folder: &Path, kind: Kind) -> Result<Duration> {
        let files: Vec<PathBuf> = Self::names(kind).iter().map(|name| folder.join(name)).collect();
        let all = self.part * WRITERS;
        for path in &files {
            let file = File::create(path)?;
            match kind {
                Kind::Holes => file.set_len(all)?,
                Kind::Unwritten => {
                    rustix::fs::fallocate(&file, FallocateFlags::empty(), 0, all)?;
                }
                Kind::Written => {
                    let chunk = vec![0xA5; rig::CHUNK];
                    for at in (0..all).step_by(rig::CHUNK) {
                        file.write_all_at(&chunk, at)?;
                    }
                }
                Kind::Appended => {}
            }
            file.sync_all()?;
        }
        let mut fio = Command::new("fio");
        fio.args(["--name=bench", "--ioengine=io_uring", "--direct=1", "--bs=4k", "--thread"])
            .args(["--group_reporting", "--gtod_reduce=1", "--output-format=json"])
            // Otherwise it would allocate files itself, and nothing would be appended.
            .arg("--fallocate=none")
            .arg(format!("--iodepth={DEPTH}"))
            .arg(format!("--numjobs={WRITERS}"))
            .arg(format!("--size={}", self.part))
            .arg(format!("--directory={}", folder.display()));
        if kind == Kind::Appended {
            fio.args(["--rw=write", "--filename_format=bench.$jobnum"]);
        } else {
            fio.args(["--rw=randwrite", "--filename=bench.0"]);
            fio.arg(format!("--offset_increment={}", self.part));
        }
        let out = fio.output()?;
        let said = String::from_utf8_lossy(&out.stderr);
        ensure!(out.status.success(), "fio: {said}");
        let told: serde_json::Value =
            serde_json::from_slice(&out.stdout).context("fio's answer")?;
        let write = &told["jobs"][0]["write"];
        ensure!(write["io_bytes"].as_u64() == Some(all), "fio wrote {}", write["io_bytes"]);
        let millis = write["runtime"].as_u64().context("fio's time")?;

        // As on our side one fsync is enough: they are on one filesystem, and what is to be durable
        // is in one journal. For a plain file beside others each has to be asked.
        let begin = Instant::now();
        for path in &files {
            OpenOptions::new().write(true).open(path)?.sync_all()?;
        }
        let took = Duration::from_millis(millis) + begin.elapsed();
        for path in files {
            fs::remove_file(path)?;
        }
        Ok(took)
    }
}

/// Writes a block at each place, or at the end, with many in flight.
fn write_each(fs: &Filesystem, ino: InodeNr, places: &[Option<u64>]) -> Result<()> {
    let mut writes = Submitter::new(fs, DEPTH);
    let mut spare = vec![AlignedBuf::copy_of(&[0xA5; BLOCK_LEN]); DEPTH];
    for place in places {
        let buf = if let Some(buf) = spare.pop() {
            buf
        } else {
            let done = writes.wait().context("a write in flight")?;
            done.result?;
            done.buf
        };
        let offset = place.map_or(Offset::Append, Offset::At);
        writes.submit(ino, Request::new(offset, Some(BLOCK)), buf, 0);
    }
    while let Some(done) = writes.wait() {
        done.result?;
    }
    Ok(())
}
