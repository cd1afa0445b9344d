//! `--script`: job files and what they print, on an image that needs no tool to be made.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use ext4_testkit::oracle::{self, FsckMode, Need};
use flate2::read::GzDecoder;
use std::{
    fs,
    io::Read as _,
    path::{Path, PathBuf},
    process::{Command, Output},
};

/// 4 MiB of ext4 with a journal of 1 MiB.
const IMAGE: &[u8] = include_bytes!("../../../fixtures/golden/tour.img.gz");

struct Case {
    folder: tempfile::TempDir,
}

impl Case {
    fn new() -> Self {
        let folder = oracle::scratch().unwrap();
        let mut bytes = Vec::new();
        GzDecoder::new(IMAGE).read_to_end(&mut bytes).unwrap();
        fs::write(folder.path().join("disk.img"), bytes).unwrap();
        Self { folder }
    }

    fn image(&self) -> PathBuf {
        self.folder.path().join("disk.img")
    }

    /// Runs the program in the image's folder.
    fn run(&self, args: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_dio-write"))
            .args(args)
            .current_dir(self.folder.path())
            .env("SOURCE_DATE_EPOCH", "1700000000")
            .output()
            .unwrap()
    }

    /// Runs a job and returns what it printed.
    #[track_caller]
    fn job(&self, text: &str, args: &[&str], code: i32) -> String {
        fs::write(self.folder.path().join("x.job"), text).unwrap();
        let out = self.run(&[&["disk.img", "--script", "x.job"], args].concat());
        let (text, err) =
            (String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
        assert_eq!(out.status.code(), Some(code), "{text}{err}");
        format!("{text}{err}")
    }

    #[track_caller]
    fn is_clean(&self) {
        if !oracle::skip_without(&[Need::E2fsck]) {
            let found = oracle::e2fsck(&self.image(), FsckMode::Check).unwrap();
            assert!(found.is_clean(), "{found:?}");
        }
    }
}

/// Every job in the folder prints what the file beside it says.
#[test]
fn the_jobs_print_what_is_written_beside_them() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/lab");
    let mut n = 0;
    for entry in fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|it| it != "job") {
            continue;
        }
        let name = path.file_name().unwrap().to_str().unwrap();
        let case = Case::new();
        fs::copy(&path, case.folder.path().join(name)).unwrap();
        let out = case.run(&["disk.img", "--script", name, "--trace"]);
        let text = [out.stdout, out.stderr].concat();
        let text = String::from_utf8(text).unwrap();
        let beside = path.with_extension("txt");
        if std::env::var_os("UPDATE").is_some() {
            fs::write(&beside, &text).unwrap();
        }
        let expected = fs::read_to_string(&beside).unwrap_or_default();
        assert_eq!(text, expected, "{name}: UPDATE=1 writes what is printed now");
        n += 1;
    }
    assert!(n > 0, "no jobs in {}", folder.display());
}

#[test]
fn a_script_that_makes_no_sense_leaves_the_image_alone() {
    let case = Case::new();
    let before = fs::read(case.image()).unwrap();
    let said = case.job("create /f\ndirekt /f 0 4k\n", &[], 16);
    assert!(
        said.starts_with("dio-write: x.job: line 2: found `direkt`, expected one of "),
        "{said}"
    );
    assert_eq!(said.lines().count(), 1);
    assert!(fs::read(case.image()).unwrap() == before, "the image was touched");
}

#[test]
fn an_operation_that_fails_unexpectedly_ends_the_run_and_the_image_is_closed() {
    let case = Case::new();
    let said = case.job("create /f\ndirect /f 100 512\n", &[], 8);
    assert!(said.contains("x.job: line 2: direct /f 100 512: EINVAL: "), "{said}");
    case.is_clean();
    let said = case.job("direct /f 0 512 expect ENOSPC\n", &[], 8);
    assert!(said.contains("line 1: direct /f 0 512: done, expected ENOSPC"), "{said}");
    case.is_clean();
    let said = case.job("read /f 0 512 is zeros\n", &[], 8);
    assert!(said.contains("line 1 from 0, expected zeros from 0"), "{said}");
}

#[test]
fn who_waits_for_one_that_never_goes_on_is_named() {
    let case = Case::new();
    let job = "create /f\na: direct /f 0 4k until orphan\ntruncate /f 0\ncommit\na: finish\n";
    let said = case.job(job, &[], 8);
    assert!(said.contains("nothing can go on: line 2, direct /f 0 4096, is stopped; "), "{said}");
    assert!(said.contains("line 3, truncate /f 0, waits for "), "{said}");
    case.is_clean();
}

/// Found by random schedules: fdatasync took an empty map for a durable one, and a new file that was
/// synced so was lost in a crash.
#[test]
fn fdatasync_of_a_new_file_keeps_it() {
    let job = "create /f\nfdatasync /f\ncrash\nsize /f expect 0\n";
    Case::new().job(job, &[], 0);
}

#[test]
fn the_readme_shows_jobs_and_traces_as_they_are() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let readme = fs::read_to_string(root.join("README.md")).unwrap();
    for name in ["kara.job", "kara.txt", "guan.job"] {
        let text = fs::read_to_string(root.join("fixtures/lab").join(name)).unwrap();
        assert!(readme.contains(&format!("\n```\n{text}```\n")), "{name} is not as in README.md");
    }
}

#[test]
fn a_crash_at_a_step_leaves_what_a_power_cut_would() {
    let case = Case::new();
    let job = "create /f\ncommit\ndirect /f 0 8k\ncommit\n";
    let text = case.job(job, &["--trace", "--crash-at", "6"], 0);
    let last: Vec<&str> = text.lines().rev().take(2).collect();
    assert!(last[0].ends_with("6 steps, left as a power cut would"), "{text}");
    assert!(last[1].starts_with("power cut after step 6; recovery replays "), "{text}");
    // What was committed is there, after recovery, and nothing else.
    let said = case.job("size /f expect 0\n", &[], 0);
    assert!(said.contains("journal replayed"), "{said}");
    case.is_clean();
    let said = case.job("commit\n", &["--crash-at", "9"], 16);
    assert!(said.contains("step 9 to crash at, but the script has 1"), "{said}");
}

#[test]
fn a_seed_decides_the_order_and_json_rows_have_every_column() {
    let job = "create /f\na: direct /f 0 4k\nb: direct /f 4k 4k\nc: truncate /f 6k\n\
               a: direct /f 8k 4k\n";
    let run = |seed: &str| Case::new().job(job, &["--trace", "--json", "--seed", seed], 0);
    let first = run("1");
    assert_eq!(first, run("1"));
    assert!((2..12).any(|seed| run(&seed.to_string()) != first), "all seeds give one order");
    for key in
        ["step", "line", "actor", "operation", "event", "what", "i_size", "i_disksize", "orphan"]
    {
        assert!(first.lines().next().unwrap().contains(&format!("\"{key}\":")), "{first}");
    }
    assert!(first.lines().last().unwrap().contains("\"seed\":1"), "{first}");
}
