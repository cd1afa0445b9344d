//! The one way in which a pass tells what it met and learns whether to mend it.

use crate::{
    Error, Finding, Place, Preen, Problem, Result, Severity, bits::Bits, history::History, paths,
    snapshot::Snapshot, todo::Todo,
};
use std::{
    collections::{HashMap, HashSet},
    fmt,
};

/// Most findings that are kept; more are counted.
const MOST_KEPT: usize = 200_000;

/// What to do about a finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Mend it.
    Yes,
    /// Leave it.
    No,
    /// End the run; nothing is written.
    Stop,
}

/// Who decides.
pub trait Answers {
    /// What to do about `finding`, which the run can mend.
    fn answer(&mut self, finding: &Finding) -> Answer;

    /// Whether a finding needs its path when it is asked about: for a person who reads it. Each is
    /// looked up by itself then, which can mean to read all directories.
    fn wants_path(&self) -> bool {
        false
    }

    /// Whether to go on; asked often, between two steps of a pass. `done` of `total` is how far the
    /// pass has come, in units of its own.
    fn goes_on(&mut self, pass: crate::Pass, done: u64, total: u64) -> bool {
        let _ = (pass, done, total);
        true
    }
}

/// Collects findings and asks.
pub(crate) struct Gate<'a> {
    pub(crate) answers: &'a mut dyn Answers,
    /// `-p`: what may not be mended unattended ends the run.
    is_preen: bool,
    pub(crate) round: u32,
    /// The filesystem before anything was mended, once its frame is known.
    pub(crate) before: Option<Snapshot>,
    pub(crate) history: History,
    pub(crate) findings: Vec<Finding>,
    /// Findings beyond those that are kept.
    pub(crate) not_kept: u64,
    /// What was mended, in all rounds and in this one.
    pub(crate) fixed: u64,
    pub(crate) fixed_in_round: u64,
    /// Findings that are more than a remark.
    pub(crate) bad: u64,
    /// What was left, in all rounds.
    pub(crate) left: u64,
    /// What passes leave to later ones.
    pub(crate) todo: Todo,
    /// What was declined before, and is not asked again.
    declined: HashSet<(&'static str, Place)>,
    /// What could not be mended, and the round in which that was met last.
    failed: HashMap<(&'static str, Place), u32>,
}

impl fmt::Debug for Gate<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gate").field("findings", &self.findings).finish_non_exhaustive()
    }
}

impl<'a> Gate<'a> {
    pub(crate) fn new(answers: &'a mut dyn Answers, is_preen: bool) -> Self {
        Self {
            answers,
            is_preen,
            round: 1,
            before: None,
            history: History::default(),
            findings: Vec::new(),
            not_kept: 0,
            fixed: 0,
            fixed_in_round: 0,
            bad: 0,
            left: 0,
            todo: Todo::default(),
            declined: HashSet::new(),
            failed: HashMap::new(),
        }
    }

    pub(crate) fn begin_round(&mut self, round: u32) {
        self.round = round;
        self.fixed_in_round = 0;
    }

    /// Tells of a problem and asks whether to mend it. After true the caller mends it in the
    /// overlay; after false it goes on with as much care as the damage needs.
    pub(crate) fn fix(
        &mut self,
        problem: &'static Problem,
        place: Place,
        found: impl fmt::Display,
        expected: impl fmt::Display,
    ) -> Result<bool> {
        let mut finding = Finding {
            problem,
            place,
            found: found.to_string(),
            expected: expected.to_string(),
            path: None,
            is_fixed: false,
            round: self.round,
        };
        if self.declined.contains(&(problem.id, finding.place.clone())) {
            return Ok(false);
        }
        if self.is_preen && problem.preen == Preen::Stop {
            return Err(self.needs_decision(finding));
        }
        if problem.fix.is_empty() {
            self.keep(finding);
            return Ok(false);
        }
        if self.answers.wants_path() {
            self.name(&mut finding);
        }
        let answer = self.answers.answer(&finding);
        match answer {
            Answer::Yes => {
                finding.is_fixed = true;
                self.fixed += 1;
                self.fixed_in_round += 1;
            }
            Answer::No => {
                self.left += 1;
                self.declined.insert((problem.id, finding.place.clone()));
            }
            Answer::Stop => {
                self.keep(finding);
                return Err(Error::Stopped);
            }
        }
        self.keep(finding);
        Ok(answer == Answer::Yes)
    }

