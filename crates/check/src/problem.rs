//! The table of problems: each kind of inconsistency once, with its name, its number in e2fsck, what
//! mends it, and whether that may happen unattended.
//!
//! Numbers and policies are those of e2fsck's `problem.h` and `problem.c`; the words are ours.

use std::fmt;

pub(crate) mod pass0;
pub(crate) mod pass1;
pub(crate) mod pass2;
pub(crate) mod pass3;
pub(crate) mod pass4;
pub(crate) mod pass5;
pub(crate) mod pass6;

/// One kind of inconsistency.
#[derive(Debug)]
pub struct Problem {
    /// Its name, which never changes: `inode-size`.
    pub id: &'static str,
    /// e2fsck's number of it (`PR_...`); `None` for what only we look for.
    pub code: Option<u32>,
    /// The pass that finds it.
    pub pass: Pass,
    /// How bad it is.
    pub severity: Severity,
    /// What is wrong, in a few words: `i_size does not match the mapped blocks`.
    pub text: &'static str,
    /// What mends it, as a question without its mark: `correct i_size`. Empty for what is only
    /// told, and is mended by what is told after it.
    pub fix: &'static str,
    /// What an unattended run does.
    pub preen: Preen,
    /// What it means and what mending it does, for `--explain`.
    pub explain: &'static str,
}

/// Two mentions of a problem are the same one.
impl PartialEq for Problem {
    fn eq(&self, other: &Self) -> bool {
        self.id == other.id
    }
}

impl Eq for Problem {}

/// The pass of a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Pass {
    /// Superblock, descriptors, journal, MMP, orphans.
    Zero,
    /// Inodes, their maps, sizes and attributes; shared blocks.
    One,
    /// Directories.
    Two,
    /// Connectivity.
    Three,
    /// Link counts.
    Four,
    /// Bitmaps and counts.
    Five,
    /// Journal, quota and the orphan file, made anew.
    Six,
}

impl Pass {
    /// Its number as e2fsck prints it.
    pub const fn number(self) -> u8 {
        self as u8
    }
}

impl fmt::Display for Pass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "pass {}", self.number())
    }
}

/// How bad a problem is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Worth a mention; the filesystem is consistent.
    Note,
    /// A count, a flag or a checksum that can be worked out again: nothing is lost.
    Accounting,
    /// Something of a file, or a name, may be lost.
    Damage,
    /// The frame of the filesystem itself.
    Critical,
}

impl Severity {
    /// Its name in lower case.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Note => "note",
            Self::Accounting => "accounting",
            Self::Damage => "damage",
            Self::Critical => "critical",
        }
    }
}

/// What an unattended run (`-p`) does with a problem.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Preen {
    /// Mends it.
    Fix,
    /// Stops: a person has to decide.
    Stop,
}

/// All problems, in the order of their passes.
pub fn all() -> impl Iterator<Item = &'static Problem> {
    [
        pass0::PROBLEMS,
        pass1::PROBLEMS,
        pass2::PROBLEMS,
        pass3::PROBLEMS,
        pass4::PROBLEMS,
        pass5::PROBLEMS,
        pass6::PROBLEMS,
    ]
    .into_iter()
    .flatten()
    .copied()
}

/// The problem of that name.
pub fn by_id(id: &str) -> Option<&'static Problem> {
    all().find(|it| it.id == id)
}

/// Rows of the table, each a `static` of its own, and the list of them.
///
/// `NAME: "id", code, Severity, Preen, "what is wrong", "fix", "explanation";`
macro_rules! problems {
    ($pass:ident; $($name:ident: $id:literal, $code:expr, $severity:ident, $preen:ident, $text:literal, $fix:literal, $explain:literal;)*) => {
        $(
            #[doc = $text]
            pub(crate) static $name: $crate::Problem = $crate::Problem {
                id: $id,
                code: $code,
                pass: $crate::Pass::$pass,
                severity: $crate::Severity::$severity,
                text: $text,
                fix: $fix,
                preen: $crate::Preen::$preen,
                explain: $explain,
            };
        )*

        /// The problems of this pass.
        pub(super) const PROBLEMS: &[&$crate::Problem] = &[$(&$name),*];
    };
}
use problems;

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_problem_has_a_name_and_a_number_of_its_own() {
        let (mut ids, mut codes) = (BTreeSet::new(), BTreeSet::new());
        for problem in all() {
            assert!(ids.insert(problem.id), "{} twice", problem.id);
            assert!(problem.code.is_none_or(|code| codes.insert(code)), "{} twice", problem.id);
            let is_fine = |it: char| it.is_ascii_lowercase() || it.is_ascii_digit() || it == '-';
            assert!(problem.id.chars().all(is_fine), "{}", problem.id);
            assert!(!problem.text.is_empty() && !problem.explain.is_empty(), "{}", problem.id);
        }
    }
}
