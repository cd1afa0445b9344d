//! The judge of most explorations: recover the state, look at the result, recover again, crash
//! inside the recovery, and ask e2fsck and the kernel now and then.

use crate::{
    crash::{CrashState, Plan},
    explore::{Budget, Explorer, Report, Violation, panic_text},
    image::Image,
    mount::Mount,
    oracle::{self, FsckMode, Need},
    trace::Trace,
};
use ext4_blockdev::{BlockDevice, Recorder};
use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    ops::ControlFlow,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

/// A device as recovery gets it.
pub type Device = Arc<dyn BlockDevice>;

/// Recovers a device in place; an error in words when it refuses.
pub type Recover<'a> = &'a (dyn Fn(Device) -> Result<(), String> + Sync);

/// Looks at a recovered device, with the state it came from (and so the promises of its marks).
pub type Check<'a> = &'a (dyn Fn(&CrashState, &Device) -> Vec<Violation> + Sync);

/// Names the logical content of a recovered device: tree, bytes, free counts.
pub type Digest<'a> = &'a (dyn Fn(&Device) -> Result<String, String> + Sync);

/// What is asked of each crash state.
pub struct Recovery<'a> {
    /// What is under test.
    pub recover: Recover<'a>,
    /// What must hold afterwards.
    pub check: Check<'a>,
    /// When given, a recovery that is cut anywhere must in the end come to the same content.
    pub digest: Option<Digest<'a>>,
    /// The states of crashes in recovery: which, and how many for each first crash. `None` for
    /// none. The time of this budget is for one recovery.
    pub depth2: Option<(Plan, Budget)>,
    /// Of one state in this many the recovery is crashed; 1 for all.
    pub depth2_every: u64,
    /// e2fsck looks at one recovered state in this many; 0 for none.
    pub e2fsck_every: u64,
    /// The kernel mounts one recovered state in this many; 0 for none.
    pub kernel_every: u64,
    /// A recovery that takes longer has failed.
    pub limit: Duration,
}

impl<'a> Recovery<'a> {
    /// Recovers and checks, twice (the second run must write nothing), and e2fsck looks at one
    /// state in 20. No crash in recovery, no kernel.
    pub fn new(recover: Recover<'a>, check: Check<'a>) -> Self {
        Self {
            recover,
            check,
            digest: None,
            depth2: None,
            depth2_every: 1,
            e2fsck_every: 20,
            kernel_every: 0,
            limit: Duration::from_secs(5),
        }
    }

    /// Judges every state of an exploration.
    pub fn explore(&self, explorer: &Explorer) -> Report {
        let run = Run {
            what: self,
            counts: Mutex::default(),
            recovered: Mutex::default(),
            has_e2fsck: self.e2fsck_every > 0 && Need::E2fsck.is_here(),
            has_kernel: self.kernel_every > 0 && Need::Kernel.is_here(),
        };
        let mut report = explorer.run(&|state| run.judge(state));
        report.others = run.counts.into_inner().unwrap_or_else(PoisonError::into_inner);
        report
    }

    /// Judges one state.
    pub fn judge(&self, state: &CrashState) -> Vec<Violation> {
        let run = Run {
            what: self,
            counts: Mutex::default(),
            recovered: Mutex::default(),
            has_e2fsck: false,
            has_kernel: false,
        };
        run.judge(state)
    }
}

impl fmt::Debug for Recovery<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recovery").field("depth2", &self.depth2).finish_non_exhaustive()
    }
}

struct Run<'a> {
    what: &'a Recovery<'a>,
    counts: Mutex<BTreeMap<&'static str, u64>>,
    /// The content that crashes in recovery came to in the end, by hash of the crash and marks.
    recovered: Mutex<HashMap<(u128, usize), Option<String>>>,
    has_e2fsck: bool,
    has_kernel: bool,
}

