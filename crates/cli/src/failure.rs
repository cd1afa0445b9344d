//! Why a run ended early: one line to print and the exit code that goes with it.

use crate::Exit;
use std::{fmt, io};

/// An error on its way to the person who ran the program.
///
/// The message is one line, lower case, without a full stop: what, where, found, expected. Typed
/// errors of the libraries become a `Failure` in one `match` in each program's `run.rs`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    exit: Exit,
    message: Option<String>,
}

impl Failure {
    /// Ends with `exit` and prints `message`.
    pub fn new(exit: Exit, message: impl fmt::Display) -> Self {
        Self { exit, message: Some(one_line(&message.to_string())) }
    }

    /// What was asked makes no sense (16).
    pub fn usage(message: impl fmt::Display) -> Self {
        Self::new(Exit::USAGE, message)
    }

    /// It could not be done: no such file, no space, in use, a device error (8).
    pub fn operational(message: impl fmt::Display) -> Self {
        Self::new(Exit::OPERATIONAL, message)
    }

    /// The image is damaged, and was left as it is (4).
    pub fn damage(message: impl fmt::Display) -> Self {
        Self::new(Exit::UNCORRECTED, message)
    }

    /// Stopped by a signal or an answer (32).
    pub fn cancelled(message: impl fmt::Display) -> Self {
        Self::new(Exit::CANCELLED, message)
    }

    /// Ends with `exit` and prints nothing.
    pub const fn quiet(exit: Exit) -> Self {
        Self { exit, message: None }
    }

    /// Writing to standard output failed. A reader that went away (`| head`) is not an error.
    #[expect(clippy::needless_pass_by_value, reason = "used as a function in map_err")]
    pub fn output(err: io::Error) -> Self {
        if err.kind() == io::ErrorKind::BrokenPipe {
            Self::quiet(Exit::OK)
        } else {
            Self::operational(format_args!("standard output: {err}"))
        }
    }

    /// The same failure with the name of what it is about in front.
    #[must_use]
    pub fn at(mut self, what: impl fmt::Display) -> Self {
        self.message = self.message.map(|it| one_line(&format!("{what}: {it}")));
        self
    }

    /// The same failure with what else is to be said of it behind.
    #[must_use]
    pub fn and(mut self, what: impl fmt::Display) -> Self {
        self.message = self.message.map(|it| one_line(&format!("{it}; {what}")));
        self
    }

    /// The same failure of a run that had come to `exit` before: a result that cannot be printed is one
    /// all the same.
    #[must_use]
    pub fn besides(mut self, exit: Exit) -> Self {
        self.exit |= exit;
        self
    }

    /// The code to exit with.
    pub const fn exit(&self) -> Exit {
        self.exit
    }

    /// The line to print, if any.
    pub fn message(&self) -> Option<&str> {
        self.message.as_deref()
    }
}

/// Bytes of names and of damaged structures end up in messages: what would start a new line or
/// drive a terminal is shown as an escape.
fn one_line(text: &str) -> String {
    text.chars().fold(String::with_capacity(text.len()), |mut line, it| {
        if it.is_control() {
            line.extend(it.escape_default());
        } else {
            line.push(it);
        }
        line
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_one_line_whatever_a_name_holds() {
        let failure = Failure::operational("no such file: /a\nb\u{1b}[31m").at("disk.img");
        assert_eq!(failure.message(), Some("disk.img: no such file: /a\\nb\\u{1b}[31m"));
        assert_eq!(failure.exit(), Exit::OPERATIONAL);
    }

    #[test]
    fn a_reader_that_went_away_is_no_error() {
        let failure = Failure::output(io::ErrorKind::BrokenPipe.into());
        assert_eq!((failure.exit(), failure.message()), (Exit::OK, None));
        let failure = Failure::output(io::ErrorKind::StorageFull.into());
        assert_eq!(failure.exit(), Exit::OPERATIONAL);
    }
}
