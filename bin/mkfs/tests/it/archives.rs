//! A filesystem made of an archive of a directory is, byte for byte, the one made of the directory.

#![expect(clippy::print_stdout, reason = "a test says what it skipped")]

use crate::mkfs;
use ext4_testkit::{
    oracle::{self, Need},
    process,
};
use std::{
    ffi::{OsStr, OsString},
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};
use tempfile::TempDir;

const LIMIT: Duration = Duration::from_mins(2);

/// Files of every kind that a tar can hold, and what is easily lost on the way.
const FILL: &str = r"
mkdir -p dir/below many $(printf 'deep/%.0s' $(seq 40)) $(printf 'long-name-%.0s' $(seq 25))
printf small > dir/small; : > dir/empty; head -c 70001 /dev/urandom > dir/more
ln dir/more another-name; ln -s dir/small link; ln link another-link
ln -s $(printf 't/%.0s' $(seq 400)) long-target
mkfifo pipe; touch 'new
line'
truncate -s 3000000 holes; truncate -s 100000 hole; printf end | dd of=end bs=1 seek=5000000 status=none
for i in 10 20 55; do head -c 8192 /dev/urandom | dd of=holes bs=4096 seek=$i conv=notrunc status=none; done
for i in $(seq 500); do echo $i > many/file-$i; done
chmod 4755 dir/small; chmod 1777 dir; chmod 000 dir/empty
touch -h -d @8589934592.123456789 link; touch -d @-1.25 dir/small; touch -d @5.000000001 dir/more
sync -f .
";

/// What only root may do.
const PRIVILEGED: &str = "
mknod null c 1 3 && mknod disk b 259 70000 && chown -h 70000:4294967294 link dir \
&& chown 1:1 dir/small && setfattr -n trusted.a -v b dir \
&& setfattr -n security.selinux -v 0x613a623a633a733000 dir/more";

const ATTRIBUTES: &str = "
setfattr -n user.a -v 'two
lines=' dir/more && setfattr -n user.empty dir/more && setfattr -n user.b -v 0x000aff dir \
&& setfacl -m u:1:rx,u:12345:r,g:54321:rw many/file-1 && setfacl -m d:u:12345:rx,d:g:0:r many";

fn sh(dir: &Path, command: &str) -> bool {
    let args = ["-c", command];
    let out = Command::new("sh").args(args).current_dir(dir).stdin(Stdio::null()).output();
    let out = out.unwrap();
    if !out.status.success() {
        println!("{command}: {}", String::from_utf8_lossy(&out.stderr));
    }
    out.status.success()
}

fn source() -> (TempDir, PathBuf) {
    let dir = oracle::scratch().unwrap();
    let source = dir.path().join("source");
    fs::create_dir(&source).unwrap();
    assert!(sh(&source, FILL));
    for more in [ATTRIBUTES, PRIVILEGED] {
        if !sh(&source, more) {
            println!("skipped: the right or the tool for: {more}");
        }
    }
    assert!(sh(&source, "touch -d @1000000000.5 . many"));
    (dir, source)
}

fn made(options: &str, source: &Path, input: &[u8]) -> Vec<u8> {
    let image = source.with_file_name("disk.img");
    let _ = fs::remove_file(&image);
    let mut words: Vec<OsString> = options.split_whitespace().map(OsString::from).collect();
    if input.is_empty() {
        words.extend(["-d".into(), source.into(), image.clone().into()]);
        mkfs(&words).expect_ok(options).unwrap();
    } else {
        words.extend(["-d".into(), "-".into(), image.clone().into()]);
        let exe = env!("CARGO_BIN_EXE_ext4-mkfs");
        let out = process::run(exe, &words, &[], input, LIMIT).unwrap();
        out.expect_ok(options).unwrap();
    }
    fs::read(image).unwrap()
}

#[test]
fn an_archive_makes_the_same_image_as_the_directory() {
    if oracle::skip_without(&[Need::E2fsck]) {
        return;
    }
    let (_dir, source) = source();
    let archive = source.with_file_name("archive");
    let tar = "tar --format=pax -S --xattrs --xattrs-include='*' --acls --sort=none";
    let ways = [
        format!("{tar} -cf ../archive ."),
        format!("{tar} --sparse-version=0.1 -c . | gzip -1 > ../archive"),
        format!("{tar} --sparse-version=0.0 -c . | xz -T2 --block-size=100000 -0 > ../archive"),
        format!("{tar} -c . | zstd -q -1 > ../archive"),
        format!("(cd .. && {tar} -c -C source --sort=name . | zstd -q > archive)"),
    ];
    for options in ["--size 40M", "--size 64M -O inline_data", "--size min"] {
        let expected = made(options, &source, b"");
        for way in &ways {
            let _ = fs::remove_file(&archive);
            if !sh(&source, &format!("set -e; {way}")) {
                println!("skipped: {way}");
                continue;
            }
            assert!(made(options, &archive, b"") == expected, "{options}: {way}");
            let piped = made(options, &archive, &fs::read(&archive).unwrap());
            assert!(piped == expected, "{options}: {way} through a pipe");
        }
    }
}

#[test]
fn names_in_lists_that_the_archive_does_not_explain_are_looked_up_where_told() {
    let dir = oracle::scratch().unwrap();
    let root = dir.path();
    let fill = "mkdir a etc && setfacl -m u:1:rx a && tar --numeric-owner --acls -cf a.tar a \
                && tar -tf a.tar && grep -aq user:daemon: a.tar && echo daemon:x:77:7:: > etc/passwd \
                && : > etc/group";
    if !sh(root, fill) {
        println!("skipped: no lists, or no user daemon");
        return;
    }
    let (tar, image) = (root.join("a.tar"), root.join("disk.img"));
    let words = [OsStr::new("--size"), OsStr::new("4M"), OsStr::new("-d"), tar.as_os_str()];
    let refused = mkfs(words.into_iter().chain([image.as_os_str()]));
    let line = String::from_utf8(refused.stderr).unwrap();
    assert!(line.contains("found the name `daemon`"), "{line}");
    let etc = root.join("etc");
    let more = [OsStr::new("--names"), etc.as_os_str(), image.as_os_str()];
    mkfs(words.into_iter().chain(more)).expect_ok("--names").unwrap();
    if !oracle::skip_without(&[Need::Debugfs]) {
        let list = oracle::debugfs(&image, "ea_get -x /a system.posix_acl_access").unwrap();
        assert!(list.contains("4d 00 00 00"), "user 77: {list}");
    }
}
