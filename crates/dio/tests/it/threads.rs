//! Many threads on one open filesystem: submitters, direct writers, buffered writers, and those who
//! change the size and the map under them. Afterwards nothing is wrong with the image, and each
//! sector of each file is zeros or some writer's for that very place.
//!
//! `EXT4_THREAD_SECONDS` makes it longer.

use crate::world::{clock, open};
use ext4_blockdev::{AlignedBuf, BlockDevice, FileDevice, OpenMode};
use ext4_dio::{BufferedWrite, DirectWrite, Offset, Request, Submitter, Sync};
use ext4_fs::{Filesystem, RecoverOptions, recover};
use ext4_testkit::{
    image::Recipe,
    judge,
    model::{Stamp, pattern},
    oracle::{self, Need},
    rng::Rng,
};
use ext4_units::InodeNr;
use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

const FILES: [&str; 3] = ["/a", "/b", "/c"];
const LONGEST: usize = 1 << 20;

/// What all threads share.
struct Ring<'a> {
    fs: &'a Filesystem,
    files: Vec<InodeNr>,
    end: Instant,
    writes: AtomicU64,
    failed: AtomicU64,
}

impl Ring<'_> {
    fn goes_on(&self) -> bool {
        Instant::now() < self.end
    }

    /// A file, and a request of whole sectors, most often of whole blocks.
    fn pick(&self, rng: &mut Rng) -> (InodeNr, u64, usize) {
        let unit = *rng.pick(&[512, 4096, 4096]);
        let len = unit * (1 + rng.below(8));
        let at = rng.below((LONGEST - len) / unit) * unit;
        (*rng.pick(&self.files), at as u64, len)
    }

    fn count(&self, result: Result<u64, i32>, len: usize) {
        self.writes.fetch_add(1, Ordering::Relaxed);
        match result {
            Ok(n) => assert!(n <= len as u64),
            // No space: what is freed is free after a commit only. No fallocate with a block map.
            Err(28 | 95) => {
                self.failed.fetch_add(1, Ordering::Relaxed);
            }
            Err(errno) => panic!("errno {errno}"),
        }
    }

    fn submit(&self, seed: u64) {
        let mut rng = Rng::new(seed);
        let mut submitter = Submitter::new(self.fs, 8);
        let mut done = 0;
        let mut n = 0;
        while self.goes_on() {
            let (ino, at, len) = self.pick(&mut rng);
            let request =
                Request { sync: *rng.pick(&[Sync::None, Sync::None, Sync::Data]), ..request(at) };
            let bytes = pattern(ino.get(), generation(&mut rng), at, len);
            submitter.submit(ino, request, AlignedBuf::copy_of(&bytes), at);
            n += 1;
            while let Some(it) = submitter.poll() {
                self.count(it.result.map(|it| it.written).map_err(|it| it.errno()), it.buf.len());
                done += 1;
            }
        }
        while let Some(it) = submitter.wait() {
            self.count(it.result.map(|it| it.written).map_err(|it| it.errno()), it.buf.len());
            done += 1;
        }
        assert_eq!(done, n, "each write comes back once");
    }

    fn write(&self, seed: u64) {
        let mut rng = Rng::new(seed);
        while self.goes_on() {
            let (ino, at, len) = self.pick(&mut rng);
            let request = Request { len: Some(len as u64), ..request(at) };
            let bytes = pattern(ino.get(), generation(&mut rng), at, len);
            let mut source = &bytes[..];
            let result = if rng.percent(30) {
                BufferedWrite::new(self.fs, ino, request, &mut source).run()
            } else {
                DirectWrite::new(self.fs, ino, request, &mut source).run()
            };
            self.count(result.map(|it| it.written).map_err(|it| it.errno()), len);
        }
    }

    fn change(&self, seed: u64) {
        let mut rng = Rng::new(seed);
        while self.goes_on() {
            let (ino, at, len) = self.pick(&mut rng);
            let len = len as u64;
            let result = match rng.below(8) {
                0 => self.fs.truncate(ino, at),
                1 | 2 => self.fs.fallocate(ino, at, len * 8, rng.percent(50)),
                3 => self.fs.punch_hole(ino, at, len),
                4 => self.fs.fsync(ino, rng.percent(50)),
                5 => self.fs.commit(),
                _ => {
                    thread::sleep(Duration::from_millis(1));
                    Ok(())
                }
            };
            self.count(result.map(|()| 0).map_err(|it| it.errno()), 0);
        }
    }
}

fn generation(rng: &mut Rng) -> u32 {
    u32::try_from(1 + rng.below(1000)).expect("small")
}

