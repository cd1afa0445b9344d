//! The device fails: the n-th read, write or flush of every kind of work, for every n, once and from
//! then on. What was said to be durable stays, nothing else is half done, and nothing is written
//! after a failure (generic/475, with every place instead of random ones).
//!
//! Every place of every job is tried with `EXT4_FAULTS=all`; otherwise some, the same each time.

mod threads;

use crate::{
    jobs::{Failed, JOBS, Job, contents, job},
    world::clock,
};
use ext4_blockdev::{Counts, Failure, Fault, FaultDevice, Op, Overlay, Recorder};
use ext4_dio::Sync;
use ext4_fs::{RecoverOptions, recover};
use ext4_testkit::{
    explore::Violation,
    fault::{Case, Sweep, SweepReport, sweep},
    image::Image,
    judge,
    model::Model,
    mount::Mount,
    oracle::{self, FsckMode, Need},
    recovery::Device,
    trace::{Step as Traced, Trace},
    view::View,
};
use std::{cell::RefCell, io::ErrorKind, sync::Arc};

const EIO: i32 = 5;
const ENOSPC: i32 = 28;
const EROFS: i32 = 30;
const EBADMSG: i32 = 74;

/// What may still be asked of a device that has failed: transfers submitted before the first failure
/// came back, one try to note it in the log, and what [`run`] asks on purpose.
const MAX_REFUSED: u64 = 10;

/// How much is tried.
#[derive(Clone, Copy)]
struct Extent {
    /// Places for each kind of fault in a job.
    places: u64,
    /// One case in so many is shown to e2fsck, to the kernel, and has its recovery fail.
    e2fsck: u64,
    kernel: u64,
    again: u64,
    /// Places in such a recovery.
    again_places: u64,
}

impl Extent {
    fn chosen() -> Self {
        if is_all() {
            Self { places: u64::MAX, e2fsck: 4, kernel: 40, again: 4, again_places: u64::MAX }
        } else {
            Self { places: 6, e2fsck: 30, kernel: 300, again: 30, again_places: 4 }
        }
    }
}

fn is_all() -> bool {
    std::env::var("EXT4_FAULTS").is_ok_and(|it| it == "all")
}

/// What came of a job on a device that fails.
#[derive(Debug, Default)]
struct Ran {
    /// The version that is durable, and the one that was begun.
    acked: usize,
    begun: usize,
    /// The first failure.
    failed: Option<Failed>,
    /// It failed before there was an open filesystem.
    at_open: bool,
    /// A write or a flush of a step has failed.
    is_poisoned: bool,
    /// Things that must not be.
    broken: Vec<Violation>,
}

/// What was tried, over all jobs.
#[derive(Debug, Default)]
struct Totals {
    jobs: u64,
    faults: u64,
    reported: u64,
    power_cuts: u64,
    in_recovery: u64,
    by_e2fsck: u64,
    by_kernel: u64,
    refused: u64,
    violations: u64,
}

#[test]
fn a_failing_device_takes_nothing_that_was_durable_and_gets_nothing_more() {
    let mut totals = Totals::default();
    for job in JOBS {
        let Some(image) = job.image() else { return };
        let report = fail_everywhere(job, &image, &mut totals);
        println!("{} ({}): {}", job.name, job.profile, summary(&report));
        report.expect_no_failure();
    }
    println!("{totals:?}");
}

fn summary(report: &SweepReport) -> String {
    report.to_string().lines().next().unwrap_or_default().to_owned()
}

fn fail_everywhere(job: &Job, image: &Image, totals: &mut Totals) -> SweepReport {
    let extent = Extent::chosen();
    let versions = job.versions();
    let ran = RefCell::new(Ran::default());
    let work = |device: Device, _: &Recorder| {
        *ran.borrow_mut() = run(job, &device);
        let ran = ran.borrow();
        ran.failed.as_ref().map_or(Ok(()), |it| Err(format!("{} (errno {})", it.text, it.errno)))
    };
    let totals = RefCell::new(totals);
    let judge = |case: &Case| {
        let mut ran = ran.borrow_mut();
        let totals = &mut **totals.borrow_mut();
        totals.faults += 1;
        judge_case(job, image, &versions, &mut ran, case, extent, totals)
    };
    let mut plan = Sweep { limit: extent.places, ..Sweep::default() };
    // All of it reaches the medium, and an error all the same.
    plan.failures.push(Failure::Torn { sectors: 1 << 20 });
    if is_all() {
        plan.failures.push(Failure::Torn { sectors: 5 });
    }
    let report = sweep(image, &plan, &work, &judge);
    let totals = totals.into_inner();
    totals.jobs += 1;
    totals.reported += report.n_reported;
    totals.violations += report.failures.len() as u64;
    report
}