impl Run<'_> {
    fn count(&self, what: &'static str, n: u64) {
        *self.counts.lock().unwrap_or_else(PoisonError::into_inner).entry(what).or_default() += n;
    }

    fn judge(&self, state: &CrashState) -> Vec<Violation> {
        let device: Device = state.device();
        let recorder = Arc::new(Recorder::new(Arc::clone(&device)));
        if let Err(violation) = self.recover(recorder.clone()) {
            return vec![violation];
        }
        let mut broken = (self.what.check)(state, &device);
        let trace = Trace::of_events(&recorder.take_events());
        let content = match self.content(&device) {
            Ok(content) => content,
            Err(violation) => {
                broken.push(violation);
                return broken;
            }
        };
        broken.extend(self.second_run(&device));
        broken.extend(self.ask_others(state, &device));
        if trace.n_writes() > 0 {
            self.count("recoveries that write", 1);
            let is_due = picked(state.hash, self.what.depth2_every);
            if let (true, Some((plan, budget))) = (is_due, &self.what.depth2) {
                broken.extend(self.crash_recovery(state, trace, content.as_ref(), plan, *budget));
            }
        }
        broken
    }

    fn recover(&self, device: Device) -> Result<(), Violation> {
        let start = Instant::now();
        let result = catch_unwind(AssertUnwindSafe(|| (self.what.recover)(device)));
        match result {
            Err(panic) => Err(Violation::new("recovery panics", panic_text(&*panic))),
            Ok(Err(error)) => Err(Violation::new("recovery refuses", error)),
            Ok(Ok(())) if start.elapsed() > self.what.limit => {
                let ms = start.elapsed().as_millis();
                Err(Violation::new("recovery is slow", format!("{ms} ms")))
            }
            Ok(Ok(())) => Ok(()),
        }
    }

    fn content(&self, device: &Device) -> Result<Option<String>, Violation> {
        let Some(digest) = self.what.digest else { return Ok(None) };
        digest(device).map(Some).map_err(|it| Violation::new("content", it))
    }

    /// Recovering what is recovered must change nothing.
    fn second_run(&self, device: &Device) -> Option<Violation> {
        let recorder = Arc::new(Recorder::new(Arc::clone(device)));
        if let Err(violation) = self.recover(recorder.clone()) {
            return Some(Violation { code: "second recovery".into(), ..violation });
        }
        let trace = Trace::of_events(&recorder.take_events());
        let n = trace.n_writes();
        (n > 0).then(|| Violation::new("second recovery", format!("writes {n} times")))
    }

    fn ask_others(&self, state: &CrashState, device: &Device) -> Vec<Violation> {
        let mut broken = Vec::new();
        if self.has_e2fsck && picked(state.hash, self.what.e2fsck_every) {
            self.count("asked e2fsck", 1);
            match oracle::e2fsck_device(&**device, FsckMode::Check) {
                Ok(found) if found.is_clean() => {}
                Ok(found) => broken.push(Violation::new("e2fsck", found.lines.join("; "))),
                Err(error) => broken.push(Violation::new("e2fsck", format!("{error:#}"))),
            }
        }
        if self.has_kernel && picked(state.hash, self.what.kernel_every) {
            self.count("asked the kernel", 1);
            if let Err(error) = kernel_mounts(&**device) {
                broken.push(Violation::new("kernel", format!("{error:#}")));
            }
        }
        broken
    }

    /// Cuts the recovery that `trace` recorded, wherever it can be cut.
    fn crash_recovery(
        &self,
        first: &CrashState,
        trace: Trace,
        content: Option<&String>,
        plan: &Plan,
        budget: Budget,
    ) -> Vec<Violation> {
        let mut explorer = Explorer::new(first.image(), trace);
        explorer.base_hash = first.hash;
        explorer.plan = plan.clone();
        explorer.budget = budget;
        let marks = first.marks().count();
        let mut broken = Vec::new();
        let report = explorer.states(|second| {
            let key = (second.hash, marks);
            let known = self.recovered().get(&key).cloned();
            let found = match known {
                Some(found) => Ok(found),
                None => self.recover_again(first, &second).inspect(|found| {
                    // Two threads may have come to the same state at once.
                    let is_new = self.recovered().insert(key, found.clone()).is_none();
                    self.count("crashes in recovery, distinct", is_new.into());
                }),
            };
            match found {
                Err(violations) => broken.extend(violations.into_iter().map(|it| Violation {
                    detail: format!("{} (in recovery: {second:?})", it.detail),
                    ..it
                })),
                Ok(found) if found.as_ref() != content => broken.push(Violation::new(
                    "crash in recovery: other content",
                    format!("{found:?}, uninterrupted {content:?} (in recovery: {second:?})"),
                )),
                Ok(_) => {}
            }
            if broken.is_empty() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        });
        self.count("crashes in recovery", report.distinct);
        broken
    }

    fn recovered(&self) -> std::sync::MutexGuard<'_, HashMap<(u128, usize), Option<String>>> {
        self.recovered.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn recover_again(
        &self,
        first: &CrashState,
        second: &CrashState,
    ) -> Result<Option<String>, Vec<Violation>> {
        let prefix = |it: Violation| Violation {
            code: format!("crash in recovery: {}", it.code).into(),
            ..it
        };
        let device: Device = second.device();
        self.recover(Arc::clone(&device)).map_err(|it| vec![prefix(it)])?;
        let broken = (self.what.check)(first, &device);
        if !broken.is_empty() {
            return Err(broken.into_iter().map(prefix).collect());
        }
        self.content(&device).map_err(|it| vec![prefix(it)])
    }
}

/// Whether the state with this hash is one of those in a sample of one in `every`. The same states
/// on every run, whatever the threads do.
fn picked(hash: u128, every: u64) -> bool {
    every > 0 && hash.is_multiple_of(u128::from(every))
}

fn kernel_mounts(device: &dyn BlockDevice) -> anyhow::Result<()> {
    let scratch = oracle::scratch()?;
    let file = scratch.path().join("image");
    oracle::save(device, &file)?;
    Mount::new(&file, "")?.unmount()?;
    let found = oracle::e2fsck(&file, FsckMode::Check)?;
    anyhow::ensure!(found.is_clean(), "after a mount e2fsck finds: {}", found.lines.join("; "));
    Ok(())
}

/// Runs `work` on a recorded device over an image: what [`Explorer`] needs.
///
/// # Errors
/// What `work` returns.
pub fn record<E>(
    image: &Image,
    work: impl FnOnce(Arc<Recorder>) -> Result<(), E>,
) -> Result<Explorer, E> {
    let recorder = Arc::new(Recorder::new(image.overlay()));
    work(Arc::clone(&recorder))?;
    Ok(Explorer::new(image.clone(), Trace::of_events(&recorder.take_events())))
}
