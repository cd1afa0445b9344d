//! What the kernel sees on a mounted image is what the image was made of.

use crate::image;
use ext4_testkit::{
    census::Census,
    mount::Mount,
    oddities::{self, Oddities},
    oracle::{self, Need},
    process::{self, Output},
};
use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};
use tempfile::TempDir;

/// A profile, and what can be put in.
struct Profile {
    options: &'static str,
    oddities: Oddities,
    /// Bytes that contents come in.
    unit: u64,
}

const SMALL: Oddities = Oddities { longest_xattr: 600, longest_target: 1023, subdirectories: 300 };
const LARGE: Oddities = Oddities { longest_xattr: 3500, longest_target: 4095, subdirectories: 300 };
const LONGEST: Oddities = Oddities { longest_xattr: 60_000, ..LARGE };

const PROFILES: &[Profile] = &[
    Profile { options: "-t ext4 -b 4096", oddities: LARGE, unit: 4096 },
    Profile { options: "-t ext4 -b 1024", oddities: SMALL, unit: 4096 },
    Profile { options: "-t ext2 -b 4096", oddities: LARGE, unit: 4096 },
    Profile { options: "-t ext2 -b 1024", oddities: SMALL, unit: 4096 },
    Profile { options: "-t ext3 -b 4096", oddities: LARGE, unit: 4096 },
    Profile { options: "-t ext3 -b 1024", oddities: SMALL, unit: 4096 },
    Profile { options: "-t ext4 -b 4096 -O inline_data", oddities: LARGE, unit: 4096 },
    Profile { options: "-t ext4 -b 1024 -O inline_data", oddities: SMALL, unit: 4096 },
    Profile { options: "-t ext4 -b 4096 -O inline_data -I 1024", oddities: LARGE, unit: 4096 },
    Profile { options: "-t ext4 -b 4096 -O ea_inode", oddities: LONGEST, unit: 4096 },
    Profile {
        options: "-t ext4 -b 1024 -O ea_inode",
        oddities: Oddities { longest_target: 1023, ..LONGEST },
        unit: 4096,
    },
    Profile { options: "-t ext4 -b 4096 -O bigalloc -C 16384", oddities: LARGE, unit: 16384 },
    Profile { options: "-t ext4 -b 1024 -O bigalloc -C 16384", oddities: SMALL, unit: 16384 },
    Profile { options: "-t ext4 -b 4096 -O ^metadata_csum", oddities: LARGE, unit: 4096 },
    Profile { options: "-t ext4 -b 4096 -O ^metadata_csum,uninit_bg", oddities: LARGE, unit: 4096 },
    Profile { options: "-t ext4 -b 4096 -O quota,project", oddities: LARGE, unit: 4096 },
    Profile { options: "-t ext4 -b 1024 -O large_dir", oddities: SMALL, unit: 4096 },
    Profile { options: "-t ext4 -b 4096 -O casefold", oddities: LARGE, unit: 4096 },
    Profile { options: "-t ext4 -b 4096 -O ^dir_index", oddities: LARGE, unit: 4096 },
    Profile {
        options: "-t ext4 -b 4096 -O ^flex_bg,^resize_inode -g 8192",
        oddities: LARGE,
        unit: 4096,
    },
    Profile {
        options: "-t ext4 -b 1024 -O meta_bg,^resize_inode -g 1024",
        oddities: SMALL,
        unit: 4096,
    },
    Profile {
        options: "-t ext4 -b 4096 -O orphan_file,metadata_csum_seed,fast_commit,sparse_super2,mmp",
        oddities: LARGE,
        unit: 4096,
    },
    Profile { options: "-t ext4 -b 4096 -O ^extent,^64bit -I 512", oddities: LARGE, unit: 4096 },
];

/// The odd files.
fn source(which: Oddities) -> TempDir {
    let dir = oracle::scratch().unwrap();
    oddities::fill(dir.path(), which).unwrap();
    dir
}

/// How long a program may take with a large tree on a slow disk.
const LIMIT: Duration = Duration::from_mins(30);

