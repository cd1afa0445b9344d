//! From what was typed to what the library does.

use crate::{cli::Args, outcome::Outcome};
use ext4_blockdev::{BlockDevice, FileDevice, Location, OpenError, OpenMode, Overlay};
use ext4_cli::{Answer, Exit, Failure, Progress, Prompt, Report, Stop, clock};
use ext4_fs::{Error, Filesystem, OrphanFate, RecoverOptions, Scope, recover_into};
use ext4_jbd2::Clock;
use ext4_units::InodeNr;
use std::{ffi::OsStr, sync::Arc, time::Duration};

/// The most findings that are kept to be shown; the others are counted.
const MAX_FINDINGS: usize = 1000;

/// Runs the program.
///
/// # Errors
/// One line and an exit code.
pub fn run(args: &Args) -> Result<Exit, Failure> {
    let prompt = Prompt::new(args.answer())?;
    let report = Report::new(&args.common);
    let run = Run {
        args,
        report,
        stop: Stop::install()
            .map_err(|err| Failure::operational(format_args!("signals: {err}")))?,
    };
    let mode = match args.answer() {
        Answer::No => OpenMode::ReadOnly,
        Answer::Ask | Answer::Yes => OpenMode::Exclusive,
    };
    let image = run.open(&args.image, mode)?;
    let journal = args.journal_device.as_deref().map(|it| run.open(it, mode)).transpose()?;
    let devices = Devices { image, journal };
    match args.answer() {
        Answer::Yes => run.show(&run.recover(&devices, false)?),
        Answer::No => run.show(&run.recover(&devices.in_memory(), true)?),
        Answer::Ask => {
            let plan = run.recover(&devices.in_memory(), true)?;
            if !plan.has_changes() {
                return run.show(&plan);
            }
            run.report.note(&plan);
            if prompt.confirm(&format!("{}: do it", plan.image), &run.stop)? {
                run.show(&run.recover(&devices, false)?)
            } else {
                Ok(plan.exit() | Exit::CANCELLED)
            }
        }
    }
}

/// What the filesystem lies on.
struct Devices {
    image: Arc<dyn BlockDevice>,
    journal: Option<Arc<dyn BlockDevice>>,
}

impl Devices {
    /// The same with all writes kept in memory.
    fn in_memory(&self) -> Self {
        let over = |it: &Arc<dyn BlockDevice>| -> Arc<dyn BlockDevice> {
            Arc::new(Overlay::new(Arc::clone(it)))
        };
        Self { image: over(&self.image), journal: self.journal.as_ref().map(over) }
    }
}

struct Run<'a> {
    args: &'a Args,
    report: Report,
    stop: Stop,
}

impl Run<'_> {
    fn open(&self, name: &OsStr, mode: OpenMode) -> Result<Arc<dyn BlockDevice>, Failure> {
        let open = || FileDevice::open_location(&Location::parse(name)?, mode);
        let device = open().map_err(|err: OpenError| Failure::operational(err))?;
        for note in device.notes() {
            self.report.note(note);
        }
        Ok(Arc::new(device))
    }

    /// Recovers and checks. An error in the middle that leaves damage is part of the outcome, so
    /// that what was done before it is told too.
    fn recover(&self, devices: &Devices, is_dry: bool) -> Result<Outcome, Failure> {
        let image = self.args.image.to_string_lossy().into_owned();
        let mut outcome = Outcome::new(image, is_dry);
        let (sec, nsec) = clock::now();
        let now = Duration::new(u64::try_from(sec).unwrap_or(0), nsec);
        let mut options = RecoverOptions::new(Clock::fixed(now));
        options.journal_device.clone_from(&devices.journal);
        options.scope = if self.args.replay_only { Scope::Replay } else { Scope::Possible };
        let stop = self.stop.clone();
        options.stop = Some(ext4_fs::Stop::new(move || stop.requested()));
        let mut report = ext4_fs::Report::default();
        let recovered = recover_into(&devices.image, &options, &mut report);
        let res = recovered.and_then(|fs| {
            let verified = self.verify(&fs, &report, &mut outcome);
            // What was recovered stays so, whatever the check comes upon.
            fs.close()?;
            verified
        });
        outcome.set_report(&report);
        if let Err(err) = res {
            let failure = failure(&err).at(&outcome.image);
            // Nothing was done: then the error is all there is to say.
            if !outcome.has_changes() || failure.exit() != Exit::UNCORRECTED {
                return Err(failure);
            }
            outcome.damage = Some(err.to_string());
        }
        outcome.exit_code = outcome.exit().code();
        Ok(outcome)
    }

    fn verify(
        &self,
        fs: &Filesystem,
        report: &ext4_fs::Report,
        outcome: &mut Outcome,
    ) -> Result<(), Error> {
        if self.args.all_inodes {
            return self.verify_all(fs, outcome);
        }
        let cut = report.orphans.iter().filter_map(|orphan| match orphan.fate {
            OrphanFate::Truncated { .. } => InodeNr::new(orphan.ino),
            _ => None,
        });
        let mut touched: Vec<InodeNr> = cut.chain(report.fast_commit_inodes.clone()).collect();
        touched.sort_unstable();
        touched.dedup();
        for ino in touched {
            if fs.is_in_use(fs.meta(), ino)? {
                outcome.checked_inodes += 1;
                for finding in fs.verify_inode(fs.meta(), ino)? {
                    outcome.add_finding(&finding, MAX_FINDINGS);
                }
            }
        }
        Ok(())
    }

    fn verify_all(&self, fs: &Filesystem, outcome: &mut Outcome) -> Result<(), Error> {
        let geo = fs.geometry();
        let block = u64::from(geo.block_size.bytes());
        let per_group = u64::from(geo.itable_blocks()) * block;
        let total = per_group.saturating_mul(u64::from(geo.groups_count));
        let progress = Progress::new(&self.args.common, "checking inode tables", Some(total));
        let mut done = 0u64;
        for gi in geo.groups() {
            if self.stop.requested() {
                return Err(Error::Stopped);
            }
            let sum = fs.verify_group(fs.meta(), gi, &mut |finding| {
                outcome.add_finding(&finding, MAX_FINDINGS);
            })?;
            outcome.checked_inodes += sum.inodes;
            done = done.saturating_add(per_group);
            progress.set(done);
        }
        progress.finish(total);
        Ok(())
    }

    fn show(&self, outcome: &Outcome) -> Result<Exit, Failure> {
        let told = if self.report.is_json() {
            self.report.show(outcome)
        } else {
            self.report.text(outcome.to_string().trim_end())
        };
        told.map(|()| outcome.exit()).map_err(|it| it.besides(outcome.exit()))
    }
}

/// The exit code of each error: damage is what a checker is for, all else is a run that failed.
fn failure(err: &Error) -> Failure {
    match err {
        Error::Stopped => Failure::cancelled(err),
        err if err.is_superblock() => Failure::operational(err),
        err if err.is_damage() => Failure::damage(err),
        err => Failure::operational(err),
    }
}
