//! The full check from the command line, as little of it as the judge needs:
//! `fsck -n|-y|-p IMAGE`. Exit codes as of fsck(8).
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a program")]

use ext4_blockdev::{BlockDevice, FileDevice, Location, OpenMode, Overlay};
use ext4_check::{Answer, Answers, Finding, Options, Severity, check};
use ext4_fs::{RecoverOptions, Scope, recover_into};
use ext4_jbd2::Clock;
use std::{
    ffi::OsString,
    process::ExitCode,
    sync::Arc,
    time::{Duration, SystemTime},
};

struct Yes;

impl Answers for Yes {
    fn answer(&mut self, _finding: &Finding) -> Answer {
        Answer::Yes
    }
}

fn main() -> ExitCode {
    let args: Vec<OsString> = std::env::args_os().skip(1).collect();
    let [mode, image] = args.as_slice() else {
        eprintln!("fsck -n|-y|-p IMAGE");
        return ExitCode::from(16);
    };
    match run(&mode.to_string_lossy(), image) {
        Ok(code) => ExitCode::from(code),
        Err(err) => {
            eprintln!("{err}");
            ExitCode::from(8)
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "a program reads the clock")]
fn run(mode: &str, image: &OsString) -> Result<u8, Box<dyn std::error::Error>> {
    let open = if mode == "-n" { OpenMode::ReadOnly } else { OpenMode::Exclusive };
    let device: Arc<dyn BlockDevice> =
        Arc::new(FileDevice::open_location(&Location::parse(image)?, open)?);
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?;
    let overlay = Arc::new(recover(&device, now));
    let is_recovered = overlay.held_bytes() > 0;
    let options =
        Options { now: now.as_secs(), threads: 2, is_preen: mode == "-p", superblock: None };
    let outcome = check(&overlay, &options, &mut Yes);
    if let Ok(outcome) = &outcome {
        for it in &outcome.findings {
            let code = it.problem.code.map_or_else(|| "own".into(), |it| format!("{it:#08x}"));
            let done = if it.is_fixed { format!(" [{}]", it.problem.fix) } else { String::new() };
            println!("{}: {code} {}: {it}{done}", it.round, it.problem.id);
        }
        println!("rounds {}, fixed {}, left {}", outcome.rounds, outcome.fixed, outcome.left);
    }
    let outcome = outcome?;
    let is_bad = outcome.findings.iter().any(|it| it.problem.severity > Severity::Note);
    if mode == "-n" {
        return Ok(if is_bad { 4 } else { 0 });
    }
    overlay.apply_to(&*device)?;
    device.flush()?;
    let left = if outcome.left > 0 { 4 } else { 0 };
    Ok(left | u8::from(is_bad || is_recovered))
}

/// The device after replay and orphans, as far as they could be done.
fn recover(device: &Arc<dyn BlockDevice>, now: Duration) -> Overlay {
    let mut best = Overlay::new(Arc::clone(device));
    for scope in [Scope::Replay, Scope::Possible] {
        let next = Arc::new(best.fork());
        let as_device: Arc<dyn BlockDevice> = Arc::clone(&next) as _;
        let mut options = RecoverOptions::new(Clock::fixed(now));
        options.scope = scope;
        let mut report = ext4_fs::Report::default();
        let done =
            recover_into(&as_device, &options, &mut report).and_then(ext4_fs::Filesystem::close);
        match done {
            Ok(()) if report.is_clean() => {}
            Ok(()) => best = next.fork(),
            Err(err) => {
                println!("recovery: {err}");
                break;
            }
        }
    }
    best
}
