//! Kinds of work on an image, step by step, and what the files may hold after a part of it.

use crate::world::clock;
use ext4_blockdev::{AlignedBuf, BlockDevice};
use ext4_dio::{DirectWrite, Offset, Request, Submitter, Sync};
use ext4_fs::{Delayed, Filesystem, Last, LockMode, NewFile, RecoverOptions, recover};
use ext4_testkit::{
    explore::Violation,
    image::{Image, Recipe},
    model::{Model, ModelFile, pattern},
    view::View,
};
use ext4_units::InodeNr;
use std::{collections::BTreeSet, sync::Arc};

/// An image, and what is done to it.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) name: &'static str,
    pub(crate) profile: &'static str,
    /// A debugfs request for the new image.
    pub(crate) debugfs: &'static str,
    /// How buffered writes are done.
    pub(crate) delayed: Delayed,
    /// Bytes of `/f` at the beginning.
    pub(crate) len: usize,
    /// What is done before anything can fail.
    pub(crate) before: &'static [Step],
    /// What may fail.
    pub(crate) steps: &'static [Step],
}

/// One thing to do, to `/f` unless it says otherwise.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Step {
    /// Writes so many bytes at an offset.
    Write(u64, usize, Sync),
    /// Sets the size.
    Truncate(u64),
    /// Preallocates `offset, len`; the size follows.
    Allocate(u64, u64),
    /// The same without the size.
    Keep(u64, u64),
    /// Makes `offset, len` a hole.
    Punch(u64, u64),
    /// Makes `/new`, empty.
    Create,
    /// Writes so many bytes into `/new`, from its beginning.
    WriteNew(usize, Sync),
    /// Names `/new` `/f`, which goes.
    RenameNew,
    /// Removes `/f`.
    Unlink,
    /// Writes `offset, len`s, all in flight at once, completed in any order.
    Async(&'static [(u64, usize)], Sync),
    /// Writes so many bytes at an offset into pages.
    Buffer(u64, usize),
    /// Writes the pages back.
    Writeback,
    /// Makes the file durable.
    Fsync,
    /// Makes everything so far durable, but for what is in pages only.
    Commit,
}

use Step::{
    Allocate, Async, Buffer, Commit, Create, Fsync, Keep, Punch, RenameNew, Truncate, Unlink,
    Write, WriteNew, Writeback,
};

const NONE: Sync = Sync::None;
const DATA: Sync = Sync::Data;
const FULL: Sync = Sync::Full;

const FILE: &str = "/f";
const NEW: &str = "/new";

/// A job without debugfs.
pub(crate) const fn job(
    name: &'static str,
    profile: &'static str,
    len: usize,
    before: &'static [Step],
    steps: &'static [Step],
) -> Job {
    Job { name, profile, debugfs: "", delayed: Delayed::DEFAULT, len, before, steps }
}

/// With `dioread_lock`: data is on the device before the handle that maps it.
const fn ordered(
    name: &'static str,
    profile: &'static str,
    len: usize,
    steps: &'static [Step],
) -> Job {
    let delayed = Delayed { dioread_nolock: false, ..Delayed::DEFAULT };
    Job { name, profile, debugfs: "", delayed, len, before: &[], steps }
}

/// data=journal, by the filesystem's default mount options.
const fn journaled(
    name: &'static str,
    profile: &'static str,
    len: usize,
    steps: &'static [Step],
) -> Job {
    let debugfs = "set_super_value default_mount_opts 0x2c";
    Job { name, profile, debugfs, delayed: Delayed::DEFAULT, len, before: &[], steps }
}

