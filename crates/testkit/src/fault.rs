//! Fails every IO of an operation in turn: the n-th write, read or flush, for all n, once and from
//! then on.

use crate::{
    explore::{Violation, panic_text},
    image::Image,
    recovery::Device,
    trace::Trace,
};
use ext4_blockdev::{Counts, Failure, Fault, FaultDevice, Op, Recorder};
use std::{
    fmt, io,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

/// Which faults are tried.
#[derive(Clone, Debug)]
pub struct Sweep {
    /// The operations that fail.
    pub ops: Vec<Op>,
    /// How they fail.
    pub failures: Vec<Failure>,
    /// At most this many numbers for each, spread evenly.
    pub limit: u64,
}

impl Default for Sweep {
    /// EIO at every write, flush and read; a write that leaves one sector; ENOSPC at every write.
    fn default() -> Self {
        Self {
            ops: vec![Op::Write, Op::Flush, Op::Read],
            failures: vec![
                Failure::Error(io::ErrorKind::Other),
                Failure::Error(io::ErrorKind::StorageFull),
                Failure::Torn { sectors: 1 },
            ],
            limit: 10_000,
        }
    }
}

/// One run with one fault.
#[derive(Debug)]
pub struct Case {
    /// The fault.
    pub fault: Fault,
    /// What the operation said; a panic is an error that begins with `panic:`.
    pub result: Result<(), String>,
    /// What the medium holds: for another look, or a recovery.
    pub medium: Device,
    /// What reached the medium, and the marks: crashes after the fault can be explored from it.
    pub trace: Trace,
    /// The operations that were tried.
    pub counts: Counts,
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Fault { op, nth, and_all_after, failure } = &self.fault;
        let more = if *and_all_after { " and all after it" } else { "" };
        write!(f, "{op:?} {nth}{more}: {failure:?}, result {:?}", self.result)
    }
}

/// What a sweep did and found.
#[derive(Clone, Debug, Default)]
pub struct SweepReport {
    /// Operations of the run without a fault.
    pub counts: Counts,
    /// Runs with a fault.
    pub n_cases: u64,
    /// Runs in which the fault was reported.
    pub n_reported: u64,
    /// What was broken, with the case it was broken in.
    pub failures: Vec<(String, Violation)>,
}

impl SweepReport {
    /// Panics with the report unless nothing was found and something was tried.
    #[track_caller]
    pub fn expect_no_failure(&self) {
        assert!(self.failures.is_empty() && self.n_cases > 0, "{self}");
    }
}

impl fmt::Display for SweepReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { counts, n_cases, n_reported, failures } = self;
        write!(f, "{n_cases} runs, {n_reported} reported their fault, of {counts:?}")?;
        write!(f, ", {} failures", failures.len())?;
        failures.iter().take(10).try_for_each(|(case, it)| write!(f, "\n  {case}: {it}"))
    }
}

/// An operation on a device (the marks go to the recorder's log); an error in words.
pub type Work<'a> = &'a dyn Fn(Device, &Recorder) -> Result<(), String>;

/// Looks at one run.
pub type JudgeCase<'a> = &'a dyn Fn(&Case) -> Vec<Violation>;

/// Runs `work` once without a fault, which has to succeed, and then once for each fault.
///
/// What holds always is checked here: no panic, and no failed write or flush goes unreported. (A
/// failed read may be made good; that is for `judge` to say.)
pub fn sweep(image: &Image, sweep: &Sweep, work: Work<'_>, judge: JudgeCase<'_>) -> SweepReport {
    let clean = run(image, None, work);
    let mut report = SweepReport { counts: clean.counts, ..SweepReport::default() };
    if let Err(error) = &clean.result {
        let broken = Violation::new("no fault", error.clone());
        report.failures.push(("without a fault".into(), broken));
        return report;
    }
    for fault in faults(sweep, clean.counts) {
        let case = run(image, Some(fault), work);
        report.n_cases += 1;
        report.n_reported += u64::from(case.result.is_err());
        let mut broken = Vec::new();
        let is_silent = matches!(fault.failure, Failure::Lost | Failure::Cut { .. });
        let is_silent = is_silent || fault.op == Op::Read;
        match &case.result {
            Err(error) if error.starts_with("panic:") => {
                broken.push(Violation::new("panic", error.clone()));
            }
            Ok(()) if !is_silent => broken.push(Violation::new("unreported", "it succeeded")),
            _ => {}
        }
        broken.extend(judge(&case));
        report.failures.extend(broken.into_iter().map(|it| (case.to_string(), it)));
    }
    report
}

fn faults(sweep: &Sweep, counts: Counts) -> Vec<Fault> {
    let mut all = Vec::new();
    for &op in &sweep.ops {
        let n = match op {
            Op::Read => counts.reads,
            Op::Write => counts.writes,
            Op::Flush => counts.flushes,
        };
        let step = n.div_ceil(sweep.limit.max(1)).max(1);
        for nth in (1..=n).step_by(usize::try_from(step).unwrap_or(usize::MAX)) {
            for &failure in &sweep.failures {
                // Only a write can be torn or find no room.
                let is_odd = failure != Failure::Error(io::ErrorKind::Other);
                if is_odd && failure != Failure::Lost && op != Op::Write {
                    continue;
                }
                all.push(Fault::once(op, nth).with(failure));
                if !is_odd {
                    all.push(Fault::from(op, nth).with(failure));
                }
            }
        }
    }
    all
}

fn run(image: &Image, fault: Option<Fault>, work: Work<'_>) -> Case {
    let medium: Device = image.overlay();
    let recorder = Arc::new(Recorder::new(Arc::clone(&medium)));
    let faults: Vec<Fault> = fault.into_iter().collect();
    let device = Arc::new(FaultDevice::new(recorder.clone(), faults));
    let result = catch_unwind(AssertUnwindSafe(|| work(device.clone(), &recorder)));
    let result = result.unwrap_or_else(|it| Err(format!("panic: {}", panic_text(&*it))));
    Case {
        fault: fault.unwrap_or(Fault::once(Op::Write, 0)),
        result,
        medium,
        trace: Trace::of_events(&recorder.take_events()),
        counts: device.counts(),
    }
}
