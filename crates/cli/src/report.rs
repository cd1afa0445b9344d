//! What a run found: text or JSON on standard output, remarks on standard error.

use crate::{CommonArgs, Failure};
use serde::Serialize;
use std::{
    fmt,
    io::{self, IsTerminal as _, Write},
};

/// Where results go and in which form.
///
/// A result is a type with both forms: `Display` is its text, `Serialize` its JSON.
#[derive(Debug)]
pub struct Report {
    json: bool,
    color: bool,
    quiet: bool,
    verbose: u8,
}

impl Report {
    /// As the common options ask; color only when standard output is a terminal and `NO_COLOR` is
    /// not set.
    pub fn new(args: &CommonArgs) -> Self {
        let no_color = std::env::var_os("NO_COLOR").is_some_and(|it| !it.is_empty());
        let color = !args.json && !no_color && io::stdout().is_terminal();
        Self { json: args.json, color, quiet: args.quiet, verbose: args.verbose }
    }

    /// Whether results are JSON.
    pub const fn is_json(&self) -> bool {
        self.json
    }

    /// Prints a whole result: its text, or one indented JSON document.
    ///
    /// # Errors
    /// Standard output cannot be written.
    pub fn show<T: Serialize + fmt::Display + ?Sized>(&self, result: &T) -> Result<(), Failure> {
        self.show_on(&mut io::stdout().lock(), result, true).map_err(Failure::output)
    }

    /// Prints one row of many: a line of text, or one JSON object on one line.
    ///
    /// # Errors
    /// Standard output cannot be written.
    pub fn row<T: Serialize + fmt::Display + ?Sized>(&self, row: &T) -> Result<(), Failure> {
        self.show_on(&mut io::stdout().lock(), row, false).map_err(Failure::output)
    }

    fn show_on<T: Serialize + fmt::Display + ?Sized>(
        &self,
        out: &mut dyn Write,
        result: &T,
        indent: bool,
    ) -> io::Result<()> {
        if self.json && indent {
            serde_json::to_writer_pretty(&mut *out, result)?;
            writeln!(out)?;
        } else if self.json {
            serde_json::to_writer(&mut *out, result)?;
            writeln!(out)?;
        } else {
            let text = result.to_string();
            out.write_all(text.as_bytes())?;
            if !text.is_empty() && !text.ends_with('\n') {
                writeln!(out)?;
            }
        }
        out.flush()
    }

    /// Prints text that has no JSON form; nothing with `--json` or `--quiet`.
    ///
    /// # Errors
    /// Standard output cannot be written.
    pub fn text(&self, text: impl fmt::Display) -> Result<(), Failure> {
        if self.json || self.quiet {
            return Ok(());
        }
        let mut out = io::stdout().lock();
        writeln!(out, "{text}").and_then(|()| out.flush()).map_err(Failure::output)
    }

    /// Passes bytes through to standard output, as `cat` does.
    ///
    /// # Errors
    /// Standard output cannot be written.
    pub fn bytes(&self, bytes: &[u8]) -> Result<(), Failure> {
        let mut out = io::stdout().lock();
        out.write_all(bytes).and_then(|()| out.flush()).map_err(Failure::output)
    }

    /// A remark on standard error, unless `--quiet`.
    pub fn note(&self, text: impl fmt::Display) {
        if !self.quiet {
            remark(&text);
        }
    }

    /// A remark for those who asked with `-v` (`level` 1) or `-vv` (`level` 2).
    pub fn detail(&self, level: u8, text: impl fmt::Display) {
        if !self.quiet && self.verbose >= level {
            remark(&text);
        }
    }

    /// `text` in a color, if there is color.
    pub fn paint<T: fmt::Display>(&self, paint: Paint, text: T) -> Painted<T> {
        Painted { code: self.color.then_some(paint.code()), text }
    }
}

fn remark(text: &dyn fmt::Display) {
    // Nothing useful is left to do when standard error is gone.
    let _ = writeln!(io::stderr(), "{text}");
}

/// What a color stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Paint {
    /// A heading.
    Strong,
    /// All is well.
    Good,
    /// Something is wrong.
    Bad,
}

impl Paint {
    const fn code(self) -> &'static str {
        match self {
            Self::Strong => "1",
            Self::Good => "32",
            Self::Bad => "31",
        }
    }
}

/// Text with or without a color.
#[derive(Clone, Debug)]
pub struct Painted<T> {
    code: Option<&'static str>,
    text: T,
}

impl<T: fmt::Display> fmt::Display for Painted<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.code {
            Some(code) => write!(f, "\u{1b}[{code}m{}\u{1b}[0m", self.text),
            None => self.text.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Serialize)]
    struct Orphan {
        ino: u32,
    }

    impl fmt::Display for Orphan {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "inode {}", self.ino)
        }
    }

    #[track_caller]
    fn check(json: bool, indent: bool, printed: &str) {
        let report = Report { json, color: false, quiet: false, verbose: 0 };
        let mut out = Vec::new();
        report.show_on(&mut out, &Orphan { ino: 12 }, indent).unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), printed);
    }

    #[test]
    fn one_result_has_a_text_and_a_json_form() {
        check(false, true, "inode 12\n");
        check(true, true, "{\n  \"ino\": 12\n}\n");
        check(true, false, "{\"ino\":12}\n");
    }

    #[test]
    fn color_is_there_only_when_asked_for() {
        let mut report = Report { json: false, color: false, quiet: false, verbose: 0 };
        assert_eq!(report.paint(Paint::Bad, "lost").to_string(), "lost");
        report.color = true;
        assert_eq!(report.paint(Paint::Bad, "lost").to_string(), "\u{1b}[31mlost\u{1b}[0m");
    }
}
