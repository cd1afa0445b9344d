//! An image with our filesystem on it, and what is done there.

use super::{
    ID, Op, PATH, Write,
    face::Face,
    kernel::{self, Results},
};
use ext4_blockdev::{BlockDevice, Overlay};
use ext4_dio::{Caller, DirectWrite, Error, Offset, Outcome, Request, Step};
use ext4_fs::{Clock, Filesystem, RecoverOptions, Report, recover};

use ext4_testkit::{
    image::{self, Image, Recipe},
    judge,
    model::{ModelFile, pattern},
    oracle::{self, Need},
};
use ext4_units::InodeNr;
use std::{
    io::Read,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

pub(super) type Device = Arc<dyn BlockDevice>;

/// Another time than that of the files' making, and another each time it is asked.
fn clock() -> Clock {
    let asked = AtomicU64::new(0);
    Clock::new(move || {
        let ticks = asked.fetch_add(1, Ordering::Relaxed);
        Duration::from_secs(1_800_000_001) + Duration::from_millis(4 * ticks)
    })
}

fn open_at(device: &Device) -> (Filesystem, Report) {
    let recovered = recover(Arc::clone(device), &RecoverOptions::new(clock())).expect("recovery");
    (recovered.fs, recovered.report)
}

/// Recovers in place, and closes.
pub(super) fn recover_at(device: &Device) -> ext4_fs::Result<()> {
    recover(Arc::clone(device), &RecoverOptions::new(clock()))?.fs.close()
}

/// An image of a profile with `/f` of so many bytes, of generation 0.
pub(super) fn file(profile: &str, len: usize) -> Recipe {
    Recipe::new(profile).write(PATH, pattern(ID, 0, 0, len))
}

/// An open filesystem with `/f`.
pub(super) struct Stage {
    pub(super) device: Device,
    pub(super) fs: Filesystem,
    pub(super) ino: InodeNr,
}

impl Stage {
    pub(super) fn new(image: &Image) -> Self {
        Self::on(image.overlay())
    }

    pub(super) fn on(device: Device) -> Self {
        let (fs, _) = open_at(&device);
        let ino = fs.resolve(fs.meta(), PATH.as_bytes(), ext4_fs::Last::Stay).expect("/f").ino;
        Self { device, fs, ino }
    }

    pub(super) fn size(&self) -> u64 {
        self.fs.inode(self.fs.meta(), self.ino).expect("/f").i_size
    }

    /// The request for a write, and its bytes.
    pub(super) fn request(&self, write: &Write) -> (Request, Vec<u8>) {
        let offset = write.at.map_or(Offset::Append, Offset::At);
        let mut request = Request::new(offset, Some(write.len as u64));
        request.nowait = write.nowait;
        request.sync = write.sync;
        request.caller =
            Caller { has_fsetid: write.fsetid, file_size_limit: write.limit, ..Caller::default() };
        let at = write.at.unwrap_or_else(|| self.size());
        (request, pattern(ID, write.generation, at, write.len))
    }

    /// Writes.
    pub(super) fn write(&self, write: Write) -> Result<Outcome, Error> {
        let (request, bytes) = self.request(&write);
        DirectWrite::new(&self.fs, self.ino, request, &mut &bytes[..]).run()
    }

    fn one(&self, op: &Op) -> Result<u64, i32> {
        let done = |res: ext4_fs::Result<()>| res.map(|()| 0).map_err(|err| err.errno());
        match *op {
            Op::Write(write) => self.write(write).map(|it| it.written).map_err(|it| it.errno()),
            Op::Truncate(size) => done(self.fs.truncate(self.ino, size)),
            Op::Allocate(at, len) => done(self.fs.fallocate(self.ino, at, len, false)),
            Op::Keep(at, len) => done(self.fs.fallocate(self.ino, at, len, true)),
            Op::Punch(at, len) => done(self.fs.punch_hole(self.ino, at, len)),
        }
    }

    /// Goes through a write until a step is like that, and leaves it there.
    pub(super) fn write_until(&self, write: Write, until: impl FnMut(&Step) -> bool) {
        let (request, bytes) = self.request(&write);
        self.pull_until(request, &mut &bytes[..], until);
    }

    pub(super) fn pull_until(
        &self,
        request: Request,
        source: &mut dyn Read,
        mut until: impl FnMut(&Step) -> bool,
    ) {
        let mut it = DirectWrite::new(&self.fs, self.ino, request, source);
        loop {
            let step = it.step().expect("a step");
            if until(&step) {
                return;
            }
            assert!(!matches!(step, Step::Done(_)), "it came to its end before");
        }
    }

    /// The power fails after a commit of all that was done.
    pub(super) fn crash_committed(self) -> Crashed {
        self.fs.commit().expect("commit");
        self.crash()
    }

    /// The power fails; the device had taken what was sent to it.
    pub(super) fn crash(self) -> Crashed {
        drop(self.fs);
        Crashed { device: self.device }
    }

    /// Closes, and has everybody look at the image.
    pub(super) fn close(self) -> Face {
        self.fs.close().expect("close");
        assert_sound(&*self.device);
        Face::of(&*self.device).expect("/f")
    }
}

/// Nothing is wrong with a closed image: e2fsck and the second reader say so.
#[track_caller]
pub(super) fn assert_sound(device: &dyn BlockDevice) {
    let found = judge::judge(device);
    assert!(found.is_empty(), "{found:?}");
    if !oracle::skip_without(&[Need::E2fsck]) {
        image::assert_clean(device).expect("e2fsck");
    }
}

/// An image as a crash left it.
pub(super) struct Crashed {
    pub(super) device: Device,
}

impl Crashed {
    /// As it is, without recovery.
    pub(super) fn raw(&self) -> Device {
        Arc::new(Overlay::new(Arc::clone(&self.device)))
    }

    /// After a replay by e2fsprogs, before any orphan is looked at.
    pub(super) fn replayed(&self) -> Option<Image> {
        if oracle::skip_without(&[Need::Debugfs]) {
            return None;
        }
        let scratch = oracle::scratch().unwrap();
        let file = scratch.path().join("image");
        oracle::save(&*self.device, &file).unwrap();
        oracle::debugfs_write(&file, "journal_run\n").unwrap();
        Some(Image::load(&file).unwrap())
    }

    /// Recovers, by us and by the kernel, which must agree; doing it again must change nothing.
    #[track_caller]
    pub(super) fn recover(&self) -> Face {
        self.recover_with_report().0
    }

    #[track_caller]
    pub(super) fn recover_with_report(&self) -> (Face, Report) {
        let (device, report) = self.recovered();
        let face = Face::of(&*device).expect("/f");
        if kernel::is_here() {
            let image = kernel::recover(&*self.device).expect("the kernel recovers");
            let by_kernel = Face::of(&image).expect("/f");
            assert_eq!(face, by_kernel, "we recover to the left one, the kernel to the right one");
        }
        (face, report)
    }

    /// Recovered by us alone: sound, and done with.
    #[track_caller]
    pub(super) fn recovered(&self) -> (Device, Report) {
        let device = Arc::new(Overlay::new(Arc::clone(&self.device)));
        let (fs, report) = open_at(&(device.clone() as Device));
        fs.close().expect("close");
        assert_sound(&*device);
        let again = Arc::new(device.fork());
        let (fs, second) = open_at(&(Arc::new(Overlay::new(again.clone())) as Device));
        assert!(second.is_clean(), "a second recovery: {second:?}");
        drop(fs);
        (device, report)
    }
}

/// What came of a script, ours; the kernel's was the same where it could be asked.
#[derive(Debug)]
pub(super) struct Ran {
    pub(super) results: Results,
    pub(super) face: Face,
}

/// Does the same twice: by us, and by the kernel. Judges our image, compares both, and compares the
/// contents with a model.
#[track_caller]
pub(super) fn both(recipe: &Recipe, ops: &[Op]) -> Option<Ran> {
    compared(recipe, "", ops, Face::clone)
}

/// As [`both_merged`], the kernel's mount with options.
#[track_caller]
pub(super) fn both_mounted(recipe: &Recipe, opts: &str, ops: &[Op]) -> Option<Ran> {
    compared(recipe, opts, ops, Face::merged)
}

/// As [`both`], but extents that go on in the file are one, wherever they lie.
#[track_caller]
pub(super) fn both_merged(recipe: &Recipe, ops: &[Op]) -> Option<Ran> {
    compared(recipe, "", ops, Face::merged)
}

/// As [`both`], but only as many blocks.
#[track_caller]
pub(super) fn both_but_shape(recipe: &Recipe, ops: &[Op]) -> Option<Ran> {
    compared(recipe, "", ops, |face| Face { shape: String::new(), ..face.clone() })
}

#[track_caller]
fn compared(recipe: &Recipe, opts: &str, ops: &[Op], view: fn(&Face) -> Face) -> Option<Ran> {
    let image = recipe.image()?;
    let ran = ours(&image, ops);
    if kernel::is_here() {
        let (results, face) = kernel::run(&image, opts, ops).expect("the kernel's part");
        assert_eq!(ran.results, results, "our results and the kernel's");
        assert_eq!(view(&ran.face), view(&face), "our file and the kernel's");
    }
    Some(ran)
}

/// Does it by us alone.
#[track_caller]
pub(super) fn ours(image: &Image, ops: &[Op]) -> Ran {
    let stage = Stage::new(image);
    let before = Face::of(image).expect("/f");
    let mut model = ModelFile::new();
    for (at, bytes) in &before.content {
        model.write(*at, bytes);
    }
    model.truncate(before.size);
    let results = ops.iter().map(|op| run_on(&stage, op, &mut model)).collect();
    let face = stage.close();
    face.assert_is(&model);
    Ran { results, face }
}

/// Does one thing, and tells the model what came of it.
pub(super) fn run_on(stage: &Stage, op: &Op, model: &mut ModelFile) -> Result<u64, i32> {
    let size = stage.size();
    let res = stage.one(op);
    match (*op, res) {
        (Op::Write(write), Ok(n)) => {
            let at = write.at.unwrap_or(size);
            model.write(at, &pattern(ID, write.generation, at, usize::try_from(n).unwrap()));
        }
        (Op::Truncate(size), Ok(_)) => model.truncate(size),
        (Op::Allocate(at, len), Ok(_)) => model.allocate(at, len, false),
        (Op::Punch(at, len), Ok(_)) => model.zero(at, len),
        _ => {}
    }
    res
}

impl Ran {
    /// Results, size and shape are these.
    #[track_caller]
    pub(super) fn expect(&self, results: &[Result<u64, i32>], size: u64, shape: &str) -> &Self {
        assert_eq!(self.results, results);
        assert_eq!((self.face.size, &*self.face.shape), (size, shape), "{:?}", self.face);
        self
    }
}
