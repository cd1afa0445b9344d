//! Filesystems made by the program, and what mke2fs, e2fsck and the kernel say of them.

#![expect(clippy::unwrap_used, reason = "in a test's helper too a panic is the answer")]

mod agreement;
mod archives;
mod cases;
mod journal_device;
mod kernel;
mod likeness;
mod places;
mod populate;
mod random;
mod reproducible;
mod rescue;
mod safety;

use ext4_testkit::process::Output;
use std::{
    ffi::OsStr,
    fs::File,
    path::{Path, PathBuf},
};
use tempfile::TempDir;

/// A folder with an image file of this many MiB, sparse.
pub(crate) fn image(mib: u64) -> (TempDir, PathBuf) {
    let dir = ext4_testkit::oracle::scratch().unwrap();
    let path = dir.path().join("disk.img");
    File::create(&path).unwrap().set_len(mib << 20).unwrap();
    (dir, path)
}

/// Runs the program.
pub(crate) fn mkfs<S: AsRef<OsStr>>(args: impl IntoIterator<Item = S>) -> Output {
    let limit = std::time::Duration::from_mins(2);
    let exe = env!("CARGO_BIN_EXE_ext4-mkfs");
    ext4_testkit::process::run(exe, args, &[], b"", limit).unwrap()
}

/// Makes a filesystem with `options`, separated by blanks.
#[track_caller]
pub(crate) fn make(options: &str, image: &Path) -> String {
    let words = options.split_whitespace().map(OsStr::new);
    let out = mkfs(words.chain([image.as_os_str()]));
    out.expect_ok(&format!("ext4-mkfs {options}")).unwrap()
}

/// The one line with which the program refuses, and its exit code.
#[track_caller]
pub(crate) fn refused(options: &str, image: &Path) -> (i32, String) {
    let words = options.split_whitespace().map(OsStr::new);
    let out = mkfs(words.chain([image.as_os_str()]));
    let line = String::from_utf8(out.stderr).unwrap();
    assert_eq!(line.lines().count(), 1, "{line}");
    let line = line.trim_end().replace(&*image.to_string_lossy(), "IMAGE");
    (out.code.unwrap(), line)
}
