//! From what was typed to what the library does.

use crate::{
    cli::{Args, FsSize},
    meaning::{Meaning, meaning},
    outcome::{JournalOutcome, Outcome, PresetList},
    source,
};
use ext4_blockdev::{BlockDevice as _, FileDevice, Location, OpenError, OpenMode, Part};
use ext4_cli::{Exit, Failure, Progress, Report, Stop};
use ext4_mkfs::{Error, Options, Plan, Room, Written, fit, journal_device, probe};
use std::{ffi::OsStr, num::NonZero, sync::Arc};

/// More only get into each other's way: they write to one image.
const MOST_THREADS: NonZero<usize> = NonZero::new(8).unwrap();

/// Runs the program.
///
/// # Errors
/// One line and an exit code.
pub fn run(args: &Args) -> Result<Exit, Failure> {
    let report = Report::new(&args.common);
    if args.list_presets {
        report.show(&PresetList::all())?;
        return Ok(Exit::OK);
    }
    let Meaning { mut options, outside } = meaning(args)?;
    let stop =
        Stop::install().map_err(|err| Failure::operational(format_args!("signals: {err}")))?;
    let typed = args.image.as_deref().unwrap_or_default();
    let location = location(typed, outside.offset)?;
    let run = Run { args, report, stop, location };
    let place = run.place()?;
    options.lazy_itable_init = outside.lazy_itable_init.unwrap_or(place.is_block_device());
    let journal = outside.journal_device.as_deref().map(|it| run.journal(it)).transpose()?;
    let tree = source::tree(args, &outside, &options, &run.location.path, &run.stop)?;
    options.tree = tree.map(Arc::new);
    if journal_device::is_journal_device(&options) {
        if options.tree.is_some() {
            return Err(Failure::usage("a journal device (-O journal_dev) holds no files"));
        }
        let target = run.target(place, options.size)?;
        return run.make_journal(&options, target);
    }
    if let Some((_, attachment)) = &journal {
        options.journal_device = Some(attachment.journal);
    }
    let (plan, target) = run.plan(&options, place)?;
    if args.dry_run {
        return run.show(&Outcome::new(run.name(), &plan, None));
    }
    let is_new = target.is_new;
    let device = run.open(target)?;
    let written = match run.write(&plan, &device) {
        Ok(written) => written,
        Err(err) if is_new => {
            drop(device);
            return Err(run.undo(&err));
        }
        Err(err) => return Err(run.failure(&err)),
    };
    if let Some((journal, attachment)) = &journal {
        // Only now the uuid is known for sure. A crash before leaves a journal that does not tell
        // of its filesystem, which the filesystem does not mind.
        let attached = attachment.attach(journal, &written.uuid);
        attached.map_err(|err| run.failure(&err))?;
    }
    run.show(&Outcome::new(run.name(), &plan, Some(written)))
}

/// Where the filesystem goes: `-E offset=` is another way to say `@OFFSET`.
fn location(typed: &OsStr, offset: Option<u64>) -> Result<Location, Failure> {
    let mut location = Location::parse(typed).map_err(|err: OpenError| Failure::usage(err))?;
    match (location.part, offset) {
        (_, None) => {}
        (Part::Whole, Some(offset)) => location.part = Part::Offset(offset),
        _ => return Err(Failure::usage("an offset twice: after the image and with -E")),
    }
    Ok(location)
}

/// What is there before anything is done.
struct Place {
    /// Where the filesystem starts.
    start: u64,
    /// No file is there yet.
    is_new: bool,
    /// What is there, open, unless it ends before the filesystem starts.
    device: Option<FileDevice>,
    can_grow: bool,
}

impl Place {
    fn is_block_device(&self) -> bool {
        self.device.as_ref().is_some_and(FileDevice::is_block_device)
    }
}

/// What is known of the target before it is touched.
struct Target {
    /// Bytes it has, or will have once it is grown.
    len: u64,
    /// The length to give the file first, from its start.
    grow_to: Option<u64>,
    /// The file is made by this run.
    is_new: bool,
    /// Open already, when it needs not grow.
    device: Option<FileDevice>,
}

