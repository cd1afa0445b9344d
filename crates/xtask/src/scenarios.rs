//! The numbered scenarios: each is a test whose name begins with its number, or has a row in
//! ARCHITECTURE.md that says why it cannot apply to an image.

use anyhow::{Context as _, Result};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt, fs,
    ops::RangeInclusive,
    path::{Path, PathBuf},
};

/// The numbers that there are.
const NUMBERS: RangeInclusive<u32> = 13..=171;

/// The heading in ARCHITECTURE.md above the table of those that are no test.
const HEADING: &str = "## Scenarios that cannot apply";

/// What a function that asks the kernel has in it, itself or in one that it calls.
const ASKS: [&str; 4] = ["Need::Kernel", "kernel::is_here", "Mount::", "kernel_every"];

/// Where every number stands.
#[derive(Debug, Default)]
pub(crate) struct Scenarios {
    /// Number to its tests, and whether each has the kernel do the same.
    tests: BTreeMap<u32, Vec<(String, bool)>>,
    /// Number to the reason why it is no test.
    reasons: BTreeMap<u32, String>,
}

impl Scenarios {
    /// Reads the tree.
    pub(crate) fn of(root: &Path) -> Result<Self> {
        let text = fs::read_to_string(root.join("ARCHITECTURE.md")).context("ARCHITECTURE.md")?;
        let mut it = Self { reasons: reasons(&text), ..Self::default() };
        for entry in fs::read_dir(root.join("crates"))? {
            let folder = entry?.path().join("tests/it");
            if folder.is_dir() {
                it.add(&Sources::of(&folder)?);
            }
        }
        Ok(it)
    }

    fn add(&mut self, sources: &Sources) {
        let asking = sources.asking();
        for (idx, function) in sources.functions.iter().enumerate() {
            if let Some(number) = function.number() {
                let test = (function.name.clone(), asking.contains(&idx));
                self.tests.entry(number).or_default().push(test);
            }
        }
    }

    /// What is wrong: numbers that are nowhere, or in both places, or out of range.
    pub(crate) fn broken(&self) -> Vec<String> {
        let mut broken = Vec::new();
        for number in NUMBERS {
            match (self.tests.contains_key(&number), self.reasons.get(&number)) {
                (false, None) => broken.push(format!("scenario {number}: no test, and no reason")),
                (true, Some(_)) => {
                    broken.push(format!("scenario {number}: a test, and a reason why not"));
                }
                (false, Some(reason)) if reason.len() < 20 => {
                    broken.push(format!("scenario {number}: {reason:?} is no reason"));
                }
                _ => {}
            }
        }
        let others = self.tests.keys().chain(self.reasons.keys());
        let outside = others.filter(|it| !NUMBERS.contains(it));
        broken.extend(outside.map(|it| format!("scenario {it}: there is no such number")));
        broken
    }
}

impl fmt::Display for Scenarios {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let asked = self.tests.values().filter(|tests| tests.iter().any(|it| it.1)).count();
        let tests: usize = self.tests.values().map(Vec::len).sum();
        write!(
            f,
            "{} scenarios: {} as tests ({tests} of them), {asked} compared with the kernel, \
             {} not applicable",
            NUMBERS.count(),
            self.tests.len(),
            self.reasons.len()
        )
    }
}

/// The rows of the table: `| number | reason |`.
fn reasons(text: &str) -> BTreeMap<u32, String> {
    let table = text.split_once(HEADING).map_or("", |it| it.1);
    let table = table.split("\n## ").next().unwrap_or_default();
    let row = |line: &str| {
        let mut cells = line.trim().strip_prefix('|')?.split('|').map(str::trim);
        Some((cells.next()?.parse().ok()?, cells.next()?.to_owned()))
    };
    table.lines().filter_map(row).collect()
}

/// A function in a test's sources.
#[derive(Debug)]
struct Function {
    name: String,
    /// The file's name without `.rs`.
    file: String,
    body: String,
    is_test: bool,
    is_method: bool,
}

impl Function {
    /// The number that a test's name begins with: `s18_...` or `scenario_113_...`.
    fn number(&self) -> Option<u32> {
        let rest = self.name.strip_prefix("scenario_").or(self.name.strip_prefix('s'))?;
        let (digits, _) = rest.split_once('_').filter(|_| self.is_test)?;
        digits.parse().ok()
    }
}

/// The functions of one folder of tests.
#[derive(Debug, Default)]
struct Sources {
    functions: Vec<Function>,
    /// File to its `use` declarations.
    uses: BTreeMap<String, Vec<String>>,
}

impl Sources {
    fn of(folder: &Path) -> Result<Self> {
        let mut it = Self::default();
        for path in files(folder)? {
            let file = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            it.read(&file, &fs::read_to_string(&path)?);
        }
        Ok(it)
    }

