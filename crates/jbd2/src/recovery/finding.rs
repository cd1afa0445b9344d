//! One piece of damage in the log.

use ext4_ondisk::{
    Corrupt,
    jbd2::{Class, Damage},
};
use ext4_units::Tid;
use std::fmt;

/// Damage in the log, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What it is, with its errno class.
    pub damage: Damage,
    /// The transaction it is in.
    pub tid: Tid,
    /// The log block.
    pub at: u32,
}

impl Finding {
    /// How many a scan remembers.
    pub const MAX: usize = 64;

    /// The place becomes `WHAT in log block AT (transaction TID)`.
    pub(super) fn new(class: Class, tid: Tid, at: u32, fault: Corrupt) -> Self {
        let place = format!("{} in log block {at} (transaction {tid})", fault.place);
        Self { damage: Damage { class, what: fault.at(place) }, tid, at }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.damage.fmt(f)
    }
}