/// Does a job up to its first failure; then tries what must not work any more. A step whose read
/// failed is done again, and must then come to its end.
fn run(job: &Job, device: &Device) -> Ran {
    let mut ran = Ran::default();
    let fs = match job.open(Arc::clone(device)) {
        Ok(fs) => fs,
        Err(err) => return Ran { failed: Some(err.into()), at_open: true, ..ran },
    };
    let mut done = 0;
    for i in 0..job.steps.len() {
        ran.begun = i + 1;
        let mut res = job.step(&fs, i);
        if let Err(failed) = res {
            ran.failed.get_or_insert(failed);
            // Asked directly: a write or a flush has failed.
            ran.is_poisoned = device.flush().is_err();
            if ran.is_poisoned {
                break;
            }
            res = job.step_again(&fs, i);
        }
        match res {
            // Refused by a device that has failed, and nothing else.
            Ok(_) if device.discard(0, 0).is_err() && !job.goes_through_pages(&job.steps[i]) => {
                let what = format!("{:?} succeeds", job.steps[i]);
                ran.broken.push(Violation::new("unreported by its step", what));
                break;
            }
            Ok(is_durable) => {
                done = i + 1;
                ran.acked = if is_durable { done } else { ran.acked };
            }
            Err(_) => break,
        }
    }
    if ran.is_poisoned {
        ran.note_later("an O_DSYNC write", Job::later(&fs));
        ran.note_later("commit", fs.commit().map_err(Failed::from));
    } else if ran.failed.is_some() && fs.commit().is_ok() && !job.has_dirty(done) {
        ran.acked = done;
    }
    match fs.close().map_err(Failed::from) {
        res if ran.is_poisoned => ran.note_later("close", res),
        Ok(()) => ran.acked = done,
        Err(failed) => {
            ran.failed.get_or_insert(failed);
        }
    }
    ran
}

impl Ran {
    /// Once a write or a flush has failed all that would have to be durable fails, and says so.
    fn note_later(&mut self, what: &str, later: Result<(), Failed>) {
        let found = match later {
            Err(failed) if [EIO, EROFS].contains(&failed.errno) => return,
            Err(failed) => format!("{what}: errno {}: {}", failed.errno, failed.text),
            Ok(()) => format!("{what} succeeds"),
        };
        self.broken.push(Violation::new("after the failure", found));
    }
}

fn judge_case(
    job: &Job,
    image: &Image,
    versions: &[Model],
    ran: &mut Ran,
    case: &Case,
    extent: Extent,
    totals: &mut Totals,
) -> Vec<Violation> {
    let mut found = std::mem::take(&mut ran.broken);
    let is_touched = case.trace.n_writes() > 0;
    if !is_touched {
        // Failed before its first write: nothing is there that a commit would have to tell of.
        found.clear();
    }
    found.extend(check_errno(case, ran));
    totals.refused = totals.refused.max(case.counts.refused);
    if case.counts.refused > MAX_REFUSED {
        let what = format!("{} operations after the failure", case.counts.refused);
        found.push(Violation::new("does not stop", what));
    }
    if ran.at_open && is_touched && case.fault.op == Op::Read {
        found.push(Violation::new("written", "a failed open of a clean image has written"));
    }
    let nr = totals.faults;
    if !job.has_journal() {
        found.extend(judge_without_journal(&case.medium));
        return found;
    }
    let check = |device: &Device| {
        let mut found = judge::judge(&**device);
        found.extend(contents(&**device, job, versions, ran.acked, ran.begun));
        found
    };
    let recovered: Device = Arc::new(Overlay::new(Arc::clone(&case.medium)));
    match again(&recovered) {
        Ok(()) => found.extend(check(&recovered)),
        Err(err) => found.push(Violation::new("recovery", err)),
    }
    found.extend(ask_others(&recovered, nr, extent, totals));
    // The power goes with the device: what was not flushed is gone.
    if case.fault.op == Op::Flush || nr.is_multiple_of(7) {
        totals.power_cuts += 1;
        let device = flushed(image, &case.trace);
        match again(&device) {
            Ok(()) => found.extend(check(&device).into_iter().map(|it| in_case("power cut", it))),
            Err(err) => found.push(Violation::new("power cut: recovery", err)),
        }
    }
    if nr.is_multiple_of(extent.again) {
        found.extend(fail_recovery(&case.medium, extent.again_places, &check, totals));
    }
    found
}

