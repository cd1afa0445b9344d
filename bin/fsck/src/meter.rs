//! How far the check has come, for a program that runs this one (`-C`): lines of
//! `pass done total device` to a file descriptor, as e2fsck(8) writes them.

use ext4_check::Pass;
use ext4_cli::{Failure, signals::Switch};
use rustix::fs::OFlags;
use std::{
    fs::{File, OpenOptions},
    io::Write as _,
    os::unix::fs::OpenOptionsExt as _,
};

/// Writes the lines.
#[derive(Debug)]
pub(crate) struct Meter {
    file: File,
    device: String,
    /// Thrown by SIGUSR1 and SIGUSR2.
    switch: Switch,
    /// The pass under way, and what all of it is.
    last: Option<(Pass, u64)>,
}

impl Meter {
    /// To this descriptor; a negative one is silent until SIGUSR1 comes.
    ///
    /// # Errors
    /// It is not open for writing; the system refuses the signals.
    pub(crate) fn new(typed: i32, device: &str) -> Result<Self, Failure> {
        let fd = typed.unsigned_abs();
        // Not to wait for a reader that has gone, nor for one that does not read.
        let nonblock = OFlags::NONBLOCK.bits().cast_signed();
        let file = OpenOptions::new()
            .append(true)
            .custom_flags(nonblock)
            .open(format!("/proc/self/fd/{fd}"))
            .map_err(|err| {
                Failure::operational(format_args!(
                    "-C: file descriptor {fd} cannot be written: {err}"
                ))
            })?;
        let switch = Switch::install(typed > 0)
            .map_err(|err| Failure::operational(format_args!("signals: {err}")))?;
        Ok(Self { file, device: device.to_owned(), switch, last: None })
    }

    /// Tells how far a pass has come, and that the one before it is through.
    pub(crate) fn tell(&mut self, pass: Pass, done: u64, total: u64) {
        if self.last.is_some_and(|(it, _)| it != pass) {
            self.end();
        }
        self.last = Some((pass, total));
        self.line(pass, done, total);
    }

    /// Tells that the last pass is through.
    pub(crate) fn end(&mut self) {
        if let Some((pass, total)) = self.last.take() {
            self.line(pass, total, total);
        }
    }

    /// e2fsck has passes 1 to 5.
    fn line(&mut self, pass: Pass, done: u64, total: u64) {
        if self.switch.is_on() && (Pass::One..=Pass::Five).contains(&pass) {
            // Nobody is left to be told when the reader has gone.
            let _ = writeln!(self.file, "{} {done} {total} {}", pass.number(), self.device);
        }
    }
}
