//! What a run did or would do, as text and as JSON.

use ext4_cli::{Exit, size::Bytes};
use ext4_fs::{Finding, Orphan, OrphanFate};
use serde::Serialize;
use std::fmt;

/// All that a run found.
#[derive(Clone, Debug, Serialize)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own in the JSON")]
pub struct Outcome {
    /// The image as it was named.
    pub image: String,
    /// Whether nothing was really written.
    pub dry_run: bool,
    /// The superblock's last write had been cut in two, and was made whole.
    pub mended_superblock: bool,
    /// What was in the log.
    pub journal: Journal,
    /// The recorded inodes, in the order they were dealt with.
    pub orphans: Vec<OrphanRow>,
    /// The first inode of an orphan list that was dropped unread.
    pub dropped_list: Option<u32>,
    /// Whether there are orphans that were left as they are.
    pub orphans_left: bool,
    /// Why: features that cannot be written.
    pub held_back: Option<String>,
    /// Whether the superblock's free counts were corrected.
    pub corrected_counts: bool,
    /// Whether the superblock says that errors were seen.
    pub has_errors: bool,
    /// Damage that ended the run.
    pub damage: Option<String>,
    /// How many inodes were checked at the end.
    pub checked_inodes: u64,
    /// What is wrong with them.
    pub findings: Vec<FindingRow>,
    /// How many findings there are beyond those listed.
    pub findings_not_listed: u64,
    /// The exit code.
    pub exit_code: u8,
}

/// What was done with the log.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Journal {
    /// Whether it held anything to be replayed.
    pub replayed: bool,
    /// Complete transactions.
    pub transactions: u64,
    /// Blocks written home.
    pub blocks: u64,
    /// Copies that a revoke record held back.
    pub revoked: u64,
    /// Operations of fast commits.
    pub fast_commit_operations: u64,
    /// It was thrown away unread, because the superblock did not ask for recovery.
    pub discarded: bool,
    /// The error it had recorded.
    pub errno: i32,
}

/// One recorded inode.
#[derive(Clone, Debug, Serialize)]
pub struct OrphanRow {
    /// Its number.
    pub inode: u32,
    /// `list` or `file`.
    pub recorded_in: &'static str,
    /// `deleted`, `truncated` or `refused`.
    pub fate: &'static str,
    /// Its size in bytes.
    pub size: Option<u64>,
    /// Bytes that were freed.
    pub freed: Option<u64>,
    /// Why it was refused.
    pub fault: Option<String>,
}

/// Something wrong with an inode.
#[derive(Clone, Debug, Serialize)]
pub struct FindingRow {
    /// The inode.
    pub inode: u32,
    /// A name for programs.
    pub what: &'static str,
    /// A line for people.
    pub text: String,
}

impl Outcome {
    /// Of a run that has not begun.
    pub fn new(image: String, dry_run: bool) -> Self {
        Self {
            image,
            dry_run,
            mended_superblock: false,
            journal: Journal::default(),
            orphans: Vec::new(),
            dropped_list: None,
            orphans_left: false,
            held_back: None,
            corrected_counts: false,
            has_errors: false,
            damage: None,
            checked_inodes: 0,
            findings: Vec::new(),
            findings_not_listed: 0,
            exit_code: 0,
        }
    }

    /// Takes over what recovery says.
    pub fn set_report(&mut self, report: &ext4_fs::Report) {
        let replayed = report.replayed.unwrap_or_default();
        self.mended_superblock = report.mended_superblock;
        self.journal = Journal {
            replayed: report.replayed.is_some(),
            transactions: replayed.transactions,
            blocks: replayed.blocks,
            revoked: replayed.revoked,
            fast_commit_operations: report.fast_commit_ops,
            discarded: report.discarded_log,
            errno: report.journal_errno,
        };
        self.orphans = report.orphans.iter().map(OrphanRow::new).collect();
        self.dropped_list = report.dropped_list;
        self.orphans_left = report.orphans_left;
        self.held_back = report.held_back.as_ref().map(ToString::to_string);
        self.corrected_counts = report.corrected_counts;
        self.has_errors = report.has_errors;
    }

    /// Takes up a finding, or counts it when there are `max` already.
    pub fn add_finding(&mut self, finding: &Finding, max: usize) {
        if self.findings.len() < max {
            self.findings.push(FindingRow {
                inode: finding.ino.get(),
                what: finding.fault.name(),
                text: finding.to_string(),
            });
        } else {
            self.findings_not_listed += 1;
        }
    }
}

impl Outcome {
    /// Whether something was, or would be, changed.
    pub fn has_changes(&self) -> bool {
        self.mended_superblock
            || self.journal.replayed
            || self.journal.discarded
            || self.journal.errno != 0
            || self.orphans.iter().any(|it| it.fault.is_none())
            || self.dropped_list.is_some()
            || self.corrected_counts
    }

    /// Whether something stays wrong.
    pub fn has_trouble(&self) -> bool {
        self.has_errors
            || self.damage.is_some()
            || (self.orphans_left && self.held_back.is_some())
            || self.orphans.iter().any(|it| it.fault.is_some())
            || !self.findings.is_empty()
    }

