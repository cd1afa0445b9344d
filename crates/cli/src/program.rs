//! The frame of every program: parse what was typed, run, print one line if it failed, exit.

use crate::{Exit, Failure};
use std::{
    ffi::OsString,
    io::{self, Write as _},
    process::ExitCode,
};

/// Parses the command line into `A`, hands it to `run` and turns the outcome into an exit code.
///
/// Errors are one line on standard error: `name: what, where, found, expected`. Wrong usage exits
/// with 16 as fsck(8) says, not with clap's 2.
pub fn main<A: clap::Parser>(name: &str, run: impl FnOnce(A) -> Result<Exit, Failure>) -> ExitCode {
    outcome(parse(std::env::args_os()).and_then(run), name).into()
}

fn parse<A: clap::Parser>(args: impl IntoIterator<Item = OsString>) -> Result<A, Failure> {
    A::try_parse_from(args).map_err(|err| {
        if err.use_stderr() {
            return Failure::usage(usage_line(&err.render().to_string()));
        }
        // --help and --version arrive as errors that belong on standard output.
        match err.print() {
            Ok(()) => Failure::quiet(Exit::OK),
            Err(err) => Failure::output(err),
        }
    })
}

fn outcome(res: Result<Exit, Failure>, name: &str) -> Exit {
    match res {
        Ok(exit) => exit,
        Err(failure) => {
            if let Some(message) = failure.message() {
                // Nothing useful is left to do when standard error is gone.
                let _ = writeln!(io::stderr(), "{name}: {message}");
            }
            failure.exit()
        }
    }
}

/// clap says the error, a tip and the usage in paragraphs; one line needs the first two.
fn usage_line(rendered: &str) -> String {
    let mut line = String::new();
    for paragraph in rendered.split("\n\n") {
        let text = crate::man::words(paragraph);
        if let Some(error) = text.strip_prefix("error: ") {
            line.push_str(error);
        } else if text.starts_with("tip: ") {
            line.push_str("; ");
            line.push_str(&text);
        }
    }
    line.push_str(" (see --help)");
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(clap::Parser, Debug)]
    struct Args {
        #[arg(long, value_parser = crate::parse_size)]
        offset: u64,
    }

    #[track_caller]
    fn check(args: &[&str], message: &str) {
        let failure = parse::<Args>(args.iter().map(OsString::from)).unwrap_err();
        assert_eq!((failure.exit(), failure.message()), (Exit::USAGE, Some(message)));
    }

    #[test]
    fn wrong_usage_is_one_line_and_exit_code_16() {
        check(
            &["x"],
            "the following required arguments were not provided: --offset <OFFSET> (see --help)",
        );
        check(
            &["x", "--offset", "4q"],
            "invalid value '4q' for '--offset <OFFSET>': unknown unit \"q\", \
             expected k, M, G, T or P, KiB .. or kB .. (see --help)",
        );
        check(
            &["x", "--ofset", "4"],
            "unexpected argument '--ofset' found; tip: a similar argument exists: '--offset' \
             (see --help)",
        );
    }

    #[test]
    fn a_parsed_line_reaches_the_program() {
        let args: Args = parse(["x", "--offset", "4k"].map(OsString::from)).unwrap();
        assert_eq!(args.offset, 4096);
        assert_eq!(outcome(Ok(Exit::CORRECTED), "x"), Exit::CORRECTED);
        assert_eq!(outcome(Err(Failure::quiet(Exit::OK)), "x"), Exit::OK);
    }
}
