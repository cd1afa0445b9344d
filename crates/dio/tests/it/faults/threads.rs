//! Four threads write at once when the device fails: each is told, and what each was told to be
//! durable is there.

use super::{EIO, EROFS, again, is_all};
use crate::jobs::Failed;
use ext4_blockdev::{Fault, FaultDevice, Op};
use ext4_dio::{DirectWrite, Offset, Request, Sync};
use ext4_fs::{Filesystem, Last, LockMode, RecoverOptions, recover};
use ext4_testkit::{
    image::{Image, Recipe},
    judge,
    model::{ModelFile, pattern},
    oracle::{self, FsckMode, Need},
    recovery::Device,
    view::View,
};
use ext4_units::InodeNr;
use std::{sync::Arc, thread};

/// Rounds of each thread.
const ROUNDS: usize = 3;
const LEN: usize = 8192;

/// What a thread does, each to a file of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Work {
    Overwrite,
    Fill,
    Append,
    Buffer,
}

const ALL: [(Work, &str); 4] =
    [(Work::Overwrite, "/a"), (Work::Fill, "/b"), (Work::Append, "/c"), (Work::Buffer, "/d")];

impl Work {
    fn place(self, round: usize) -> u64 {
        match self {
            Self::Overwrite => 0,
            Self::Fill | Self::Append | Self::Buffer => (round * LEN) as u64,
        }
    }

    fn begin(self) -> ModelFile {
        let mut file = ModelFile::new();
        match self {
            Self::Overwrite => file.write(0, &pattern(1, 0, 0, LEN)),
            Self::Fill => file.truncate((ROUNDS * LEN) as u64),
            Self::Append | Self::Buffer => {}
        }
        file
    }

    fn bytes(self, round: usize) -> Vec<u8> {
        pattern(1, u32::try_from(round + 1).unwrap(), self.place(round), LEN)
    }

    /// The file after so many rounds.
    fn after(self, rounds: usize) -> ModelFile {
        let mut file = self.begin();
        (0..rounds).for_each(|it| file.write(self.place(it), &self.bytes(it)));
        file
    }

    fn round(self, fs: &Filesystem, ino: InodeNr, round: usize) -> Result<(), Failed> {
        let (at, bytes) = (self.place(round), self.bytes(round));
        if self == Self::Buffer {
            let guard = fs.incore(ino).lock(LockMode::Exclusive);
            let n = fs.buffered_write(&guard, at, &bytes)?;
            assert_eq!(n, LEN, "there is room");
            drop(guard);
            return Ok(fs.fsync(ino, false)?);
        }
        let mut request = Request::new(Offset::At(at), Some(LEN as u64));
        request.sync = Sync::Data;
        DirectWrite::new(fs, ino, request, &mut &bytes[..]).run()?;
        Ok(())
    }
}

fn begin() -> Option<Image> {
    let mut recipe = Recipe::new("ext4-4k");
    for (work, path) in ALL {
        let file = work.begin();
        let bytes = if work == Work::Overwrite { file.read(0, LEN) } else { Vec::new() };
        recipe = recipe.write(path, bytes);
    }
    let device = recipe.image()?.device();
    let fs = open(device.clone()).expect("a new image");
    for (work, path) in ALL {
        fs.truncate(find(&fs, path), work.begin().size()).expect("truncate");
    }
    fs.close().expect("closing");
    Some(Image::new(device.contents()))
}

fn open(device: Device) -> ext4_fs::Result<Filesystem> {
    recover(device, &RecoverOptions::new(crate::world::clock())).map(|it| it.fs)
}

fn find(fs: &Filesystem, path: &str) -> InodeNr {
    fs.resolve(fs.meta(), path.as_bytes(), Last::Stay).expect("a file").ino
}

/// Runs all threads; how many rounds each was told to be durable, and whether anything failed.
fn run(device: Device) -> ([usize; 4], bool) {
    let fs = open(device).expect("the fault comes later");
    let inodes = ALL.map(|(_, path)| find(&fs, path));
    let acked = thread::scope(|scope| {
        let fs = &fs;
        let threads = [0, 1, 2, 3].map(|nr| {
            scope.spawn(move || {
                for round in 0..ROUNDS {
                    if let Err(failed) = ALL[nr].0.round(fs, inodes[nr], round) {
                        let is_told = [EIO, EROFS].contains(&failed.errno);
                        assert!(is_told, "errno {}: {}", failed.errno, failed.text);
                        return round;
                    }
                }
                ROUNDS
            })
        });
        threads.map(|it| it.join().expect("no panic"))
    });
    let is_closed = fs.close().is_ok();
    (acked, !is_closed || acked != [ROUNDS; 4])
}

/// Each file is what it was after the acknowledged rounds, or has some of the next.
fn check(device: &Device, acked: [usize; 4], what: &str) {
    let found = judge::judge(&**device);
    assert!(found.is_empty(), "{what}: {found:?}");
    let view = View::new(&**device).expect("a filesystem");
    let paths = view.paths().expect("paths");
    for ((work, path), acked) in ALL.into_iter().zip(acked) {
        let node = view.inode(paths[&path[1..]]).expect("a file");
        let now = view.read(&node, 0, usize::try_from(node.size()).unwrap()).expect("its bytes");
        let (old, new) = (work.after(acked), work.after((acked + 1).min(ROUNDS)));
        let sizes = old.size()..=new.size();
        assert!(sizes.contains(&node.size()), "{what}: {path} has {} of {sizes:?}", node.size());
        for (i, sector) in now.chunks(512).enumerate() {
            let at = i as u64 * 512;
            let mut before = old.read(at, sector.len());
            before.resize(sector.len(), 0);
            let is_one = before == sector || new.read(at, sector.len()) == sector;
            assert!(is_one, "{what}: sector {i} of {path}, acknowledged {acked} rounds");
        }
    }
}

#[test]
fn threads_on_a_failing_device_keep_what_they_were_told_is_durable() {
    let Some(image) = begin() else { return };
    let step = if is_all() { 1 } else { 5 };
    let rounds = if is_all() { 5 } else { 1 };
    let (mut faults, mut fired, mut by_e2fsck) = (0_u64, 0, 0);
    for op in [Op::Write, Op::Flush] {
        for again_and_again in 0..rounds {
            let mut nth = 1;
            loop {
                let medium: Device = image.overlay();
                let device = Arc::new(FaultDevice::new(Arc::clone(&medium), Vec::new()));
                // The number depends on what the threads do meanwhile: it ends with a run in which
                // there is none.
                device.add(Fault::from(op, nth));
                let (acked, has_failed) = run(device.clone());
                let counts = device.counts();
                let n = if op == Op::Write { counts.writes } else { counts.flushes };
                let what = format!("{op:?} {nth}, run {again_and_again}, {acked:?}");
                assert_eq!(has_failed, n >= nth, "{what}: told, if and only if it failed");
                faults += 1;
                fired += u64::from(has_failed);
                again(&medium).unwrap_or_else(|err| panic!("{what}: {err}"));
                check(&medium, acked, &what);
                if faults.is_multiple_of(8) && Need::E2fsck.is_here() {
                    by_e2fsck += 1;
                    let said = oracle::e2fsck_device(&*medium, FsckMode::Check).expect("e2fsck");
                    assert!(said.is_clean(), "{what}: {said:?}");
                }
                if !has_failed {
                    break;
                }
                nth += step;
            }
        }
    }
    println!("4 threads: {faults} runs, {fired} with a fault, e2fsck {by_e2fsck}, 0 violations");
}