    /// Takes a formatted file apart: a function ends with the `}` that stands where it began.
    fn read(&mut self, file: &str, text: &str) {
        let uses = text.split("\nuse ").skip(1).filter_map(|it| it.split(';').next());
        self.uses.entry(file.to_owned()).or_default().extend(uses.map(ToOwned::to_owned));
        let lines: Vec<&str> = text.lines().collect();
        // Attributes may take several lines.
        let (mut is_test, mut in_attribute) = (false, false);
        for (at, line) in lines.iter().enumerate() {
            let code = line.trim_start();
            let indent = line.len() - code.len();
            if let Some((_, after)) = code.split_once("fn ").filter(|it| is_head(it.0)) {
                let end = format!("{}}}", " ".repeat(indent));
                let len = lines[at..].iter().position(|it| *it == end).unwrap_or(0);
                let body = lines[at..=at + len].join("\n");
                let name = after.split(['(', '<']).next().unwrap_or_default().to_owned();
                let head: String = body.chars().take_while(|it| *it != '{').collect();
                let is_method = head.contains("self,") || head.contains("self)");
                let file = file.to_owned();
                self.functions.push(Function { name, file, body, is_test, is_method });
                is_test = false;
            } else if code.starts_with("#[") {
                is_test |= code == "#[test]";
                in_attribute = !code.ends_with(']');
            } else if in_attribute {
                in_attribute = code != ")]";
            } else {
                is_test = false;
            }
        }
    }

    /// Indices of the functions that ask the kernel, or call one that does.
    fn asking(&self) -> BTreeSet<usize> {
        let all = || self.functions.iter().enumerate();
        let asks = |it: &Function| ASKS.iter().any(|word| it.body.contains(word));
        let mut asking: BTreeSet<usize> =
            all().filter(|(_, it)| asks(it)).map(|(idx, _)| idx).collect();
        loop {
            let calls =
                |it: &Function| asking.iter().any(|&to| self.calls(it, &self.functions[to]));
            let more: Vec<usize> = all()
                .filter(|(idx, it)| !asking.contains(idx) && calls(it))
                .map(|(idx, _)| idx)
                .collect();
            if more.is_empty() {
                return asking;
            }
            asking.extend(more);
        }
    }

    fn calls(&self, from: &Function, to: &Function) -> bool {
        let call = format!("{}(", to.name);
        from.body.match_indices(&call).any(|(at, _)| {
            let before = &from.body[..at];
            if before.ends_with("fn ")
                || before.ends_with(|it: char| it.is_alphanumeric() || it == '_')
            {
                return false;
            }
            if to.is_method || before.ends_with('.') {
                return to.is_method && before.ends_with('.');
            }
            if before.ends_with("::") {
                return before.ends_with(&format!("{}::", to.file));
            }
            from.file == to.file || self.imports(&from.file, to)
        })
    }

    /// Whether a file has a `use` of a function of another one.
    fn imports(&self, file: &str, to: &Function) -> bool {
        let is_word = |it: char| it.is_alphanumeric() || it == '_';
        self.uses.get(file).into_iter().flatten().any(|it| {
            let has = |word: &str| it.split(|it: char| !is_word(it)).any(|it| it == word);
            has(&to.name) && (has(&to.file) || it.starts_with("super::"))
        })
    }
}

/// Whether that stands before `fn`.
fn is_head(words: &str) -> bool {
    words.is_empty() || words == "const " || words.starts_with("pub") && words.ends_with(' ')
}

fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            files.extend(self::files(&path)?);
        } else if path.extension().is_some_and(|it| it == "rs") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_scenario_is_a_test_or_has_a_reason() {
        let scenarios = Scenarios::of(&crate::root().unwrap()).unwrap();
        println!("{scenarios}");
        assert_eq!(scenarios.broken(), Vec::<String>::new());
    }

    const SOURCE: &str = "\
//! Tests.
use super::stage::{Stage, both};
fn helper() {
    both(1);
}
#[test]
fn s13_first() {
    helper();
}
#[test]
#[expect(
    clippy::one,
    reason = \"of the best\"
)]
fn scenario_14_second() {
    alone();
}
fn s15_no_test() {
    helper();
}
fn alone() {}
";

    fn example() -> Scenarios {
        let mut sources = Sources::default();
        sources.read("some", SOURCE);
        sources.read("stage", "pub(super) fn both(n: u32) {\n    kernel::is_here();\n}\n");
        let mut it = Scenarios::default();
        it.add(&sources);
        it
    }

    #[test]
    fn numbers_are_those_of_tests_and_the_kernel_is_asked_by_way_of_others() {
        let tests: Vec<_> = example().tests.into_iter().collect();
        let expected = [
            (13, vec![("s13_first".to_owned(), true)]),
            (14, vec![("scenario_14_second".to_owned(), false)]),
        ];
        assert_eq!(tests, expected);
    }

    #[test]
    fn a_number_that_is_nowhere_or_in_both_places_is_found() {
        let mut it = example();
        let table = format!(
            "{HEADING}\n\n| number | why |\n|---|---|\n| 13 | {0} |\n| 15 | {0} |\n\n## More\n| 16 | {0} |\n",
            "because there is no such thing"
        );
        it.reasons = reasons(&table);
        let broken = it.broken();
        assert_eq!(broken[0], "scenario 13: a test, and a reason why not");
        assert_eq!(broken[1], "scenario 16: no test, and no reason");
        assert_eq!(broken.len(), 1 + NUMBERS.count() - 3);
    }
}
