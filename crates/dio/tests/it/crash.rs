//! Every crash of every kind of write: recovered by our own replay and cleanup, each state has a
//! size the file had or was to have, no byte that was never written there, no lost block.
//!
//! How many states are looked at is set by `EXT4_CRASH_STATES` for each scenario.

use crate::world::{clock, open};
use ext4_blockdev::{BlockDevice, Recorder};
use ext4_dio::{DirectWrite, Offset, Request, Sync};
use ext4_fs::{Filesystem, RecoverOptions, recover};
use ext4_testkit::{
    crash::CrashState,
    explore::{Budget, Explorer, Report, Violation},
    image::{Image, Recipe},
    judge,
    model::{ModelFile, pattern},
    oracle::{self, Need},
    recovery::{Device, Recovery, record},
    trace::Trace,
    view::View,
};
use ext4_units::InodeNr;
use std::{collections::BTreeMap, sync::Arc, time::Duration};

/// The states of each scenario unless the environment says otherwise.
const STATES: u64 = 500;

/// What the file may hold after each step of a scenario: version 0 is the beginning, version `n`
/// what the `n`th step makes of it. A step that was acknowledged as durable has a mark with its
/// number.
struct Scenario {
    name: &'static str,
    profile: &'static str,
    /// Bytes of `/f` at the beginning, and how far it is then truncated up.
    begin: (usize, u64),
    steps: &'static [Step],
    /// Every handle gets a transaction of its own: each row of a write's table is a crash state.
    every_handle: bool,
}

#[derive(Clone, Copy)]
enum Step {
    /// Writes so many bytes at an offset.
    Write(u64, usize, Sync),
    /// Writes that must fail for want of space, and leave the file as it is.
    NoSpace(u64, usize),
    /// Sets the size.
    Truncate(u64),
    /// Makes everything so far durable.
    Commit,
}

const NONE: Sync = Sync::None;
const DATA: Sync = Sync::Data;
const FULL: Sync = Sync::Full;

use Step::{Commit, NoSpace, Truncate, Write};

const SCENARIOS: &[Scenario] = &[
    scenario("overwrite", "ext4-4k", (16 << 10, 0), &[Write(4096, 8192, NONE), Commit]),
    scenario("overwrite, O_DSYNC", "ext4-4k", (16 << 10, 0), &[Write(4096, 8192, DATA)]),
    scenario("overwrite of a part of a block", "ext4-1k", (5000, 0), &[Write(512, 512, FULL)]),
    scenario("hole", "ext4-4k", (4096, 64 << 10), &[Write(16384, 8192, NONE), Commit]),
    scenario(
        "hole, part of a block, O_DSYNC",
        "ext4-4k",
        (4096, 64 << 10),
        &[Write(33280, 1024, DATA)],
    ),
    scenario("append", "ext4-4k", (8192, 0), &[Write(8192, 64 << 10, NONE), Commit]),
    scenario("append, O_SYNC", "ext4-1k", (8192, 0), &[Write(8192, 20 << 10, FULL)]),
    scenario("append, unaligned", "ext4-4k", (1000, 0), &[Write(1024, 4608, DATA)]),
    scenario("across the end", "ext4-4k", (4096, 0), &[Write(0, 8192, DATA)]),
    scenario("across the end of a hole", "ext4-4k", (0, 8192), &[Write(0, 16384, DATA)]),
    scenario("beyond the end", "ext4-4k", (5000, 0), &[Write(40960, 8192, DATA)]),
    scenario("first bytes", "ext4-4k", (0, 0), &[Write(0, 100_000, NONE), Commit]),
    scenario(
        "two appends",
        "ext4-1k",
        (3000, 0),
        &[Write(3072, 4096, NONE), Write(7168, 4096, DATA)],
    ),
    scenario(
        "append and truncate",
        "ext4-4k",
        (8192, 0),
        &[Write(8192, 8192, DATA), Truncate(5000), Commit],
    ),
    scenario(
        "truncate to nothing and write",
        "ext4-1k",
        (40_000, 0),
        &[Truncate(0), Write(0, 10_240, DATA)],
    ),
    scenario(
        "truncate inside a block",
        "ext4-4k",
        (20_000, 0),
        &[Truncate(6000), Truncate(9000), Commit],
    ),
    scenario("no space", "ext4-1k", (9000, 0), &[NoSpace(10_240, 32 << 20), Write(0, 512, DATA)]),
    scenario("append, block map", "ext3-1k", (8192, 0), &[Write(8192, 16 << 10, DATA)]),
    scenario("hole, block map", "ext3-4k", (4096, 40_960), &[Write(8192, 8192, NONE), Commit]),
    scenario("append, no checksums", "ext4-nocsum", (8192, 0), &[Write(8192, 16 << 10, DATA)]),
    scenario("append, orphan file", "orphan-4k", (8192, 0), &[Write(8192, 16 << 10, DATA)]),
    scenario("append, bigalloc", "bigalloc-4k", (8192, 0), &[Write(8192, 40 << 10, DATA)]),
    scenario("truncate, bigalloc", "bigalloc-4k", (100_000, 0), &[Truncate(20_000), Commit]),
    scenario("append, fast_commit", "fc-4k", (8192, 0), &[Write(8192, 16 << 10, DATA)]),
    scenario("append, MMP", "mmp-4k", (8192, 0), &[Write(8192, 16 << 10, DATA)]),
    scenario("append, small journal", "journal-1m", (8192, 0), &[Write(8192, 16 << 10, DATA)]),
];