fn request(at: u64) -> Request {
    Request::new(Offset::At(at), None)
}

fn run(fs: &Filesystem, seconds: u64, seed: u64) -> (u64, u64) {
    let find = |path: &str| {
        fs.resolve(fs.meta(), path.as_bytes(), ext4_fs::Last::Stay).expect("a file").ino
    };
    let ring = Ring {
        fs,
        files: FILES.map(find).into(),
        end: Instant::now() + Duration::from_secs(seconds),
        writes: AtomicU64::new(0),
        failed: AtomicU64::new(0),
    };
    thread::scope(|scope| {
        for nr in 0..3 {
            let ring = &ring;
            scope.spawn(move || ring.submit(seed + nr));
            scope.spawn(move || ring.write(seed + 10 + nr));
        }
        scope.spawn(|| ring.change(seed + 20));
    });
    (ring.writes.into_inner(), ring.failed.into_inner())
}

/// Each sector is zeros, or says that it belongs there.
fn check_sectors(fs: &Filesystem) -> BTreeMap<&'static str, usize> {
    let mut n_stamped = BTreeMap::new();
    for path in FILES {
        let inode = fs.resolve(fs.meta(), path.as_bytes(), ext4_fs::Last::Stay).expect("a file");
        let size = usize::try_from(inode.i_size).expect("small");
        let mut bytes = vec![0; size];
        assert_eq!(fs.read_at(fs.meta(), &inode, 0, &mut bytes).expect("reading"), size);
        for (nr, sector) in bytes.chunks(512).enumerate() {
            if sector.iter().all(|&it| it == 0) {
                continue;
            }
            // A sector that truncate has cut keeps its beginning.
            let place = (nr as u64 * 512, sector.len());
            let Some(stamp) = Stamp::of(sector) else {
                assert!(sector.len() < 512, "{path}: sector {nr} is nobody's");
                continue;
            };
            let whole = pattern(inode.ino.get(), stamp.generation, place.0, 512);
            let n = sector.iter().rposition(|&it| it != 0).map_or(0, |it| it + 1);
            assert!(sector[..n] == whole[..n], "{path}: sector {nr} is not what {stamp:?} says");
            *n_stamped.entry(path).or_default() += 1;
        }
    }
    n_stamped
}

fn seconds() -> u64 {
    std::env::var("EXT4_THREAD_SECONDS").ok().and_then(|it| it.parse().ok()).unwrap_or(2)
}

#[test]
fn threads_on_one_filesystem_leave_it_sound_and_every_sector_somebodys() {
    for (profile, seed) in [("ext4-4k", 1), ("ext4-1k", 2), ("bigalloc-4k", 3), ("ext3-4k", 4)] {
        let recipe = FILES.iter().fold(Recipe::new(profile).mib(24), |it, path| it.write(path, []));
        let Some(image) = recipe.image() else { return };
        let device: Arc<dyn BlockDevice> = image.overlay();
        let fs = open(&device).expect("a new image");
        let (writes, failed) = run(&fs, seconds(), seed);
        let before = check_sectors(&fs);
        fs.close().expect("close");
        let found = judge::judge(&*device);
        assert!(found.is_empty(), "{profile}: {found:?}");
        if !oracle::skip_without(&[Need::E2fsck]) {
            let found = oracle::e2fsck_device(&*device, oracle::FsckMode::Check).expect("e2fsck");
            assert!(found.is_clean(), "{profile}: {found:?}");
        }
        let fs = open(&device).expect("the same image");
        assert_eq!(check_sectors(&fs), before, "{profile}");
        println!("{profile}: {writes} operations, {failed} refused, sectors {before:?}");
    }
}

#[test]
fn threads_with_a_ring_each_on_an_image_file() {
    let recipe = FILES.iter().fold(Recipe::new("ext4-4k").mib(24), |it, path| it.write(path, []));
    let Some(image) = recipe.image() else { return };
    let scratch = oracle::scratch().unwrap();
    let path = scratch.path().join("disk.img");
    image.save(&path).unwrap();
    let device: Arc<dyn BlockDevice> =
        Arc::new(FileDevice::open(&path, OpenMode::Exclusive).unwrap());
    let fs = recover(device, &RecoverOptions::new(clock())).unwrap().fs;
    let (writes, failed) = run(&fs, seconds(), 7);
    let before = check_sectors(&fs);
    fs.close().unwrap();
    if !oracle::skip_without(&[Need::E2fsck]) {
        let found = oracle::e2fsck(&path, oracle::FsckMode::Check).unwrap();
        assert!(found.is_clean(), "{found:?}");
    }
    println!("an image file: {writes} operations, {failed} refused, sectors {before:?}");
}
