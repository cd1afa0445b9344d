//! What a check found and did, as text and as JSON.

use crate::rescue::Rescued;
use ext4_check::Finding;
use ext4_cli::Exit;
use ext4_ondisk::name::Name;
use serde::Serialize;
use std::fmt;

/// The result of a run.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Outcome {
    /// The image as it was named.
    pub image: String,
    /// Whether nothing was written.
    pub dry_run: bool,
    /// Whether the superblock said that all is well, and nothing was looked at.
    pub skipped: bool,
    /// Transactions of the journal that were replayed.
    pub replayed_transactions: u64,
    /// Orphans that were cleaned.
    pub cleaned_orphans: u64,
    /// Why the journal or the orphans could not be dealt with in the usual way.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recovery_failed: Option<String>,
    /// What is wrong, or was.
    pub findings: Vec<Row>,
    /// Findings beyond those listed.
    pub findings_not_listed: u64,
    /// Findings that are more than a remark.
    pub bad: u64,
    /// Findings that were repaired, or would be.
    pub fixed: u64,
    /// Findings that are left.
    pub left: u64,
    /// Rounds the check took.
    pub rounds: u32,
    /// Inodes in use, and all.
    pub inodes: [u64; 2],
    /// Blocks in use, and all.
    pub blocks: [u64; 2],
    /// What was copied out of the repair's way.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rescue: Option<Rescued>,
    /// Why the check did not come to its end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stopped_by: Option<String>,
    /// The exit code.
    pub exit_code: u8,
}

/// One finding.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    id: &'static str,
    e2fsck_code: Option<String>,
    severity: &'static str,
    #[serde(rename = "where")]
    place: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    inode: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    block: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    group: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    path: Option<String>,
    what: &'static str,
    found: String,
    expected: String,
    fix: &'static str,
    done: bool,
    round: u32,
    #[serde(skip)]
    line: String,
}

impl Row {
    /// Of a finding; `done` is whether it is really repaired.
    pub fn new(it: &Finding, is_dry: bool) -> Self {
        let fix = it.problem.fix;
        let done = match (it.is_fixed, is_dry) {
            (true, false) => format!(": done: {fix}"),
            (true, true) => format!(": to do: {fix}"),
            (false, _) if fix.is_empty() => String::new(),
            (false, _) => ": left as it is".to_owned(),
        };
        let line = format!("{it}{done} [{}]", it.problem.id);
        Self {
            id: it.problem.id,
            e2fsck_code: it.problem.code.map(|code| format!("{code:#08x}")),
            severity: it.problem.severity.name(),
            place: it.place.to_string(),
            inode: it.place.inode.map(ext4_units::InodeNr::get),
            block: it.place.block.map(|it| it.0),
            group: it.place.group.map(|it| it.0),
            path: it.path.as_deref().map(|path| Name(path).to_string()),
            what: it.problem.text,
            found: it.found.clone(),
            expected: it.expected.clone(),
            fix,
            done: it.is_fixed && !is_dry,
            round: it.round,
            line,
        }
    }
}

impl Outcome {
    /// Takes what a check came to.
    pub fn add(&mut self, checked: &ext4_check::Outcome) {
        self.findings = checked.findings.iter().map(|it| Row::new(it, self.dry_run)).collect();
        self.findings_not_listed = checked.not_kept;
        self.bad = checked.bad;
        self.fixed = checked.fixed;
        self.left = checked.left;
        self.rounds = checked.rounds;
        self.inodes = checked.inodes;
        self.blocks = checked.blocks;
    }

    /// Whether there is anything worse than a remark.
    pub const fn is_bad(&self) -> bool {
        self.bad > 0
    }

    /// Whether anything is to be written.
    pub const fn has_recovered(&self) -> bool {
        self.replayed_transactions + self.cleaned_orphans > 0
    }

    /// What a caller is told.
    pub fn exit(&self) -> Exit {
        let mut exit = Exit::OK;
        if self.dry_run {
            // A journal that is to be replayed is nothing wrong: it is there for that.
            if self.is_bad() || self.cleaned_orphans > 0 {
                exit |= Exit::UNCORRECTED;
            }
        } else if self.fixed > 0 || self.has_recovered() {
            exit |= Exit::CORRECTED;
        }
        if self.left > 0 || self.stopped_by.is_some() {
            exit |= Exit::UNCORRECTED;
        }
        exit
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let image = &self.image;
        let would = if self.dry_run { " would be" } else { "" };
        if self.replayed_transactions > 0 {
            writeln!(
                f,
                "{image}: {}{would} replayed",
                many(self.replayed_transactions, "transaction")
            )?;
        }
        if self.cleaned_orphans > 0 {
            writeln!(f, "{image}: {}{would} cleaned", many(self.cleaned_orphans, "orphan"))?;
        }
        if let Some(why) = &self.recovery_failed {
            writeln!(f, "{image}: recovery: {why}")?;
        }
        for row in &self.findings {
            writeln!(f, "{}", row.line)?;
        }
        if self.findings_not_listed > 0 {
            writeln!(f, "{image}: {} more", many(self.findings_not_listed, "finding"))?;
        }
        if let Some(it) = &self.rescue {
            writeln!(f, "{image}: {it}")?;
        }
        if let Some(why) = &self.stopped_by {
            writeln!(f, "{image}: {why}; nothing was written")?;
        }
        let state = match (self.is_bad(), self.dry_run, self.left) {
            (false, _, _) => "clean".to_owned(),
            (true, true, _) => format!("{}, nothing was written", many(self.fixed, "repair")),
            (true, false, 0) => many(self.fixed, "repair"),
            (true, false, left) => format!("{}, {left} left", many(self.fixed, "repair")),
        };
        let [used, all] = self.inodes;
        let [blocks, all_blocks] = self.blocks;
        write!(f, "{image}: {state}, {used}/{all} inodes, {blocks}/{all_blocks} blocks")
    }
}

pub(crate) fn many(n: u64, what: &str) -> String {
    if n == 1 { format!("1 {what}") } else { format!("{n} {what}s") }
}
