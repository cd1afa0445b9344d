//! The program is killed at random moments, on a real file: what it had said to be written is there,
//! what it was at is old or new, and recovery leaves nothing to be found.
//!
//! `EXT4_KILLS` sets how many kills there are for each kind of write.

use ext4_blockdev::{BlockDevice, FileDevice, OpenMode};
use ext4_fs::{Clock, RecoverOptions, recover};
use ext4_testkit::{
    image::{Image, Recipe, poison},
    judge,
    model::pattern,
    oracle::{self, FsckMode, Need},
    rng::Rng,
    view::View,
};
use rustix::process::{Pid, Signal, kill_process};
use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

/// Kills for each kind of write unless the environment says otherwise.
const KILLS: u64 = 16;

/// A kind of write, done again and again to one file.
struct Kind {
    name: &'static str,
    profile: &'static str,
    /// Bytes of `/f` at the beginning, and of each write.
    begin: usize,
    len: usize,
    /// Whether each write begins where the file ends, or at its beginning.
    appends: bool,
    args: &'static [&'static str],
    signal: Signal,
}

const MIB: usize = 1 << 20;

const KINDS: &[Kind] = &[
    Kind {
        name: "append",
        profile: "ext4-4k",
        begin: 5000,
        len: MIB,
        appends: true,
        args: &["--append", "--transfer", "64k", "--in-flight", "2"],
        signal: Signal::KILL,
    },
    Kind {
        name: "append --dsync",
        profile: "orphan-1k",
        begin: 5000,
        len: MIB,
        appends: true,
        args: &["--append", "--dsync", "--transfer", "64k", "--in-flight", "2"],
        signal: Signal::KILL,
    },
    Kind {
        name: "append, block map",
        profile: "ext3-1k",
        begin: 5000,
        len: MIB,
        appends: true,
        args: &["--append", "--sync", "--transfer", "64k", "--in-flight", "2"],
        signal: Signal::KILL,
    },
    Kind {
        name: "overwrite",
        profile: "ext4-4k",
        begin: 4 * MIB,
        len: 4 * MIB,
        appends: false,
        args: &["--transfer", "64k", "--in-flight", "2"],
        signal: Signal::KILL,
    },
    Kind {
        name: "empty and write",
        profile: "ext4-1k",
        begin: 2 * MIB,
        len: 2 * MIB,
        appends: false,
        args: &["--truncate", "--transfer", "64k", "--in-flight", "2"],
        signal: Signal::KILL,
    },
    Kind {
        name: "append, SIGTERM",
        profile: "ext4-4k",
        begin: 5000,
        len: MIB,
        appends: true,
        args: &["--append", "--dsync", "--transfer", "64k", "--in-flight", "2"],
        signal: Signal::TERM,
    },
];

/// One test at a time: a child that another has just forked holds the lock of an image for a moment.
static ONE: Mutex<()> = Mutex::new(());

fn alone() -> MutexGuard<'static, ()> {
    ONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// An image in a file, and what `/f` in it holds.
struct Case {
    folder: tempfile::TempDir,
    kind: &'static Kind,
    fresh: Image,
    /// What is in the file for certain.
    content: Vec<u8>,
    generation: u32,
}

/// When the program is killed.
#[derive(Clone, Copy, Debug)]
enum When {
    After(Duration),
    /// When so many system calls have written.
    Written(u64),
}

#[derive(Debug, Default)]
struct Totals {
    kills: u64,
    /// The program had come to its end before the signal.
    too_late: u64,
    /// The write was there as a whole, in part, or not at all.
    whole: u64,
    part: u64,
    none: u64,
    replayed: u64,
}

#[test]
fn a_killed_write_is_there_or_not_and_the_image_recovers() {
    let _alone = alone();
    if oracle::skip_without(&[Need::Mke2fs, Need::Debugfs, Need::E2fsck]) {
        return;
    }
    let kills = std::env::var("EXT4_KILLS").ok().and_then(|it| it.parse().ok()).unwrap_or(KILLS);
    let mut totals = Totals::default();
    for kind in KINDS {
        let mut case = Case::new(kind);
        let (limit, calls) = case.whole_run();
        let mut rng = Rng::new(7);
        for nr in 0..kills {
            // Half of them spread over the time of a run, half over its writes: most of the time goes
            // by before the first.
            let when = if nr % 2 == 0 {
                let micros = u64::try_from(limit.as_micros()).unwrap();
                When::After(Duration::from_micros(rng.next_u64() % (micros + 1)))
            } else {
                When::Written(rng.next_u64() % (calls + 1))
            };
            case.kill(when, &mut totals);
        }
        println!("{}: {kills} kills within {limit:?} and {calls} writes", kind.name);
    }
    println!("{totals:?}, 0 violations");
}

