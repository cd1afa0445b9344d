//! What every program has to do with a command line or an image that makes no sense: one clear
//! line, the documented exit code, and not one byte of the image changed.

use crate::{
    image::{Recipe, poison},
    oracle,
    process::{self, Output, spawn, write_unforked},
};
use std::{
    ffi::OsString,
    fs,
    os::unix::{fs::PermissionsExt as _, process::CommandExt as _},
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

/// fsck(8): errors left uncorrected, operational error, usage error.
const UNCORRECTED: i32 = 4;
const OPERATIONAL: i32 = 8;
const USAGE: i32 = 16;

/// No answer to bad input takes longer.
const LIMIT: Duration = Duration::from_mins(1);

/// A user that owns nothing: `nobody`.
const NOBODY: u32 = 65534;

/// A program under test.
#[derive(Clone, Copy, Debug)]
pub struct Program {
    /// Its name, with which each of its error lines begins.
    pub name: &'static str,
    /// Where it is: `env!("CARGO_BIN_EXE_name")`.
    pub exe: &'static str,
    /// The arguments of a run that is all right if this image is.
    pub args: fn(image: &Path) -> Vec<OsString>,
    /// Whether it has to be allowed to write to the image.
    pub writes: bool,
}

impl Program {
    /// Runs it with these arguments and this input.
    ///
    /// # Panics
    /// When it cannot be started or does not end.
    #[track_caller]
    pub fn run<I: AsRef<std::ffi::OsStr>>(
        &self,
        args: impl IntoIterator<Item = I>,
        stdin: &[u8],
    ) -> Output {
        let out = process::run(self.exe, args, &[], stdin, LIMIT).expect("it can be started");
        assert!(!out.timed_out, "{} does not end", self.name);
        out
    }

    /// `--help` and `-h` print help on standard output.
    #[track_caller]
    pub fn accepts_help(&self) {
        for option in ["--help", "-h"] {
            let out = self.run([option], b"");
            assert_eq!((out.code, out.stderr.as_slice()), (Some(0), &b""[..]));
            let help = String::from_utf8(out.stdout).expect("help is text");
            assert!(help.contains(&format!("Usage: {}", self.name)), "{help}");
            assert_eq!(help.contains("Exit status:"), option == "--help", "{help}");
            assert_eq!(help.contains("Examples:"), option == "--help", "{help}");
        }
    }

    /// `--version` prints the name and the version.
    #[track_caller]
    pub fn accepts_version(&self) {
        let out = self.run(["--version"], b"");
        let expected = format!("{} {}\n", self.name, env!("CARGO_PKG_VERSION"));
        assert_eq!((out.code, out.text()), (Some(0), expected));
    }

    /// An option that does not exist is a usage error, before anything is opened.
    #[track_caller]
    pub fn rejects_a_bad_option(&self) {
        let mut args = (self.args)(Path::new("/nowhere/disk.img"));
        args.push("--no-such-option".into());
        let out = self.run(args, b"");
        self.check_error(&out, &[USAGE], "unexpected argument '--no-such-option'");
    }

    /// No arguments at all are a usage error.
    #[track_caller]
    pub fn rejects_no_arguments(&self) {
        let out = self.run::<&str>([], b"");
        self.check_error(&out, &[USAGE], "require");
    }

    /// An image that is not there.
    #[track_caller]
    pub fn rejects_a_missing_image(&self) {
        let scratch = oracle::scratch().expect("a folder for the test");
        let image = scratch.path().join("not-there.img");
        let out = self.run((self.args)(&image), b"");
        self.check_error(&out, &[OPERATIONAL], "not-there.img: ");
        assert!(!image.exists(), "a file came to be");
    }

    /// A folder instead of an image.
    #[track_caller]
    pub fn rejects_a_folder(&self) {
        let scratch = oracle::scratch().expect("a folder for the test");
        let out = self.run((self.args)(scratch.path()), b"");
        self.check_error(&out, &[OPERATIONAL], "directory");
    }

    /// Files that hold no filesystem: of no length, tiny, zeroed, filled, text.
    #[track_caller]
    pub fn rejects_what_is_not_ext4(&self) {
        for (bytes, what) in [
            (Vec::new(), "zero-length"),
            (vec![0; 100], "tiny"),
            (vec![0; 1023], "up to the superblock"),
            (vec![0; 2047], "up to the end of the superblock"),
            (vec![0; 1 << 20], "zeroed"),
            (vec![0xff; 1 << 20], "all ones"),
            (poison(1 << 20), "filled"),
            (b"It was a dark and stormy night. ".repeat(4096), "text"),
        ] {
            let out = self.leaves_alone(&bytes, what);
            self.check_error(&out, &[OPERATIONAL], "disk.img: ");
        }
    }

    /// Half of an image: a superblock that tells of blocks that are not there.
    #[track_caller]
    pub fn rejects_a_truncated_image(&self) {
        let Some(image) = Recipe::new("ext4-1k").mib(8).write("/file", "hello\n").image() else {
            return;
        };
        let bytes = image.bytes();
        for len in [bytes.len() / 2, 4096, 2048] {
            let out = self.leaves_alone(&bytes[..len], "truncated");
            self.check_error(&out, &[UNCORRECTED, OPERATIONAL], "disk.img: ");
        }
    }

    /// An image that may not be written: refused by a program that writes, read by the others.
    #[track_caller]
    pub fn respects_a_read_only_image(&self) {
        let Some(image) = Recipe::new("ext4-1k").mib(8).write("/file", "hello\n").image() else {
            return;
        };
        let scratch = oracle::scratch().expect("a folder for the test");
        let file = scratch.path().join("disk.img");
        write_unforked(|| fs::write(&file, &image.bytes()[..])).expect("write the image");
        let mode = |path: &Path, mode| {
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("chmod");
        };
        mode(&file, 0o444);
        mode(scratch.path(), 0o755);
        let mut command = Command::new(self.exe);
        if rustix::process::geteuid().is_root() {
            // Root may write to everything, so somebody else has to try.
            command.uid(NOBODY);
        }
        command.args((self.args)(&file)).stdin(Stdio::null());
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let child = spawn(&mut command).expect("it can be started");
        let out = child.wait_with_output().expect("it comes to an end");
        let out = Output {
            code: out.status.code(),
            timed_out: false,
            stdout: out.stdout,
            stderr: out.stderr,
        };
        if self.writes {
            self.check_error(&out, &[OPERATIONAL], "disk.img: ");
        } else {
            assert_eq!(out.code, Some(0), "{}", out.text());
        }
        assert_eq!(fs::read(&file).expect("read the image"), &image.bytes()[..]);
    }

    /// Runs it on a file of these bytes, which must be the same afterwards.
    #[track_caller]
    fn leaves_alone(&self, bytes: &[u8], what: &str) -> Output {
        let scratch = oracle::scratch().expect("a folder for the test");
        let file = scratch.path().join("disk.img");
        write_unforked(|| fs::write(&file, bytes)).expect("write the file");
        let out = self.run((self.args)(&file), b"");
        assert!(fs::read(&file).expect("read the file") == bytes, "{what}: changed");
        out
    }

    /// Checks that it failed with one of `codes` and one line that has `part` in it.
    ///
    /// # Panics
    /// When it did not.
    #[track_caller]
    pub fn check_error(&self, out: &Output, codes: &[i32], part: &str) {
        let line = String::from_utf8_lossy(&out.stderr);
        let told = out.text();
        assert!(out.code.is_some_and(|it| codes.contains(&it)), "exit {:?}: {told}", out.code);
        assert!(out.stdout.is_empty(), "something on standard output: {told}");
        assert!(line.starts_with(&format!("{}: ", self.name)), "{told}");
        assert!(line.contains(part), "no {part:?} in {told}");
        assert_eq!(line.lines().count(), 1, "{told}");
    }
}

/// Makes a test of each named battery of a [`Program`].
#[macro_export]
macro_rules! batteries {
    ($program:expr; $($battery:ident)*) => {
        $(
            #[test]
            fn $battery() {
                $program.$battery();
            }
        )*
    };
}
