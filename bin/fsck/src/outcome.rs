//! What a check found and did, as text and as JSON.

use crate::{
    filesystem::Summary,
    rescue::Rescued,
    statistics::{Place, Statistics},
    watch::Timing,
};
use ext4_check::{Finding, Optimized, Survey};
use ext4_cli::{Exit, size::Bytes};
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
    /// Whether the superblock said that all is well, after recovery, and nothing more was looked at.
    pub skipped: bool,
    /// Whether nothing was done but to replay the journal (`-E journal_only`).
    pub only_replayed: bool,
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
    /// What was made better, or would be; `None` when nothing was to be, or something wrong was left.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub optimized: Option<Improved>,
    /// Bytes of free blocks that were given back.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub discarded_bytes: Option<u64>,
    /// What the filesystem consists of (`-v`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub statistics: Option<Statistics>,
    /// Where files go on elsewhere (`-E fragcheck`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub discontiguous: Option<Vec<Place>>,
    /// Such places beyond those listed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub discontiguous_not_listed: Option<u64>,
    /// How long it took (`-t`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timing: Option<Timing>,
    /// Why the check did not come to its end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stopped_by: Option<String>,
    /// With what the run ends that a device's error stopped; told besides.
    #[serde(skip)]
    pub failed: Option<Exit>,
    /// The exit code.
    pub exit_code: u8,
}

/// The result of `--rollback`.
#[derive(Clone, Debug, Serialize)]
pub struct RolledBack {
    /// The image as it was named.
    pub image: String,
    /// Bytes that were written back.
    pub restored_bytes: u64,
    /// The exit code.
    pub exit_code: u8,
}

impl fmt::Display for RolledBack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { image, restored_bytes, .. } = self;
        write!(f, "{image}: as it was, {} written back", Bytes(*restored_bytes))
    }
}

/// What was made better.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Improved {
    directories: u64,
    directories_left: u64,
    extent_trees: u64,
    block_maps: u64,
    unshared_files: u64,
    #[serde(skip)]
    is_any: bool,
}

impl From<Optimized> for Improved {
    fn from(it: Optimized) -> Self {
        Self {
            directories: it.directories,
            directories_left: it.directories_left,
            extent_trees: it.extents,
            block_maps: it.block_maps,
            unshared_files: it.unshared,
            is_any: !it.is_empty(),
        }
    }
}

impl Improved {
    /// What was done how often.
    fn rows(&self) -> impl Iterator<Item = (u64, &'static str)> {
        [
            (self.directories, "directories made anew"),
            (self.directories_left, "case-folded directories left as they are"),
            (self.extent_trees, "trees of extents made smaller"),
            (self.block_maps, "maps of blocks made trees of extents"),
            (self.unshared_files, "files given copies of shared blocks"),
        ]
        .into_iter()
        .filter(|it| it.0 > 0)
    }
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
    /// Of a finding in a run that writes nothing, or one that stops before it writes what it mended.
    pub fn new(it: &Finding, is_dry: bool, is_stopped: bool) -> Self {
        let fix = it.problem.fix;
        let is_fixed = it.is_fixed && !is_stopped;
        let done = match (is_fixed, is_dry) {
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
            done: is_fixed && !is_dry,
            round: it.round,
            line,
        }
    }
}

impl Outcome {
    /// Takes what a check came to, or a check that stopped and of which nothing is written.
    pub fn add(&mut self, checked: &ext4_check::Outcome) {
        let is_stopped = self.stopped_by.is_some();
        let row = |it| Row::new(it, self.dry_run, is_stopped);
        self.findings = checked.findings.iter().map(row).collect();
        self.findings_not_listed = checked.not_kept;
        self.bad = checked.bad;
        (self.fixed, self.left) =
            if is_stopped { (0, checked.bad) } else { (checked.fixed, checked.left) };
        self.rounds = checked.rounds;
        self.inodes = checked.inodes;
        self.blocks = checked.blocks;
        self.optimized = checked.optimized.map(Improved::from);
    }

    /// Takes the superblock's own counts, where nothing was counted.
    pub(crate) fn take_counts(&mut self, summary: Option<Summary>) {
        if let Some(summary) = summary {
            (self.inodes, self.blocks) = (summary.inodes, summary.blocks);
        }
    }

    /// Takes where files go on elsewhere.
    pub fn add_discontiguous(&mut self, survey: &Survey) {
        self.discontiguous = Some(survey.breaks.iter().map(Place::from).collect());
        self.discontiguous_not_listed = Some(survey.breaks_not_kept);
    }

    /// Whether anything was made better, or would be.
    pub fn has_improved(&self) -> bool {
        self.optimized.is_some_and(|it| it.is_any)
    }

    /// Whether there is anything worse than a remark.
    pub const fn is_bad(&self) -> bool {
        self.bad > 0
    }

    /// Whether recovery did anything.
    pub const fn has_recovered(&self) -> bool {
        self.replayed_transactions + self.cleaned_orphans > 0
    }

    /// What a caller is told.
    pub fn exit(&self) -> Exit {
        if let Some(exit) = self.failed {
            return exit;
        }
        let mut exit = Exit::OK;
        if self.dry_run {
            // A journal that is to be replayed is nothing wrong: it is there for that.
            if self.is_bad() || self.cleaned_orphans > 0 {
                exit |= Exit::UNCORRECTED;
            }
        } else if self.fixed > 0 || (self.has_recovered() && !self.skipped) || self.has_improved() {
            // Where recovery is all that an unattended run did, nothing was wrong, as with e2fsck: a boot
            // script need not take every power cut for a repair.
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
        if self.failed.is_some() {
            return write!(f, "{image}: not checked to the end, nothing was written");
        }
        if let Some(it) = &self.rescue {
            writeln!(f, "{image}: {it}")?;
        }
        if let Some(why) = &self.stopped_by {
            writeln!(
                f,
                "{image}: {why}; nothing was repaired, and the filesystem is marked as having errors"
            )?;
        }
        let would_be = if self.dry_run { " (would be)" } else { "" };
        for (n, what) in self.optimized.iter().flat_map(Improved::rows) {
            writeln!(f, "{image}: {n} {what}{would_be}")?;
        }
        for place in self.discontiguous.iter().flatten() {
            writeln!(f, "{place}")?;
        }
        if let Some(n) = self.discontiguous_not_listed.filter(|it| *it > 0) {
            writeln!(f, "{image}: {} more", many(n, "place"))?;
        }
        if let Some(bytes) = self.discarded_bytes {
            writeln!(f, "{image}: {} of free blocks given back", Bytes(bytes))?;
        }
        if let Some(statistics) = &self.statistics {
            write!(f, "{statistics}")?;
        }
        if let Some(timing) = &self.timing {
            writeln!(f, "{timing}")?;
        }
        let state = match (self.is_bad(), self.dry_run, self.left) {
            _ if self.only_replayed => "not checked".to_owned(),
            (false, true, _) if self.has_recovered() => "clean once that is done".to_owned(),
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
