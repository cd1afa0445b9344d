//! From what was typed to what the library does.

use crate::{
    answers::Person,
    cli::Args,
    durable,
    explain::{Explained, ProblemList},
    extended::Extended,
    filesystem::{self, InMemory, Recovery},
    meter::Meter,
    outcome::{Outcome, RolledBack},
    plan::Plan,
    rescue,
    statistics::Statistics,
};
use ext4_blockdev::{BlockDevice, FileDevice, Location, OpenError, OpenMode, Overlay};
use ext4_check::{
    Changes, Error, JournalDevice, Options, Way,
    undo::{self, Rehearsal},
};
use ext4_cli::{Answer, CommonArgs, Exit, Failure, Prompt, Report, Stop, clock};
use serde::Serialize;
use std::{cell::Cell, ffi::OsStr, fmt, io::BufReader, ops::Range, path::Path, sync::Arc};

/// Most threads that scan: no device has more for them to do.
const MOST_THREADS: usize = 256;

/// Runs the program.
///
/// # Errors
/// One line and an exit code.
pub fn run(args: &Args) -> Result<Exit, Failure> {
    let report = Report::new(&args.common);
    if let Some(name) = &args.explain {
        report.show(&Explained::find(name)?)?;
        return Ok(Exit::OK);
    }
    if args.list_problems {
        report.show(&ProblemList::all())?;
        return Ok(Exit::OK);
    }
    args.check()?;
    check_outputs(args)?;
    let prompt = Prompt::new(args.answer()).map_err(|_no_terminal| {
        Failure::operational(
            "no terminal to ask on: give -p, -y or -n to repair or look unattended",
        )
    })?;
    let stop =
        Stop::install().map_err(|err| Failure::operational(format_args!("signals: {err}")))?;
    let image = args.image.as_deref().unwrap_or_default();
    let name = image.to_string_lossy().into_owned();
    let mut common = args.common.clone();
    common.progress |= args.completion == Some(0);
    let fd = args.completion.filter(|it| *it != 0);
    let meter = Cell::new(fd.map(|fd| Meter::new(fd, &name)).transpose()?);
    let run = Run { args, common, meter, report, prompt, stop, name };
    let mode = if args.no { OpenMode::ReadOnly } else { OpenMode::Exclusive };
    let device: Arc<dyn BlockDevice> = run.open(image, mode)?;
    let journal = args.journal_device.as_deref().map(|it| run.open(it, mode)).transpose()?;
    let number = journal.as_ref().and_then(|it| u32::try_from(it.device_number()?).ok());
    let journal = journal.map(|it| it as Arc<dyn BlockDevice>);
    let mut outcome = Outcome { image: run.name.clone(), dry_run: args.no, ..Outcome::default() };
    if let Some(path) = &args.rollback {
        return run.roll_back(path, &*device);
    }
    if journal.is_none() && filesystem::needs_other_device(&*device) {
        return Err(Failure::operational(
            "the journal is on another device and has not been replayed; -j names the device",
        )
        .at(&run.name));
    }
    let plan = args.apply.as_deref().map(Plan::load).transpose()?;
    let now = plan.as_ref().map_or_else(seconds, |it| it.now);
    let scopes =
        if args.has(Extended::JournalOnly) { filesystem::REPLAY } else { filesystem::BOTH };
    let (recovered, recovery) = filesystem::recover(&device, journal.as_ref(), now, scopes);
    outcome.replayed_transactions = recovery.transactions;
    outcome.cleaned_orphans = recovery.orphans;
    outcome.recovery_failed.clone_from(&recovery.failure);
    let InMemory { filesystem, journal: journal_overlay } = recovered.fork();
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let typed = args.superblock.map(|blk| (blk, args.block_size));
    let options = Options {
        threads: args.threads.unwrap_or(threads).clamp(1, MOST_THREADS),
        is_preen: args.preen,
        superblock: plan.as_ref().map_or(typed, |it| it.superblock),
        optimize: plan.as_ref().map_or_else(|| args.optimize(), |it| it.optimize),
        journal: journal_overlay
            .map(|overlay| JournalDevice { overlay: Arc::new(overlay), number }),
        ..Options::new(now)
    };
    let case = Case { device, journal, recovered, recovery, options, plan };
    if args.has(Extended::JournalOnly) {
        return run.replay(&case, outcome);
    }
    if args.preen && !args.is_forced() && run.may_skip(&case) {
        return run.skip(&case, outcome);
    }
    run.check(&case, &Arc::new(filesystem), outcome)
}

