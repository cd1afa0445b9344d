//! Archives of one and the same odd directory by GNU tar, bsdtar and Python.

use super::read_file;
use crate::listing;
use ext4_tree::{ScanOptions, from_directory};
use std::{
    fs::{self, File, FileTimes},
    os::unix::{
        ffi::OsStrExt as _,
        fs::{FileExt as _, PermissionsExt as _, symlink},
    },
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, UNIX_EPOCH},
};

fn has(tool: &str) -> bool {
    let found = Command::new(tool).arg("--version").output().is_ok_and(|it| it.status.success());
    if !found {
        println!("skipped: no {tool}");
    }
    found
}

#[track_caller]
fn run(dir: &Path, command: &str) -> bool {
    let out = Command::new("sh").args(["-c", command]).current_dir(dir).output().expect("sh");
    let err = String::from_utf8_lossy(&out.stderr);
    if !out.status.success() {
        println!("{command}: {err}");
    }
    out.status.success()
}

fn set_mtime(path: &Path, sec: i64, nsec: u32) {
    let whole = Duration::from_secs(sec.unsigned_abs());
    let time = if sec < 0 { UNIX_EPOCH - whole } else { UNIX_EPOCH + whole };
    let file = File::open(path).expect("opens");
    file.set_times(FileTimes::new().set_modified(time + Duration::from_nanos(nsec.into())))
        .expect("sets times");
}

/// What every format can hold.
fn plain(root: &Path) {
    fs::create_dir_all(root.join("dir/below")).expect("makes");
    fs::write(root.join("dir/empty"), b"").expect("writes");
    fs::write(root.join("dir/small"), b"small").expect("writes");
    fs::write(root.join("dir/block"), [7; 512]).expect("writes");
    fs::write(root.join("dir/more"), vec![9; 70_000]).expect("writes");
    fs::write(root.join("x"), b"first name").expect("writes");
    fs::hard_link(root.join("x"), root.join("dir/y")).expect("links");
    fs::hard_link(root.join("x"), root.join("a")).expect("links");
    symlink("dir/small", root.join("to-small")).expect("links");
    symlink("nowhere", root.join("dangling")).expect("links");
    fs::hard_link(root.join("dangling"), root.join("dangling-2")).expect("links");
    fs::set_permissions(root.join("dir/small"), fs::Permissions::from_mode(0o4751)).expect("chmod");
    fs::set_permissions(root.join("dir"), fs::Permissions::from_mode(0o1777)).expect("chmod");
    fs::write(root.join("90-bytes-".repeat(10)), b"long").expect("writes");
}

/// What takes more than ustar.
fn odd(root: &Path) {
    let deep = root.join("deep".repeat(50)).join("deeper".repeat(40));
    fs::create_dir_all(&deep).expect("makes");
    fs::write(deep.join("n".repeat(255)), b"long path").expect("writes");
    symlink("t/".repeat(400), root.join("long-target")).expect("links");
    fs::hard_link(deep.join("n".repeat(255)), root.join("link-to-long")).expect("links");
    let raw = std::ffi::OsStr::from_bytes(b"not \xFF utf-8\nnew line \\ \"quote\" =");
    fs::write(root.join(raw), b"raw").expect("writes");
}

/// What only root can make.
fn devices(root: &Path) -> bool {
    run(
        root,
        "mknod null c 1 3 && mknod disk b 259 70000 && mkfifo pipe && chown -h 70000:80000 x dir",
    )
}

fn settle_times(root: &Path, sec: i64, nsec: u32) {
    let flag = format!("@{sec}.{nsec:09}");
    assert!(run(root, &format!("find . -depth -exec touch -h -d {flag} {{}} +")));
}

struct Folder {
    _folder: tempfile::TempDir,
    root: PathBuf,
}

fn folder(fill: &[fn(&Path)], sec: i64, nsec: u32) -> Folder {
    let folder = tempfile::tempdir().expect("a folder");
    let root = folder.path().join("root");
    fs::create_dir(&root).expect("makes");
    for fill in fill {
        fill(&root);
    }
    if !devices(&root) {
        println!("skipped: no right to make devices");
    }
    settle_times(&root, sec, nsec);
    Folder { _folder: folder, root }
}

#[track_caller]
fn check(folder: &Folder, command: &str) {
    let archive = folder.root.with_file_name("archive");
    let _ = fs::remove_file(&archive);
    let command = command.replace("OUT", &archive.display().to_string());
    assert!(run(&folder.root, &command), "{command}");
    let found = listing::of_tree(&read_file(&archive));
    let expected = listing::of_directory(&folder.root);
    for (found, expected) in found.iter().zip(&expected) {
        assert_eq!(found, expected, "{command}");
    }
    assert_eq!(found.len(), expected.len(), "{command}");
    assert_eq!(found, listing::of_tree(&of_directory(&folder.root)), "{command}");
}