struct Run<'a> {
    args: &'a Args,
    report: Report,
    stop: Stop,
    location: Location,
}

impl Run<'_> {
    fn name(&self) -> String {
        self.location.to_string()
    }

    fn failure(&self, err: &Error) -> Failure {
        let failure = match err {
            Error::Options(_) => Failure::usage(err),
            Error::Stopped => Failure::cancelled(err),
            _ => Failure::operational(err),
        };
        failure.at(self.name())
    }

    /// What is said when the image was made by this run, which then takes it away: nobody else knows
    /// of it, and it is no filesystem.
    fn undo(&self, err: &Error) -> Failure {
        let failure = match err {
            Error::Stopped => Failure::cancelled("stopped").at(self.name()),
            _ => self.failure(err),
        };
        let path = &self.location.path;
        match std::fs::remove_file(path) {
            Ok(()) => failure.and("the image was taken away again"),
            Err(err) => failure.and(format_args!("and taking the image away again: {err}")),
        }
    }

    /// Looks at the target: how large, and whether something is there that would be lost.
    fn place(&self) -> Result<Place, Failure> {
        let path = &self.location.path;
        let start = match self.location.part {
            Part::Offset(offset) => offset,
            Part::Whole | Part::Partition(_) => 0,
        };
        let meta = std::fs::metadata(path);
        let (is_new, file_len) = match &meta {
            Err(err) if err.kind() == std::io::ErrorKind::NotFound => (true, 0),
            Err(err) => return Err(Failure::operational(err).at(path.display())),
            Ok(meta) if meta.is_file() => (false, meta.len()),
            Ok(_) => (false, u64::MAX),
        };
        let is_partition = matches!(self.location.part, Part::Partition(_));
        // A window that starts behind the end has nothing in it yet.
        if (file_len == 0 && !is_partition) || start >= file_len {
            return Ok(Place { start, is_new, device: None, can_grow: true });
        }
        let mode = if self.args.dry_run { OpenMode::ReadOnly } else { OpenMode::Exclusive };
        let device = FileDevice::open_location(&self.location, mode)
            .map_err(|err: OpenError| Failure::operational(err))?;
        for note in device.notes() {
            self.report.note(note);
        }
        let found = probe(&device).map_err(|err| self.failure(&Error::Device(err)))?;
        match found {
            Some(found) if !self.args.force && !self.args.dry_run => {
                return Err(Failure::operational(format_args!(
                    "{}: holds {found}; -F makes a filesystem over it",
                    self.name()
                )));
            }
            Some(found) => self.report.note(format_args!("{}: holds {found}", self.name())),
            None => {}
        }
        let can_grow = !device.is_block_device() && !is_partition;
        Ok(Place { start, is_new, device: Some(device), can_grow })
    }

    /// The target for a filesystem of this size, or of all there is.
    fn target(&self, place: Place, size: Option<u64>) -> Result<Target, Failure> {
        let path = self.location.path.display();
        let grown = |size: u64| {
            let end = place.start.checked_add(size);
            let end = end.ok_or_else(|| Failure::usage("size does not fit in 64 bits"))?;
            Ok(Target { len: size, grow_to: Some(end), is_new: place.is_new, device: None })
        };
        match (place.device, size) {
            (None, Some(size)) => grown(size),
            (None, None) if place.start == 0 => Err(Failure::operational(format_args!(
                "{path}: no image of any size is there, and no --size says how large to make one"
            ))),
            (None, None) => Err(Failure::operational(format_args!(
                "{path}: offset {} is not inside the file, and no --size says how far to grow it",
                place.start
            ))),
            (Some(device), Some(size)) if size > device.len() && place.can_grow => grown(size),
            (Some(device), _) => {
                Ok(Target { len: device.len(), grow_to: None, is_new: false, device: Some(device) })
            }
        }
    }

    /// The plan, and the target for it.
    fn plan(&self, options: &Options, place: Place) -> Result<(Plan, Target), Failure> {
        let room = match (self.args.size, self.args.free) {
            (Some(FsSize::Min), _) => Some(Room::Min),
            (_, Some(bytes)) => Some(Room::Free(bytes)),
            _ => None,
        };
        if let Some(room) = room {
            let fitted = fit(options, room).map_err(|err| self.failure(&err))?;
            let target = self.target(place, Some(fitted.plan.len()))?;
            if target.len < fitted.plan.len() {
                return Err(self.failure(&Error::TooSmall {
                    found: target.len,
                    expected: fitted.plan.len(),
                    what: "what is needed".to_owned(),
                }));
            }
            return Ok((fitted.plan, target));
        }
        let target = self.target(place, options.size)?;
        let plan = ext4_mkfs::plan(options, target.len).map_err(|err| self.failure(&err))?;
        Ok((plan, target))
    }

    fn write(&self, plan: &Plan, device: &FileDevice) -> Result<Written, Error> {
        // What is written does not depend on it.
        let threads = std::thread::available_parallelism().unwrap_or(NonZero::<usize>::MIN);
        let threads = self.args.threads.unwrap_or(threads.min(MOST_THREADS));
        let mut progress = None;
        let mut last = 0;
        let mut tell = |done: u64, total: u64| {
            last = done;
            progress
                .get_or_insert_with(|| Progress::new(&self.args.common, "writing", Some(total)))
                .set(done);
            !self.stop.requested()
        };
        let written = if self.args.superblocks_only {
            ext4_mkfs::write_superblocks(plan, device, &mut tell)
        } else {
            ext4_mkfs::write(plan, device, threads, &mut tell)
        };
        if let Some(progress) = progress {
            progress.finish(last);
        }
        written
    }

    fn open(&self, target: Target) -> Result<FileDevice, Failure> {
        if let Some(device) = target.device {
            return Ok(device);
        }
        let open = || {
            if let Some(len) = target.grow_to {
                FileDevice::provide(&self.location.path, len)?;
            }
            FileDevice::open_location(&self.location, OpenMode::Exclusive)
        };
        open().map_err(|err: OpenError| {
            let is_anothers = matches!(&err, OpenError::Host { source, .. }
                if source.kind() == std::io::ErrorKind::AlreadyExists);
            if target.is_new && !is_anothers {
                // It may be there and not have got its length; when it is not, nothing is lost.
                let _ = std::fs::remove_file(&self.location.path);
            }
            Failure::operational(err)
        })
    }

    fn journal(&self, name: &str) -> Result<(FileDevice, journal_device::Attachment), Failure> {
        let mode = if self.args.dry_run { OpenMode::ReadOnly } else { OpenMode::Exclusive };
        let open = || FileDevice::open_location(&Location::parse(name)?, mode);
        let device = open().map_err(|err: OpenError| Failure::operational(err))?;
        // The format's 32 bits hold the numbers of all devices there are.
        let number = device.device_number().and_then(|it| u32::try_from(it).ok()).unwrap_or(0);
        let attachment = journal_device::open(&device, number)
            .map_err(|err| Failure::operational(err).at(name))?;
        Ok((device, attachment))
    }

    fn make_journal(&self, options: &Options, target: Target) -> Result<Exit, Failure> {
        let plan = journal_device::plan(options, target.len).map_err(|err| self.failure(&err))?;
        if !self.args.dry_run {
            let device = self.open(target)?;
            plan.write(&device).map_err(|err| self.failure(&err))?;
        }
        let outcome = JournalOutcome::new(self.name(), &plan, self.args.dry_run);
        if self.report.is_json() {
            self.report.show(&outcome)?;
        } else {
            self.report.text(outcome.to_string().trim_end())?;
        }
        Ok(Exit::OK)
    }

    fn show(&self, outcome: &Outcome) -> Result<Exit, Failure> {
        if self.report.is_json() {
            self.report.show(outcome)?;
        } else {
            self.report.text(outcome.to_string().trim_end())?;
        }
        Ok(Exit::OK)
    }
}
