//! Random sequences of everything that can be done to names, attributes and contents.

use crate::rig::{Pair, ask_all, image, open, open_committing};
use std::sync::Arc;

fn random_steps(profile: &str, seed: u64, n_steps: usize) {
    let Some(image) = image(profile) else { return };
    let device = image.device();
    let mut pair = Pair::new(open(Arc::clone(&device) as _), seed);
    for step in 0..n_steps {
        pair.step().unwrap_or_else(|err| panic!("{profile}, seed {seed}, step {step}: {err}"));
        if step % 64 == 63 {
            pair.fs.commit().unwrap();
        }
    }
    let expected = pair.manifest();
    pair.fs.close().unwrap();
    ask_all(&*device, &expected, &format!("{profile}, seed {seed}"));
}

#[test]
fn everybody_reads_what_the_model_says() {
    for profile in ["ext4-4k", "ext4-1k", "ext2-1k", "ext3-4k", "bigalloc-1k", "inline-4k"] {
        random_steps(profile, 1, 300);
    }
}

#[test]
fn every_kind_of_filesystem_takes_all_operations() {
    for profile in ext4_testkit::image::PROFILES {
        if profile.name != "quota-4k" && profile.name != "mmp-4k" {
            random_steps(profile.name, 2, 120);
        }
    }
}

#[test]
fn a_crash_between_any_two_handles_is_recovered_to_what_was_done() {
    for profile in ["ext4-1k", "orphan-4k", "inline-4k", "bigalloc-4k", "ext3-1k"] {
        let Some(image) = image(profile) else { return };
        for n_steps in [7, 31, 90, 150] {
            let device = image.device();
            let mut pair = Pair::new(open_committing(Arc::clone(&device) as _), 3);
            for _ in 0..n_steps {
                pair.step().unwrap();
            }
            pair.fs.commit().unwrap();
            let expected = pair.manifest();
            drop(pair);
            open(Arc::clone(&device) as _).close().unwrap();
            ask_all(&*device, &expected, &format!("{profile} after {n_steps} steps"));
        }
    }
}

#[test]
fn a_large_directory_fills_empties_and_goes() {
    use ext4_fs::{NewFile, Replace};
    use ext4_units::InodeNr;
    for profile in ["bigdir-1k", "ext2-1k", "orphan-1k"] {
        let Some(image) = image(profile) else { return };
        let device = image.device();
        let fs = open(Arc::clone(&device) as _);
        let file = NewFile::of_root(0o644);
        let free = || fs.raw_superblock(fs.meta()).unwrap().free_blocks_count();
        let before = free();
        let dir = fs.mkdir(InodeNr::ROOT, b"large", &file).unwrap();
        let name = |n: usize| format!("{n:z>240}").into_bytes();
        let first = fs.create(dir, &name(0), &file).unwrap();
        for n in 1..1000 {
            fs.link(first, dir, &name(n)).unwrap();
        }
        assert!(fs.inode(fs.meta(), dir).unwrap().i_size > 250 << 10);
        for n in (0..1000).rev() {
            fs.unlink(dir, &name(n)).unwrap();
        }
        // Moving changes `..` in the root of the index.
        let other = fs.mkdir(InodeNr::ROOT, b"other", &file).unwrap();
        fs.rename(InodeNr::ROOT, b"large", other, b"moved", Replace::No).unwrap();
        fs.rmdir(other, b"moved").unwrap();
        fs.rmdir(InodeNr::ROOT, b"other").unwrap();
        fs.commit().unwrap();
        assert_eq!(free(), before, "{profile}");
        fs.close().unwrap();
        ext4_testkit::image::assert_clean(&*device).unwrap();
    }
}
