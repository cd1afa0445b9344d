//! Running the program on a file of its own.

use ext4_testkit::{
    image::Image,
    oracle,
    process::{self, Output},
};
use std::{
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

/// An image in a folder that goes away.
pub(crate) struct Scratch {
    file: PathBuf,
    _dir: tempfile::TempDir,
}

impl Scratch {
    pub(crate) fn new(image: &Image) -> Self {
        let dir = oracle::scratch().expect("a folder for the test");
        let file = dir.path().join("disk.img");
        image.save(&file).expect("write the image");
        Self { file, _dir: dir }
    }

    pub(crate) fn file(&self) -> &Path {
        &self.file
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        fs::read(&self.file).expect("read the image")
    }

    /// Runs the program with these options on the image.
    pub(crate) fn run(&self, options: &[&str]) -> Output {
        run_on(options, self.file.as_os_str())
    }
}

/// Runs the program with these options on an image called `name`.
pub(crate) fn run_on(options: &[&str], name: &OsStr) -> Output {
    let args = options.iter().map(OsStr::new).chain([name]);
    let exe = env!("CARGO_BIN_EXE_fsck-orphans");
    let out = process::run(exe, args, &[], b"", Duration::from_mins(2));
    let out = out.expect("it can be started");
    assert!(!out.timed_out, "it does not end");
    out
}

/// The exit code.
pub(crate) fn code(out: &Output) -> i32 {
    out.code.expect("it ends by itself")
}