/// Every kind of write, and what else changes files.
pub(crate) const JOBS: &[Job] = &[
    job("overwrite", "ext4-4k", 16 << 10, &[], &[Write(4096, 8192, NONE), Commit]),
    job("overwrite, O_DSYNC", "ext4-4k", 16 << 10, &[], &[Write(4096, 8192, DATA)]),
    job("overwrite, part of a block", "ext4-1k", 5000, &[], &[Write(512, 512, FULL)]),
    job("hole", "ext4-4k", 4096, &[Truncate(65536)], &[Write(16384, 8192, NONE), Commit]),
    job("hole, part of a block", "ext4-4k", 4096, &[Truncate(65536)], &[Write(33280, 1024, DATA)]),
    job(
        "unwritten",
        "ext4-4k",
        0,
        &[Allocate(0, 65536)],
        &[Write(16384, 8192, DATA), Write(0, 65536, FULL)],
    ),
    job(
        "unwritten, part of a block",
        "ext4-1k",
        0,
        &[Allocate(0, 20480)],
        &[Write(512, 512, DATA)],
    ),
    job("append", "ext4-4k", 8192, &[], &[Write(8192, 65536, NONE), Commit]),
    job("append, O_SYNC", "ext4-1k", 8192, &[], &[Write(8192, 20480, FULL)]),
    job("append, part of a block", "ext4-4k", 1000, &[], &[Write(1024, 4608, DATA)]),
    job(
        "appends",
        "ext4-1k",
        3000,
        &[],
        &[Write(3072, 4096, NONE), Write(7168, 4096, DATA), Write(11264, 4096, NONE)],
    ),
    job("across the end", "ext4-4k", 4096, &[], &[Write(0, 8192, DATA)]),
    job("across the end of a hole", "ext4-4k", 0, &[Truncate(8192)], &[Write(0, 16384, DATA)]),
    job("beyond the end", "ext4-4k", 5000, &[], &[Write(40960, 8192, DATA)]),
    job("first bytes", "ext4-4k", 0, &[], &[Write(0, 100_352, NONE), Commit]),
    job(
        "into blocks kept behind the end",
        "ext4-4k",
        4096,
        &[Keep(0, 65536)],
        &[Write(4096, 8192, DATA), Write(12288, 8192, NONE)],
    ),
    job(
        "extents until a node is needed",
        "ext4-1k",
        0,
        &[Truncate(131_072)],
        &[
            Write(2048, 1024, NONE),
            Write(6144, 1024, NONE),
            Write(10240, 1024, DATA),
            Write(14336, 1024, NONE),
            Write(18432, 1024, FULL),
            Write(22528, 1024, NONE),
        ],
    ),
    job("append, block map", "ext3-1k", 8192, &[], &[Write(8192, 16384, DATA)]),
    job("hole, block map", "ext3-4k", 4096, &[Truncate(40960)], &[Write(8192, 8192, NONE), Fsync]),
    job("append, no checksums", "ext4-nocsum", 8192, &[], &[Write(8192, 16384, DATA)]),
    job("append, orphan file", "orphan-4k", 8192, &[], &[Write(8192, 16384, DATA)]),
    job("append, bigalloc", "bigalloc-4k", 8192, &[], &[Write(8192, 40960, DATA)]),
    job(
        "hole, bigalloc",
        "bigalloc-4k",
        4096,
        &[Truncate(131_072)],
        &[Write(69632, 8192, DATA), Write(65536, 4096, NONE)],
    ),
    job("append, fast_commit", "fc-4k", 8192, &[], &[Write(8192, 16384, DATA)]),
    job("append, MMP", "mmp-4k", 8192, &[], &[Write(8192, 16384, DATA)]),
    job(
        "appends, small journal",
        "journal-1m",
        8192,
        &[],
        &[Write(8192, 65536, DATA), Write(73728, 65536, DATA), Truncate(4096), Commit],
    ),
    job("inline", "inline-4k", 40, &[], &[Write(0, 60, FULL), Write(60, 30, NONE), Fsync]),
    job("out of the inode", "inline-4k", 40, &[], &[Write(40, 5000, DATA)]),
    journaled("overwrite, data=journal", "ext4-4k", 16384, &[Write(4096, 8192, DATA)]),
    journaled(
        "append, data=journal",
        "ext4-1k",
        8192,
        &[Write(8192, 16384, NONE), Fsync, Truncate(5000)],
    ),
    job("truncate", "ext4-4k", 100_000, &[], &[Truncate(20_000), Commit, Truncate(0)]),
    job(
        "truncate inside a block",
        "ext4-4k",
        20_000,
        &[],
        &[Truncate(6000), Truncate(9000), Commit],
    ),
    job("truncate and write", "ext4-1k", 40_000, &[], &[Truncate(0), Write(0, 10240, DATA)]),
    job(
        "truncate, block map",
        "ext3-1k",
        400_000,
        &[],
        &[Truncate(300_000), Truncate(5000), Commit],
    ),
    job("truncate, bigalloc", "bigalloc-4k", 100_000, &[], &[Truncate(20_000), Commit]),
    job("truncate, orphan file", "orphan-1k", 100_000, &[], &[Truncate(2000), Commit]),
    job(
        "preallocate",
        "ext4-4k",
        5000,
        &[],
        &[Allocate(0, 100_000), Keep(90_000, 100_000), Commit],
    ),
    job(
        "punch",
        "ext4-1k",
        40_000,
        &[],
        &[Punch(10_240, 10_240), Commit, Punch(1000, 3000), Commit],
    ),
    job("punch, bigalloc", "bigalloc-4k", 100_000, &[], &[Punch(5000, 60_000), Commit]),
    job("create and write", "ext4-4k", 0, &[], &[Create, WriteNew(8192, DATA)]),
    job(
        "create, write, rename",
        "ext4-1k",
        5000,
        &[],
        &[Create, WriteNew(9216, FULL), RenameNew, Commit],
    ),
    job("unlink", "ext4-1k", 100_000, &[], &[Unlink, Commit]),
    job("unlink, orphan file", "orphan-4k", 100_000, &[], &[Unlink, Commit]),
    job("unlink, block map", "ext3-1k", 400_000, &[], &[Unlink, Create, WriteNew(4096, DATA)]),
    job(
        "many at once",
        "ext4-4k",
        65536,
        &[Truncate(262_144), Allocate(131_072, 65536)],
        &[
            Async(&[(4096, 4096), (69632, 8192), (135_168, 4096), (20480, 4096)], NONE),
            Async(&[(8192, 4096), (77824, 4096), (143_360, 4096), (139_264, 4096)], DATA),
            Commit,
        ],
    ),
    job(
        "many at once, extending",
        "ext4-1k",
        5000,
        &[],
        &[Async(&[(5120, 4096), (1024, 1024), (9216, 2048), (512, 512)], FULL), Commit],
    ),
    job(
        "many at once, block map",
        "ext3-1k",
        65536,
        &[],
        &[Async(&[(4096, 4096), (16384, 8192), (65536, 4096), (1024, 1024)], DATA)],
    ),
    job("buffered", "ext4-4k", 5000, &[], &[Buffer(3000, 60_000), Fsync, Buffer(0, 100), Fsync]),
    job(
        "buffered into holes",
        "ext4-1k",
        3000,
        &[Truncate(131_072)],
        &[Buffer(10_000, 5000), Buffer(40_000, 2000), Buffer(60_000, 100), Fsync],
    ),
    job("buffered, never synced", "ext4-4k", 5000, &[], &[Buffer(5000, 60_000), Commit]),
    job(
        "buffered, then direct",
        "ext4-4k",
        8192,
        &[],
        &[Buffer(8192, 20_000), Write(4096, 8192, DATA), Write(28672, 4096, DATA), Fsync],
    ),
    job("Kara", "ext4-4k", 0, &[], &[Buffer(0, 16384), Write(4096, 4096, DATA), Writeback, Fsync]),
    job(
        "buffered and truncate",
        "ext4-1k",
        9000,
        &[],
        &[Buffer(9000, 30_000), Truncate(20_000), Writeback, Buffer(20_000, 5000), Fsync],
    ),
    job(
        "buffered and punch",
        "ext4-1k",
        9000,
        &[],
        &[Buffer(9000, 30_000), Punch(8000, 9000), Fsync],
    ),
    ordered("buffered, ordered", "ext4-4k", 5000, &[Buffer(3000, 60_000), Writeback, Fsync]),
    job("buffered, block map", "ext3-1k", 5000, &[], &[Buffer(3000, 30_000), Fsync]),
    job("buffered, bigalloc", "bigalloc-4k", 5000, &[], &[Buffer(3000, 60_000), Writeback, Fsync]),
    job(
        "buffered, inline",
        "inline-4k",
        40,
        &[],
        &[Buffer(40, 40), Fsync, Buffer(50, 5000), Fsync],
    ),
    journaled("buffered, data=journal", "ext4-1k", 5000, &[Buffer(3000, 20_000), Fsync]),
    job("append, no journal", "nojournal-4k", 8192, &[], &[Write(8192, 16384, DATA)]),
    job("append, ext2", "ext2-1k", 8192, &[], &[Write(8192, 16384, DATA), Truncate(3000)]),
];