const fn scenario(
    name: &'static str,
    profile: &'static str,
    begin: (usize, u64),
    steps: &'static [Step],
) -> Scenario {
    Scenario { name, profile, begin, steps, every_handle: true }
}

#[test]
fn every_crash_state_of_every_kind_of_write_recovers() {
    let states = std::env::var("EXT4_CRASH_STATES").ok().and_then(|it| it.parse().ok());
    let states = states.unwrap_or(STATES);
    let mut total = Totals::default();
    for it in SCENARIOS {
        for every_handle in [it.every_handle, false] {
            let Some(report) = explore(it, every_handle, states) else { continue };
            total.add(&report);
            let how = if every_handle { "a transaction each" } else { "transactions shared" };
            println!("{} ({}, {how}): {}", it.name, it.profile, summary(&report));
            report.expect_no_failure();
        }
    }
    println!("{} scenarios: {total:?}", SCENARIOS.len());
}

fn summary(report: &Report) -> String {
    report.to_string().lines().next().unwrap_or_default().to_owned()
}

#[derive(Debug, Default)]
struct Totals {
    generated: u64,
    distinct: u64,
    others: BTreeMap<&'static str, u64>,
    violations: u64,
}

impl Totals {
    fn add(&mut self, report: &Report) {
        self.generated += report.generated;
        self.distinct += report.distinct;
        self.violations += report.n_failures;
        for (&name, n) in &report.others {
            *self.others.entry(name).or_default() += n;
        }
    }
}

fn explore(it: &Scenario, every_handle: bool, states: u64) -> Option<Report> {
    let image = begin(it)?;
    let (versions, explorer) = run(it, every_handle, &image);
    let mut explorer = explorer;
    explorer.budget = Budget { states, time: Duration::from_mins(10) };
    let check = |state: &CrashState, device: &Device| {
        let mut found = judge::judge(&**device);
        found.extend(contents(state, device, &versions));
        found
    };
    let digest = |device: &Device| -> Result<String, String> {
        let view = View::new(&**device).map_err(|err| err.to_string())?;
        let tree = view.manifest().map_err(|err| format!("{err:#}"))?;
        Ok(format!("{tree:?} {:?}", judge::free_counts(&view)))
    };
    let mut recovery = Recovery::new(&again, &check);
    recovery.digest = Some(&digest);
    recovery.depth2 =
        Some((explorer.plan.clone(), Budget { states: 60, time: Duration::from_secs(20) }));
    recovery.depth2_every = 40;
    recovery.e2fsck_every = 25;
    recovery.kernel_every = if oracle::missing(&[Need::Kernel]).is_empty() { 250 } else { 0 };
    Some(recovery.explore(&explorer))
}

/// What a crashed image gets: `fsck-orphans -y`.
fn again(device: Device) -> Result<(), String> {
    let recovered = recover(device, &RecoverOptions::new(clock())).map_err(|it| it.to_string())?;
    recovered.fs.close().map_err(|it| it.to_string())
}

/// The image at the beginning of a scenario.
fn begin(it: &Scenario) -> Option<Image> {
    let (len, size) = it.begin;
    let recipe = Recipe::new(it.profile).write("/f", pattern(FILE, 0, 0, len));
    let image = recipe.image()?;
    let device: Arc<dyn BlockDevice> = image.device();
    let fs = open(&device).expect("a new image");
    let ino = find(&fs);
    if size > len as u64 {
        fs.truncate(ino, size).expect("growing a file");
    }
    fs.close().expect("closing");
    let mut bytes = vec![0; image.bytes().len()];
    device.read_at(0, &mut bytes).expect("memory");
    Some(Image::new(bytes))
}

const FILE: u32 = 0xF;

fn find(fs: &Filesystem) -> InodeNr {
    fs.resolve(fs.meta(), b"/f", ext4_fs::Last::Stay).expect("/f").ino
}

