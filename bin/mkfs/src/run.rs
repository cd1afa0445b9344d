//! From what was typed to what the library does.

use crate::{
    cli::Args,
    meaning::{Meaning, meaning},
    outcome::{JournalOutcome, Outcome, PresetList},
};
use ext4_blockdev::{BlockDevice as _, FileDevice, Location, OpenError, OpenMode, Part};
use ext4_cli::{Exit, Failure, Progress, Report, Stop};
use ext4_mkfs::{Error, Options, journal_device, probe};
use std::{ffi::OsStr, num::NonZero};

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
    let target = run.target(&options)?;
    options.lazy_itable_init = outside.lazy_itable_init.unwrap_or(target.is_block_device);
    let journal = outside.journal_device.as_deref().map(|it| run.journal(it)).transpose()?;
    if journal_device::is_journal_device(&options) {
        return run.make_journal(&options, target);
    }
    if let Some((_, attachment)) = &journal {
        options.journal_device = Some(attachment.journal);
    }
    let plan = ext4_mkfs::plan(&options, target.len).map_err(|err| run.failure(&err))?;
    if args.dry_run {
        return run.show(&Outcome::new(run.name(), &plan, None));
    }
    let device = run.open(target)?;
    if let Some((journal, attachment)) = &journal {
        let attached = attachment.attach(journal, &plan.superblock.uuid);
        attached.map_err(|err| run.failure(&err))?;
    }
    // What is written does not depend on it.
    let threads = std::thread::available_parallelism().unwrap_or(NonZero::<usize>::MIN);
    let threads = threads.min(MOST_THREADS);
    let progress = Progress::new(&args.common, "writing", None);
    let mut tell = |done: u64, _total: u64| {
        progress.set(done);
        !run.stop.requested()
    };
    let written = if args.superblocks_only {
        ext4_mkfs::write_superblocks(&plan, &device, &mut tell)
    } else {
        ext4_mkfs::write(&plan, &device, threads, &mut tell)
    };
    let written = written.map_err(|err| run.failure(&err))?;
    progress.finish(written.bytes);
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

/// What is known of the target before it is touched.
struct Target {
    /// Bytes it has, or will have once it is grown.
    len: u64,
    /// The length to give the file first, from its start.
    grow_to: Option<u64>,
    is_block_device: bool,
    /// Open already, when it needs not grow.
    device: Option<FileDevice>,
}

impl Target {
    /// An image file that is not there yet, or not far enough.
    const fn to_grow(len: u64, grow_to: u64) -> Self {
        Self { len, grow_to: Some(grow_to), is_block_device: false, device: None }
    }
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

    /// Looks at the target: how large, and whether something is there that would be lost.
    fn target(&self, options: &Options) -> Result<Target, Failure> {
        let path = &self.location.path;
        let start = match self.location.part {
            Part::Offset(offset) => offset,
            Part::Whole | Part::Partition(_) => 0,
        };
        let end = |size: u64| {
            start.checked_add(size).ok_or_else(|| Failure::usage("size does not fit in 64 bits"))
        };
        let meta = std::fs::metadata(path);
        let file_len = match &meta {
            Err(err) if err.kind() == std::io::ErrorKind::NotFound => 0,
            Err(err) => return Err(Failure::operational(err).at(path.display())),
            Ok(meta) if meta.is_file() => meta.len(),
            Ok(_) => u64::MAX,
        };
        if file_len == 0 && !matches!(self.location.part, Part::Partition(_)) {
            let Some(size) = options.size else {
                return Err(Failure::operational(format_args!(
                    "{}: no image of any size is there, and no --size says how large to make one",
                    path.display()
                )));
            };
            return Ok(Target::to_grow(size, end(size)?));
        }
        // A window that starts behind the end has nothing in it yet.
        if start >= file_len {
            let Some(size) = options.size else {
                return Err(Failure::operational(format_args!(
                    "{}: offset {start} is not inside the file's {file_len} bytes, and no --size \
                     says how far to grow it",
                    path.display()
                )));
            };
            return Ok(Target::to_grow(size, end(size)?));
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
        let is_block_device = device.is_block_device();
        let len = device.len();
        let can_grow = !is_block_device && !matches!(self.location.part, Part::Partition(_));
        match options.size {
            Some(size) if size > len && can_grow => Ok(Target::to_grow(size, end(size)?)),
            _ => Ok(Target { len, grow_to: None, is_block_device, device: Some(device) }),
        }
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
        open().map_err(|err: OpenError| Failure::operational(err))
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
