//! `--script`: a job file against one open image.

use crate::{
    cli::Args,
    image::{clock, fs_failure, open, open_fs},
};
use ext4_blockdev::{BlockDevice, OpenMode, Overlay};
use ext4_cli::{Exit, Failure, Report, Target};
use ext4_fs::{OrphanFate, RecoverOptions, Report as Recovered, recover};
use ext4_lab::{Ended, HEADER, Order, Row, Script, Session};
use serde::Serialize;
use std::{ffi::OsString, fmt, fs::File, io::Read as _, ops::ControlFlow, path::Path, sync::Arc};

/// No job file is larger.
const MAX_SCRIPT: u64 = 16 << 20;

/// Runs the job file of `--script`.
pub(crate) fn run(args: &Args, file: &Path, report: &Report) -> Result<Exit, Failure> {
    let typed = args.target.as_ref().ok_or_else(|| Failure::usage("no image"))?;
    if Target::parse(typed).is_ok() && !Path::new(typed).exists() {
        let what = "a path inside the image, expected the image alone: the script names the files";
        return Err(Failure::usage(what).at(typed.display()));
    }
    let name = file.display().to_string();
    let text = read(file).map_err(|err| err.at(&name))?;
    // All of it makes sense before anything is opened.
    let script = Script::parse(&text).map_err(|err| Failure::usage(err).at(&name))?;
    let device: Arc<dyn BlockDevice> = open(typed, OpenMode::Exclusive, report)?;
    let job = Job { args, report, script: &script, image: typed, device };
    job.go(&name).map_err(|err| err.at(typed.display()))
}

fn read(file: &Path) -> Result<String, Failure> {
    let opened = File::open(file).map_err(Failure::operational)?;
    let mut bytes = Vec::new();
    // A pipe or a device does not say how much is to come.
    opened.take(MAX_SCRIPT + 1).read_to_end(&mut bytes).map_err(Failure::operational)?;
    if bytes.len() as u64 > MAX_SCRIPT {
        return Err(Failure::usage("more than 16M, expected a job file up to 16M"));
    }
    String::from_utf8(bytes).map_err(|_not_text| Failure::usage("is no text in UTF-8"))
}

struct Job<'a> {
    args: &'a Args,
    report: &'a Report,
    script: &'a Script,
    image: &'a OsString,
    device: Arc<dyn BlockDevice>,
}

impl Job<'_> {
    fn go(&self, name: &str) -> Result<Exit, Failure> {
        let order = self.args.seed.map_or(Order::Given, Order::Seeded);
        let mut session = Session::new(self.script, order);
        if self.args.trace && !self.report.is_json() {
            self.report.text(HEADER)?;
        }
        let ended = loop {
            let fs = open_fs(Arc::clone(&self.device), self.image, self.report)?;
            let mut output = Ok(());
            let ended = session.run(&fs, &mut |row| self.watch(&row, &mut output));
            match ended {
                Ok(Ended::Done) => {
                    fs.close().map_err(|err| fs_failure(&err))?;
                    break Ended::Done;
                }
                // The power is gone: what the device has taken is there, and nothing is closed.
                Ok(ended) => {
                    drop(fs);
                    output?;
                    if ended == Ended::Cut || !session.has_more() {
                        break ended;
                    }
                    self.tell_recovery(session.n_steps(), false)?;
                }
                Err(err) => {
                    fs.close().map_err(|err| fs_failure(&err))?;
                    return Err(Failure::operational(err).at(name));
                }
            }
        };
        if ended != Ended::Done {
            self.tell_recovery(session.n_steps(), true)?;
        }
        let reached = session.n_steps();
        if let Some(step) = self.args.crash_at.filter(|_| ended != Ended::Cut) {
            let what = format!("step {step} to crash at, but the script has {reached}");
            return Err(Failure::usage(what).at(name));
        }
        self.report.row(&Outcome {
            image: self.image.display().to_string(),
            script: name.to_owned(),
            seed: self.args.seed,
            steps: reached,
            crashed: ended != Ended::Done,
        })?;
        Ok(Exit::OK)
    }

    fn watch(&self, row: &Row, output: &mut Result<(), Failure>) -> ControlFlow<()> {
        if self.args.trace {
            *output = self.report.row(row);
        }
        if output.is_err() || self.args.crash_at == Some(row.step) {
            return ControlFlow::Break(());
        }
        ControlFlow::Continue(())
    }

    /// What recovery does about the image as it is now; in memory only.
    fn tell_recovery(&self, step: u64, is_last: bool) -> Result<(), Failure> {
        let device = Arc::new(Overlay::new(Arc::clone(&self.device)));
        let recovered = recover(device, &RecoverOptions::new(clock()));
        let found = Recovery::new(step, &recovered.map_err(|err| fs_failure(&err))?.report);
        if self.args.trace || (is_last && !self.report.is_json()) {
            self.report.row(&found)?;
        }
        Ok(())
    }
}

/// How the job went.
#[derive(Debug, Serialize)]
struct Outcome {
    image: String,
    script: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    seed: Option<u64>,
    steps: u64,
    crashed: bool,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { image, script, steps, .. } = self;
        write!(f, "{image}: {script}")?;
        if let Some(seed) = self.seed {
            write!(f, ", seed {seed}")?;
        }
        let how = if self.crashed { "left as a power cut would" } else { "as the script says" };
        write!(f, ": {steps} steps, {how}")
    }
}

/// What a power cut left to do.
#[derive(Debug, Serialize)]
struct Recovery {
    crash_after_step: u64,
    transactions: u64,
    blocks: u64,
    orphans: Vec<Orphan>,
}

#[derive(Debug, Serialize)]
struct Orphan {
    inode: u32,
    fate: String,
}

impl Recovery {
    fn new(step: u64, report: &Recovered) -> Self {
        let replayed = report.replayed.as_ref();
        let orphans = report.orphans.iter().map(|it| Orphan {
            inode: it.ino,
            fate: match &it.fate {
                OrphanFate::Truncated { size, .. } => format!("truncated to {size} bytes"),
                OrphanFate::Deleted { .. } => "deleted".to_owned(),
                OrphanFate::Refused { fault } => format!("refused: {fault}"),
            },
        });
        Self {
            crash_after_step: step,
            transactions: replayed.map_or(0, |it| it.transactions),
            blocks: replayed.map_or(0, |it| it.blocks),
            orphans: orphans.collect(),
        }
    }
}

impl fmt::Display for Recovery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { crash_after_step, transactions, blocks, orphans } = self;
        write!(f, "power cut after step {crash_after_step}; recovery replays ")?;
        write!(f, "{transactions} transactions, {blocks} blocks")?;
        if orphans.is_empty() {
            return write!(f, "; no orphans");
        }
        orphans.iter().try_for_each(|it| write!(f, "; orphan inode {} is {}", it.inode, it.fate))
    }
}
