//! The table of e2fsck's problems in ARCHITECTURE.md: which of them the full check knows, under which
//! name, and which test makes one; and why it does not look for the others.

use anyhow::{Context as _, Result};
use std::{
    fmt::Write as _,
    path::{Path, PathBuf},
};

/// What stands in the table where a test is missing.
const NONE: &str = "none of its own";
const BEGIN: &str = "<!-- problems: written by `cargo xtask problems` -->\n";
const END: &str = "<!-- end of problems -->\n";

/// Inconsistencies on disk that e2fsck 1.47.4 knows and the check does not tell under that number.
const OTHERS: &[(u32, &str)] = &[
    (0x00_0014, "e2fsck tells of such a journal by 0x000027 as well, and never by this number"),
    (0x01_000F, "such a block is one that two have: told as shared-blocks, and copied"),
    (0x01_0014, "that a decision is needed is what `-p` says of any problem that needs one"),
    (0x01_0017, "a remark of e2fsck's to the two problems after it"),
    (0x01_0039, "a block that cannot be read ends the run with the device's error"),
    (
        0x01_0050,
        "never told by e2fsck: such a name lies on something else, or beyond, and is told as that",
    ),
    (0x01_0051, "told with the value's size: both say that it does not lie in the inode"),
    (0x01_0052, "the field is the number of the inode with the value: told as that"),
    (0x01_0056, "a node that cannot be read ends the run with the device's error"),
    (0x01_0064, "a visible quota file is told by its mode and links"),
    (0x01_0087, "raised by e2fsck only where it makes an extent anew itself"),
    (0x01_4006, "not an inconsistency: made lower by `-E optimize_extents`"),
    (0x01_4007, "not an inconsistency: made narrower by `-E optimize_extents`"),
    (0x02_0005, "an inode table with bad blocks is moved before names are read"),
    (
        0x02_0014,
        "a name has at most 255 bytes: its length is one byte, the next one tells the kind",
    ),
    (0x02_001D, "a record that does not end in its block is no record: directory-corrupted"),
    (
        0x02_0045,
        "an index is checked against the very blocks that the map has: there are no others",
    ),
    (0x03_0002, "lost+found grows as any directory does; nothing is asked"),
];

/// Problems that no test makes, and why.
const UNTESTED: &[(&str, &str)] = &[(
    "file-too-big",
    "a map of as many numbers as it takes, each in a block of its own, has 8 GiB of them",
)];

/// Writes the table into ARCHITECTURE.md.
pub(crate) fn write(root: &Path) -> Result<()> {
    let path = root.join("ARCHITECTURE.md");
    let text = std::fs::read_to_string(&path)?;
    std::fs::write(&path, renewed(&text, root)?)?;
    Ok(())
}

/// What is not as it should be.
pub(crate) fn broken(root: &Path) -> Result<Vec<String>> {
    let text = std::fs::read_to_string(root.join("ARCHITECTURE.md"))?;
    let mut broken = Vec::new();
    if renewed(&text, root)? != text {
        broken.push("ARCHITECTURE.md: table of problems: run `cargo xtask problems`".to_owned());
    }
    Ok(broken)
}

fn renewed(text: &str, root: &Path) -> Result<String> {
    let from = text.find(BEGIN).context("ARCHITECTURE.md: no place for the table of problems")?;
    let to = text[from..].find(END).context("ARCHITECTURE.md: no end of the table of problems")?;
    let (before, after) = (&text[..from + BEGIN.len()], &text[from + to..]);
    Ok(format!("{before}{}{after}", table(root)?))
}

fn table(root: &Path) -> Result<String> {
    let tests = tests(root)?;
    let mut rows: Vec<_> = ext4_check::problem::all()
        .map(|it| {
            let test = tests.iter().find(|(_, text)| text.contains(&format!("\"{}\"", it.id)));
            let why = UNTESTED.iter().find(|(id, _)| *id == it.id).map_or(NONE, |(_, why)| why);
            let test = test.map_or(why, |(name, _)| name);
            (it.code, it.id, test.to_owned())
        })
        .collect();
    rows.extend(OTHERS.iter().map(|(code, why)| (Some(*code), "", (*why).to_owned())));
    rows.sort_by_key(|(code, ..)| code.unwrap_or(u32::MAX));
    let known = rows.iter().filter(|it| it.0.is_some() && !it.1.is_empty()).count();
    let tested = rows.iter().filter(|it| !it.1.is_empty() && is_test(&it.2)).count();
    let mut out = String::new();
    // Writing to a String cannot fail.
    let _ = writeln!(
        out,
        "{known} numbers of e2fsck have a name here, {} have a reason not to; {tested} problems are \
         made by a test.\n\n| number | name | test, or reason |\n|---|---|---|",
        OTHERS.len()
    );
    for (code, id, test) in rows {
        let code = code.map_or("own".to_owned(), |it| format!("{it:#08x}"));
        let _ = writeln!(out, "| {code} | {id} | {test} |");
    }
    Ok(out)
}

/// Whether that names a test, and no reason.
fn is_test(what: &str) -> bool {
    what.starts_with("bin/") || what.starts_with("crates/")
}

/// The files with tests of the check, and their text.
fn tests(root: &Path) -> Result<Vec<(String, String)>> {
    let mut found = Vec::new();
    for folder in ["crates/check/tests", "bin/fsck/tests"] {
        let mut pending: Vec<PathBuf> = vec![root.join(folder)];
        while let Some(dir) = pending.pop() {
            for entry in std::fs::read_dir(&dir)? {
                let path = entry?.path();
                if path.is_dir() {
                    pending.push(path);
                } else if path.extension().is_some_and(|it| it == "rs") {
                    let name = path.strip_prefix(root).unwrap_or(&path).display().to_string();
                    found.push((name, std::fs::read_to_string(&path)?));
                }
            }
        }
    }
    found.sort();
    Ok(found)
}
