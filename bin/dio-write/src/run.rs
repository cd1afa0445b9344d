//! From what was typed to what the library does.

use crate::{
    cli::Args,
    image::{dio_failure, fs_failure, open, open_fs},
    input::Input,
    outcome::{Outcome, Planned},
    script, tour,
};
use ext4_blockdev::{BlockDevice, OpenMode, Overlay};
use ext4_cli::{Exit, Failure, Progress, Report, Stop, Target};
use ext4_dio::{DirectWrite, Offset, Request, Step, Sync};
use ext4_fs::{Error, Filesystem, Last, NewFile, type_name};
use ext4_units::InodeNr;
use std::{fmt, sync::Arc};

/// Runs the program.
///
/// # Errors
/// One line and an exit code.
pub fn run(args: &Args) -> Result<Exit, Failure> {
    let report = Report::new(&args.common);
    if args.tour {
        return tour::run(&report);
    }
    if let Some(file) = &args.script {
        return script::run(args, file, &report);
    }
    let typed = args.target.as_ref().ok_or_else(|| Failure::usage("no target"))?;
    let target = &Target::parse(typed).map_err(|err| {
        let what = format!("{err}; only --script takes the image alone (see --help)");
        Failure::usage(what).at(typed.display())
    })?;
    let stop =
        Stop::install().map_err(|err| Failure::operational(format_args!("signals: {err}")))?;
    let image = target.image.to_string_lossy().into_owned();
    let input = Input::open(args, &target.image, &stop)?;
    let mode = if args.dry_run { OpenMode::ReadOnly } else { OpenMode::Exclusive };
    let device: Arc<dyn BlockDevice> = open(&target.image, mode, &report)?;
    let device = if args.dry_run { Arc::new(Overlay::new(device)) } else { device };
    let run = Run { args, report, target, stop, image: image.clone() };
    run.go(device, input).map_err(|err| err.at(&image))
}

struct Run<'a> {
    args: &'a Args,
    report: Report,
    target: &'a Target,
    stop: Stop,
    image: String,
}

impl Run<'_> {
    fn go(&self, device: Arc<dyn BlockDevice>, input: Input) -> Result<Exit, Failure> {
        let fs = open_fs(device, &self.target.image, &self.report)?;
        let res = self.write(&fs, input);
        // Also after an error: what was done before it is consistent, and belongs home.
        let closed = fs.close().map_err(|err| fs_failure(&err));
        let outcome = res?;
        closed?;
        self.report.show(&outcome)?;
        Ok(outcome.exit())
    }

    fn write(&self, fs: &Filesystem, mut input: Input) -> Result<Outcome, Failure> {
        let (ino, created) = self.find_or_create(fs)?;
        let res = self.write_file(fs, ino, created, &mut input);
        if res.is_err() && created {
            // A file that was made for nothing; if that fails too, the first error is the one to tell.
            let _left_behind = self.unlink(fs);
        }
        res
    }

    fn write_file(
        &self,
        fs: &Filesystem,
        ino: InodeNr,
        created: bool,
        input: &mut Input,
    ) -> Result<Outcome, Failure> {
        let old_size = fs.inode(fs.meta(), ino).map_err(|err| fs_failure(&err))?.i_size;
        let request = self.request(input);
        let length = input.length;
        if self.args.truncate && !created && !self.args.dry_run {
            // What will be refused must not empty the file first.
            ext4_dio::check(fs, ino, &request).map_err(|err| dio_failure(&err))?;
            fs.truncate(ino, 0).map_err(|err| fs_failure(&err))?;
        }
        let progress = Progress::new(&self.args.common, "writing", length);
        let mut write = DirectWrite::new(fs, ino, request, input);
        let mut planned = None;
        let done = loop {
            let step = write.step().map_err(|err| dio_failure(&err))?;
            progress.set(write.sent());
            match step {
                Step::Checked(plan) => {
                    planned = plan.map(|plan| Planned::new(fs, ino, &plan));
                    if self.args.dry_run {
                        break ext4_dio::Outcome::default();
                    }
                }
                Step::Done(outcome) => break outcome,
                _ => {}
            }
        };
        drop(write);
        progress.finish(done.written);
        let planned = planned.transpose().map_err(|err| fs_failure(&err))?;
        let inode = fs.inode(fs.meta(), ino).map_err(|err| fs_failure(&err))?;
        let is_short = length.is_some_and(|len| done.written < len) && !self.args.dry_run;
        let stopped = self.stop.requested();
        if !self.args.dry_run && !stopped && (is_short || Self::has_more(input)?) {
            let written = done.written;
            let path = String::from_utf8_lossy(&self.target.path);
            let what = "the input was to give more, or the file may not be larger";
            return Err(Failure::operational(format_args!(
                "{path}: wrote {written} bytes and no more: {what}"
            )));
        }
        Ok(Outcome {
            image: self.image.clone(),
            path: String::from_utf8_lossy(&self.target.path).into_owned(),
            inode: ino.get(),
            created,
            written: done.written,
            buffered: done.buffered,
            old_size,
            size: inode.i_size,
            stopped: stopped && is_short,
            plan: planned.filter(|_| self.args.dry_run),
        })
    }

    /// Whether the input was not taken to its end.
    fn has_more(input: &mut Input) -> Result<bool, Failure> {
        input.has_more().map_err(|err| Failure::operational(format_args!("input: {err}")))
    }

    fn request(&self, input: &Input) -> Request {
        let offset = if self.args.append { Offset::Append } else { Offset::At(self.args.offset) };
        let mut request = Request::new(offset, input.length);
        request.sync = match (self.args.dsync, self.args.sync) {
            (_, true) => Sync::Full,
            (true, false) => Sync::Data,
            (false, false) => Sync::None,
        };
        request.nowait = self.args.nowait;
        request.is_strict = false;
        request.depth = usize::from(self.args.in_flight);
        request.chunk = usize::try_from(self.args.transfer).unwrap_or(1 << 20);
        request
    }

    /// The inode of the path, and whether it was made just now.
    fn find_or_create(&self, fs: &Filesystem) -> Result<(InodeNr, bool), Failure> {
        let path = &self.target.path;
        let refuse = |what: fmt::Arguments<'_>| {
            Err(Failure::operational(format_args!("{}: {what}", String::from_utf8_lossy(path))))
        };
        match fs.resolve(fs.meta(), path, Last::Follow) {
            Ok(inode) if !inode.is_regular() => {
                let found = type_name(inode.file_type());
                refuse(format_args!("is {found}, expected a regular file"))
            }
            Ok(inode) => Ok((inode.ino, false)),
            Err(Error::NotFound { .. }) if !self.args.no_create => {
                if path.ends_with(b"/") {
                    return refuse(format_args!("ends in a slash, expected the name of a file"));
                }
                if fs.resolve(fs.meta(), path, Last::Stay).is_ok() {
                    return refuse(format_args!("is a symbolic link to what does not exist"));
                }
                let new = NewFile { mode: self.args.mode, uid: self.args.uid, gid: self.args.gid };
                let parent = fs.resolve_parent(fs.meta(), path).map_err(|err| fs_failure(&err))?;
                let ino = fs.create(parent.dir.ino, &parent.name, &new);
                Ok((ino.map_err(|err| fs_failure(&err))?, true))
            }
            Err(err) => Err(fs_failure(&err)),
        }
    }

    fn unlink(&self, fs: &Filesystem) -> Result<(), Error> {
        let parent = fs.resolve_parent(fs.meta(), &self.target.path)?;
        fs.unlink(parent.dir.ino, &parent.name)
    }
}