fn in_case(when: &str, it: Violation) -> Violation {
    Violation { code: format!("{when}: {}", it.code).into(), ..it }
}

/// The first error is the one of the failure.
fn check_errno(case: &Case, ran: &Ran) -> Option<Violation> {
    let failed = ran.failed.as_ref()?;
    let is_full = case.fault.failure == Failure::Error(ErrorKind::StorageFull);
    // Of many at once one may come back first that the device did not even try.
    let is_later = failed.text.contains("an earlier write or flush failed");
    let expected: &[i32] = match (is_full, failed.is_data) {
        (true, true) if !is_later => &[ENOSPC],
        (true, _) => &[EIO, ENOSPC],
        _ => &[EIO],
    };
    let is_wrong = !expected.contains(&failed.errno);
    is_wrong.then(|| Violation::new("errno", format!("{}: {}", failed.errno, failed.text)))
}

/// Recovers and closes; a second time there is nothing to do.
fn again(device: &Device) -> Result<(), String> {
    let options = RecoverOptions::new(clock());
    let first = recover(Arc::clone(device), &options).map_err(|it| it.to_string())?;
    first.fs.close().map_err(|it| it.to_string())?;
    let recorder = Arc::new(Recorder::new(Arc::clone(device)));
    let second = recover(recorder.clone(), &options).map_err(|it| it.to_string())?;
    second.fs.close().map_err(|it| it.to_string())?;
    let n = Trace::of_events(&recorder.take_events()).n_writes();
    if n > 0 || !second.report.is_clean() {
        return Err(format!("a second recovery writes {n} times: {:?}", second.report));
    }
    Ok(())
}

fn ask_others(device: &Device, nr: u64, extent: Extent, totals: &mut Totals) -> Vec<Violation> {
    let mut found = Vec::new();
    if nr.is_multiple_of(extent.e2fsck) && Need::E2fsck.is_here() {
        totals.by_e2fsck += 1;
        match oracle::e2fsck_device(&**device, FsckMode::Check) {
            Ok(said) if said.is_clean() => {}
            said => found.push(Violation::new("e2fsck", format!("{said:?}"))),
        }
    }
    if nr.is_multiple_of(extent.kernel) && Need::Kernel.is_here() {
        totals.by_kernel += 1;
        let mounted = || {
            let scratch = oracle::scratch()?;
            let file = scratch.path().join("image");
            oracle::save(&**device, &file)?;
            Mount::new(&file, "")?.unmount()?;
            let said = oracle::e2fsck(&file, FsckMode::Check)?;
            anyhow::ensure!(said.is_clean(), "{said:?}");
            Ok(())
        };
        found.extend(mounted().err().map(|it| Violation::new("kernel", format!("{it:#}"))));
    }
    found
}

/// What the last completed flush made durable, and nothing else.
fn flushed(image: &Image, trace: &Trace) -> Device {
    let device: Device = image.overlay();
    let last = trace.steps.iter().rposition(|it| matches!(it, Traced::Flush { .. }));
    for step in &trace.steps[..last.unwrap_or(0)] {
        if let Traced::Write { offset, data, .. } = step {
            device.write_at(*offset, data).expect("memory");
        }
    }
    device
}