fn of_directory(root: &Path) -> ext4_tree::Tree {
    let options = ScanOptions { one_filesystem: false, refuse: Vec::new(), seen: None };
    from_directory(root, options).expect("a tree")
}

#[test]
fn every_format_of_gnu_tar_gives_the_directory_back() {
    if !has("tar") {
        return;
    }
    let all = folder(&[plain, odd], 1_700_000_000, 0);
    for format in ["oldgnu", "gnu", "pax"] {
        check(&all, &format!("tar --format={format} -cf OUT ."));
        check(&all, &format!("tar --format={format} -b 1 -cf OUT ./dir ."));
    }
    check(&all, "tar --format=gnu -V label -cf OUT .");
    check(&all, "rm -f OUT.snar; tar --format=gnu -g OUT.snar -cf OUT .");
    check(&all, "tar --format=pax --pax-option=globexthdr.name=g,comment=hello -cf OUT .");
    check(&all, "tar --format=pax -P --transform 's,^[.],/,' -cf OUT .");
    check(&all, "tar -cf OUT ./dir && tar -rf OUT . && tar -rf OUT ./to-small");
    let plain = folder(&[plain], 1_700_000_000, 0);
    for format in ["v7", "ustar"] {
        let devices =
            if format == "v7" { "--exclude=null --exclude=disk --exclude=pipe" } else { "" };
        if format == "v7" {
            for name in ["null", "disk", "pipe"] {
                let _ = fs::remove_file(plain.root.join(name));
            }
            settle_times(&plain.root, 1_700_000_000, 0);
        }
        check(&plain, &format!("tar --format={format} {devices} -cf OUT ."));
    }
}

#[test]
fn bsdtar_and_python_give_the_directory_back() {
    let all = folder(&[plain, odd], 1_700_000_000, 0);
    if has("bsdtar") {
        for format in ["pax", "gnutar", "posix"] {
            check(&all, &format!("bsdtar --format={format} -cf OUT ."));
        }
    }
    if has("python3") {
        // Python keeps links to regular files only.
        fs::remove_file(all.root.join("dangling-2")).expect("removes");
        settle_times(&all.root, 1_700_000_000, 0);
        for format in ["PAX", "GNU"] {
            check(
                &all,
                &format!(
                    "python3 -c 'import tarfile; \
                     t = tarfile.open(\"OUT\", \"w\", format=tarfile.{format}_FORMAT); \
                     t.add(\".\"); t.close()'"
                ),
            );
        }
    }
}

#[test]
fn every_compression_gives_the_directory_back() {
    let all = folder(&[plain, odd], 1_700_000_000, 0);
    for (tool, option) in
        [("gzip", "--gzip"), ("xz", "--xz"), ("zstd", "--zstd"), ("lzip", "--lzip")]
    {
        if has(tool) {
            check(&all, &format!("tar {option} -cf OUT ."));
            // Two members, one behind the other.
            let pad = if tool == "xz" { "; head -c 8 /dev/zero" } else { "" };
            check(
                &all,
                &format!(
                    "tar -cf OUT.plain . && (head -c 5000 OUT.plain | {tool}{pad}; \
                     tail -c +5001 OUT.plain | {tool}{pad}) > OUT"
                ),
            );
        }
    }
}

#[test]
fn blocks_of_xz_are_put_together_in_order() {
    if has("xz") {
        let all = folder(&[plain, odd], 1_700_000_000, 0);
        check(&all, "tar -cf - . | xz -T2 --block-size=4096 > OUT");
    }
}

#[test]
fn times_before_1970_and_below_a_second_are_kept() {
    for (sec, nsec) in
        [(-1, 999_999_999), (-5_000_000_000, 1), (1, 5), (8_589_934_592, 123_456_789)]
    {
        let odd = folder(&[plain], sec, nsec);
        check(&odd, "tar --format=pax -cf OUT .");
        // bsdtar 3.6 writes -1.25 as -2.75.
        if sec >= 0 && has("bsdtar") {
            check(&odd, "bsdtar --format=pax -cf OUT .");
        }
    }
    let whole = folder(&[plain], -77_777, 0);
    for format in ["gnu", "oldgnu"] {
        check(&whole, &format!("tar --format={format} -cf OUT ."));
    }
}

#[test]
fn owners_beyond_octal_are_kept() {
    let big = folder(&[plain], 5, 0);
    if !run(&big.root, "chown -h 2097152:4294967294 a && chown 3000000000:3000000001 dir") {
        println!("skipped: no right to chown");
        return;
    }
    for format in ["gnu", "pax"] {
        check(&big, &format!("tar --format={format} -cf OUT ."));
    }
}