impl Case {
    fn new(kind: &'static Kind) -> Self {
        let folder = oracle::scratch().expect("a scratch folder");
        let content = pattern(1, 0, 0, kind.begin);
        let recipe = Recipe::new(kind.profile).write("/f", content.clone());
        let fresh = sparse(&recipe.image().expect("the tools are there"));
        fresh.save(&folder.path().join("disk.img")).expect("an image");
        Self { folder, kind, fresh, content, generation: 0 }
    }

    fn image(&self) -> PathBuf {
        self.folder.path().join("disk.img")
    }

    /// The next write: where, and what.
    fn next(&mut self) -> (u64, Vec<u8>) {
        if self.kind.appends && self.content.len() > 6 * MIB {
            self.fresh.save(&self.image()).expect("an image");
            self.content = pattern(1, 0, 0, self.kind.begin);
        }
        self.generation += 1;
        let at = if self.kind.appends { self.content.len() as u64 } else { 0 };
        (at, pattern(1, self.generation, at, self.kind.len))
    }

    fn start(&self, bytes: &[u8]) -> Child {
        self.start_in(Command::new(env!("CARGO_BIN_EXE_dio-write")), bytes)
    }

    /// Starts the program as the last arguments of `command`.
    fn start_in(&self, mut command: Command, bytes: &[u8]) -> Child {
        let input = self.folder.path().join("input");
        fs::write(&input, bytes).expect("the input");
        command
            .arg(format!("{}:/f", self.image().display()))
            .arg("--input")
            .arg(input)
            .args(self.kind.args)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program")
    }

    /// How long a write takes that nobody kills, and how many system calls write.
    fn whole_run(&mut self) -> (Duration, u64) {
        let (mut shortest, mut calls) = (Duration::MAX, 0);
        for _ in 0..3 {
            let (at, bytes) = self.next();
            let begin = Instant::now();
            let mut child = self.start(&bytes);
            let status = loop {
                calls = calls.max(written(&child));
                if let Some(status) = child.try_wait().expect("the program") {
                    break status;
                }
            };
            shortest = shortest.min(begin.elapsed());
            assert!(status.success(), "{}: {status}", self.kind.name);
            recover_file(&self.image());
            self.take_over(at, &bytes);
        }
        (shortest, calls)
    }

    fn take_over(&mut self, at: u64, bytes: &[u8]) {
        let at = usize::try_from(at).expect("a small file");
        self.content.truncate(at);
        self.content.extend_from_slice(bytes);
    }

    fn kill(&mut self, when: When, totals: &mut Totals) {
        let (at, bytes) = self.next();
        let mut child = self.start(&bytes);
        match when {
            When::After(time) => thread::sleep(time),
            When::Written(calls) => {
                while written(&child) < calls && child.try_wait().expect("the program").is_none() {}
            }
        }
        if child.try_wait().expect("the program").is_none() {
            // It is not waited for yet, so the number is still its own.
            kill_process(Pid::from_child(&child), self.kind.signal).expect("a child of ours");
        }
        let status = child.wait().expect("the program");
        totals.kills += 1;
        totals.replayed += u64::from(recover_file(&self.image()));
        let what = format!("{} killed {when:?}, {status}", self.kind.name);
        self.check(at, &bytes, status, &what, totals);
    }