/// Recovery fails as well, anywhere, and is done again.
fn fail_recovery(
    medium: &Device,
    places: u64,
    check: &dyn Fn(&Device) -> Vec<Violation>,
    totals: &mut Totals,
) -> Vec<Violation> {
    let recover_on = |faults: Vec<Fault>| {
        let under: Device = Arc::new(Overlay::new(Arc::clone(medium)));
        let device = Arc::new(FaultDevice::new(Arc::clone(&under), faults));
        let options = RecoverOptions::new(clock());
        let res = recover(device.clone(), &options).and_then(|it| it.fs.close());
        (under, device.counts(), res)
    };
    let (_, Counts { reads, writes, flushes, .. }, _) = recover_on(Vec::new());
    let mut found = Vec::new();
    for (op, n) in [(Op::Read, reads), (Op::Write, writes), (Op::Flush, flushes)] {
        let step = usize::try_from(n.div_ceil(places).max(1)).unwrap();
        for nth in (1..=n).step_by(step) {
            for fault in [Fault::once(op, nth), Fault::from(op, nth)] {
                totals.in_recovery += 1;
                let (device, _, res) = recover_on(vec![fault]);
                let when = format!("recovery with {fault:?}");
                match res {
                    Ok(()) if op != Op::Read => {
                        found.push(Violation::new("recovery fails unreported", when.clone()));
                    }
                    Err(err) if err.errno() != EIO => {
                        let what = format!("{when}: {err} (errno {})", err.errno());
                        found.push(Violation::new("errno in recovery", what));
                    }
                    _ => {}
                }
                match again(&device) {
                    Ok(()) => found.extend(check(&device).into_iter().map(|it| in_case(&when, it))),
                    Err(err) => {
                        found.push(Violation::new("second recovery", format!("{when}: {err}")));
                    }
                }
            }
        }
    }
    found
}

/// Without a log nothing is atomic. Either the image says that it has to be checked, and e2fsck can,
/// or there is nothing to be found.
fn judge_without_journal(device: &Device) -> Vec<Violation> {
    let state = match View::new(&**device) {
        Ok(view) => view.sb.s_state.get(),
        Err(err) => return vec![Violation::new("view", format!("{err:#}"))],
    };
    if !Need::E2fsck.is_here() {
        return Vec::new();
    }
    let (mode, worst) = if state & 1 == 0 { (FsckMode::Repair, 1) } else { (FsckMode::Check, 0) };
    match oracle::e2fsck_device(&**device, mode) {
        Ok(said) if said.code.is_some_and(|code| code <= worst) => Vec::new(),
        said => vec![Violation::new("e2fsck", format!("state {state}: {said:?}"))],
    }
}

#[test]
fn a_log_block_that_was_never_written_is_noticed() {
    // A write of the log that says it succeeded, of which only a part reached the device: then the
    // power fails. With checksums of log blocks recovery must not replay what it finds there.
    const STEPS: &[crate::jobs::Step] = &[
        crate::jobs::Step::Write(8192, 65536, Sync::None),
        crate::jobs::Step::Commit,
        crate::jobs::Step::Truncate(20_000),
        crate::jobs::Step::Commit,
    ];
    let job = job("log blocks lost", "ext4-4k", 8192, &[], STEPS);
    let Some(image) = job.image() else { return };
    let versions = job.versions();
    let run = |faults: Vec<Fault>| {
        let medium: Device = image.overlay();
        let device = Arc::new(FaultDevice::new(Arc::clone(&medium), faults));
        let fs = job.open(device.clone()).expect("opening");
        for i in 0..STEPS.len() {
            job.step(&fs, i).expect("the fault is a silent one");
        }
        (medium, device.counts().writes)
    };
    let (_, writes) = run(Vec::new());
    let (mut noticed, mut harmless, mut lost) = (0, 0, 0);
    for nth in 1..=writes {
        for sectors in [8, 16, 24] {
            let fault = Fault::once(Op::Write, nth).with(Failure::Cut { sectors });
            let (medium, _) = run(vec![fault]);
            match recover(Arc::clone(&medium), &RecoverOptions::new(clock())) {
                Err(err) => {
                    assert!(err.is_damage() && err.errno() == EBADMSG, "{fault:?}: {err}");
                    noticed += 1;
                    if Need::E2fsck.is_here() {
                        let said = oracle::e2fsck_device(&*medium, FsckMode::Repair).unwrap();
                        assert!(said.code.is_some_and(|code| code <= 1), "{fault:?}: {said:?}");
                    }
                }
                Ok(recovered) => {
                    recovered.fs.close().expect("closing");
                    let found = judge::judge(&*medium);
                    // File data has no checksum, and a log that ends early looks like a shorter one.
                    let data = contents(&*medium, &job, &versions, 0, STEPS.len());
                    let is_structure_sound = found.iter().all(|it| it.code == "stale");
                    assert!(is_structure_sound, "{fault:?}: {found:?}");
                    lost += usize::from(!data.is_empty() || !found.is_empty());
                    harmless += 1;
                }
            }
        }
    }
    println!(
        "{writes} writes cut: {noticed} noticed, {harmless} not, of them {lost} with lost data"
    );
    assert!(noticed > 0, "no checksum notices anything");
}