fn populate(options: &str, source: &Path, image: &Path) -> Output {
    let mut words: Vec<_> = options.split_whitespace().map(std::ffi::OsString::from).collect();
    words.extend(["-d".into(), source.into(), image.into()]);
    process::run(env!("CARGO_BIN_EXE_ext4-mkfs"), words, &[], b"", LIMIT).unwrap()
}

/// Packs a folder; `None`, said aloud, when there is no such program.
#[expect(clippy::print_stderr, reason = "what is skipped has to be seen")]
fn pack(command: &str, source: &Path, archive: &Path) -> Option<()> {
    let program = command.split_whitespace().next().unwrap();
    let mut words: Vec<&std::ffi::OsStr> =
        command.split_whitespace().skip(1).map(AsRef::as_ref).collect();
    words.extend(["-cf".as_ref(), archive.as_os_str(), "-C".as_ref(), source.as_os_str()]);
    words.push(".".as_ref());
    let Ok(out) = process::run(program, words, &[], b"", LIMIT) else {
        eprintln!("skipped: no {program}");
        return None;
    };
    out.expect_ok(command).unwrap();
    Some(())
}

/// What is wrong with an image that was made of `source`.
fn judge(source: &Census, image: &Path, unit: u64) -> Vec<String> {
    let fsck = process::run("e2fsck", ["-fn".as_ref(), image.as_os_str()], &[], b"", LIMIT);
    let mut wrong = Vec::new();
    match fsck {
        Ok(it) if it.ok() => {}
        other => wrong.push(format!("e2fsck: {other:?}")),
    }
    let seen = Mount::as_it_stands(image).and_then(|mount| {
        let census = Census::of_folder(mount.path())?;
        mount.unmount()?;
        Ok(census)
    });
    match seen {
        Ok(mut seen) => {
            seen.forget(b"lost+found");
            wrong.extend(source.differences(&seen, unit));
        }
        Err(err) => wrong.push(format!("{err:#}")),
    }
    wrong
}

/// Whether the kernel reads what mke2fs makes with these options: it may be built without Unicode.
fn can_read(options: &str) -> bool {
    let (_dir, image) = image(256);
    let made = oracle::mke2fs_by_usage(&image, options.split_whitespace());
    made.and_then(|()| Mount::as_it_stands(&image)?.unmount()).is_ok()
}