    fn check(
        &mut self,
        at: u64,
        bytes: &[u8],
        status: ExitStatus,
        what: &str,
        totals: &mut Totals,
    ) {
        let found = oracle::e2fsck(&self.image(), FsckMode::Check).expect("e2fsck");
        assert!(found.is_clean(), "{what}: {found:?}");
        let image = Image::load(&self.image()).expect("the image");
        let found = judge::judge(&image);
        assert!(found.is_empty(), "{what}: {found:?}");
        let view = View::new(&image).expect("a filesystem");
        let ino = *view.paths().expect("paths").get("f").expect("/f");
        let node = view.inode(ino).expect("/f");
        let now =
            view.read(&node, 0, usize::try_from(node.size()).expect("a small file")).expect("/f");

        let at = usize::try_from(at).expect("a small file");
        let mut new = self.content[..at.min(self.content.len())].to_vec();
        new.extend_from_slice(bytes);
        let is_stopped = self.kind.signal == Signal::TERM && status.code() == Some(32);
        if status.success() {
            totals.too_late += 1;
            assert!(now == new, "{what}: acknowledged, and not there");
        } else if self.kind.args.contains(&"--truncate") && now.is_empty() {
            totals.part += 1;
        } else if is_stopped {
            // It stopped by itself: a part that is as good as any write.
            assert!(now.len() >= at && new.starts_with(&now), "{what}: {} bytes", now.len());
            totals.part += 1;
        } else {
            let sizes = [self.content.len(), new.len()];
            assert!(sizes.contains(&now.len()), "{what}: {} bytes of {sizes:?}", now.len());
            let both = self.content.chunks(512).zip(new.chunks(512));
            let is_mixed = both.zip(now.chunks(512)).all(|((old, new), now)| {
                now == &old[..now.len().min(old.len())] || now == &new[..now.len()]
            });
            let is_one = now == self.content || now == new;
            // Blocks of an overwrite may be of either; what a size shows is as whole as the size.
            assert!(is_one || !self.kind.appends && is_mixed, "{what}: neither old nor new");
            match (now == self.content, now == new) {
                (true, _) => totals.none += 1,
                (_, true) => totals.whole += 1,
                _ => totals.part += 1,
            }
        }
        self.content = now;
        if self.content.is_empty() {
            // The next one has something to lose again.
            self.fresh.save(&self.image()).expect("an image");
            self.content = pattern(1, 0, 0, self.kind.begin);
        }
    }
}

/// A place in a run: the nth system call of this kind meets something.
struct Place<'a> {
    calls: &'a str,
    what: &'a str,
    nth: u64,
}

impl Case {
    /// Runs the program under strace, which lets something happen at a place; how it ended, and what
    /// it said. `None` when the run has no such place.
    fn run_to(&mut self, place: &Place<'_>) -> Option<(ExitStatus, String, u64, Vec<u8>)> {
        let Place { calls, what, nth } = place;
        let log = self.folder.path().join("strace");
        let (at, bytes) = self.next();
        let mut strace = Command::new("strace");
        strace.args(["-f", "-e", &format!("trace={calls}")]);
        strace.args(["-e", &format!("inject={calls}:{what}:when={nth}"), "-o"]);
        strace.arg(&log).arg(env!("CARGO_BIN_EXE_dio-write"));
        let out = self.start_in(strace, &bytes).wait_with_output().expect("strace");
        let log = fs::read_to_string(log).expect("what strace saw");
        let said = String::from_utf8_lossy(&out.stderr).into_owned();
        let has_happened = log.contains("(INJECTED)") || log.contains("+++ killed by");
        if !has_happened {
            assert!(out.status.success(), "{said}");
            recover_file(&self.image());
            self.take_over(at, &bytes);
            return None;
        }
        Some((out.status, said, at, bytes))
    }
}

/// Every system call that changes the image.
const WRITES: &str = "pwrite64,pwritev,pwritev2,io_uring_enter,fsync,fdatasync,sync_file_range";

#[test]
fn killed_at_any_system_call_it_has_written_all_or_nothing() {
    let _alone = alone();
    let needs = [Need::Mke2fs, Need::Debugfs, Need::E2fsck, Need::Strace];
    if oracle::skip_without(&needs) {
        return;
    }
    let mut totals = Totals::default();
    for kind in KINDS.iter().filter(|it| it.signal == Signal::KILL) {
        let mut case = Case::new(kind);
        let mut nth = 1;
        let step = if is_all() { 1 } else { 4 };
        loop {
            let place = Place { calls: WRITES, what: "signal=SIGKILL", nth };
            let Some((status, _, at, bytes)) = case.run_to(&place) else { break };
            totals.kills += 1;
            totals.replayed += u64::from(recover_file(&case.image()));
            let what = format!("{} killed at call {nth}, {status}", kind.name);
            case.check(at, &bytes, status, &what, &mut totals);
            nth += step;
        }
        println!("{}: killed at each of {nth} system calls, steps of {step}", kind.name);
    }
    println!("{totals:?}, 0 violations");
}