/// Files with holes in them, one with more parts than one header can tell.
fn holes(root: &Path) {
    let file = File::create(root.join("holes")).expect("makes");
    for i in 0..120 {
        file.write_all_at(&[i + 1; 5000], u64::from(i) * 65536).expect("writes");
    }
    file.set_len(120 * 65536 + 77).expect("extends");
    let file = File::create(root.join("one-hole")).expect("makes");
    file.set_len(1 << 20).expect("extends");
    let file = File::create(root.join("end")).expect("makes");
    file.write_all_at(b"the end", 3 << 20).expect("writes");
}

#[test]
fn sparse_files_stay_sparse_in_every_version() {
    let sparse = folder(&[plain, holes], 5, 0);
    let versions = ["--format=pax --sparse-version=0.0", "--format=pax --sparse-version=0.1"];
    let versions = versions.into_iter().chain([
        "--format=pax --sparse-version=1.0",
        "--format=gnu",
        "--format=oldgnu",
    ]);
    for version in versions {
        check(&sparse, &format!("tar --sparse {version} -cf OUT ."));
        let tree = read_file(&sparse.root.with_file_name("archive"));
        let data_len = |name: &[u8]| {
            let node = tree.node(tree.find(&[name]).expect("is there"));
            match &node.kind {
                ext4_tree::Kind::Regular(contents) => (contents.data_len(), contents.data.len()),
                other => panic!("a {}", other.name()),
            }
        };
        assert_eq!(data_len(b"one-hole"), (0, 0), "{version}");
        assert!(data_len(b"holes").0 < 120 * 8193, "{version}: {:?}", data_len(b"holes"));
        assert_eq!(data_len(b"end").1, 1, "{version}");
    }
    if has("bsdtar") {
        check(&sparse, "bsdtar --format=pax -cf OUT .");
    }
}

#[test]
fn a_sparse_file_beyond_8_gib_keeps_its_size() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("big");
    let file = File::create(&path).expect("makes");
    file.write_all_at(b"far away", 20 << 30).expect("writes");
    set_mtime(&path, 5, 0);
    for format in ["gnu", "oldgnu", "pax"] {
        assert!(run(folder.path(), &format!("tar --sparse --format={format} -cf t.tar big")));
        let tree = read_file(&folder.path().join("t.tar"));
        let node = tree.node(tree.find(&[b"big"]).expect("is there"));
        let ext4_tree::Kind::Regular(contents) = &node.kind else { panic!("a file") };
        assert_eq!(contents.size, (20 << 30) + 8, "{format}");
        let mut buf = [0; 8];
        let open = contents.open().expect("opens");
        open.read_at(20 << 30, &mut buf).expect("reads");
        assert_eq!(&buf, b"far away", "{format}");
    }
}

#[test]
fn attributes_and_lists_are_those_of_the_files() {
    let folder = tempfile::tempdir().expect("a folder");
    let root = folder.path().join("root");
    fs::create_dir_all(root.join("dir")).expect("makes");
    fs::write(root.join("file"), b"x").expect("writes");
    // Tells the number of a user whom a list before it has by name.
    fs::write(root.join("own"), b"").expect("writes");
    let set = "setfattr -n user.a -v 'b
c=d' file && setfattr -n user.empty file && setfattr -n user.bin -v 0x00ff0a3d00 dir \
        && setfattr -n security.selinux -v 0x613a623a633a733000 file \
        && setfattr -n trusted.t -v t file \
        && chown 1:1 own && setfacl -m u:12345:rx,u:1:r,g:1:x,u:0:rwx,g:54321:r file && setfacl -m d:u:12345:rx,u:0:r dir";
    if !run(&root, set) {
        println!("skipped: no right to set attributes");
        return;
    }
    let mut commands = vec![
        "tar --format=pax --xattrs --xattrs-include='*' --acls --selinux -cf ../t.tar file dir own .",
    ];
    if has("bsdtar") {
        commands.push("bsdtar --format=pax --xattrs --acls -cf ../t.tar file dir own .");
    }
    for command in commands {
        assert!(run(&root, command), "{command}");
        let (found, expected) = (read_file(&folder.path().join("t.tar")), of_directory(&root));
        let expected_attributes = listing::attributes(&expected);
        assert_eq!(listing::attributes(&found), expected_attributes, "{command}");
        assert!(expected_attributes.len() >= 6, "{expected_attributes:#?}");
        assert_eq!(listing::of_tree(&found), listing::of_tree(&expected), "{command}");
    }
}
