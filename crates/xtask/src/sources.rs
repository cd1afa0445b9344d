//! Rules of single files: what a source file begins with, and words that have no place in it.

use anyhow::{Context as _, Result};
use std::{
    fs,
    path::{Path, PathBuf},
};

/// Libraries of the product: they do not print, ask the clock, or read the environment.
const LIBRARIES: &[&str] =
    &["units", "ondisk", "blockdev", "extent", "dir", "jbd2", "fs", "dio", "lab", "mkfs"];

/// Beyond this many lines a file is worth a look: does it hold one idea?
const LONG: usize = 600;

/// Words that mean work left undone; put together here so that this file does not hold them.
const LEFT_OPEN: &[&str] =
    &[concat!("TO", "DO"), concat!("FIX", "ME"), concat!("XX", "X"), concat!("#[ig", "nore")];

/// Words of places outside the tree, which stands alone.
const OUTSIDE: &[&str] = &[concat!("/wo", "rk/"), concat!("shar", "ed/")];

/// The only file that may look outside: it uses what lies beside the tree if it is there.
const LOOKS_OUTSIDE: &str = ".ci/run";

/// Every broken rule as `path:line: what`.
pub(crate) fn broken(root: &Path) -> Result<Vec<String>> {
    let mut broken = Vec::new();
    for path in files(root)? {
        let Ok(text) = fs::read_to_string(root.join(&path)) else { continue };
        let name = path.to_string_lossy();
        broken.extend(broken_in(&name, &text).into_iter().map(|it| format!("{name}:{it}")));
    }
    Ok(broken)
}

/// Source files of the product that are longer than most good ones.
pub(crate) fn long_files(root: &Path) -> Result<Vec<String>> {
    let mut long = Vec::new();
    for path in files(root)? {
        let name = path.to_string_lossy().into_owned();
        let Ok(text) = fs::read_to_string(root.join(&path)) else { continue };
        let lines = text.lines().count();
        if extension(&name) == "rs" && !is_test(&name) && lines > LONG {
            long.push(format!("{name}: {lines} lines"));
        }
    }
    Ok(long)
}

/// Every text file that is written by hand, relative to the root.
fn files(root: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let mut folders = vec![PathBuf::new()];
    while let Some(folder) = folders.pop() {
        let here = root.join(&folder);
        for entry in fs::read_dir(&here).with_context(|| here.display().to_string())? {
            let entry = entry?;
            let name = entry.file_name();
            let path = folder.join(&name);
            if entry.file_type()?.is_dir() {
                let skipped = ["target", ".git", "corpus", "artifacts"];
                if !skipped.iter().any(|it| name == *it) {
                    folders.push(path);
                }
            } else if matches!(
                path.extension().and_then(|it| it.to_str()),
                Some("rs" | "toml" | "md")
            ) || path == Path::new(LOOKS_OUTSIDE)
            {
                files.push(path);
            }
        }
    }
    files.sort();
    Ok(files)
}

fn broken_in(path: &str, text: &str) -> Vec<String> {
    let mut broken = Vec::new();
    let is_rust = extension(path) == "rs";
    if is_rust && !text.starts_with("//!") {
        broken.push("1: does not begin with //!".to_owned());
    }
    if path.ends_with("/mod.rs") {
        broken.push("1: mod.rs, expected name.rs beside name/".to_owned());
    }
    if path.ends_with("Cargo.toml") && path.contains('/') && !path.contains("/fuzz/") {
        let linted = text.contains("[lints]\nworkspace = true\n");
        if !linted {
            broken.push("1: does not take the workspace's lints".to_owned());
        }
    }
    let product = product_lines(path, text);
    for (idx, line) in text.lines().enumerate() {
        let mut say = |what: &str| broken.push(format!("{}: {what}", idx + 1));
        if extension(path) != "md" && !line.is_ascii() {
            say("not ASCII");
        }
        if line.ends_with([' ', '\t']) {
            say("blank at the end of the line");
        }
        if path != LOOKS_OUTSIDE && OUTSIDE.iter().any(|it| line.contains(it)) {
            say("names a place outside the tree");
        }
        if is_rust && LEFT_OPEN.iter().any(|it| line.contains(it)) {
            say("work left undone");
        }
        if idx < product
            && let Some(word) = forbidden(path, line)
        {
            say(&format!("{word} has no place in this crate"));
        }
    }
    broken
}

