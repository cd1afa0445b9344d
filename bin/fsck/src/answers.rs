//! Who answers the questions of a check: a standing answer, or the person at the terminal.

use crate::{meter::Meter, watch::Watch};
use ext4_check::{Answer, Answers, Finding, Pass};
use ext4_cli::{CommonArgs, Failure, Progress, Prompt, Reply, Stop};

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
    /// The bar, for this pass and this total.
    progress: Option<(Pass, u64, Progress)>,
    meter: Option<Meter>,
    pub(crate) watch: Watch,
    /// The terminal that failed.
    pub(crate) failure: Option<Failure>,
}

impl<'a> Person<'a> {
    pub(crate) fn new(
        prompt: &'a Prompt,
        is_yes: bool,
        args: &'a CommonArgs,
        stop: &'a Stop,
        meter: Option<Meter>,
    ) -> Self {
        let watch = Watch::new();
        Self { prompt, is_yes, args, stop, progress: None, meter, watch, failure: None }
    }

    /// Takes the bar away; the last pass is through.
    pub(crate) fn end(&mut self) {
        self.take_bar();
        self.watch.leave();
        if let Some(meter) = &mut self.meter {
            meter.end();
        }
    }

    fn take_bar(&mut self) {
        if let Some((.., progress)) = self.progress.take() {
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
        self.take_bar();
        let question = format!("{finding}\n{}", finding.problem.fix);
        match self.prompt.confirm_each(&question, self.stop) {
            Ok(Reply::Yes) => Answer::Yes,
            Ok(Reply::All) => {
                self.is_yes = true;
                Answer::Yes
            }
            Ok(Reply::No) => Answer::No,
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
        self.watch.enter(pass);
        if let Some(meter) = &mut self.meter {
            meter.tell(pass, done, total);
        }
        match &self.progress {
            Some((at, of, progress)) if (*at, *of) == (pass, total) => progress.set(done),
            _ => {
                self.take_bar();
                let what = PASSES[usize::from(pass.number())];
                self.progress = Some((pass, total, Progress::steps(self.args, what, total)));
            }
        }
        !self.stop.requested()
    }
}
