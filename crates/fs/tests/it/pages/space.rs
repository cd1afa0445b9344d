//! Blocks promised, and what there is left for others.

use super::{check, create, open_as, put};
use crate::rig::open;
use ext4_fs::{Delayed, Filesystem};
use ext4_testkit::{
    image::{Recipe, assert_clean},
    judge::judge,
    rng::Rng,
};
use std::sync::Arc;

fn free(fs: &Filesystem) -> u64 {
    fs.raw_superblock(fs.meta()).unwrap().free_blocks_count()
}

#[test]
fn what_was_written_has_its_blocks_however_full_it_gets() {
    for profile in
        ["ext4-1k", "ext4-4k", "ext3-1k", "ext2-4k", "bigalloc-1k", "noflex-1k", "ext4-indirect-1k"]
    {
        for delayed in [Delayed::DEFAULT, super::ORDERED] {
            let Some(image) = Recipe::new(profile).mib(8).image() else { return };
            let device = image.device();
            let fs = open_as(Arc::clone(&device) as _, delayed);
            let files: Vec<_> = (0..3).map(|i| create(&fs, &format!("f{i}"))).collect();
            let mut rng = Rng::new(9);
            let mut refused = 0;
            for step in 0..4000 {
                let ino = *rng.pick(&files);
                // Scattered, which takes the most nodes.
                let at = (rng.below(20_000) * 4096 + rng.below(4096)) as u64;
                let len = 1 + rng.below(12_000);
                let short = match put(&fs, ino, at, &vec![1; len]) {
                    Ok(n) => n < len,
                    Err(err) => {
                        assert_eq!(err.errno(), 28, "{profile}: {err}");
                        true
                    }
                };
                refused += usize::from(short);
                if rng.percent(2) {
                    fs.fsync(*rng.pick(&files), true)
                        .unwrap_or_else(|err| panic!("{profile}, step {step}: {err}"));
                }
                // Others take what is not promised.
                let took = fs.fallocate(*rng.pick(&files), at, 5000, true);
                if let Err(err) = took {
                    assert!([28, 95].contains(&err.errno()), "{profile}: {err}");
                }
                if refused > 40 {
                    break;
                }
            }
            assert!(refused > 0, "{profile} is not full: {}", free(&fs));
            fs.sync().unwrap_or_else(|err| panic!("{profile}: {err}"));
            assert_eq!(fs.reserved_clusters(), 0);
            for &ino in &files {
                check(&fs, ino);
            }
            fs.close().unwrap();
            assert_eq!(judge(&*device), Vec::new(), "{profile}");
            assert_clean(&*device).unwrap();
        }
    }
}

#[test]
fn what_is_promised_is_not_for_others() {
    let Some(image) = Recipe::new("ext4-1k").mib(8).image() else { return };
    let device = image.device();
    let fs = open(device.clone());
    let [a, b] = [create(&fs, "a"), create(&fs, "b")];
    let before = free(&fs);
    put(&fs, a, 0, &vec![1; 3 << 20]).unwrap();
    assert_eq!(free(&fs), before, "nothing is allocated yet");
    assert!(fs.reserved_clusters() >= 3 << 10);
    assert_eq!(fs.fallocate(b, 0, 1 << 30, true).unwrap_err().errno(), 28);
    assert!(free(&fs) >= 3 << 10);
    assert_eq!(put(&fs, b, 1 << 30, &[1; 1024]).unwrap_err().errno(), 28);
    fs.fsync(a, false).unwrap();
    fs.close().unwrap();
    assert_clean(&*device).unwrap();
}

#[test]
fn blocks_that_wait_for_a_commit_are_found() {
    let Some(image) = Recipe::new("ext4-1k").mib(8).image() else { return };
    let device = image.device();
    let fs = open(device.clone());
    let [a, b] = [create(&fs, "a"), create(&fs, "b")];
    assert_eq!(fs.fallocate(a, 0, 1 << 30, true).unwrap_err().errno(), 28);
    fs.commit().unwrap();
    fs.truncate(a, 0).unwrap();
    // Room by the count, none to be had before a commit.
    assert_eq!(put(&fs, b, 0, &vec![2; 1 << 20]).unwrap(), 1 << 20);
    fs.fsync(b, false).unwrap();
    fs.close().unwrap();
    assert_clean(&*device).unwrap();
}

#[test]
fn pages_stay_within_their_bound() {
    let Some(image) = Recipe::new("ext4-4k").image() else { return };
    let bound = 256 << 10;
    let fs = open_as(image.device(), Delayed { dirty_bytes: bound, ..Delayed::DEFAULT });
    let [a, b] = [create(&fs, "a"), create(&fs, "b")];
    for i in 0..40 {
        for ino in [a, b] {
            put(&fs, ino, i * 50_000, &vec![7; 50_000]).unwrap();
            assert!(fs.dirty_bytes() <= bound, "{}", fs.dirty_bytes());
        }
    }
    put(&fs, a, 0, &vec![8; 3 << 20]).unwrap();
    assert!(fs.dirty_bytes() <= bound, "{}", fs.dirty_bytes());
    assert_eq!(super::read(&fs, a, 0, 4 << 20), vec![8; 3 << 20]);
    check(&fs, a);
    check(&fs, b);
    fs.close().unwrap();
}
