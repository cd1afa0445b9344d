//! Walks through all crash states of a trace and lets a judge look at each distinct one.

use crate::{
    crash::{CrashState, Epoch, Kept, Kind, Plan, enumerate, epochs_from},
    image::Image,
    trace::Trace,
};
use std::{
    any::Any,
    borrow::Cow,
    collections::{BTreeMap, BTreeSet, HashSet},
    fmt,
    ops::ControlFlow,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{Receiver, sync_channel},
    },
    thread,
    time::{Duration, Instant},
};

/// Something that does not hold in a crash state.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Violation {
    /// The rule that was broken, such as `durable` or `e2fsck`.
    pub code: Cow<'static, str>,
    /// What was found.
    pub detail: String,
}

impl Violation {
    /// A broken rule and what was found.
    pub fn new(code: impl Into<Cow<'static, str>>, detail: impl Into<String>) -> Self {
        Self { code: code.into(), detail: detail.into() }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.detail)
    }
}

/// Looks at one crash state: recovers a device of it and says what is wrong.
pub type Judge<'a> = &'a (dyn Fn(&CrashState) -> Vec<Violation> + Sync);

/// Where to stop, whatever comes first.
#[derive(Clone, Copy, Debug)]
pub struct Budget {
    /// Distinct states.
    pub states: u64,
    /// Time.
    pub time: Duration,
}

impl Default for Budget {
    fn default() -> Self {
        Self { states: 1_000_000, time: Duration::from_secs(20) }
    }
}

/// An exploration about to begin.
#[derive(Clone, Debug)]
pub struct Explorer {
    /// The image before the first step.
    pub base: Image,
    /// What was done to it.
    pub trace: Arc<Trace>,
    /// Which states are listed.
    pub plan: Plan,
    /// Where to stop.
    pub budget: Budget,
    /// How many judges work at once.
    pub threads: usize,
    /// The hash of `base` itself, when it is a crash state of another trace.
    pub base_hash: u128,
    /// The first step of interest: epochs that end before it are passed over.
    pub from: usize,
}

impl Explorer {
    /// All states of a trace on two threads, for 20 seconds at most.
    pub fn new(base: Image, trace: Trace) -> Self {
        Self {
            base,
            trace: Arc::new(trace),
            plan: Plan::default(),
            budget: Budget::default(),
            threads: 2,
            base_hash: 0,
            from: 0,
        }
    }

    /// The distinct states in order, each given once for each set of marks, until `each` breaks
    /// off or the budget is used up.
    pub fn states(&self, mut each: impl FnMut(CrashState) -> ControlFlow<()>) -> Report {
        let start = Instant::now();
        let mut report = Report { seed: self.plan.seed, ..Report::default() };
        let mut seen = HashSet::new();
        for epoch in epochs_from(&self.base, self.base_hash, &self.trace) {
            if epoch.end < self.from {
                continue;
            }
            report.enter(&epoch, &self.plan);
            let (mut n_new, mut is_over) = (0, false);
            let go_on = enumerate(&epoch, &self.plan, &mut |state| {
                let is_new = seen.insert((state.hash, state.marks().count()));
                report.count(&state, is_new);
                n_new += u64::from(is_new);
                is_over = n_new > self.plan.states_per_epoch;
                let is_last =
                    report.distinct > self.budget.states || start.elapsed() > self.budget.time;
                if is_over || is_last {
                    is_over &= !is_last;
                    report.is_cut_short = true;
                    return ControlFlow::Break(());
                }
                if is_new { each(state) } else { ControlFlow::Continue(()) }
            });
            if go_on.is_break() && !is_over {
                break;
            }
        }
        report.elapsed = start.elapsed();
        report
    }

    /// Judges every distinct state. A judge that panics has found a violation.
    pub fn run(&self, judge: Judge<'_>) -> Report {
        const DEPTH: usize = 64;
        let start = Instant::now();
        let failures = Mutex::new(Vec::new());
        let (send, receive) = sync_channel::<(u64, CrashState)>(DEPTH);
        let receive = Mutex::new(receive);
        let mut report = thread::scope(|scope| {
            for _ in 0..self.threads.max(1) {
                scope.spawn(|| work(&receive, judge, &failures));
            }
            let mut nr = 0;
            let report = self.states(|state| {
                nr += 1;
                match send.send((nr, state)) {
                    Ok(()) => ControlFlow::Continue(()),
                    Err(_) => ControlFlow::Break(()),
                }
            });
            drop(send);
            report
        });
        let mut failures = failures.into_inner().unwrap_or_else(PoisonError::into_inner);
        failures.sort_by_key(|it: &Failure| it.nr);
        report.n_failures = failures.len() as u64;
        let mut codes = BTreeSet::new();
        for mut failure in failures {
            let new: Vec<_> = failure.violations.iter().map(|it| it.code.clone()).collect();
            if new.into_iter().filter(|it| codes.insert(it.clone())).count() > 0 {
                shrink(&mut failure, judge);
                report.failures.push(failure);
            }
        }
        report.elapsed = start.elapsed();
        report
    }
}

