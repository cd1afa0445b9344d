//! Contents are what was written, read in whatever pieces.

use ext4_fs::{Error, Filesystem, Last};
use ext4_testkit::image::{PROFILES, Recipe};
use ext4_units::InodeNr;
use std::ops::ControlFlow;

/// Bytes that tell where they are, with holes at several places.
fn contents(block: usize) -> Vec<u8> {
    let mut bytes: Vec<u8> =
        (0..block * 40 + 77).map(|i| u8::try_from(i * 31 % 251).unwrap() + 1).collect();
    for hole in [2..5, 14..15, 20..33] {
        bytes[hole.start * block..hole.end * block].fill(0);
    }
    bytes
}

#[test]
fn a_file_reads_the_same_in_any_pieces() {
    for profile in PROFILES {
        let bytes = contents(1024);
        let recipe = Recipe::new(profile.name).write("/f", bytes.clone()).write("/tiny", *b"tiny");
        let Some(image) = recipe.image() else { return };
        let fs = Filesystem::open_read(image.overlay()).unwrap();
        let get = |path: &[u8]| fs.resolve(fs.meta(), path, Last::Follow).unwrap();
        let file = get(b"/f");
        for piece in [1, 511, 1024, 4097, 1 << 20] {
            let mut read = Vec::new();
            let mut buf = vec![0xEE; piece];
            loop {
                let n = fs.read_at(fs.meta(), &file, read.len() as u64, &mut buf).unwrap();
                if n == 0 {
                    break;
                }
                read.extend_from_slice(&buf[..n]);
            }
            assert!(read == bytes, "{} in pieces of {piece}", profile.name);
        }
        let mut buf = [0; 10];
        let n = fs.read_at(fs.meta(), &get(b"/tiny"), 2, &mut buf).unwrap();
        assert_eq!(&buf[..n], b"ny", "{}", profile.name);
        assert_eq!(fs.read_at(fs.meta(), &file, u64::MAX, &mut buf).unwrap(), 0);
    }
}

#[test]
fn unwritten_blocks_read_as_zeros() {
    let recipe = Recipe::new("ext4-4k").write("/f", [b'x'; 100]).debugfs("fallocate /f 1 9");
    let recipe = recipe.debugfs("set_inode_field /f size 40000");
    let Some(image) = recipe.image() else { return };
    let fs = Filesystem::open_read(image.overlay()).unwrap();
    let file = fs.resolve(fs.meta(), b"/f", Last::Follow).unwrap();
    // The blocks are there, with what was on the device before.
    assert_eq!(file.sectors, 80);
    let mut buf = vec![0xEE; 50_000];
    assert_eq!(fs.read_at(fs.meta(), &file, 0, &mut buf).unwrap(), 40_000);
    assert!(buf[..100].iter().all(|&byte| byte == b'x'));
    assert!(buf[100..40_000].iter().all(|&byte| byte == 0));
}

#[test]
fn directories_are_listed_and_no_files() {
    let recipe = Recipe::new("inline-4k").mkdir("/d").write("/d/a", *b"1").write("/d/b", *b"2");
    let Some(image) = recipe.image() else { return };
    let fs = Filesystem::open_read(image.overlay()).unwrap();
    let dir = fs.resolve(fs.meta(), b"/d", Last::Follow).unwrap();
    assert!(dir.has_inline_data());
    let mut names = Vec::new();
    fs.entries(fs.meta(), &dir, |entry| {
        names.push((String::from_utf8(entry.name).unwrap(), entry.ino));
        Ok(ControlFlow::Continue(()))
    })
    .unwrap();
    let plain: Vec<&str> = names.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(plain, [".", "..", "a", "b"]);
    assert_eq!((names[0].1, names[1].1), (dir.ino, InodeNr::ROOT));
    assert_eq!(fs.find(fs.meta(), &dir, b"b").unwrap().unwrap().ino, names[3].1);
    assert_eq!(fs.find(fs.meta(), &dir, b"c").unwrap(), None);

    let err = fs.read_at(fs.meta(), &dir, 0, &mut [0]).unwrap_err();
    assert!(matches!(err, Error::IsADirectory { .. }));
    let file = fs.resolve(fs.meta(), b"/d/a", Last::Follow).unwrap();
    let err = fs.find(fs.meta(), &file, b"x").unwrap_err();
    assert!(matches!(err, Error::NotADirectory { .. }));
}

#[test]
fn hard_links_are_visited_once_each_and_told() {
    let recipe = Recipe::new("ext4-1k").write("/a", *b"1").mkdir("/d").debugfs("ln /a /d/b");
    let recipe = recipe.debugfs("set_inode_field /a links_count 2");
    let Some(image) = recipe.image() else { return };
    let fs = Filesystem::open_read(image.overlay()).unwrap();
    let visits: Vec<(String, bool)> = fs
        .walk(fs.meta())
        .map(|visit| visit.unwrap())
        .map(|it| (String::from_utf8(it.path).unwrap(), it.is_repeat))
        .collect();
    let expected =
        [("/", false), ("/a", false), ("/d", false), ("/d/b", true), ("/lost+found", false)];
    assert_eq!(visits, expected.map(|(path, is_repeat)| (path.to_owned(), is_repeat)));
}

#[test]
fn a_filesystem_larger_than_its_device_is_refused() {
    let Some(image) = Recipe::new("ext4-1k").image() else { return };
    let half = image.bytes()[..image.bytes().len() / 2].to_vec();
    let err = Filesystem::open_read(ext4_testkit::image::Image::new(half).overlay()).unwrap_err();
    assert!(err.to_string().contains("16384 blocks of 1024 bytes"), "{err}");
    for len in [0, 1024, 2047] {
        let start = image.bytes()[..len].to_vec();
        let start = ext4_testkit::image::Image::new(start).overlay();
        assert!(Filesystem::open_read(start).is_err());
    }
}
