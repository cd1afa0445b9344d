//! `cat` and `dump` against what the kernel reads, and against images that want to break out.

use crate::{json, pattern, run, saved};
use ext4_testkit::{corpus::Corpus, image::Recipe, manifest::hex, oracle};
use sha2::{Digest as _, Sha256};
use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::{MetadataExt as _, symlink},
    path::Path,
};

/// Files larger than this are mostly holes; their bytes are compared by `manifest`.
const MAX_SIZE: u64 = 16 << 20;

fn sha256(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

#[test]
fn what_is_dumped_is_what_the_kernel_reads() {
    let Some(corpus) = Corpus::find() else { return };
    let (mut n_images, mut n_files) = (0, 0);
    for image in corpus.clean().unwrap().iter().step_by(9) {
        let folder = oracle::scratch().unwrap();
        let dest = folder.path().join("tree");
        let out = run(&image.file, ["dump".as_ref(), "/".as_ref(), dest.as_os_str()]);
        assert_eq!(out.code, Some(0), "{}: {}", image.name, out.text());
        // Names below an encrypted folder need a key to be the kernel's.
        let locked: Vec<String> = image
            .entries
            .iter()
            .filter(|it| it.kind == "d" && it.flags.is_some_and(|flags| flags & 0x800 != 0))
            .map(|it| format!("{}/", it.path))
            .collect();
        let is_named = |path: &str| !locked.iter().any(|folder| path.starts_with(folder));
        let entries = image.entries.iter().filter(|it| it.path_hex.is_none() && is_named(&it.path));
        for entry in entries {
            let copy = dest.join(entry.path.trim_start_matches('/'));
            match (entry.kind.as_str(), &entry.sha256, entry.size) {
                ("f", Some(hash), Some(size)) => {
                    let meta = fs::symlink_metadata(&copy).unwrap();
                    assert_eq!(meta.len(), size, "{} {}", image.name, entry.path);
                    if size <= MAX_SIZE {
                        let found = sha256(&fs::read(&copy).unwrap());
                        assert_eq!(found, *hash, "{} {}", image.name, entry.path);
                        n_files += 1;
                    } else if let Some(blocks) = entry.blocks {
                        let blocks = blocks + 1024;
                        assert!(meta.blocks() <= blocks, "{} is no sparse copy", entry.path);
                    }
                }
                ("l", ..) if entry.target_hex.is_none() => {
                    let target = fs::read_link(&copy).unwrap();
                    let expected = entry.target.as_deref().unwrap();
                    assert_eq!(target, Path::new(expected), "{} {}", image.name, entry.path);
                }
                ("d", ..) => assert!(fs::symlink_metadata(&copy).unwrap().is_dir()),
                _ => {}
            }
        }
        n_images += 1;
    }
    println!("{n_files} files of {n_images} images are dumped as the kernel reads them");
    assert!(n_files > 0);
}

#[test]
fn cat_and_dump_of_one_file_give_its_bytes() {
    let bytes = pattern(2000, 1024);
    let recipe = Recipe::new("ext4-1k").mkdir("/d").write("/d/f", &bytes[..bytes.len() - 100]);
    let Some(image) = recipe.image() else { return };
    let (folder, file) = saved(&image);
    let expected = &bytes[..bytes.len() - 100];
    assert!(run(&file, ["cat", "/d/f"]).stdout == expected);
    assert!(json(&file, ["cat", "/d/f"])["hex"] == hex(expected));
    let dest = folder.path().join("copy");
    let out = run(&file, ["dump".as_ref(), "/d/f".as_ref(), dest.as_os_str()]);
    assert_eq!(out.code, Some(0), "{}", out.text());
    assert!(fs::read(&dest).unwrap() == expected);
    for (args, part) in [
        (["cat", "/d"], "is a directory"),
        (["cat", "/none"], "/none: no such file or directory"),
        (["cat", "<99999>"], "inode <99999>: expected 1 to"),
    ] {
        let out = run(&file, args);
        let line = String::from_utf8(out.stderr).unwrap();
        assert_eq!((out.code, out.stdout.len()), (Some(8), 0), "{line}");
        assert!(line.contains(part), "{line}");
    }
}

#[test]
fn dump_overwrites_nothing_and_follows_no_link() {
    let recipe =
        Recipe::new("ext4-1k").mkdir("/d").write("/d/f", "new").debugfs("symlink /d/out /");
    let Some(image) = recipe.image() else { return };
    let (folder, file) = saved(&image);
    let outside = folder.path().join("outside");
    fs::write(&outside, "old").unwrap();
    let link = folder.path().join("link");
    symlink(&outside, &link).unwrap();
    let nowhere = folder.path().join("nowhere");
    let dangling = folder.path().join("dangling");
    symlink(&nowhere, &dangling).unwrap();
    for dest in [&outside, &link, &dangling, &folder.path().to_owned()] {
        for what in ["/d/f", "/d"] {
            let out = run(&file, ["dump".as_ref(), what.as_ref(), dest.as_os_str()]);
            let line = String::from_utf8(out.stderr).unwrap();
            assert_eq!(out.code, Some(8), "{line}");
            assert!(line.contains("exists, expected a new name"), "{line}");
        }
    }
    assert_eq!(fs::read(&outside).unwrap(), b"old");
    assert!(!nowhere.exists());
    // The tree itself: a link is a link, and nothing went through it.
    let dest = folder.path().join("tree");
    let out = run(&file, ["dump".as_ref(), "/".as_ref(), dest.as_os_str()]);
    assert_eq!(out.code, Some(0), "{}", out.text());
    assert_eq!(fs::read_link(dest.join("d/out")).unwrap(), Path::new("/"));
}

/// A damaged directory can hold any bytes as a name, and one name twice.
#[test]
fn names_that_lead_elsewhere_are_left_out() {
    let recipe = Recipe::new("ext2-1k")
        .mkdir("/d")
        .debugfs("symlink /d/twice1 ..")
        .mkdir("/d/twice2")
        .write("/d/twice2/passwd", "evil")
        .write("/d/..XevilX", "evil")
        .write("/d/good", "good");
    let Some(image) = recipe.image() else { return };
    let mut bytes = image.bytes().to_vec();
    let mut patch = |from: &[u8], to: &[u8]| {
        let at = bytes.windows(from.len()).position(|it| it == from).unwrap();
        bytes[at..at + to.len()].copy_from_slice(to);
    };
    patch(b"..XevilX", b"../evil/");
    patch(b"twice2", b"twice1");
    let (folder, file) = saved(&ext4_testkit::image::Image::new(bytes));
    let inside = folder.path().join("inside");
    fs::create_dir(&inside).unwrap();
    let dest = inside.join("tree");
    let out = run(&file, ["dump".as_ref(), "/d".as_ref(), dest.as_os_str(), "--json".as_ref()]);
    assert!(matches!(out.code, Some(4 | 8 | 12)), "{}", out.text());
    let mut found = BTreeMap::new();
    let mut pending = vec![folder.path().to_owned()];
    while let Some(path) = pending.pop() {
        for entry in fs::read_dir(path).unwrap() {
            let entry = entry.unwrap();
            let name = entry.path().strip_prefix(folder.path()).unwrap().display().to_string();
            let kind = entry.file_type().unwrap();
            if kind.is_dir() {
                pending.push(entry.path());
            }
            found.insert(name, kind.is_symlink());
        }
    }
    let names: Vec<&str> = found.keys().map(String::as_str).collect();
    let allowed = ["disk.img", "inside", "inside/tree", "inside/tree/good", "inside/tree/twice1"];
    assert!(names.iter().all(|it| allowed.contains(it)), "{names:?}");
}