/// The time, in seconds since 1970.
fn seconds() -> u64 {
    u64::try_from(clock::now().0).unwrap_or(0)
}

/// Checks that what is to be made on the host can be: before anything is done for it.
fn check_outputs(args: &Args) -> Result<(), Failure> {
    args.rescue.as_deref().map_or(Ok(()), rescue::check)?;
    args.undo.iter().chain(&args.plan).try_for_each(|it| durable::check_new(it))
}

/// What is checked.
struct Case {
    device: Arc<dyn BlockDevice>,
    journal: Option<Arc<dyn BlockDevice>>,
    /// Both as they are after recovery.
    recovered: InMemory,
    /// What recovery did.
    recovery: Recovery,
    options: Options,
    /// The plan that is to be carried out.
    plan: Option<Plan>,
}

/// What is to be written.
struct Repair<'a> {
    case: &'a Case,
    /// The filesystem as it shall be.
    overlay: &'a Overlay,
    /// Its journal, when that is on a device of its own.
    journal: Option<&'a Overlay>,
    checked: &'a ext4_check::Outcome,
    /// Whether how it is written is worth a word: not of the mark that a stopped run leaves.
    tells_way: bool,
}

struct Run<'a> {
    args: &'a Args,
    common: CommonArgs,
    /// Until the check takes it.
    meter: Cell<Option<Meter>>,
    report: Report,
    prompt: Prompt,
    stop: Stop,
    name: String,
}