#[test]
fn odd_files_are_what_they_were_on_every_profile() {
    if oracle::skip_without(&[Need::E2fsck, Need::Kernel]) {
        return;
    }
    let mut wrong = Vec::new();
    for profile in PROFILES {
        if !can_read(profile.options) {
            eprintln!("skipped: not for this kernel: {}", profile.options);
            continue;
        }
        let dir = source(profile.oddities);
        let source = dir.path();
        let census = Census::of_folder(source).unwrap();
        let (_dir, image) = image(256);
        let out = populate(profile.options, source, &image);
        let mut found =
            if out.ok() { judge(&census, &image, profile.unit) } else { vec![out.text()] };
        let count = found.len();
        found.truncate(12);
        if count > 0 {
            wrong.push(format!("{}: {count} wrong:\n  {}", profile.options, found.join("\n  ")));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The same tree on another filesystem, whose directories are in another order.
fn copy(source: &Path, dir: &Path) -> PathBuf {
    let args = ["-a".as_ref(), source.as_os_str(), dir.as_os_str()];
    let out = process::run("cp", args, &[], b"", Duration::from_mins(5)).unwrap();
    out.expect_ok("cp -a").unwrap();
    dir.join(source.file_name().unwrap())
}

#[test]
fn neither_threads_nor_where_the_files_lie_change_a_byte() {
    let dir = source(SMALL);
    let source = dir.path();
    let disk = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let copied = copy(source, disk.path());
    for options in ["-t ext4", "-t ext2 -b 1024", "-t ext4 -O inline_data,ea_inode,quota,project"] {
        let make = |source: &Path, more: &str| {
            let (_dir, path) = image(128);
            let out = populate(&format!("{options} {more}"), source, &path);
            out.expect_ok(options).unwrap();
            fs::read(path).unwrap()
        };
        let first = make(source, "");
        assert!(first == make(source, "--threads 1"), "{options}: one thread");
        assert!(first == make(source, "--threads 7"), "{options}: seven threads");
        assert!(first == make(&copied, ""), "{options}: a copy");
    }
}

/// An archiver, and the differences that it makes: the beginnings of their lines.
const ARCHIVERS: &[(&str, &[&str])] = &[
    (
        "tar --format=posix --sparse --acls --xattrs --xattrs-include=*",
        // It has no sockets, and keeps no links of what has no contents.
        &["special/socket: missing", "special/fifo", "special/null"],
    ),
    (
        "bsdtar --format=pax --acls --xattrs",
        // It writes the second -1 and 5 nanoseconds as -1.000000005, which is an earlier time.
        &[
            "special/socket: missing",
            "special/null",
            "times: mtime",
            "times/-1.5: mtime",
            "times/link-1.5: mtime",
        ],
    ),
];

#[test]
fn odd_files_come_through_an_archive() {
    if oracle::skip_without(&[Need::E2fsck, Need::Kernel]) {
        return;
    }
    let mut wrong = Vec::new();
    for (command, known) in ARCHIVERS {
        let made = source(LARGE);
        let source = made.path();
        let (dir, image) = image(256);
        let archive = dir.path().join("odd.tar");
        if pack(command, source, &archive).is_none() {
            continue;
        }
        populate("-b 4096", &archive, &image).expect_ok(command).unwrap();
        let census = Census::of_folder(source).unwrap();
        let mut found = judge(&census, &image, 4096);
        found.retain(|line| !known.iter().any(|it| line.starts_with(it)));
        wrong.extend(found.into_iter().map(|it| format!("{command}: {it}")));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn what_has_no_place_is_refused_by_name_before_the_image_is_touched() {
    let (dir, image) = image(16);
    let made = Oddities { longest_xattr: 3500, ..SMALL };
    let files = dir.path().join("files");
    fs::create_dir(&files).unwrap();
    oddities::fill(&files, made).unwrap();
    let refused = |options: &str, source: &Path| {
        let out = populate(options, source, &image);
        assert_eq!(out.code, Some(8), "{}", out.text());
        assert!(fs::read(&image).unwrap().iter().all(|it| *it == 0));
        String::from_utf8(out.stderr).unwrap().replace(&*dir.path().to_string_lossy(), "DIR")
    };
    let line = refused("-b 1024 --size min", &files);
    assert!(line.contains("xattrs/long") && line.lines().count() == 1, "{line}");
    let line = refused("-b 4096", dir.path());
    assert!(line.contains("DIR/disk.img: the image that is being made"), "{line}");
}

/// A campaign: any tree of this machine, named by `EXT4_POPULATE_FROM`, on an image in the folder
/// `EXT4_POPULATE_TO`; options by `EXT4_POPULATE_OPTIONS`. With `EXT4_POPULATE_BY`, such as
/// `tar --format=posix`, from an archive. The tree must stand still meanwhile.
#[test]
fn a_tree_of_this_machine_is_what_it_was() {
    let (Some(from), Some(to)) =
        (std::env::var_os("EXT4_POPULATE_FROM"), std::env::var_os("EXT4_POPULATE_TO"))
    else {
        eprintln!("skipped: no EXT4_POPULATE_FROM and EXT4_POPULATE_TO");
        return;
    };
    if oracle::skip_without(&[Need::E2fsck, Need::Kernel]) {
        return;
    }
    let from = Path::new(&from);
    let options = std::env::var("EXT4_POPULATE_OPTIONS").unwrap_or_else(|_| "--size min".into());
    let dir = tempfile::tempdir_in(to).unwrap();
    let image = dir.path().join("disk.img");
    let archive = dir.path().join("tree.tar");
    let source = match std::env::var("EXT4_POPULATE_BY") {
        Ok(command) if pack(&command, from, &archive).is_some() => &*archive,
        Ok(_) => return,
        Err(_) => from,
    };
    let start = std::time::Instant::now();
    populate(&options, source, &image).expect_ok(&options).unwrap();
    let took = start.elapsed();
    let mut census = Census::of_folder(from).unwrap();
    census.forget(b"lost+found");
    let wrong = judge(&census, &image, 4096);
    let len = fs::metadata(&image).unwrap().len();
    eprintln!("{} names, {len} bytes, made in {took:?}, {} wrong", census.len(), wrong.len());
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
