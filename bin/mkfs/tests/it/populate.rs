//! Filesystems with files: from a directory, an archive, a manifest, and what the command line says
//! of them.

use crate::{image, make, mkfs};
use ext4_testkit::{
    oracle::{self, FsckMode, Need},
    process,
};
use std::{
    ffi::OsStr,
    fs,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};
use tempfile::TempDir;

const LIMIT: Duration = Duration::from_mins(1);

/// A folder with a source `tree`, and the path of an image that is not there yet.
fn source() -> (TempDir, PathBuf, PathBuf) {
    let dir = oracle::scratch().unwrap();
    let tree = dir.path().join("tree");
    fs::create_dir_all(tree.join("etc/empty")).unwrap();
    fs::write(tree.join("etc/passwd"), "root:x:0:0\n").unwrap();
    fs::write(tree.join("big"), vec![b'b'; 3_000_000]).unwrap();
    fs::hard_link(tree.join("big"), tree.join("etc/again")).unwrap();
    symlink("etc/passwd", tree.join("link")).unwrap();
    fs::set_permissions(tree.join("big"), fs::Permissions::from_mode(0o4750)).unwrap();
    let path = dir.path().join("disk.img");
    (dir, tree, path)
}

fn check(path: &Path) {
    let fsck = oracle::e2fsck(path, FsckMode::Check).unwrap();
    assert!(fsck.is_clean(), "{fsck:?}");
}

/// What `ext4-mkfs` says in JSON.
fn json(args: &[&OsStr]) -> serde_json::Value {
    let out = mkfs(args.iter().copied().chain([OsStr::new("--json")]));
    serde_json::from_str(&out.expect_ok("ext4-mkfs --json").unwrap()).unwrap()
}

#[test]
fn a_directory_goes_in_with_its_links_and_modes() {
    if oracle::skip_without(&[Need::E2fsck, Need::Debugfs]) {
        return;
    }
    let (_dir, tree, path) = source();
    make(&format!("-d {} --owner 7:8 --size 16M -E root_perms=700", tree.display()), &path);
    check(&path);
    assert_eq!(oracle::debugfs_cat(&path, "/etc/again").unwrap(), vec![b'b'; 3_000_000]);
    let big = oracle::debugfs(&path, "stat /big").unwrap();
    assert!(big.contains("Mode:  04750") && big.contains("User:     7   Group:     8"), "{big}");
    assert!(big.contains("Links: 2"), "{big}");
    assert!(oracle::debugfs(&path, "stat /").unwrap().contains("Mode:  0700"));
    assert!(oracle::debugfs(&path, "stat /link").unwrap().contains("etc/passwd"));
}

#[test]
fn an_archive_comes_through_a_pipe_and_gives_what_its_directory_gives() {
    let (dir, tree, path) = source();
    let tar = dir.path().join("tree.tar");
    let args = [OsStr::new("-C"), tree.as_os_str(), "--format=posix".as_ref(), "-cf".as_ref()];
    let args = args.into_iter().chain([tar.as_os_str(), OsStr::new(".")]);
    if process::run("tar", args, &[], b"", LIMIT).is_err() {
        println!("skipped: no tar");
        return;
    }
    let bytes = fs::read(&tar).unwrap();
    let exe = env!("CARGO_BIN_EXE_ext4-mkfs");
    let piped = dir.path().join("piped.img");
    let args = ["-d", "-", "--size", "16M", piped.to_str().unwrap()];
    process::run(exe, args, &[], &bytes, LIMIT).unwrap().expect_ok("a pipe").unwrap();
    make(&format!("-d {} --size 16M", tree.display()), &path);
    assert!(
        fs::read(&piped).unwrap() == fs::read(&path).unwrap(),
        "the same files, the same bytes"
    );
    if !oracle::skip_without(&[Need::E2fsck]) {
        check(&piped);
    }
}