impl Run<'_> {
    fn open(&self, name: &OsStr, mode: OpenMode) -> Result<Arc<FileDevice>, Failure> {
        let open = || FileDevice::open_location(&Location::parse(name)?, mode);
        let device = open().map_err(|err: OpenError| Failure::operational(err))?;
        for note in device.notes() {
            self.report.note(note);
        }
        Ok(Arc::new(device))
    }

    /// Whether the filesystem says that it is in order, so that an unattended run need not look: as it
    /// is after recovery, for that is what a journal is there for. What recovery cannot open,
    /// descriptors or the journal, is not believed: a mount would refuse it too.
    fn may_skip(&self, Case { recovered, recovery, options, .. }: &Case) -> bool {
        let Some(summary) = filesystem::summary(&recovered.filesystem, options.now) else {
            return false;
        };
        let due = recovery.failure.as_ref().or(recovery.doubt.as_ref()).or(summary.due.as_ref());
        if let Some(why) = due {
            self.report.note(format_args!("{}: checked, because {why}", self.name));
        }
        due.is_none()
    }

    /// Nothing but recovery, where the filesystem says that it is in order after that.
    fn skip(&self, case: &Case, mut outcome: Outcome) -> Result<Exit, Failure> {
        self.recover(case)?;
        outcome.skipped = true;
        outcome.take_counts(filesystem::summary(&case.recovered.filesystem, case.options.now));
        self.show(outcome)
    }

    fn check(
        &self,
        case: &Case,
        overlay: &Arc<Overlay>,
        mut outcome: Outcome,
    ) -> Result<Exit, Failure> {
        let Case { device, options, .. } = case;
        let is_yes = self.args.answer() != Answer::Ask;
        let mut person =
            Person::new(&self.prompt, is_yes, &self.common, &self.stop, self.meter.take());
        let mut checked = ext4_check::Outcome::default();
        let result = ext4_check::check(overlay, options, &mut person, &mut checked);
        person.end();
        let detail = self.args.timing > 1;
        outcome.timing = (self.args.timing > 0).then(|| person.watch.timing(detail));
        let terminal = person.failure.take();
        if let Err(err @ (Error::NeedsDecision(_) | Error::Device(_))) = &result {
            outcome.stopped_by = Some(err.to_string());
        }
        outcome.add(&checked);
        if let Some(failure) = terminal {
            return Err(failure);
        }
        let (changes, journal) = match result {
            Ok(()) => (&**overlay, options.journal.as_ref().map(|it| &*it.overlay)),
            Err(Error::NeedsDecision(_)) => {
                // What was replayed is kept: it is what the next mount would do anyway. Nothing else
                // is, for halves of a repair may be worse than none; but the next unattended run looks
                // again.
                ext4_check::mark_unsound(&case.recovered.filesystem)
                    .map_err(|err| self.failure(&err))?;
                outcome.take_counts(filesystem::summary(&case.recovered.filesystem, options.now));
                (&case.recovered.filesystem, case.recovered.journal.as_ref())
            }
            Err(err) => {
                let failure = self.failure(&err);
                // A device that fails says nothing against what was found before.
                if outcome.stopped_by.is_some() {
                    outcome.failed = Some(failure.exit());
                    self.show(outcome)?;
                }
                return Err(failure);
            }
        };
        let is_through = outcome.stopped_by.is_none();
        let wants_survey =
            self.common.verbose > 0 || self.args.has(Extended::Fragcheck) || self.args.discards();
        let survey = (is_through && wants_survey)
            .then(|| ext4_check::survey(changes, options, &mut person))
            .transpose()
            .map_err(|err| self.failure(&err))?;
        person.end();
        let repair =
            Repair { case, overlay: changes, journal, checked: &checked, tells_way: is_through };
        // Before anything is made for it: what is refused leaves nothing behind.
        self.compare(&repair)?;
        if let Some(folder) = self.args.rescue.as_ref().filter(|_| is_through) {
            outcome.rescue = rescue::save(folder, &self.name, &checked)?;
        }
        self.finish(&repair)?;
        if let Some(survey) = &survey {
            if self.common.verbose > 0 {
                outcome.statistics = Some(Statistics::from(survey));
            }
            if self.args.has(Extended::Fragcheck) {
                outcome.add_discontiguous(survey);
            }
            if self.args.discards() && !self.args.no && outcome.left == 0 {
                outcome.discarded_bytes = Some(self.discard(&**device, &survey.free)?);
            }
        }
        self.show(outcome)
    }

    /// Gives free blocks back, when everything else is written.
    fn discard(&self, device: &dyn BlockDevice, free: &[Range<u64>]) -> Result<u64, Failure> {
        let mut bytes = 0;
        for run in free {
            let len = run.end - run.start;
            device.discard(run.start, len).map_err(|err| self.failure(&err.into()))?;
            bytes += len;
        }
        Ok(bytes)
    }

    /// Nothing but the replay.
    fn replay(&self, case: &Case, mut outcome: Outcome) -> Result<Exit, Failure> {
        if let Some(why) = outcome.recovery_failed {
            return Err(Failure::damage(why).at(&self.name));
        }
        self.recover(case)?;
        outcome.only_replayed = true;
        outcome.take_counts(filesystem::summary(&case.recovered.filesystem, case.options.now));
        self.show(outcome)
    }

    /// Writes what recovery did, and no more.
    fn recover(&self, case: &Case) -> Result<(), Failure> {
        let InMemory { filesystem, journal } = &case.recovered;
        let checked = ext4_check::Outcome::default();
        let journal = journal.as_ref();
        let repair =
            Repair { case, overlay: filesystem, journal, checked: &checked, tells_way: true };
        self.compare(&repair)?;
        self.finish(&repair)
    }

    /// Compares a repair with the plan that is to be carried out, if one is.
    fn compare(&self, repair: &Repair<'_>) -> Result<(), Failure> {
        let Repair { case, overlay, checked, .. } = repair;
        let Some(plan) = &case.plan else { return Ok(()) };
        let changes =
            Changes::new(overlay, &*case.device, checked).map_err(|err| self.failure(&err))?;
        plan.check(&changes, &*case.device).map_err(|err| err.at(&self.name))
    }

    /// Writes a repair, or keeps it as a plan.
    fn finish(&self, repair: &Repair<'_>) -> Result<(), Failure> {
        let Repair { case, overlay, journal, checked, .. } = repair;
        let Case { device, options, .. } = case;
        let changes =
            Changes::new(overlay, &**device, checked).map_err(|err| self.failure(&err))?;
        if let Some(path) = &self.args.plan {
            Plan::new(&self.name, &**device, options, &changes, checked)?.save(path)?;
        }
        if !self.args.no && !changes.is_empty() {
            self.write(repair)?;
            // What is taken out of the log is home now. Cut here: a log that nobody asks for.
            if let (Some(overlay), Some(device)) = (journal, &case.journal) {
                let written = overlay.apply_to(&**device).and_then(|_bytes| device.flush());
                written.map_err(|err| self.failure(&err.into()))?;
            }
        }
        Ok(())
    }

    /// Writes what was found to be done to the filesystem, behind an undo file if one is wanted.
    fn write(&self, repair: &Repair<'_>) -> Result<(), Failure> {
        let device = &repair.case.device;
        if let Some(path) = &self.args.undo {
            if repair.journal.is_some_and(|it| it.held_bytes() > 0) {
                return Err(Failure::operational(
                    "an undo file does not hold what changes on the journal's device: replay it \
                     first, with fsck-orphans --journal-device",
                )
                .at(&self.name));
            }
            let rehearsal = Arc::new(Rehearsal::new(Arc::clone(device)));
            self.carry_out(repair, &(Arc::clone(&rehearsal) as _))?;
            durable::create(path, |file| rehearsal.save(file))
                .map_err(|err| Failure::operational(err).at(path.display()))?;
        }
        let way = self.carry_out(repair, device)?;
        if let Way::Ordered(why) = way
            && repair.tells_way
        {
            self.report.note(format_args!("{}: not written as one transaction: {why}", self.name));
        }
        Ok(())
    }

    /// Writes all of a repair to `device`: recovery first, as that is what leaves the log empty. The
    /// same writes for the same bytes on the device.
    fn carry_out(
        &self,
        repair: &Repair<'_>,
        device: &Arc<dyn BlockDevice>,
    ) -> Result<Way, Failure> {
        let Repair { case, overlay, checked, .. } = repair;
        let now = case.options.now;
        if case.journal.is_none() {
            let recovered = case.recovery.carry_out(device, now);
            recovered.map_err(|err| Failure::operational(err).at(&self.name))?;
        }
        let changes = Changes::new(overlay, &**device, checked);
        changes.and_then(|it| it.write(device, now)).map_err(|err| self.failure(&err))
    }

    fn roll_back(&self, path: &Path, device: &dyn BlockDevice) -> Result<Exit, Failure> {
        let file = durable::open(path)?;
        let written = undo::restore(&mut BufReader::new(file), device)
            .map_err(|err| Failure::operational(err).at(&self.name))?;
        let exit = Exit::CORRECTED;
        self.tell(&RolledBack {
            image: self.name.clone(),
            restored_bytes: written,
            exit_code: exit.code(),
        })
        .map_err(|it| it.besides(exit))?;
        Ok(exit)
    }

    fn failure(&self, err: &Error) -> Failure {
        let failure = match err {
            Error::Stopped => Failure::cancelled(err),
            _ => Failure::operational(err),
        };
        failure.at(&self.name)
    }

    fn show(&self, mut outcome: Outcome) -> Result<Exit, Failure> {
        let exit = outcome.exit();
        outcome.exit_code = exit.code();
        self.tell(&outcome).map_err(|it| it.besides(exit))?;
        Ok(exit)
    }

    /// Prints the result: with `--quiet` only as JSON.
    fn tell<T: Serialize + fmt::Display>(&self, result: &T) -> Result<(), Failure> {
        if self.report.is_json() {
            self.report.show(result)
        } else {
            self.report.text(result.to_string().trim_end())
        }
    }
}