#[test]
fn every_system_call_that_fails_is_told_and_the_image_recovers() {
    let _alone = alone();
    let needs = [Need::Mke2fs, Need::Debugfs, Need::E2fsck, Need::Strace];
    if oracle::skip_without(&needs) {
        return;
    }
    let mut totals = Totals::default();
    let step = if is_all() { 1 } else { 8 };
    for kind in KINDS.iter().filter(|it| it.signal == Signal::KILL) {
        let mut case = Case::new(kind);
        for (calls, what, expected) in [
            ("pwrite64", "error=EIO", "Input/output error"),
            ("pwrite64", "error=ENOSPC", "No space left on device"),
            ("fdatasync,fsync", "error=EIO", "Input/output error"),
            ("pread64", "error=EIO", "Input/output error"),
            // A signal that somebody handles is no failure: the call is made again.
            ("pwrite64", "error=EINTR", ""),
            ("pread64", "error=EINTR", ""),
            ("io_uring_enter", "error=EINTR", ""),
        ] {
            let mut nth = 1;
            while let Some((status, said, at, bytes)) = case.run_to(&Place { calls, what, nth }) {
                let place = format!("{}: {calls} {nth} {what}: {said}", kind.name);
                nth += step;
                if said.contains("shared libraries") {
                    // The loader's calls, before there is a program.
                    continue;
                }
                totals.kills += 1;
                // A read may be one of a look at the image that is taken again.
                let is_made_good = status.success() && (expected.is_empty() || calls == "pread64");
                let is_told = status.code() == Some(8) && said.lines().count() == 1;
                assert!(is_made_good || is_told && said.contains(expected), "{place}");
                assert!(is_made_good || !expected.is_empty(), "{place}");
                totals.replayed += u64::from(recover_file(&case.image()));
                case.check(at, &bytes, status, &place, &mut totals);
            }
        }
    }
    println!("failing system calls: {totals:?}, 0 violations");
}

fn is_all() -> bool {
    std::env::var("EXT4_FAULTS").is_ok_and(|it| it == "all")
}

/// How many system calls of a process have written; 0 when the host does not say.
fn written(child: &Child) -> u64 {
    let io = fs::read_to_string(format!("/proc/{}/io", child.id())).unwrap_or_default();
    let line = io.lines().find_map(|line| line.strip_prefix("syscw: "));
    line.and_then(|it| it.parse().ok()).unwrap_or(0)
}

/// Recovers a file as a user would, twice; the second time there must be nothing to do. Returns
/// whether there was something the first time.
fn recover_file(image: &Path) -> bool {
    let program = Path::new(env!("CARGO_BIN_EXE_dio-write")).with_file_name("fsck-orphans");
    if program.exists() {
        let run = || {
            let out = Command::new(&program).arg("-y").arg(image).output().expect("fsck-orphans");
            let text = format!("{out:?}");
            (out.status.code(), text)
        };
        let (first, text) = run();
        assert!(matches!(first, Some(0 | 1)), "{text}");
        let (second, text) = run();
        assert_eq!(second, Some(0), "{text}");
        return first == Some(1);
    }
    let run = || {
        let device = FileDevice::open(image, OpenMode::Exclusive).expect("opening");
        let device: Arc<dyn BlockDevice> = Arc::new(device);
        let options = RecoverOptions::new(Clock::fixed(Duration::from_secs(1_700_000_000)));
        let recovered = recover(device, &options).expect("recovery");
        recovered.fs.close().expect("closing");
        recovered.report.is_clean()
    };
    let was_clean = run();
    assert!(run(), "a second recovery has something to do");
    !was_clean
}

/// The image with zeros where it has poison: holes in a file.
fn sparse(image: &Image) -> Image {
    let mut bytes = image.bytes().to_vec();
    let block = poison(1024);
    for chunk in bytes.chunks_mut(1024).filter(|it| **it == block[..]) {
        chunk.fill(0);
    }
    Image::new(bytes)
}

/// Runs the program on an image until the host has no room for it; returns what it said.
fn out_of_room(command: &mut Command) -> (Option<i32>, String) {
    let out = command.output().expect("it can be started");
    assert!(out.stdout.is_empty(), "{out:?}");
    (out.status.code(), String::from_utf8_lossy(&out.stderr).into_owned())
}

