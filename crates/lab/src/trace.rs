//! What happened, a row for each step.

use serde::Serialize;
use std::fmt;

/// One step of one operation, and how its file is afterwards.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Row {
    /// Counts the steps of a run from 1.
    pub step: u64,
    /// Line of the script.
    pub line: usize,
    /// Who: the label, `-` for none.
    pub actor: String,
    /// The operation, as typed but for its options.
    pub operation: String,
    /// The kind of step: the words of `until`, and `done`, `failed`.
    pub event: &'static str,
    /// The same for readers, with numbers.
    pub what: String,
    /// The size that users of the file see.
    pub i_size: Option<u64>,
    /// The size that the inode has on disk once the running transaction commits.
    pub i_disksize: Option<u64>,
    /// Whether the inode is on the orphan record.
    pub orphan: Option<bool>,
    /// The running transaction.
    pub tid: u32,
}

/// What stands above rows shown as text.
pub const HEADER: &str =
    "step line who      i_size i_disksize orphan  tid  operation                what happened";

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { step, line, actor, operation, what, tid, .. } = self;
        let size = |it: Option<u64>| it.map_or("-".to_owned(), |it| it.to_string());
        let orphan = match self.orphan {
            Some(true) => "yes",
            Some(false) => "no",
            None => "-",
        };
        let (i_size, i_disksize) = (size(self.i_size), size(self.i_disksize));
        write!(
            f,
            "{step:>4} {line:>4} {actor:<6} {i_size:>8} {i_disksize:>10} {orphan:<6} {tid:>4}  \
             {operation:<24} {what}"
        )
    }
}
