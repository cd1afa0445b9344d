//! How far a long run has come: a bar on a terminal, a line now and then elsewhere.

use crate::{CommonArgs, size::Bytes};
use indicatif::{ProgressBar, ProgressStyle};
use std::{
    io::{self, IsTerminal as _, Write as _},
    sync::Mutex,
    time::{Duration, Instant},
};

/// How often a line is printed when there is no terminal.
const LINE_EVERY: Duration = Duration::from_secs(2);

/// Bytes done of bytes to do, with the rate. Libraries get it as a closure over
/// [`set`](Self::set).
#[derive(Debug)]
pub struct Progress(Form);

#[derive(Debug)]
enum Form {
    Silent,
    Bar(ProgressBar),
    Lines {
        what: &'static str,
        total: Option<u64>,
        unit: Unit,
        start: Instant,
        last: Mutex<Instant>,
    },
}

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unit {
    Bytes,
    Steps,
    /// In the plural; nobody knows of how many.
    Things(&'static str),
}

impl Progress {
    /// A bar if standard error is a terminal, lines if not and `--progress` was given, nothing
    /// with `--no-progress` or `--quiet`. `what` is a verb such as `writing`; `total` in bytes
    /// where it is known.
    pub fn new(args: &CommonArgs, what: &'static str, total: Option<u64>) -> Self {
        Self::of(args, what, total, Unit::Bytes)
    }

    /// The same for what is counted one by one, such as inodes or groups.
    pub fn steps(args: &CommonArgs, what: &'static str, total: u64) -> Self {
        Self::of(args, what, Some(total), Unit::Steps)
    }

    /// A count of `things`, nobody knows of how many.
    pub fn counting(args: &CommonArgs, what: &'static str, things: &'static str) -> Self {
        Self::of(args, what, None, Unit::Things(things))
    }

    fn of(args: &CommonArgs, what: &'static str, total: Option<u64>, unit: Unit) -> Self {
        Self(if args.no_progress || (args.quiet && !args.progress) {
            Form::Silent
        } else if io::stderr().is_terminal() {
            Form::Bar(bar(what, total, unit))
        } else if args.progress {
            let now = Instant::now();
            Form::Lines { what, total, unit, start: now, last: Mutex::new(now) }
        } else {
            Form::Silent
        })
    }

    /// Says that so many bytes or things are done.
    pub fn set(&self, done: u64) {
        match &self.0 {
            Form::Silent => {}
            Form::Bar(bar) => bar.set_position(done),
            Form::Lines { what, total, unit, start, last } => {
                let Ok(mut last) = last.lock() else { return };
                if last.elapsed() >= LINE_EVERY {
                    *last = Instant::now();
                    say(&line(what, done, *total, *unit, start.elapsed()));
                }
            }
        }
    }

    /// Removes the bar, or prints the last line with the figures of the whole.
    pub fn finish(self, done: u64) {
        match self.0 {
            Form::Silent => {}
            Form::Bar(bar) => bar.finish_and_clear(),
            Form::Lines { what, total, unit, start, .. } => {
                say(&line(what, done, total, unit, start.elapsed()));
            }
        }
    }
}

fn bar(what: &'static str, total: Option<u64>, unit: Unit) -> ProgressBar {
    let bar = total.map_or_else(ProgressBar::new_spinner, ProgressBar::new);
    let template = if let Unit::Things(things) = unit {
        bar.set_prefix(things);
        "{msg} {spinner} {human_pos} {prefix}, {elapsed}"
    } else if unit == Unit::Steps {
        "{msg} [{bar:30}] {percent}%, {eta} left"
    } else if total.is_some() {
        "{msg} [{bar:30}] {binary_bytes} of {binary_total_bytes}, {binary_bytes_per_sec}, {eta} left"
    } else {
        "{msg} {spinner} {binary_bytes}, {binary_bytes_per_sec}, {elapsed}"
    };
    let style = ProgressStyle::with_template(template).expect("the template is a constant");
    bar.set_style(style.progress_chars("=> "));
    bar.set_message(what);
    bar
}

fn say(line: &str) {
    // Nothing useful is left to do when standard error is gone.
    let _ = writeln!(io::stderr(), "{line}");
}

fn line(what: &str, done: u64, total: Option<u64>, unit: Unit, elapsed: Duration) -> String {
    if let Unit::Things(things) = unit {
        return format!("{what} {done} {things}");
    }
    if unit == Unit::Steps {
        return total
            .map_or_else(|| format!("{what} {done}"), |it| format!("{what} {done} of {it}"));
    }
    let nanos = elapsed.as_nanos().max(1);
    let rate = u128::from(done) * 1_000_000_000 / nanos;
    let rate = Bytes(u64::try_from(rate).unwrap_or(u64::MAX));
    match total {
        Some(total) => format!("{what} {} of {}, {rate}/s", Bytes(done), Bytes(total)),
        None => format!("{what} {}, {rate}/s", Bytes(done)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_tells_done_total_and_rate() {
        let second = Duration::from_secs(1);
        assert_eq!(
            line("writing", 4096, Some(8192), Unit::Bytes, second),
            "writing 4.0 KiB of 8.0 KiB, 4.0 KiB/s"
        );
        assert_eq!(line("writing", 4096, None, Unit::Bytes, second), "writing 4.0 KiB, 4.0 KiB/s");
        assert_eq!(line("writing", 0, None, Unit::Bytes, Duration::ZERO), "writing 0 B, 0 B/s");
        let steps = line("checking", 3, Some(9), Unit::Steps, second);
        assert_eq!(steps, "checking 3 of 9");
        let files = line("scanning", 12, None, Unit::Things("files"), second);
        assert_eq!(files, "scanning 12 files");
    }

    #[test]
    fn the_bar_accepts_its_templates() {
        bar("writing", Some(1), Unit::Bytes).set_position(1);
        bar("writing", None, Unit::Bytes).set_position(1);
        bar("checking", Some(1), Unit::Steps).set_position(1);
        bar("scanning", None, Unit::Things("files")).set_position(1);
    }
}