/// A step that failed: the errno of section 8 of the kernel's error tables, and the words.
#[derive(Debug)]
pub(crate) struct Failed {
    pub(crate) errno: i32,
    /// It is about the file's data, not its metadata.
    pub(crate) is_data: bool,
    pub(crate) text: String,
}

impl From<ext4_fs::Error> for Failed {
    fn from(err: ext4_fs::Error) -> Self {
        Self { errno: err.errno(), is_data: false, text: err.to_string() }
    }
}

impl From<ext4_dio::Error> for Failed {
    fn from(err: ext4_dio::Error) -> Self {
        let is_data = matches!(err, ext4_dio::Error::Data { .. });
        Self { errno: err.errno(), is_data, text: err.to_string() }
    }
}

impl Job {
    /// The image at the beginning; `None` when a tool is missing.
    pub(crate) fn image(&self) -> Option<Image> {
        let mut recipe = Recipe::new(self.profile).write(FILE, pattern(id(FILE), 0, 0, self.len));
        if !self.debugfs.is_empty() {
            recipe = recipe.debugfs(self.debugfs);
        }
        let device = recipe.image()?.device();
        let fs = self.open(device.clone()).expect("a new image");
        for (nr, step) in self.before.iter().enumerate() {
            do_step(&fs, step, nr).expect("nothing fails yet");
        }
        fs.close().expect("closing");
        Some(Image::new(device.contents()))
    }

