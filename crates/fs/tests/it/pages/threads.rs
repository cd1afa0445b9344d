//! Many threads on the same files.

use super::{check, create, find, open_as, put, read};
use ext4_fs::{Delayed, LockMode, Replace, Writeback};
use ext4_testkit::{
    image::{Recipe, assert_clean},
    judge::judge,
    model::ModelFile,
    rng::Rng,
};
use ext4_units::InodeNr;
use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

/// How long each thread goes on, as the environment says for who has the time.
fn steps() -> usize {
    std::env::var("EXT4_PAGE_STEPS").ok().and_then(|it| it.parse().ok()).unwrap_or(150)
}

#[test]
fn a_writer_reads_back_what_it_wrote_while_others_take_it_to_the_device() {
    for profile in ["ext4-1k", "ext3-1k"] {
        let Some(image) = Recipe::new(profile).image() else { return };
        let device = image.device();
        let fs = open_as(Arc::clone(&device) as _, Delayed::DEFAULT);
        let ino = create(&fs, "f");
        let is_done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            for nr in 0..2u64 {
                let (fs, is_done) = (&fs, &is_done);
                scope.spawn(move || {
                    let mut rng = Rng::new(nr + 50);
                    while !is_done.load(Ordering::Relaxed) {
                        let at = rng.below(3_000_000) as u64;
                        Writeback::new(fs, ino, at..at + 200_000).run().unwrap();
                        let _ = fs.invalidate_pages(ino, 0..u64::MAX);
                    }
                });
            }
            let mut rng = Rng::new(3);
            let mut model = ModelFile::new();
            // Parts of blocks, scattered: a map of several nodes, which split and merge.
            for i in 0..8 * steps() {
                let at = rng.below(3_000_000) as u64;
                let bytes = vec![(i % 250 + 1).to_le_bytes()[0]; rng.below(1500) + 1];
                put(&fs, ino, at, &bytes).unwrap();
                model.write(at, &bytes);
                let at = rng.below(3_000_000) as u64;
                assert!(read(&fs, ino, at, 5000) == model.read(at, 5000), "{profile}, {i}, {at}");
            }
            is_done.store(true, Ordering::Relaxed);
            fs.sync().unwrap();
            fs.invalidate_pages(ino, 0..u64::MAX);
            assert!(read(&fs, ino, 0, 3_100_000) == model.read(0, 3_100_000), "{profile}");
        });
        check(&fs, ino);
        fs.close().unwrap();
        assert_eq!(judge(&*device), Vec::new(), "{profile}");
        assert_clean(&*device).unwrap();
    }
}

#[test]
fn writers_cutters_and_syncers_end_consistent() {
    for (profile, delayed) in [
        ("ext4-1k", Delayed { dirty_bytes: 300_000, ..Delayed::DEFAULT }),
        ("ext3-1k", Delayed::DEFAULT),
        ("bigalloc-1k", super::ORDERED),
        ("nojournal-4k", Delayed::DEFAULT),
    ] {
        let Some(image) = Recipe::new(profile).image() else { return };
        let device = image.device();
        let fs = open_as(Arc::clone(&device) as _, delayed);
        let files = [create(&fs, "a"), create(&fs, "b")];
        std::thread::scope(|scope| {
            for nr in 0..4u64 {
                let (fs, files) = (&fs, &files);
                scope.spawn(move || {
                    let mut rng = Rng::new(nr + 1);
                    for _ in 0..steps() {
                        let ino = *rng.pick(files);
                        let at = rng.below(400_000) as u64;
                        let len = rng.below(20_000) + 1;
                        match (nr, rng.below(10)) {
                            (0 | 1, 0..7) => drop(put(fs, ino, at, &vec![7; len]).unwrap()),
                            (2, 0..3) => fs.truncate(ino, at).unwrap(),
                            (2, 3..6) => fs.punch_hole(ino, at, len as u64).unwrap(),
                            (_, 0..8) => {
                                let mut writeback = Writeback::new(fs, ino, at..u64::MAX);
                                for _ in 0..rng.below(6) {
                                    writeback.step().unwrap();
                                }
                            }
                            (_, 8) => fs.fsync(ino, rng.percent(50)).unwrap(),
                            _ => {
                                let bytes = read(fs, ino, at, len);
                                assert!(bytes.iter().all(|&byte| byte == 7 || byte == 0));
                            }
                        }
                        let _alone = fs.incore(ino).lock(LockMode::Exclusive);
                        check(fs, ino);
                    }
                });
            }
        });
        fs.sync().unwrap();
        assert_eq!((fs.reserved_clusters(), fs.dirty_bytes()), (0, 0));
        for &ino in &files {
            check(&fs, ino);
        }
        fs.close().unwrap();
        assert_eq!(judge(&*device), Vec::new(), "{profile}");
        assert_clean(&*device).unwrap();
    }
}