/// Runs the steps on a recorded device. Returns the versions of the file.
fn run(it: &Scenario, every_handle: bool, image: &Image) -> (Vec<ModelFile>, Explorer) {
    let (len, size) = it.begin;
    let mut file = ModelFile::new();
    file.write(0, &pattern(FILE, 0, 0, len));
    file.truncate(size.max(len as u64));
    let mut versions = vec![file];
    let explorer = record(image, |recorder: Arc<Recorder>| {
        let mut options = RecoverOptions::new(clock());
        options.commit_every_handle = every_handle;
        let fs = recover(recorder.clone(), &options)?.fs;
        let ino = find(&fs);
        for step in it.steps {
            let mut file = versions.last().expect("the first").clone();
            let version = versions.len();
            let acked = |nr: usize| recorder.mark(nr as u64, nr.to_string());
            match *step {
                Write(offset, len, sync) => {
                    let bytes = pattern(FILE, u32::try_from(version).unwrap(), offset, len);
                    file.write(offset, &bytes);
                    versions.push(file);
                    write(&fs, ino, offset, &bytes, sync).expect(it.name);
                    if sync != NONE {
                        acked(version);
                    }
                }
                NoSpace(offset, len) => {
                    let bytes = pattern(FILE, 99, offset, len);
                    let err = write(&fs, ino, offset, &bytes, NONE).expect_err(it.name);
                    assert_eq!(err.errno(), 28, "{}: {err}", it.name);
                }
                Truncate(size) => {
                    file.truncate(size);
                    versions.push(file);
                    fs.truncate(ino, size)?;
                }
                Commit => {
                    fs.commit()?;
                    acked(versions.len() - 1);
                }
            }
        }
        fs.close()?;
        acked_all(&recorder, versions.len());
        Ok::<(), ext4_fs::Error>(())
    });
    (versions, explorer.unwrap_or_else(|err| panic!("{}: {err}", it.name)))
}

fn acked_all(recorder: &Recorder, n_versions: usize) {
    recorder.mark(0, (n_versions - 1).to_string());
}

fn write(
    fs: &Filesystem,
    ino: InodeNr,
    offset: u64,
    bytes: &[u8],
    sync: Sync,
) -> Result<(), ext4_dio::Error> {
    let mut source = bytes;
    let mut request = Request::new(Offset::At(offset), Some(bytes.len() as u64));
    request.sync = sync;
    request.chunk = 16 << 10;
    request.is_strict = false;
    DirectWrite::new(fs, ino, request, &mut source).run().map(|_| ())
}

/// The file is a version that was not overtaken by an acknowledged one; where a write had begun
/// sectors below both sizes may be old or new.
fn contents(state: &CrashState, device: &Device, versions: &[ModelFile]) -> Vec<Violation> {
    let acked: usize = state.marks().filter_map(|it| it.parse().ok()).max().unwrap_or(0);
    let possible = &versions[acked..];
    let view = match View::new(&**device) {
        Ok(view) => view,
        Err(err) => return vec![Violation::new("view", format!("{err:#}"))],
    };
    let read = || -> anyhow::Result<(u64, Vec<u8>)> {
        let ino = view.paths()?.get("f").copied();
        let node = view.inode(ino.ok_or_else(|| anyhow::anyhow!("no /f"))?)?;
        Ok((node.size(), view.read(&node, 0, usize::try_from(node.size())?)?))
    };
    let (size, bytes) = match read() {
        Ok(it) => it,
        Err(err) => return vec![Violation::new("lost", format!("{err:#}"))],
    };
    if !possible.iter().any(|it| it.size() == size) {
        let sizes: Vec<u64> = possible.iter().map(ModelFile::size).collect();
        return vec![Violation::new("size", format!("{size}, expected one of {sizes:?}"))];
    }
    for (i, sector) in bytes.chunks(512).enumerate() {
        let offset = i as u64 * 512;
        // A version that ends before this sector ends says nothing of it, unless it is the only
        // one there is: behind its end it reads zeros once another size shows it.
        let says = |it: &&ModelFile| it.size() >= offset + sector.len() as u64;
        let is_one = possible.iter().filter(says).any(|it| it.read(offset, sector.len()) == sector);
        if !is_one {
            let detail = format!("sector {i} of {size} bytes is of no version from {acked} on");
            return vec![Violation::new("content", detail)];
        }
    }
    Vec::new()
}

#[test]
fn a_write_without_its_orphan_record_would_be_caught() {
    // The harness itself: a trace whose orphan record never reaches the log must show lost blocks
    // or a file that grew without its data. Here the flushes are left out, which is the least that
    // can go wrong.
    let it = scenario("append", "ext4-4k", (8192, 0), &[Write(8192, 16 << 10, DATA)]);
    let Some(image) = begin(&it) else { return };
    let (versions, explorer) = run(&it, false, &image);
    let mut planted = Trace::new();
    for step in &explorer.trace.steps {
        match step {
            ext4_testkit::trace::Step::Write { offset, data, .. } => {
                planted.write(*offset, Arc::clone(data));
            }
            ext4_testkit::trace::Step::Mark(text) => planted.mark(text),
            ext4_testkit::trace::Step::Flush { .. } => {}
        }
    }
    let mut explorer = Explorer::new(image, planted);
    explorer.budget = Budget { states: 3_000, time: Duration::from_mins(1) };
    let check = |state: &CrashState, device: &Device| {
        let mut found = judge::judge(&**device);
        found.extend(contents(state, device, &versions));
        found
    };
    let report = Recovery::new(&again, &check).explore(&explorer);
    assert!(report.n_failures > 0, "no state shows that the flushes are missing: {report}");
}
