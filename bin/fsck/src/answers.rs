//! Who answers the questions of a check: a standing answer, or the person at the terminal.

use ext4_check::{Answer, Answers, Finding, Pass};
use ext4_cli::{CommonArgs, Failure, Progress, Prompt, Stop};

/// What a pass is called while it runs.
const PASSES: [&str; 7] = [
    "checking the superblock",
    "checking inodes",
    "checking directories",
    "checking connectivity",
    "checking link counts",
    "checking bitmaps",
    "checking journal and quota",
];

/// Asks, and shows how far the check has come.
pub(crate) struct Person<'a> {
    prompt: &'a Prompt,
    /// Everything is answered with yes: nothing is written without a further decision.
    is_yes: bool,
    args: &'a CommonArgs,
    stop: &'a Stop,
    progress: Option<(Pass, Progress)>,
    /// The terminal that failed.
    pub(crate) failure: Option<Failure>,
}

impl<'a> Person<'a> {
    pub(crate) fn new(
        prompt: &'a Prompt,
        is_yes: bool,
        args: &'a CommonArgs,
        stop: &'a Stop,
    ) -> Self {
        Self { prompt, is_yes, args, stop, progress: None, failure: None }
    }

    /// Takes the bar away.
    pub(crate) fn end(&mut self) {
        if let Some((_, progress)) = self.progress.take() {
            progress.finish(0);
        }
    }
}

impl Answers for Person<'_> {
    fn answer(&mut self, finding: &Finding) -> Answer {
        if self.stop.requested() {
            return Answer::Stop;
        }
        if self.is_yes {
            return Answer::Yes;
        }
        self.end();
        let question = format!("{finding}\n{}", finding.problem.fix);
        match self.prompt.confirm(&question) {
            Ok(true) => Answer::Yes,
            Ok(false) => Answer::No,
            Err(failure) => {
                self.failure = Some(failure);
                Answer::Stop
            }
        }
    }

    fn wants_path(&self) -> bool {
        !self.is_yes
    }

    fn goes_on(&mut self, pass: Pass, done: u64, total: u64) -> bool {
        match &self.progress {
            Some((at, progress)) if *at == pass => progress.set(done),
            _ => {
                self.end();
                let what = PASSES[usize::from(pass.number())];
                self.progress = Some((pass, Progress::steps(self.args, what, total)));
            }
        }
        !self.stop.requested()
    }
}
