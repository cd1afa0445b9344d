//! The table of problems, for people: one of them in full, or all in short.

use ext4_check::{Preen, Problem, problem};
use ext4_cli::Failure;
use serde::Serialize;
use std::fmt;

/// One problem in full.
#[derive(Clone, Debug, Serialize)]
pub struct Explained {
    id: &'static str,
    e2fsck_code: Option<String>,
    pass: u8,
    severity: &'static str,
    what: &'static str,
    fix: &'static str,
    unattended: bool,
    meaning: &'static str,
}

impl Explained {
    /// The problem of this name, or of this number in e2fsck (`0x010005`).
    ///
    /// # Errors
    /// There is no such problem.
    pub fn find(name: &str) -> Result<Self, Failure> {
        let code = name.strip_prefix("0x").and_then(|it| u32::from_str_radix(it, 16).ok());
        let by_code = || problem::all().find(|it| code.is_some() && it.code == code);
        problem::by_id(name).or_else(by_code).map(Self::new).ok_or_else(|| {
            Failure::usage(format_args!(
                "found `{name}`, expected a problem's name; --list-problems shows them"
            ))
        })
    }

    fn new(it: &'static Problem) -> Self {
        Self {
            id: it.id,
            e2fsck_code: it.code.map(|code| format!("{code:#08x}")),
            pass: it.pass.number(),
            severity: it.severity.name(),
            what: it.text,
            fix: it.fix,
            unattended: it.preen == Preen::Fix,
            meaning: it.explain,
        }
    }
}

impl fmt::Display for Explained {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}: {}", self.id, self.what)?;
        writeln!(f, "{}", self.meaning)?;
        let code = self.e2fsck_code.as_deref().unwrap_or("none");
        writeln!(f, "pass {}, {}, number in e2fsck: {code}", self.pass, self.severity)?;
        match (self.fix, self.unattended) {
            ("", _) => write!(f, "repair: by what is told after it"),
            (fix, true) => write!(f, "repair: {fix}; also unattended (-p)"),
            (fix, false) => write!(f, "repair: {fix}; -p stops"),
        }
    }
}

/// All problems.
#[derive(Clone, Debug, Serialize)]
pub struct ProblemList(Vec<Explained>);

impl ProblemList {
    /// The whole table.
    pub fn all() -> Self {
        Self(problem::all().map(Explained::new).collect())
    }
}

impl fmt::Display for ProblemList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for it in &self.0 {
            let code = it.e2fsck_code.as_deref().unwrap_or("");
            writeln!(f, "{:<28}{code:<10}{}", it.id, it.what)?;
        }
        Ok(())
    }
}