/// An image whose `/f` holds generation 0 of so many bytes, saved with holes at `file`.
fn save_sparse(file: &Path, len: usize) {
    let recipe = Recipe::new("ext4-4k").write("/f", pattern(1, 0, 0, len));
    sparse(&recipe.image().expect("the tools are there")).save(file).expect("an image");
}

/// After the failure `/f` has its old bytes, and everything else is in order.
#[track_caller]
fn assert_recovers(file: &Path, len: usize) {
    recover_file(file);
    let found = oracle::e2fsck(file, FsckMode::Check).expect("e2fsck");
    assert!(found.is_clean(), "{found:?}");
    let found = judge::judge(&Image::load(file).expect("the image"));
    assert!(found.is_empty(), "{found:?}");
    let now = oracle::debugfs_cat(file, "/f").expect("/f");
    assert!(now == pattern(1, 0, 0, len), "/f has {} bytes", now.len());
}

#[test]
fn a_full_disk_of_the_host_is_an_error_and_the_image_recovers() {
    let _alone = alone();
    let needs = [Need::Mke2fs, Need::Debugfs, Need::E2fsck, Need::Kernel];
    if oracle::skip_without(&needs) {
        return;
    }
    let folder = oracle::scratch().expect("a scratch folder");
    let input = folder.path().join("input");
    fs::write(&input, pattern(1, 1, 0, 8 * MIB)).expect("the input");
    let small = folder.path().join("small");
    fs::create_dir(&small).expect("a mount point");
    let disk = SmallDisk::new(&small, "6m");
    let image = small.join("disk.img");
    // With room for none of the data, for some, and for most of it.
    for filler in [4000, 3000, 1500, 100] {
        save_sparse(&image, 10_000);
        let used = File::create(small.join("filler")).expect("a file");
        used.set_len(0).expect("empty");
        drop(used);
        let _as_much_as_fits = fs::write(small.join("filler"), vec![1; filler << 10]);
        for args in [&["--append"][..], &["--append", "--dsync"], &["--offset", "1M"]] {
            let (code, said) = out_of_room(
                Command::new(env!("CARGO_BIN_EXE_dio-write"))
                    .arg(format!("{}:/f", image.display()))
                    .arg("--input")
                    .arg(&input)
                    .args(args)
                    .stdin(Stdio::null()),
            );
            assert_eq!(code, Some(8), "{said}");
            assert!(said.contains("No space left on device"), "{said}");
            assert_eq!(said.lines().count(), 1, "{said}");
            // The image is recovered where there is room for that.
            let copy = folder.path().join("copy.img");
            fs::copy(&image, &copy).expect("a copy");
            assert_recovers(&copy, 10_000);
        }
        fs::remove_file(&image).expect("the image");
    }
    drop(disk);
}

/// A tmpfs of a few megabytes, which goes with this.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn new(at: &Path, size: &str) -> Self {
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"]).arg(at);
        assert!(mount.status().expect("mount").success());
        Self(at.to_owned())
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let done = Command::new("umount").arg(&self.0).status();
        assert!(done.is_ok_and(|it| it.success()) || thread::panicking(), "umount");
    }
}

#[test]
fn a_file_size_limit_of_the_host_is_an_error_and_the_image_recovers() {
    let _alone = alone();
    if oracle::skip_without(&[Need::Mke2fs, Need::Debugfs, Need::E2fsck]) {
        return;
    }
    let folder = oracle::scratch().expect("a scratch folder");
    let image = folder.path().join("disk.img");
    let input = folder.path().join("input");
    fs::write(&input, pattern(1, 1, 0, 8 * MIB)).expect("the input");
    // Below the log, inside it, and inside the data: in units of 512 bytes.
    for limit in [1, 100, 1000, 9000, 12_000, 16_000] {
        save_sparse(&image, 10_000);
        let (code, said) = out_of_room(
            Command::new("sh")
                .args(["-c", "ulimit -f \"$0\" && exec \"$@\"", &limit.to_string()])
                .arg(env!("CARGO_BIN_EXE_dio-write"))
                .arg(format!("{}:/f", image.display()))
                .args(["--append", "--input"])
                .arg(&input)
                .stdin(File::open("/dev/null").expect("nothing")),
        );
        assert_eq!(code, Some(8), "limit {limit}: {said}");
        assert!(said.contains("File too large"), "limit {limit}: {said}");
        assert_eq!(said.lines().count(), 1, "limit {limit}: {said}");
        assert_recovers(&image, 10_000);
    }
}