    /// The exit code of fsck(8): what a dry run only showed is left.
    pub fn exit(&self) -> Exit {
        let mut exit = Exit::OK;
        if self.has_changes() {
            exit |= if self.dry_run { Exit::UNCORRECTED } else { Exit::CORRECTED };
        }
        if self.has_trouble() {
            exit |= Exit::UNCORRECTED;
        }
        exit
    }
}

impl OrphanRow {
    fn new(orphan: &Orphan) -> Self {
        let bytes = |sectors: u64| sectors.saturating_mul(512);
        let (fate, size, freed, fault) = match &orphan.fate {
            OrphanFate::Deleted { size, sectors } => {
                ("deleted", Some(*size), Some(bytes(*sectors)), None)
            }
            OrphanFate::Truncated { size, sectors } => {
                ("truncated", Some(*size), Some(bytes(*sectors)), None)
            }
            OrphanFate::Refused { fault } => ("refused", None, None, Some(fault.clone())),
        };
        let recorded_in = if orphan.in_file { "file" } else { "list" };
        Self { inode: orphan.ino, recorded_in, fate, size, freed, fault }
    }
}

/// `1 orphan`, `2 orphans`.
struct Count(u64, &'static str);

impl fmt::Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}{}", self.0, self.1, if self.0 == 1 { "" } else { "s" })
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let image = &self.image;
        // A dry run says what is still to be done.
        let did = |done: &'static str, to_do: &'static str| if self.dry_run { to_do } else { done };
        if self.mended_superblock {
            let what = did("was made whole", "to be made whole");
            writeln!(f, "{image}: superblock: its last write was cut off; {what}")?;
        }
        self.fmt_journal(f, &did)?;
        for orphan in &self.orphans {
            let OrphanRow { inode, recorded_in, .. } = orphan;
            write!(f, "{image}: inode {inode} (orphan {recorded_in}): ")?;
            let (size, freed) = (orphan.size.unwrap_or(0), Bytes(orphan.freed.unwrap_or(0)));
            match (&orphan.fault, orphan.fate) {
                (Some(fault), _) => writeln!(f, "refused: {fault}")?,
                (None, "deleted") => {
                    let what = did("deleted", "to be deleted");
                    writeln!(f, "{what}, size {size}, {freed} freed")?;
                }
                (None, _) => {
                    let what = did("truncated", "to be truncated");
                    writeln!(f, "{what} to its size {size}, {freed} freed")?;
                }
            }
        }
        if let Some(head) = self.dropped_list {
            let what = did("dropped", "to be dropped");
            writeln!(
                f,
                "{image}: orphan list from inode {head}: {what} unread, because errors are recorded"
            )?;
        }
        if self.corrected_counts {
            let what = did("corrected", "to be corrected");
            writeln!(f, "{image}: superblock: free counts {what}")?;
        }
        match (&self.held_back, self.orphans_left) {
            (Some(why), true) => writeln!(f, "{image}: orphans are left as they are: {why}")?,
            (None, true) => writeln!(f, "{image}: orphans are left as they are")?,
            (_, false) => {}
        }
        for finding in &self.findings {
            writeln!(f, "{image}: {}", finding.text)?;
        }
        if self.findings_not_listed > 0 {
            writeln!(f, "{image}: {} like these", Count(self.findings_not_listed, "more finding"))?;
        }
        if let Some(damage) = &self.damage {
            writeln!(f, "{image}: ended there: {damage}")?;
        }
        if self.has_errors {
            writeln!(
                f,
                "{image}: errors are recorded in the superblock, run a full check (ext4-fsck)"
            )?;
        }
        self.fmt_summary(f)
    }
}

impl Outcome {
    fn fmt_journal(
        &self,
        f: &mut fmt::Formatter<'_>,
        did: &dyn Fn(&'static str, &'static str) -> &'static str,
    ) -> fmt::Result {
        let (image, journal) = (&self.image, &self.journal);
        if journal.replayed {
            let what = did("replayed", "to be replayed");
            let transactions = Count(journal.transactions, "transaction");
            let blocks = Count(journal.blocks, "block");
            write!(f, "{image}: journal: {transactions} with {blocks} {what}")?;
            if journal.revoked > 0 {
                write!(f, ", {} revoked", journal.revoked)?;
            }
            writeln!(f)?;
        }
        if journal.fast_commit_operations > 0 {
            let operations = Count(journal.fast_commit_operations, "operation");
            let what = did("applied", "to be applied");
            writeln!(f, "{image}: journal: {operations} of fast commits {what}")?;
        }
        if journal.discarded {
            let what = did("was thrown away", "to be thrown away");
            writeln!(
                f,
                "{image}: journal: not empty, but needs_recovery is clear: {what} unread, as the \
                 kernel does"
            )?;
        }
        if journal.errno != 0 {
            writeln!(f, "{image}: journal: aborted with error {} by its last user", journal.errno)?;
        }
        Ok(())
    }

    fn fmt_summary(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let image = &self.image;
        if self.checked_inodes > 0 {
            let found = self.findings.len() as u64 + self.findings_not_listed;
            let checked = Count(self.checked_inodes, "inode");
            writeln!(f, "{image}: {checked} checked, {}", Count(found, "finding"))?;
        }
        match (self.has_changes(), self.dry_run, self.has_trouble()) {
            (true, true, _) => writeln!(f, "{image}: nothing was written"),
            (false, _, false) => writeln!(f, "{image}: clean"),
            _ => Ok(()),
        }
    }
}