    /// Tells of what only a newer program should touch. Yes ends the run; no is an answer as good:
    /// nothing is left by it, and what follows mends.
    pub(crate) fn stop(
        &mut self,
        problem: &'static Problem,
        place: Place,
        found: &str,
    ) -> Result<()> {
        let left = self.left;
        if self.fix(problem, place, found, "")? {
            return Err(Error::Unsupported(format!("{}: {found}", problem.text)));
        }
        self.left = left;
        Ok(())
    }

    /// Tells of a problem that cannot be mended.
    pub(crate) fn leave(
        &mut self,
        problem: &'static Problem,
        place: Place,
        found: impl fmt::Display,
    ) -> Result<()> {
        if self.failed.insert((problem.id, place.clone()), self.round).is_none() {
            self.fix(problem, place, found, "")?;
            self.left += 1;
        }
        Ok(())
    }

    /// Whether this could not be mended at this place in a round before, and so is not tried again.
    pub(crate) fn is_left(&mut self, problem: &'static Problem, place: &Place) -> bool {
        let met = self.failed.get_mut(&(problem.id, place.clone()));
        met.map(|round| *round = self.round).is_some()
    }

    /// What is left when the round that was begun last found nothing new: all but what could not be
    /// mended in a round before, and was not met any more.
    pub(crate) fn left_in_the_end(&self) -> u64 {
        let mended = self.failed.values().filter(|it| **it < self.round).count();
        self.left.saturating_sub(mended as u64)
    }

    /// Tells how far a pass has come.
    pub(crate) fn progress(&mut self, pass: crate::Pass, done: u64, total: u64) -> Result<()> {
        if self.answers.goes_on(pass, done, total) { Ok(()) } else { Err(Error::Stopped) }
    }

    /// Gives all findings their paths.
    pub(crate) fn name_findings(&mut self) {
        let nameless = self.findings.iter_mut().filter(|it| it.path.is_none());
        name(self.before.as_ref(), nameless);
    }

    /// Gives a finding its path: that of the last one, or one that is looked for.
    fn name(&self, finding: &mut Finding) {
        let last = self.findings.last().filter(|it| it.path.is_some());
        match last.filter(|it| it.place.inode == finding.place.inode) {
            Some(last) => finding.path.clone_from(&last.path),
            None => name(self.before.as_ref(), [finding]),
        }
    }

    fn needs_decision(&mut self, mut finding: Finding) -> Error {
        self.left += 1;
        self.name(&mut finding);
        let why = finding.to_string();
        self.keep(finding);
        Error::NeedsDecision(why)
    }

    fn keep(&mut self, finding: Finding) {
        self.bad += u64::from(finding.problem.severity > Severity::Note);
        if self.findings.len() < MOST_KEPT {
            self.findings.push(finding);
        } else {
            self.not_kept += 1;
        }
    }
}

/// Gives findings the paths of their inodes. A path is a help: where the device cannot be read for it
/// the findings stand without.
fn name<'f>(before: Option<&Snapshot>, findings: impl IntoIterator<Item = &'f mut Finding>) {
    let findings: Vec<_> = findings.into_iter().filter(|it| it.place.inode.is_some()).collect();
    let Some(before) = before.filter(|_| !findings.is_empty()) else { return };
    let mut wanted = Bits::default();
    for ino in findings.iter().filter_map(|it| it.place.inode) {
        wanted.insert(ino.get().into());
    }
    let Ok(paths) = paths::of(before, wanted) else { return };
    for finding in findings {
        finding.path = finding.place.inode.and_then(|it| paths.get(&it).cloned());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::problem::pass3::REPAIR_FAILED;

    struct Yes;

    impl Answers for Yes {
        fn answer(&mut self, _: &Finding) -> Answer {
            Answer::Yes
        }
    }

    /// A block that was free in a later round only, say.
    #[test]
    fn what_failed_in_one_round_and_not_in_the_next_is_not_left() {
        let mut yes = Yes;
        let mut gate = Gate::new(&mut yes, false);
        gate.leave(&REPAIR_FAILED, Place::what("device"), "no free block").unwrap();
        assert_eq!(gate.left_in_the_end(), 1);
        gate.begin_round(2);
        gate.leave(&REPAIR_FAILED, Place::what("device"), "no free block").unwrap();
        assert_eq!(gate.left_in_the_end(), 1);
        gate.begin_round(3);
        assert_eq!(gate.left_in_the_end(), 0);
    }
}