/// How many lines of a file are the product's: the tests stand at its end.
fn product_lines(path: &str, text: &str) -> usize {
    if is_test(path) {
        return 0;
    }
    let lines: Vec<_> = text.lines().collect();
    let tests = lines
        .windows(2)
        .position(|it| it[0].starts_with("#[cfg(test)]") && it[1].starts_with("mod "));
    tests.unwrap_or(lines.len())
}

fn extension(path: &str) -> &str {
    path.rsplit_once('.').map_or("", |(_, it)| it)
}

fn is_test(path: &str) -> bool {
    path.ends_with("/tests.rs")
        || ["/tests/", "/benches/", "/fuzz/", "/examples/"].iter().any(|it| path.contains(it))
}

/// A word that breaks an invariant of ARCHITECTURE.md.
fn forbidden(path: &str, line: &str) -> Option<&'static str> {
    let folder = path.strip_prefix("crates/")?.split('/').next()?;
    if !LIBRARIES.contains(&folder) || line.trim_start().starts_with("//") {
        return None;
    }
    // Not a file, though it begins like one.
    let line = &line.replace("Filesystem", "");
    let everywhere = ["println!", "eprintln!", "print!(", "SystemTime::now", "Instant::now"];
    let environment = ["std::env", "env::var"];
    let files = ["std::fs", "fs::{File", "File::open", "File::create", "OpenOptions"];
    let found = |words: &[&'static str]| words.iter().copied().find(|it| line.contains(it));
    found(&everywhere)
        .or_else(|| found(&environment))
        .or_else(|| if folder == "blockdev" { None } else { found(&files) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(path: &str, text: &str, expected: &[&str]) {
        assert_eq!(broken_in(path, text), expected, "{path}");
    }

    #[test]
    fn a_file_says_what_it_is() {
        check("crates/fs/src/a.rs", "//! Says.\n", &[]);
        check("crates/fs/src/a.rs", "use x;\n", &["1: does not begin with //!"]);
        check("crates/fs/src/a/mod.rs", "//!\n", &["1: mod.rs, expected name.rs beside name/"]);
    }

    #[test]
    fn only_blockdev_opens_files() {
        let text = "//! x\nuse std::fs;\n";
        check("crates/blockdev/src/file.rs", text, &[]);
        check("bin/debug/src/dump.rs", text, &[]);
        check("crates/fs/src/open.rs", text, &["2: std::fs has no place in this crate"]);
        check("crates/dio/src/write.rs", "//! x\nuse ext4_fs::Filesystem;\n", &[]);
        check("crates/fs/src/open.rs", "//! x\n#[cfg(test)]\nmod tests {\n use std::fs;\n}\n", &[]);
    }

    #[test]
    fn libraries_do_not_print_or_ask_the_time() {
        let text = "//! x\nprintln!();\nlet now = Instant::now();\n";
        let found = [
            "2: println! has no place in this crate",
            "3: Instant::now has no place in this crate",
        ];
        check("crates/jbd2/src/a.rs", text, &found);
        check("crates/jbd2/tests/it/main.rs", text, &[]);
        check("crates/cli/src/a.rs", text, &[]);
    }

    #[test]
    fn the_tree_stands_alone_and_is_finished() {
        let outside = format!("see {}x\n", OUTSIDE[0]);
        check("README.md", &outside, &["1: names a place outside the tree"]);
        check(LOOKS_OUTSIDE, &outside, &[]);
        let open = format!("//! x\n// {}: later\n", LEFT_OPEN[0]);
        check("crates/fs/src/a.rs", &open, &["2: work left undone"]);
        check(
            "crates/fs/src/a.rs",
            "//! \u{e9} \n",
            &["1: not ASCII", "1: blank at the end of the line"],
        );
    }
}
