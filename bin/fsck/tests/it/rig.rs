//! Damaged images in a folder that goes away, and the program run on them.

use ext4_testkit::{
    image::{Image, Recipe},
    oracle,
    process::{self, Output},
};
use std::{
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

/// The program.
pub(crate) const EXE: &str = env!("CARGO_BIN_EXE_ext4-fsck");

/// An image in a folder.
pub(crate) struct Scratch {
    dir: tempfile::TempDir,
    pub(crate) file: PathBuf,
}

/// A sound filesystem with some files.
pub(crate) fn sound() -> Option<Image> {
    Recipe::new("ext4-1k")
        .mib(8)
        .write("/a", [7; 5000])
        .write("/b", [8; 3000])
        .mkdir("/d")
        .write("/d/x", [9; 2000])
        .image()
}

/// The same, damaged in several ways.
pub(crate) fn damaged() -> Option<Image> {
    let scratch = Scratch::new(&sound()?);
    let requests = "clri /d/x\nfreei /b\nsif /b links_count 9\nsetb 5000 9\nunlink /a\nunlink /d\n";
    oracle::debugfs_write(&scratch.file, requests).unwrap();
    Some(Image::load(&scratch.file).unwrap())
}

impl Scratch {
    pub(crate) fn new(image: &Image) -> Self {
        let dir = oracle::scratch().unwrap();
        let file = dir.path().join("disk.img");
        image.save(&file).unwrap();
        Self { dir, file }
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        fs::read(&self.file).unwrap()
    }

    /// A path in the folder.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Runs the program on the image; `@name` stands for a file in the folder.
    pub(crate) fn run(&self, options: &[&str]) -> Output {
        self.run_with(&[], options)
    }

    /// The same at a second that does not pass between two runs.
    pub(crate) fn run_at_one_time(&self, options: &[&str]) -> Output {
        self.run_with(&[("SOURCE_DATE_EPOCH", process::FAKE_TIME.as_ref())], options)
    }

    fn run_with(&self, env: &[(&str, &OsStr)], options: &[&str]) -> Output {
        let options = options.iter().map(|it| match it.strip_prefix('@') {
            Some(name) => self.path(name).into_os_string(),
            None => it.into(),
        });
        run_with(env, options.chain([self.file.clone().into_os_string()]))
    }

    /// Whether e2fsck finds nothing.
    pub(crate) fn is_clean(&self) -> bool {
        oracle::e2fsck(&self.file, oracle::FsckMode::Check).unwrap().is_clean()
    }
}

/// Runs the program.
pub(crate) fn run<S: AsRef<OsStr>>(args: impl IntoIterator<Item = S>) -> Output {
    run_with(&[], args)
}

fn run_with<S: AsRef<OsStr>>(env: &[(&str, &OsStr)], args: impl IntoIterator<Item = S>) -> Output {
    let out = process::run(EXE, args, env, b"", Duration::from_mins(1)).unwrap();
    assert!(!out.timed_out, "it does not end");
    out
}

/// Checks the exit code.
#[track_caller]
pub(crate) fn expect(out: &Output, code: i32) {
    assert_eq!(out.code, Some(code), "{}{}", out.text(), String::from_utf8_lossy(&out.stderr));
}

/// Whether a file is there.
pub(crate) fn is_there(path: &Path) -> bool {
    path.exists()
}
