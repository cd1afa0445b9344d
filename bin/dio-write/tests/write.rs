//! The job itself: files written into images through the program, read back by debugfs.

use ext4_testkit::{
    image::{Image, Recipe},
    model::pattern,
    oracle::{self, FsckMode, Need},
};
use std::{
    fs,
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

/// An image in a file of its own.
struct Case {
    folder: tempfile::TempDir,
    image: PathBuf,
}

impl Case {
    fn new(recipe: &Recipe) -> Option<Self> {
        if oracle::skip_without(&[Need::Debugfs, Need::E2fsck]) {
            return None;
        }
        let made: Image = recipe.image()?;
        let folder = oracle::scratch().expect("a scratch folder");
        let image = folder.path().join("disk.img");
        made.save(&image).expect("saving an image");
        Some(Self { folder, image })
    }

    /// Runs the program on `path` in the image.
    fn write(&self, path: &str, args: &[&str], input: &[u8]) -> Output {
        let mut child = Command::new(env!("CARGO_BIN_EXE_dio-write"))
            .arg(format!("{}:{path}", self.image.display()))
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program");
        // It may well end before it has read everything.
        let _unread = child.stdin.take().expect("piped").write_all(input);
        child.wait_with_output().expect("the program")
    }

    #[track_caller]
    fn expect(&self, path: &str, args: &[&str], input: &[u8], code: i32) -> String {
        let out = self.write(path, args, input);
        let text = format!(
            "{}{}",
            String::from_utf8_lossy(&out.stdout),
            String::from_utf8_lossy(&out.stderr)
        );
        assert_eq!(out.status.code(), Some(code), "{text}");
        let found = oracle::e2fsck(&self.image, FsckMode::Check).expect("e2fsck");
        assert!(found.is_clean(), "{found:?}");
        text
    }

    fn cat(&self, path: &str) -> Vec<u8> {
        oracle::debugfs_cat(&self.image, path).expect("debugfs cat")
    }

    fn bytes(&self) -> Vec<u8> {
        fs::read(&self.image).expect("the image")
    }

    fn host_file(&self, name: &str, bytes: &[u8]) -> String {
        let path = self.folder.path().join(name);
        fs::write(&path, bytes).expect("a host file");
        path.display().to_string()
    }
}

#[test]
fn a_new_file_has_the_input_its_mode_and_its_owner() {
    let Some(case) = Case::new(&Recipe::new("ext4-4k").mkdir("/dir")) else { return };
    let input = pattern(1, 1, 0, 1_234_567);
    let file = case.host_file("input", &input);
    case.expect(
        "/dir/new.bin",
        &["--input", &file, "--mode", "0600", "--uid", "7", "--gid", "70000"],
        b"",
        0,
    );
    assert_eq!(case.cat("/dir/new.bin"), input);
    let stat = oracle::debugfs(&case.image, "stat /dir/new.bin").unwrap();
    assert!(stat.contains("Mode:  0600") && stat.contains("User:     7   Group: 70000"), "{stat}");
}

#[test]
fn standard_input_overwrites_extends_and_appends_at_any_byte() {
    let first = pattern(1, 0, 0, 10_000);
    let Some(case) = Case::new(&Recipe::new("ext4-1k").write("/f", first.clone())) else { return };
    let mut model = first;
    case.expect("/f", &["--offset", "3001"], b"hello", 0);
    model[3001..3006].copy_from_slice(b"hello");
    assert_eq!(case.cat("/f"), model);
    case.expect("/f", &["--append"], b"tail\n", 0);
    model.extend_from_slice(b"tail\n");
    assert_eq!(case.cat("/f"), model);
    case.expect("/f", &["--offset", "20k", "--length", "3"], b"abcdef", 0);
    model.resize(20 << 10, 0);
    model.extend_from_slice(b"abc");
    assert_eq!(case.cat("/f"), model);
    case.expect("/f", &["--truncate"], b"short", 0);
    assert_eq!(case.cat("/f"), b"short");
}

#[test]
fn what_cannot_be_done_leaves_every_byte_as_it_was() {
    let recipe = Recipe::new("ext4-4k").mkdir("/dir").write("/f", b"x".to_vec());
    let Some(case) = Case::new(&recipe) else { return };
    let before = case.bytes();
    for (path, args, what) in [
        ("/dir", &[][..], "is a directory, expected a regular file"),
        ("/none/f", &[], "/none/f: no such file or directory"),
        ("/f/f", &[], "not a directory"),
        ("/new", &["--no-create"], "/new: no such file or directory"),
        ("/f", &["--offset", "17592186040320"], "largest file"),
        ("/f", &["--input", "/no/such/input"], "/no/such/input"),
    ] {
        let text = case.expect(path, args, b"data", 8);
        assert!(text.contains(what) && text.lines().count() == 1, "{path} {args:?}: {text}");
        assert!(case.bytes() == before, "{path} {args:?} changed the image");
    }
}

#[test]
fn a_full_image_takes_nothing_and_keeps_everything() {
    let recipe = Recipe::new("ext4-4k").write("/f", pattern(1, 0, 0, 5000));
    let Some(case) = Case::new(&recipe) else { return };
    let big = vec![7; 32 << 20];
    let text = case.expect("/new", &[], &big, 8);
    assert!(text.contains("no space left"), "{text}");
    let names = oracle::debugfs(&case.image, "ls -p /").unwrap();
    assert!(!names.contains("new"), "a file made for nothing stays: {names}");
    case.expect("/f", &["--append"], &big, 8);
    assert_eq!(case.cat("/f"), pattern(1, 0, 0, 5000));
}

#[test]
fn input_that_the_largest_file_cannot_take_is_no_success() {
    let recipe = Recipe::new("ext4-4k").write("/f", pattern(1, 0, 0, 5000));
    let Some(case) = Case::new(&recipe) else { return };
    // One block below the limit: the first 4096 bytes fit, the others do not.
    let at = ["--offset", "17592186036224"];
    let text = case.expect("/f", &at, &[7; 8192], 8);
    assert!(text.contains("wrote 4096 bytes and no more"), "{text}");
    let file = case.host_file("input", &[7; 8192]);
    case.expect("/f", &[at[0], at[1], "--input", &file], b"", 8);
    case.expect("/f", &at, &[7; 4096], 0);
}

#[test]
fn an_error_that_the_journal_recorded_stops_the_write_too() {
    let Some(case) = Case::new(&Recipe::new("ext3-4k").write("/f", pattern(1, 0, 0, 5000))) else {
        return;
    };
    let mut bytes = case.bytes();
    // The journal superblock: magic, and version 2.
    let magic = [0xC0, 0x3B, 0x39, 0x98, 0, 0, 0, 4];
    let log = bytes.chunks_mut(4096).find(|block| block.starts_with(&magic)).expect("a journal");
    // s_errno, -EIO, big-endian as everything of the journal.
    log[0x20..0x24].copy_from_slice(&(-5i32).to_be_bytes());
    fs::write(&case.image, bytes).unwrap();
    for run in 1..3 {
        let out = case.write("/f", &[], b"new");
        let text = String::from_utf8_lossy(&out.stderr).into_owned();
        assert_eq!(out.status.code(), Some(4), "run {run}: {text}");
        assert!(text.contains("errors are recorded"), "run {run}: {text}");
    }
    assert_eq!(case.cat("/f"), pattern(1, 0, 0, 5000));
}

#[test]
fn a_dry_run_tells_the_plan_and_changes_no_byte() {
    let recipe = Recipe::new("ext4-4k").write("/f", pattern(1, 0, 0, 8192));
    let Some(case) = Case::new(&recipe) else { return };
    let before = case.bytes();
    let file = case.host_file("input", &[1; 12_288]);
    let text =
        case.expect("/f", &["--dry-run", "--json", "--input", &file, "--offset", "4k"], b"", 0);
    assert!(text.contains("\"extends\": true"), "{text}");
    assert!(text.contains("\"written_blocks\": 1"), "{text}");
    assert!(text.contains("\"new_blocks\": 2"), "{text}");
    assert!(case.bytes() == before);
}

#[test]
fn a_path_that_is_no_file_is_refused_by_its_name() {
    let recipe = Recipe::new("ext4-4k").write("/f", pattern(1, 0, 0, 100));
    let Some(case) = Case::new(&recipe) else { return };
    let long = format!("/{}", "n".repeat(256));
    for (path, what) in [
        ("/lost+found", "/lost+found: is a directory, expected a regular file".to_owned()),
        ("/new/", "/new/: ends in a slash, expected the name of a file".to_owned()),
        (&long, format!("name \"{}\": longer than 255 bytes", &long[1..])),
    ] {
        let text = case.expect(path, &[], b"new", 8);
        assert!(text.contains(&what), "{text}");
    }
}

#[test]
fn a_file_on_standard_input_has_a_known_length() {
    let Some(case) = Case::new(&Recipe::new("ext4-4k")) else { return };
    let file = case.host_file("input", &[1; 10_000]);
    let out = Command::new(env!("CARGO_BIN_EXE_dio-write"))
        .arg(format!("{}:/new", case.image.display()))
        .args(["--dry-run", "--json"])
        .stdin(fs::File::open(file).unwrap())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&out.stdout);
    assert!(text.contains("\"length\": 10000") && text.contains("\"new_blocks\": 3"), "{text}");
}