    /// Opens a device of the image as this job wants it.
    pub(crate) fn open(&self, device: Arc<dyn BlockDevice>) -> ext4_fs::Result<Filesystem> {
        let options = RecoverOptions { delayed: self.delayed, ..RecoverOptions::new(clock()) };
        recover(device, &options).map(|it| it.fs)
    }

    /// The files after each step: version 0 is the beginning.
    pub(crate) fn versions(&self) -> Vec<Model> {
        let mut model = Model::new();
        model.create(FILE).write(0, &pattern(id(FILE), 0, 0, self.len));
        for (nr, step) in self.before.iter().enumerate() {
            apply(&mut model, step, nr);
        }
        let mut versions = vec![model];
        for (i, step) in self.steps.iter().enumerate() {
            let mut model = versions[i].clone();
            apply(&mut model, step, self.generation(i));
            versions.push(model);
        }
        versions
    }

    fn generation(&self, step: usize) -> usize {
        self.before.len() + step
    }

    /// Does step `i`; whether everything up to it is durable now.
    pub(crate) fn step(&self, fs: &Filesystem, i: usize) -> Result<bool, Failed> {
        do_step(fs, &self.steps[i], self.generation(i))?;
        Ok(match self.steps[i] {
            Write(_, _, sync) | WriteNew(_, sync) | Async(_, sync) => {
                sync != NONE && !self.has_dirty(i + 1)
            }
            Fsync => true,
            Commit => !self.has_dirty(i + 1),
            _ => false,
        })
    }

    /// Whether something may be in pages only after the first `n` steps.
    pub(crate) fn has_dirty(&self, n: usize) -> bool {
        let in_pages = |it: &&Step| self.goes_through_pages(it) || matches!(it, Fsync);
        let last = self.steps[..n].iter().rev().find(in_pages);
        last.is_some_and(|it| !matches!(it, Fsync))
    }

    /// Whether a step may leave its data in pages, and a failure to write them back to whoever asks
    /// next. A direct write does, as the kernel's, where it has to go the buffered way.
    pub(crate) fn goes_through_pages(&self, step: &Step) -> bool {
        let has_direct_only = ext4_testkit::image::profile(self.profile).extents
            && self.debugfs.is_empty()
            && !self.profile.starts_with("inline");
        match step {
            Buffer(..) => true,
            Write(_, _, NONE) => !has_direct_only,
            _ => false,
        }
    }

    /// Does step `i` again, after an attempt that failed half-way. A name that is gone was taken away
    /// by the first.
    pub(crate) fn step_again(&self, fs: &Filesystem, i: usize) -> Result<bool, Failed> {
        const ENOENT: i32 = 2;
        match self.step(fs, i) {
            Err(Failed { errno: ENOENT, .. }) if matches!(self.steps[i], Unlink | RenameNew) => {
                Ok(false)
            }
            res => res,
        }
    }

    /// One more write, of what would have to be durable.
    pub(crate) fn later(fs: &Filesystem) -> Result<(), Failed> {
        let name: &[u8] = b"later";
        let ino = fs.create(InodeNr::ROOT, name, &NewFile::of_root(0o644))?;
        write(fs, ino, 0, &bytes(FILE, 0, 0, 4096), DATA)
    }

    /// Whether the image has a log.
    pub(crate) fn has_journal(&self) -> bool {
        ext4_testkit::image::profile(self.profile).journal
    }
}

