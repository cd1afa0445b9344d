//! Random buffered writes, cuts and writebacks against a model that knows no pages.

use super::{FILE, NODELALLOC, ORDERED, check, journal_data, open_as, put, read};
use crate::rig::image;
use ext4_fs::{Delayed, Filesystem, WbStep, Writeback};
use ext4_testkit::{image::assert_clean, judge::judge, model::ModelFile, rng::Rng};
use ext4_units::InodeNr;
use std::sync::Arc;

/// Bytes a file may have.
const MOST: usize = 300_000;

struct One<'fs> {
    ino: InodeNr,
    data: ModelFile,
    /// A writeback that has stopped somewhere.
    writeback: Option<Writeback<'fs>>,
}

impl<'fs> One<'fs> {
    fn step_writeback(&mut self, fs: &'fs Filesystem, steps: usize) {
        let ino = self.ino;
        let writeback = self.writeback.get_or_insert_with(|| Writeback::new(fs, ino, 0..u64::MAX));
        for _ in 0..steps {
            if writeback.step().unwrap() == WbStep::Done {
                self.writeback = None;
                return;
            }
        }
    }

    /// What would wait for it is about to be done.
    fn finish_writeback(&mut self) {
        self.writeback.take().into_iter().for_each(|it| it.run().unwrap());
    }

    fn act(&mut self, fs: &'fs Filesystem, rng: &mut Rng, has_extents: bool) {
        let at = rng.below(MOST) as u64;
        let at = if rng.percent(40) { at >> 10 << 10 } else { at };
        let len = if rng.percent(50) { rng.below(3000) } else { rng.below(60_000) } + 1;
        match rng.below(100) {
            0..40 => {
                let at = if rng.percent(30) { self.data.size() } else { at };
                let bytes: Vec<u8> =
                    (0..len).map(|i| ((i * 7 + len) % 255 + 1).to_le_bytes()[0]).collect();
                assert_eq!(put(fs, self.ino, at, &bytes).unwrap(), len);
                self.data.write(at, &bytes);
            }
            40..50 => {
                self.finish_writeback();
                let size = if rng.percent(30) { self.data.size().min(at) } else { at };
                fs.truncate(self.ino, size).unwrap();
                self.data.truncate(size);
            }
            50..58 => {
                self.finish_writeback();
                fs.punch_hole(self.ino, at, len as u64).unwrap();
                self.data.zero(at, len as u64);
            }
            58..64 if has_extents => {
                let keep = rng.percent(50);
                fs.fallocate(self.ino, at, len as u64, keep).unwrap();
                self.data.allocate(at, len as u64, keep);
            }
            64..84 => self.step_writeback(fs, rng.below(8)),
            84..90 => {
                self.finish_writeback();
                fs.fsync(self.ino, rng.percent(50)).unwrap();
                assert!(!fs.has_dirty_pages(self.ino, 0..u64::MAX));
            }
            90..94 => drop(fs.invalidate_pages(self.ino, at..at + len as u64)),
            // Stopped on its way: what it had in hand stays dirty.
            94..96 => self.writeback = None,
            _ => fs.commit().unwrap(),
        }
        check(fs, self.ino);
        let len = usize::try_from(self.data.size()).unwrap();
        let found = read(fs, self.ino, 0, len + 10);
        assert_eq!(found.len(), len);
        let expected = self.data.read(0, len);
        if let Some(at) = (0..len).find(|&i| found[i] != expected[i]) {
            panic!("byte {at}: {}, expected {}", found[at], expected[at]);
        }
    }
}

fn run(profile: &str, delayed: Delayed, journaled: bool, seed: u64) {
    let Some(image) = image(profile) else { return };
    let device = image.device();
    let fs = open_as(Arc::clone(&device) as _, delayed);
    let mut rng = Rng::new(seed);
    let mut files = Vec::new();
    for name in ["a", "b"] {
        let ino = fs.create(InodeNr::ROOT, name.as_bytes(), &FILE).unwrap();
        if journaled {
            journal_data(&fs, ino);
        }
        files.push(One { ino, data: ModelFile::new(), writeback: None });
    }
    let has_extents =
        fs.inode(fs.meta(), files[0].ino).unwrap().has_extents() || profile.starts_with("inline");
    for step in 0..250 {
        let file = rng.below(files.len());
        let what = std::panic::AssertUnwindSafe(|| files[file].act(&fs, &mut rng, has_extents));
        if let Err(panic) = std::panic::catch_unwind(what) {
            eprintln!("{profile}, seed {seed}, step {step}, file {file}");
            std::panic::resume_unwind(panic);
        }
    }
    let models: Vec<_> = files
        .into_iter()
        .map(|mut it| {
            it.finish_writeback();
            (it.ino, it.data)
        })
        .collect();
    fs.close().unwrap();
    assert_eq!(judge(&*device), Vec::new(), "{profile}, seed {seed}");
    assert_clean(&*device).unwrap();
    let fs = open_as(device, delayed);
    for (ino, data) in models {
        let len = usize::try_from(data.size()).unwrap();
        assert!(read(&fs, ino, 0, len + 10) == data.read(0, len), "{profile}, seed {seed}");
        check(&fs, ino);
    }
    assert_eq!((fs.reserved_clusters(), fs.dirty_bytes()), (0, 0));
}

#[test]
fn what_was_written_is_read_before_during_and_after_writeback() {
    let small = Delayed { dirty_bytes: 50_000, ..Delayed::DEFAULT };
    for profile in [
        "ext4-4k",
        "ext4-1k",
        "ext3-1k",
        "ext2-1k",
        "bigalloc-4k",
        "bigalloc-1k",
        "inline-4k",
        "nojournal-4k",
        "ext4-indirect-1k",
    ] {
        run(profile, Delayed::DEFAULT, false, 1);
        run(profile, ORDERED, false, 2);
        run(profile, small, false, 3);
    }
}

#[test]
fn data_that_does_not_wait_is_read_all_the_same() {
    for profile in ["ext4-4k", "ext4-1k", "ext3-1k", "bigalloc-1k", "inline-4k", "nojournal-4k"] {
        run(profile, NODELALLOC, false, 4);
    }
    for profile in ["ext4-4k", "ext3-1k"] {
        run(profile, Delayed::DEFAULT, true, 5);
    }
}

#[test]
fn many_more_seeds_hold() {
    // As many as the environment says, for who has the time.
    let seeds = std::env::var("EXT4_PAGE_SEEDS").ok().and_then(|it| it.parse().ok()).unwrap_or(3);
    for seed in 100..100 + seeds {
        run("ext4-1k", Delayed::DEFAULT, false, seed);
        run("ext3-1k", Delayed::DEFAULT, false, seed);
        run("bigalloc-1k", Delayed::DEFAULT, false, seed);
    }
}