#[test]
fn nowait_refuses_to_allocate() {
    let recipe = Recipe::new("ext4-4k").write("/f", pattern(1, 0, 0, 8192));
    let Some(case) = Case::new(&recipe) else { return };
    let text = case.expect("/f", &["--nowait", "--append"], &[0; 4096], 8);
    assert!(text.contains("would wait"), "{text}");
    let file = case.host_file("input", &[1; 4096]);
    case.expect("/f", &["--nowait", "--input", &file], b"", 0);
    assert_eq!(case.cat("/f")[..4096], [1; 4096]);
}

#[test]
fn the_tour_comes_to_its_end() {
    let out = Command::new(env!("CARGO_BIN_EXE_dio-write")).arg("--tour").output().unwrap();
    let text = String::from_utf8_lossy(&out.stdout);
    assert!(out.status.success(), "{text}{}", String::from_utf8_lossy(&out.stderr));
    for what in ["orphan inode 12: truncated to 65536 bytes", "a second recovery has nothing to do"]
    {
        assert!(text.contains(what), "{text}");
    }
    let folder =
        text.lines().nth(1).map(|line| Path::new(line.trim()).parent().unwrap().to_owned());
    assert!(!folder.unwrap().exists(), "the temporary folder stays");
}

#[test]
fn what_is_refused_does_not_empty_the_file_first() {
    // -t once truncated before the offset was looked at: exit 8, and the data gone.
    let recipe = Recipe::new("ext4-4k").write("/f", pattern(1, 0, 0, 8192));
    let Some(case) = Case::new(&recipe) else { return };
    let before = case.bytes();
    case.expect("/f", &["--truncate", "--offset", "8191P"], b"data", 8);
    assert!(case.bytes() == before);
}

#[test]
fn a_file_that_says_it_is_empty_is_read_all_the_same() {
    let recipe = Recipe::new("ext4-4k").write("/f", b"old".to_vec());
    let Some(case) = Case::new(&recipe) else { return };
    case.expect("/f", &["--truncate", "--input", "/proc/version"], b"", 0);
    assert_eq!(case.cat("/f"), fs::read("/proc/version").unwrap());
}