/// The id of a file in patterns.
fn id(path: &str) -> u32 {
    if path == FILE { 0xF } else { 0x2 }
}

fn bytes(path: &str, generation: usize, at: u64, len: usize) -> Vec<u8> {
    pattern(id(path), u32::try_from(generation + 1).unwrap(), at, len)
}

fn do_step(fs: &Filesystem, step: &Step, generation: usize) -> Result<(), Failed> {
    let find =
        |path: &str| Ok::<_, Failed>(fs.resolve(fs.meta(), path.as_bytes(), Last::Stay)?.ino);
    match *step {
        Write(at, len, sync) => {
            write(fs, find(FILE)?, at, &bytes(FILE, generation, at, len), sync)?;
        }
        WriteNew(len, sync) => write(fs, find(NEW)?, 0, &bytes(NEW, generation, 0, len), sync)?,
        Truncate(size) => fs.truncate(find(FILE)?, size)?,
        Allocate(at, len) => fs.fallocate(find(FILE)?, at, len, false)?,
        Keep(at, len) => fs.fallocate(find(FILE)?, at, len, true)?,
        Punch(at, len) => fs.punch_hole(find(FILE)?, at, len)?,
        Create => {
            fs.create(InodeNr::ROOT, b"new", &NewFile::of_root(0o644))?;
        }
        RenameNew => {
            fs.rename(InodeNr::ROOT, b"new", InodeNr::ROOT, b"f", ext4_fs::Replace::Yes)?;
        }
        Unlink => fs.unlink(InodeNr::ROOT, b"f")?,
        Async(writes, sync) => {
            let ino = find(FILE)?;
            let mut submitter = Submitter::new(fs, 4);
            for (tag, &(at, len)) in writes.iter().enumerate() {
                let mut buf = AlignedBuf::zeroed(len);
                buf.copy_from_slice(&bytes(FILE, generation, at, len));
                let mut request = Request::new(Offset::At(at), None);
                request.sync = sync;
                submitter.submit(ino, request, buf, tag as u64);
            }
            let done: Vec<_> = std::iter::from_fn(|| submitter.wait()).collect();
            assert_eq!(done.len(), writes.len(), "each comes back once");
            for it in done {
                it.result?;
            }
        }
        Buffer(at, len) => {
            let guard = fs.incore(find(FILE)?).lock(LockMode::Exclusive);
            let bytes = bytes(FILE, generation, at, len);
            let mut done = 0;
            // After a short count a program writes the rest, or gets the error.
            while done < len {
                done += fs.buffered_write(&guard, at + done as u64, &bytes[done..])?;
            }
        }
        Writeback => ext4_fs::Writeback::new(fs, find(FILE)?, 0..u64::MAX).run()?,
        Fsync => fs.fsync(find(FILE)?, false)?,
        Commit => fs.commit()?,
    }
    Ok(())
}

/// Writes all of it, as a program does: after a short count the rest, or the error it gets.
fn write(fs: &Filesystem, ino: InodeNr, at: u64, bytes: &[u8], sync: Sync) -> Result<(), Failed> {
    let mut done = 0;
    while done < bytes.len() {
        let mut source = &bytes[done..];
        let mut request = Request::new(Offset::At(at + done as u64), Some(source.len() as u64));
        request.sync = sync;
        request.chunk = 16 << 10;
        request.is_strict = false;
        let written = DirectWrite::new(fs, ino, request, &mut source).run()?.written;
        assert!(written > 0, "nothing written, and no error");
        done += usize::try_from(written).unwrap();
    }
    Ok(())
}

fn apply(model: &mut Model, step: &Step, generation: usize) {
    let file = |path: &str| model.file(path).cloned().unwrap_or_default();
    let (path, mut new) = match step {
        Create | WriteNew(..) => (NEW, file(NEW)),
        _ => (FILE, file(FILE)),
    };
    match *step {
        Write(at, len, _) | Buffer(at, len) => new.write(at, &bytes(path, generation, at, len)),
        WriteNew(len, _) => new.write(0, &bytes(path, generation, 0, len)),
        Truncate(size) => new.truncate(size),
        Allocate(at, len) => new.allocate(at, len, false),
        Punch(at, len) => new.zero(at, len),
        Create => {}
        RenameNew => {
            new = file(NEW);
            model.unlink(NEW);
        }
        Unlink => {
            model.unlink(FILE);
            return;
        }
        Async(writes, _) => {
            for &(at, len) in writes {
                new.write(at, &bytes(path, generation, at, len));
            }
        }
        Keep(..) | Commit | Writeback | Fsync => return,
    }
    *model.create(path) = new;
}