#[test]
fn a_manifest_makes_what_only_root_could() {
    if oracle::skip_without(&[Need::E2fsck, Need::Debugfs]) {
        return;
    }
    let (dir, tree, path) = source();
    let manifest = dir.path().join("list.mtree");
    fs::write(
        &manifest,
        "#mtree\n/set uid=0 gid=0\n./dev/console type=char mode=600 device=native,5,1\n\
         ./etc/passwd mode=640 gid=42 selinux=system_u:object_r:passwd_file_t:s0\n\
         ./etc/motd contents=tree/etc/passwd uid=100000\n./etc/again remove\n\
         ./big acl=u::rwx,u:1000:r--,g::r-x,m::r-x,o::---\n",
    )
    .unwrap();
    let args = format!("-d {} --manifest {} --size 16M", tree.display(), manifest.display());
    make(&args, &path);
    check(&path);
    let of = |name: &str| oracle::debugfs(&path, name).unwrap();
    assert!(of("stat /dev/console").contains("05:01"), "{}", of("stat /dev/console"));
    assert!(of("stat /etc/passwd").contains("Group:    42"), "{}", of("stat /etc/passwd"));
    assert!(of("ea_get /etc/passwd security.selinux").contains("passwd_file_t"));
    assert!(of("stat /etc/motd").contains("User: 100000"), "{}", of("stat /etc/motd"));
    assert!(of("stat /big").contains("Links: 1"), "{}", of("stat /big"));
    assert!(of("ea_list /big").contains("system.posix_acl_access"));

    // Alone it needs no source at all.
    let alone = dir.path().join("alone.img");
    fs::write(&manifest, "./dev/null type=char mode=666 device=1,3\n").unwrap();
    make(&format!("--manifest {} --size 8M", manifest.display()), &alone);
    check(&alone);
    assert!(oracle::debugfs(&alone, "stat /dev/null").unwrap().contains("01:03"));
}

#[test]
fn times_are_never_later_than_the_one_asked_for() {
    if oracle::skip_without(&[Need::Debugfs]) {
        return;
    }
    let (_dir, tree, path) = source();
    make(&format!("-d {} --size 16M --time 1000000000", tree.display()), &path);
    let stat = oracle::debugfs(&path, "stat /big").unwrap();
    assert!(stat.contains("mtime: 0x3b9aca00:00000000"), "{stat}");
}

#[test]
fn the_smallest_size_and_the_room_that_is_left() {
    if oracle::skip_without(&[Need::E2fsck]) {
        return;
    }
    let (dir, tree, path) = source();
    make(&format!("-d {} --size min", tree.display()), &path);
    check(&path);
    let len = fs::metadata(&path).unwrap().len();
    // The journal takes one.
    assert!((4_000_000..4_600_000).contains(&len), "{len} bytes for 3 MB of files");
    let roomy = dir.path().join("roomy.img");
    let out = json(&[
        "-d".as_ref(),
        tree.as_os_str(),
        "--free".as_ref(),
        "20M".as_ref(),
        "-n".as_ref(),
        roomy.as_os_str(),
    ]);
    let blocks = |name: &str| out[name].as_u64().unwrap();
    let free = (blocks("free_blocks") - blocks("reserved_blocks")) * blocks("block_size");
    assert!(free >= 20 << 20, "{free} bytes are free");
    assert!(!roomy.exists(), "-n writes nothing");
}

#[test]
fn the_plan_tells_what_goes_in_and_the_run_tells_the_uuid() {
    let (_dir, tree, path) = source();
    let args: [&OsStr; 5] =
        ["-d".as_ref(), tree.as_os_str(), "--size".as_ref(), "16M".as_ref(), path.as_os_str()];
    let planned = json(&[&args[..], &["-n".as_ref()]].concat());
    let files = &planned["populated"];
    assert_eq!(planned["uuid"], serde_json::Value::Null, "it follows from the contents");
    let count = |name: &str| files[name].as_u64();
    assert_eq!(count("regular_files"), Some(2));
    assert_eq!(count("symbolic_links"), Some(1));
    assert_eq!(count("data_bytes"), Some(3_000_011));
    assert!(count("contents_start").is_some());
    let made = json(&args);
    assert_eq!(made["populated"], planned["populated"]);
    let uuid = made["uuid"].as_str().unwrap();
    if !oracle::skip_without(&[Need::Dumpe2fs]) {
        assert_eq!(oracle::dumpe2fs_field(&path, "Filesystem UUID").unwrap(), uuid);
    }
}