fn work(
    states: &Mutex<Receiver<(u64, CrashState)>>,
    judge: Judge<'_>,
    failures: &Mutex<Vec<Failure>>,
) {
    loop {
        let next = states.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok((nr, state)) = next else { return };
        let violations = ask(judge, &state);
        if !violations.is_empty() {
            let mut failures = failures.lock().unwrap_or_else(PoisonError::into_inner);
            failures.push(Failure { nr, state, violations });
        }
    }
}

fn ask(judge: Judge<'_>, state: &CrashState) -> Vec<Violation> {
    match catch_unwind(AssertUnwindSafe(|| judge(state))) {
        Ok(violations) => violations,
        Err(panic) => vec![Violation::new("panic", panic_text(&*panic))],
    }
}

/// What a panic said.
pub(crate) fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|it| (*it).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "no text".into())
}

/// A state in which something does not hold.
#[derive(Clone, Debug)]
pub struct Failure {
    /// Its number among the distinct states.
    pub nr: u64,
    /// The state, shrunk as far as it still fails in the same way.
    pub state: CrashState,
    /// What does not hold.
    pub violations: Vec<Violation>,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "state {}: {:?}", self.nr, self.state)?;
        self.violations.iter().take(5).try_for_each(|it| write!(f, "\n    {it}"))
    }
}

/// Makes a failure easier to read: torn writes made whole, then as few writes as possible.
fn shrink(failure: &mut Failure, judge: Judge<'_>) {
    const TRIES: usize = 200;
    let Some(code) = failure.violations.first().map(|it| it.code.clone()) else { return };
    let mut tries = 0;
    let mut fails = |state: &CrashState| {
        tries += 1;
        let found = if tries > TRIES { Vec::new() } else { ask(judge, state) };
        found.iter().any(|it| it.code == code).then_some(found)
    };
    let mut at = 0;
    while at < failure.state.kept.len() {
        let mut whole = failure.state.kept.clone();
        whole[at] = Kept::whole(whole[at].step);
        let mut without = failure.state.kept.clone();
        without.remove(at);
        let candidates = [without, whole].map(|it| failure.state.with_kept(it));
        let smaller = candidates.into_iter().find_map(|it| {
            let is_other = it.kept != failure.state.kept;
            is_other.then(|| fails(&it)).flatten().map(|found| (it, found))
        });
        match smaller {
            Some((state, violations)) => {
                let is_shorter = state.kept.len() < failure.state.kept.len();
                (failure.state, failure.violations) = (state, violations);
                at += usize::from(!is_shorter);
            }
            None => at += 1,
        }
    }
}

/// Counts of the epochs with one number of writes in flight.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Window {
    /// Epochs.
    pub epochs: u64,
    /// States listed.
    pub generated: u64,
    /// States of them that no other state equals.
    pub distinct: u64,
}

/// What an exploration did and found.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// States listed.
    pub generated: u64,
    /// Distinct ones: each was judged.
    pub distinct: u64,
    /// By the number of writes in flight.
    pub windows: BTreeMap<usize, Window>,
    /// Distinct states by how they were chosen.
    pub kinds: BTreeMap<Kind, u64>,
    /// The largest number of writes in flight of which every subset was listed.
    pub exhaustive: usize,
    /// How often each other judge was asked, and how many states crashes in recovery had.
    pub others: BTreeMap<&'static str, u64>,
    /// Whether the budget ended it.
    pub is_cut_short: bool,
    /// The seed of all random choices.
    pub seed: u64,
    /// How long it took.
    pub elapsed: Duration,
    /// States in which something does not hold.
    pub n_failures: u64,
    /// The first of them for each rule, shrunk.
    pub failures: Vec<Failure>,
}

impl Report {
    fn enter(&mut self, epoch: &Epoch, plan: &Plan) {
        let w = epoch.in_flight.len();
        self.windows.entry(w).or_default().epochs += 1;
        if w <= plan.subsets_up_to {
            self.exhaustive = self.exhaustive.max(w);
        }
    }

    fn count(&mut self, state: &CrashState, is_new: bool) {
        let window = self.windows.entry(state.window).or_default();
        window.generated += 1;
        self.generated += 1;
        if is_new {
            window.distinct += 1;
            self.distinct += 1;
            *self.kinds.entry(state.kind).or_default() += 1;
        }
    }

    /// Panics with the report unless nothing was found and the budget sufficed for something.
    #[track_caller]
    pub fn expect_no_failure(&self) {
        assert!(self.n_failures == 0 && self.distinct > 0, "{self}");
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (ms, seed) = (self.elapsed.as_millis(), self.seed);
        write!(f, "{} states, {} distinct, {ms} ms, seed {seed}", self.generated, self.distinct)?;
        write!(f, ", all subsets of up to {} writes", self.exhaustive)?;
        if self.is_cut_short {
            write!(f, ", cut short by the budget")?;
        }
        for (name, n) in &self.others {
            write!(f, ", {name} {n}")?;
        }
        for (kind, n) in &self.kinds {
            write!(f, "\n  {kind:?}: {n}")?;
        }
        for (w, it) in &self.windows {
            let Window { epochs, generated, distinct } = it;
            write!(
                f,
                "\n  {w} in flight: {epochs} epochs, {generated} states, {distinct} distinct"
            )?;
        }
        write!(f, "\n  {} states fail", self.n_failures)?;
        self.failures.iter().try_for_each(|it| write!(f, "\n  {it}"))
    }
}