/// What is wrong with the files on a recovered device when everything up to version `acked` was
/// durable, and what makes version `begun` may have been done in part.
///
/// Each file is there as in one of the versions, has a size of one of them (or one between two that
/// a step takes in several handles), and each of its sectors is that of one of them.
pub(crate) fn contents(
    device: &dyn BlockDevice,
    job: &Job,
    versions: &[Model],
    acked: usize,
    begun: usize,
) -> Vec<Violation> {
    let view = match View::new(device) {
        Ok(view) => view,
        Err(err) => return vec![Violation::new("view", format!("{err:#}"))],
    };
    let possible = &versions[acked..=begun];
    let paths: BTreeSet<&str> = versions.iter().flat_map(Model::files).map(|it| it.0).collect();
    let mut found = Vec::new();
    for path in paths {
        found.extend(content(&view, path, job, possible, acked));
    }
    found
}

fn content(
    view: &View<'_>,
    path: &str,
    job: &Job,
    possible: &[Model],
    acked: usize,
) -> Option<Violation> {
    let read = || -> anyhow::Result<Option<(u64, Vec<u8>)>> {
        let Some(ino) = view.paths()?.get(&path[1..]).copied() else { return Ok(None) };
        let node = view.inode(ino)?;
        Ok(Some((node.size(), view.read(&node, 0, usize::try_from(node.size())?)?)))
    };
    let now = match read() {
        Ok(now) => now,
        Err(err) => return Some(Violation::new("unreadable", format!("{path}: {err:#}"))),
    };
    let files: Vec<_> = possible.iter().filter_map(|it| it.file(path)).collect();
    let Some((size, bytes)) = now else {
        let may_be_away = possible.iter().any(|it| it.file(path).is_none());
        return (!may_be_away).then(|| Violation::new("lost", path));
    };
    if files.is_empty() {
        return Some(Violation::new("not removed", path));
    }
    // Some steps take several handles, and the size follows each.
    let between = possible.windows(2).zip(&job.steps[acked..]).any(|(pair, step)| {
        let goes_in_steps = matches!(step, Allocate(..) | Async(..) | Buffer(..))
            || matches!(step, Write(..)) && (!job.debugfs.is_empty() || job.profile == "inline-4k");
        let sizes = pair.iter().filter_map(|it| it.file(path)).map(ModelFile::size);
        let (low, high) = (sizes.clone().min(), sizes.max());
        goes_in_steps && low.is_some_and(|low| low <= size) && high.is_some_and(|it| size <= it)
    });
    if !between && !files.iter().any(|it| it.size() == size) {
        let sizes: Vec<u64> = files.iter().map(|it| it.size()).collect();
        return Some(Violation::new("size", format!("{path}: {size}, expected one of {sizes:?}")));
    }
    for (i, sector) in bytes.chunks(512).enumerate() {
        let at = i as u64 * 512;
        // A version that ends before this sector does says nothing of it.
        let says = |it: &&&_| ModelFile::size(it) >= at + sector.len() as u64;
        // A size can go beyond pages that nobody has written back, or another write at the same time
        // that failed: a hole.
        let reaches = |&(from, len): &(u64, usize)| at < from + len as u64 && from < at + 512;
        let may_be_hole = |step: &Step| match *step {
            Buffer(from, len) | Write(from, len, NONE) if job.goes_through_pages(step) => {
                reaches(&(from, len))
            }
            Async(writes, _) => writes.iter().any(reaches),
            _ => false,
        };
        let unsynced = &job.steps[acked.min(job.steps.len())..];
        let is_padded = |it: &&ModelFile| {
            let mut old = it.read(at, sector.len());
            old.resize(sector.len(), 0);
            old == sector
        };
        if unsynced.iter().take(possible.len() - 1).any(may_be_hole)
            && (sector.iter().all(|byte| *byte == 0)
                || files.iter().copied().any(|it| is_padded(&it)))
        {
            continue;
        }
        if !files.iter().filter(says).any(|it| it.read(at, sector.len()) == sector) {
            let what =
                format!("{path}: sector {i} of {size} bytes is of no version from {acked} on");
            return Some(Violation::new("content", what));
        }
    }
    None
}
