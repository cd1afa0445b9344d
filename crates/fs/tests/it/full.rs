//! No space, no inodes, no links: an operation that fails leaves nothing behind.

use crate::rig::{Pair, ask_all, image, open, write};
use ext4_fs::{Error, Filesystem, NewFile, SetXattr};
use ext4_testkit::image::{Recipe, assert_clean};
use ext4_units::InodeNr;
use std::sync::Arc;

const FILE: NewFile = NewFile::of_root(0o644);
const DIR: NewFile = NewFile::of_root(0o755);

fn free(fs: &Filesystem) -> (u64, u32) {
    let raw = fs.raw_superblock(fs.meta()).unwrap();
    (raw.free_blocks_count(), raw.s_free_inodes_count.get())
}

#[test]
fn a_full_filesystem_refuses_and_stays_sound() {
    for profile in ["ext4-1k", "ext2-4k", "bigalloc-4k", "inline-4k", "ea-inode-1k"] {
        let Some(image) = image(profile) else { return };
        let device = image.device();
        let mut pair = Pair::new(open(Arc::clone(&device) as _), 5);
        let filler = pair.fs.create(InodeNr::ROOT, b"filler", &FILE).unwrap();
        // Both, so that a filesystem whose files have no unwritten blocks fills up too.
        let mut offset = 0;
        while let Ok(()) = write(&pair.fs, filler, offset, &vec![1; 65536]) {
            offset += 65536;
        }
        let mut refused = 0;
        for step in 0..300 {
            match pair.step() {
                Err(Error::NoSpace { .. }) => refused += 1,
                result => result.unwrap_or_else(|err| panic!("{profile}, step {step}: {err}")),
            }
        }
        assert!(refused > 0, "{profile} is not full");
        pair.fs.unlink(InodeNr::ROOT, b"filler").unwrap();
        let whole = pair.fs.create(InodeNr::ROOT, b"after", &FILE).unwrap();
        write(&pair.fs, whole, 0, &vec![2; 100_000]).unwrap();
        pair.fs.unlink(InodeNr::ROOT, b"after").unwrap();
        pair.fs.close().unwrap();
        assert_clean(&*device).unwrap();
    }
}

#[test]
fn an_operation_that_finds_no_space_changes_nothing() {
    let Some(image) = image("ext4-1k") else { return };
    let device = image.device();
    let pair = Pair::new(open(Arc::clone(&device) as _), 6);
    let fs = &pair.fs;
    let filler = fs.create(InodeNr::ROOT, b"filler", &FILE).unwrap();
    assert_eq!(fs.fallocate(filler, 0, 1 << 30, true).unwrap_err().errno(), 28);
    fs.commit().unwrap();
    let before = free(fs);
    let long = [b't'; 500];
    for n in 0..3 {
        assert_eq!(fs.mkdir(InodeNr::ROOT, b"d", &DIR).unwrap_err().errno(), 28, "{n}");
        assert_eq!(fs.symlink(InodeNr::ROOT, b"l", &long, &FILE).unwrap_err().errno(), 28);
        let set = fs.set_xattr(filler, b"user.large", &[0; 900], SetXattr::Any);
        assert_eq!(set.unwrap_err().errno(), 28);
        assert_eq!(free(fs), before);
    }
    // Blocks freed and not committed yet are found by another try.
    fs.truncate(filler, 0).unwrap();
    fs.mkdir(InodeNr::ROOT, b"d", &DIR).unwrap();
    pair.fs.close().unwrap();
    assert_clean(&*device).unwrap();
}

#[test]
fn without_free_inodes_no_file_is_made() {
    let Some(image) = Recipe::new("ext4-1k").options("-N 64").image() else { return };
    let device = image.device();
    let mut pair = Pair::new(open(Arc::clone(&device) as _), 7);
    let mut made = 0;
    loop {
        match pair.fs.create(InodeNr::ROOT, format!("{made}").as_bytes(), &FILE) {
            Ok(_) => made += 1,
            Err(err) => break assert_eq!(err.errno(), 28, "{err}"),
        }
    }
    assert_eq!(free(&pair.fs).1, 0);
    for n in 0..made {
        pair.fs.unlink(InodeNr::ROOT, format!("{n}").as_bytes()).unwrap();
    }
    for _ in 0..100 {
        pair.step().unwrap();
    }
    let expected = pair.manifest();
    pair.fs.close().unwrap();
    ask_all(&*device, &expected, "after all inodes were in use");
}

#[test]
fn tables_never_written_are_no_trouble() {
    // Poisoned inode tables, and files enough to reach far into them.
    for profile in ["lazy-4k", "ext4-gdtcsum-1k"] {
        let recipe = Recipe::new(profile).mib(32).options("-E lazy_itable_init=1 -i 4096");
        let Some(image) = recipe.image() else { return };
        let device = image.device();
        let fs = open(Arc::clone(&device) as _);
        for d in 0..8 {
            let dir = fs.mkdir(InodeNr::ROOT, format!("d{d}").as_bytes(), &DIR).unwrap();
            for n in 0..70 + d {
                fs.create(dir, format!("{n}").as_bytes(), &FILE).unwrap();
            }
            fs.unlink(dir, b"3").unwrap();
        }
        fs.close().unwrap();
        assert_clean(&*device).unwrap_or_else(|err| panic!("{profile}: {err:#}"));
    }
}

#[test]
fn links_and_directories_are_counted_up_to_the_limit() {
    let Some(image) = Recipe::new("ext4-1k").options("-N 512").image() else { return };
    let device = image.device();
    let fs = open(Arc::clone(&device) as _);
    let file = fs.create(InodeNr::ROOT, b"file", &FILE).unwrap();
    let mut h = fs.start(2).unwrap();
    let mut inode = h.inode(file).unwrap();
    inode.disk.links_count = 65000;
    h.put_inode(&inode).unwrap();
    h.stop().unwrap();
    assert_eq!(fs.link(file, InodeNr::ROOT, b"more").unwrap_err().errno(), 31);
    let dir = fs.mkdir(InodeNr::ROOT, b"dir", &DIR).unwrap();
    let set_links = |n| {
        let mut h = fs.start(2).unwrap();
        let mut inode = h.inode(dir).unwrap();
        inode.disk.links_count = n;
        h.put_inode(&inode).unwrap();
        h.stop().unwrap();
    };
    set_links(65000);
    // Without an index even a filesystem with dir_nlink counts.
    assert_eq!(fs.mkdir(dir, b"sub", &DIR).unwrap_err().errno(), 31);
    set_links(2);
    for n in 0..60 {
        fs.create(dir, format!("{n:0>40}").as_bytes(), &FILE).unwrap();
    }
    set_links(65000);
    fs.mkdir(dir, b"sub", &DIR).unwrap();
    let links = || fs.inode(fs.meta(), dir).unwrap().links_count;
    assert_eq!(links(), 1, "gave up counting");
    fs.mkdir(dir, b"sub2", &DIR).unwrap();
    fs.rmdir(dir, b"sub").unwrap();
    assert_eq!(links(), 1);
    let mut h = fs.start(2).unwrap();
    let mut inode = h.inode(file).unwrap();
    inode.disk.links_count = 1;
    h.put_inode(&inode).unwrap();
    h.stop().unwrap();
    fs.close().unwrap();
    assert_clean(&*device).unwrap();
}