#[test]
fn what_does_not_fit_is_known_before_anything_is_touched() {
    let (_dir, tree, path) = source();
    let args = format!("-d {} --size 1M", tree.display());
    let out = mkfs(args.split(' ').map(OsStr::new).chain([path.as_os_str()]));
    assert_eq!(out.code, Some(8), "{out:?}");
    assert!(!path.exists(), "too small is known before anything is made");

    // One that was there stays, and is no filesystem.
    let (_dir, there) = image(1);
    let out = mkfs(args.split(' ').take(2).map(OsStr::new).chain([there.as_os_str()]));
    assert_eq!(out.code, Some(8), "{out:?}");
    assert_eq!(fs::metadata(&there).unwrap().size(), 1 << 20);
}

#[test]
fn a_signal_while_the_archive_is_awaited_leaves_nothing() {
    let (_dir, _tree, path) = source();
    let mut child = Command::new(env!("CARGO_BIN_EXE_ext4-mkfs"))
        .args(["-d", "-", "--size", "16M", "--progress"])
        .arg(&path)
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // Nothing comes, and the pipe stays open. That the signal is caught shows in the exit code.
    std::thread::sleep(Duration::from_millis(500));
    let pid = child.id().to_string();
    process::run("kill", ["-INT", &pid], &[], b"", LIMIT).unwrap().expect_ok("kill").unwrap();
    let pipe = child.stdin.take();
    let out = child.wait_with_output().unwrap();
    drop(pipe);
    assert_eq!(out.status.code(), Some(32), "{out:?}");
    assert!(!path.exists());
}

#[test]
fn an_image_that_cannot_have_its_length_is_gone_again() {
    let (_dir, tree, path) = source();
    // No file may have more than a MiB; the image wants 16.
    let exe = env!("CARGO_BIN_EXE_ext4-mkfs");
    let line =
        format!("ulimit -f 1024; exec {exe} -d {} --size 16M {}", tree.display(), path.display());
    let out = process::run("sh", ["-c", &line], &[], b"", LIMIT).unwrap();
    assert_eq!(out.code, Some(8), "{out:?}");
    assert!(String::from_utf8_lossy(&out.stderr).contains("File too large"), "{out:?}");
    assert!(!path.exists());
}

#[test]
fn sources_that_cannot_be_are_refused_in_one_line() {
    let (dir, tree, path) = source();
    let inside = tree.join("disk.img");
    fs::write(&inside, vec![0; 1 << 20]).unwrap();
    let manifest = dir.path().join("m");
    fs::write(&manifest, "./x mode=644\n").unwrap();
    for (args, image, says) in [
        (format!("-d {}", tree.display()), &inside, "disk.img"),
        ("-d /nowhere --size 8M".to_owned(), &path, "/nowhere: No such file or directory"),
        (
            format!("--manifest {} --size 8M", manifest.display()),
            &path,
            "m:1: x: nothing is there, expected type= to make it",
        ),
        (format!("-d {} --size 8M", manifest.display()), &path, "m: at byte"),
        (format!("-d {}", inside.display()), &inside, "disk.img: is the image itself"),
    ] {
        let out = mkfs(args.split(' ').map(OsStr::new).chain([image.as_os_str()]));
        let line = String::from_utf8(out.stderr).unwrap();
        assert_eq!((out.code, line.lines().count()), (Some(8), 1), "{args}: {line}");
        assert!(line.contains(says), "{args}: {line}");
    }
    assert!(!path.exists());
}