#[test]
fn names_change_in_many_threads() {
    for profile in ["ext4-1k", "orphan-1k", "ext2-1k"] {
        let Some(image) = Recipe::new(profile).image() else { return };
        let device = image.device();
        let fs = open_as(Arc::clone(&device) as _, Delayed::DEFAULT);
        let dir = fs.mkdir(InodeNr::ROOT, b"d", &super::FILE).unwrap();
        std::thread::scope(|scope| {
            for nr in 0..4u64 {
                let fs = &fs;
                scope.spawn(move || {
                    let mut rng = Rng::new(nr + 1);
                    for _ in 0..150 {
                        // All on the same few names: most calls meet another thread's work.
                        let name = |rng: &mut Rng| format!("a-rather-long-name-{}", rng.below(60));
                        let (old, new) = (name(&mut rng), name(&mut rng));
                        let done = match rng.below(6) {
                            0 | 1 => fs
                                .create(dir, old.as_bytes(), &super::FILE)
                                .and_then(|ino| put(fs, ino, 0, &[1; 2000]).map(drop)),
                            2 => fs.unlink(dir, old.as_bytes()),
                            3 => fs.rename(dir, old.as_bytes(), dir, new.as_bytes(), Replace::Yes),
                            4 => fs
                                .resolve(
                                    fs.meta(),
                                    format!("/d/{old}").as_bytes(),
                                    ext4_fs::Last::Stay,
                                )
                                .and_then(|it| fs.link(it.ino, dir, new.as_bytes())),
                            _ => fs
                                .mkdir(dir, new.as_bytes(), &super::FILE)
                                .and_then(|_| fs.rmdir(dir, new.as_bytes())),
                        };
                        if let Err(err) = done {
                            // Not there, there already, a file or a directory, or gone meanwhile.
                            let known = [2, 17, 20, 21, 39, 116];
                            assert!(known.contains(&err.errno()), "{profile}: {err}");
                        }
                    }
                });
            }
        });
        assert_eq!(find(&fs, "/d"), dir);
        fs.close().unwrap();
        assert_eq!(judge(&*device), Vec::new(), "{profile}");
        assert_clean(&*device).unwrap();
    }
}

#[test]
fn a_name_is_found_whatever_happens_to_its_neighbours() {
    let Some(image) = Recipe::new("ext4-1k").image() else { return };
    let fs = open_as(image.device(), Delayed::DEFAULT);
    let dir = fs.mkdir(InodeNr::ROOT, b"d", &super::FILE).unwrap();
    let there: Vec<_> = (0..40).map(|i| format!("stays-where-it-is-{i}")).collect();
    for name in &there {
        fs.create(dir, name.as_bytes(), &super::FILE).unwrap();
    }
    let is_done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let mut n = 0;
            while !is_done.load(Ordering::Relaxed) {
                for name in &there {
                    find(&fs, &format!("/d/{name}"));
                    n += 1;
                }
            }
            n
        });
        // The folder grows an index, and its blocks split.
        for i in 0..600 {
            fs.create(dir, format!("one-of-many-that-come-{i}").as_bytes(), &super::FILE).unwrap();
        }
        is_done.store(true, Ordering::Relaxed);
        assert!(reader.join().unwrap() > 0);
    });
    fs.close().unwrap();
}

/// What happened: a map was walked from an inode that had been read a while before, into nodes that
/// were split since. Blocks that were written looked like holes, and sound nodes like damage.
#[test]
fn an_inode_read_a_while_ago_leads_to_what_the_file_holds_now() {
    let Some(image) = Recipe::new("ext4-1k").image() else { return };
    let fs = open_as(image.device(), Delayed::DEFAULT);
    let ino = create(&fs, "a");
    let fill = |blocks: std::ops::Range<u64>| {
        // Every other block: each an extent of its own.
        for block in blocks.map(|nr| nr * 2) {
            put(&fs, ino, block * 1024, &[7; 1024]).unwrap();
        }
        fs.fsync(ino, false).unwrap();
        fs.invalidate_pages(ino, 0..u64::MAX);
    };
    fill(100..180);
    let before = fs.inode(fs.meta(), ino).unwrap();
    // Many leaves of one, and a first key that is lower.
    fill(20..500);
    for block in (100..180).map(|nr| nr * 2) {
        let mut bytes = [0; 1024];
        fs.read_at(fs.meta(), &before, block * 1024, &mut bytes).unwrap();
        assert_eq!(bytes, [7; 1024], "block {block}");
    }
}
