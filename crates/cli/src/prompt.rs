//! Questions with yes or no for an answer, asked on a terminal only.

use crate::{Failure, Stop};
use std::{
    io::{self, IsTerminal as _, Write},
    sync::mpsc::{self, RecvTimeoutError},
    thread,
    time::Duration,
};

/// How long a signal waits for the question to notice it.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// What to answer without asking.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Ask the person at the terminal.
    Ask,
    /// Yes to everything (`-y`, `-p`).
    Yes,
    /// No to everything (`-n`).
    No,
}

/// What a person said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reply {
    /// To this question.
    Yes,
    /// To this question.
    No,
    /// Yes to this question and to all that follow.
    All,
}

/// Asks, or answers by itself.
#[derive(Clone, Copy, Debug)]
pub struct Prompt {
    answer: Answer,
}

impl Prompt {
    /// A prompt with a standing answer.
    ///
    /// # Errors
    /// `Answer::Ask` while standard input is not a terminal: refused before anything is opened, so
    /// that a script does not hang or half run.
    pub fn new(answer: Answer) -> Result<Self, Failure> {
        if answer == Answer::Ask && !io::stdin().is_terminal() {
            return Err(Failure::usage(
                "standard input is not a terminal to ask on, give -y to do it or -n to only show it",
            ));
        }
        Ok(Self { answer })
    }

    /// Asks `question`; end of input means no.
    ///
    /// # Errors
    /// The terminal cannot be read or written; a signal came.
    pub fn confirm(&self, question: &str, stop: &Stop) -> Result<bool, Failure> {
        Ok(self.reply(question, "y/n", stop)? == Reply::Yes)
    }

    /// Asks `question`, one of many, so that the rest of them can be answered too.
    ///
    /// # Errors
    /// As [`confirm`](Self::confirm).
    pub fn confirm_each(&self, question: &str, stop: &Stop) -> Result<Reply, Failure> {
        self.reply(question, "y/n/a for all", stop)
    }

    fn reply(self, question: &str, choices: &str, stop: &Stop) -> Result<Reply, Failure> {
        match self.answer {
            Answer::Yes => return Ok(Reply::Yes),
            Answer::No => return Ok(Reply::No),
            Answer::Ask => {}
        }
        ask(question, choices, &mut || typed(stop), &mut io::stderr()).map_err(|err| {
            match err.kind() {
                io::ErrorKind::Interrupted => Failure::cancelled("stopped, nothing was written"),
                _ => Failure::operational(format_args!("terminal: {err}")),
            }
        })
    }
}

/// The next line that is typed; a signal ends the wait as [`Interrupted`](io::ErrorKind::Interrupted).
///
/// A read of the standard library begins again after a signal, so that it waits in a thread of its own,
/// which a stopped program leaves behind.
fn typed(stop: &Stop) -> io::Result<String> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        let mut line = String::new();
        let read = io::stdin().read_line(&mut line);
        // Nobody listens when a signal came first.
        let _ = sender.send(read.map(|_len| line));
    });
    while !stop.requested() {
        match receiver.recv_timeout(LOOK_EVERY) {
            Ok(line) => return line,
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return Err(io::ErrorKind::BrokenPipe.into()),
        }
    }
    Err(io::ErrorKind::Interrupted.into())
}

/// Asks until `next` gives one of the `choices`; an empty line without an end is the end of input.
fn ask(
    question: &str,
    choices: &str,
    next: &mut dyn FnMut() -> io::Result<String>,
    output: &mut dyn Write,
) -> io::Result<Reply> {
    loop {
        write!(output, "{question} ({choices})? ")?;
        output.flush()?;
        let line = next()?;
        if line.is_empty() {
            writeln!(output)?;
            return Ok(Reply::No);
        }
        match line.trim().to_ascii_lowercase().as_str() {
            "y" | "yes" => return Ok(Reply::Yes),
            "n" | "no" => return Ok(Reply::No),
            "a" | "all" if choices.contains("/a") => return Ok(Reply::All),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(choices: &str, typed: &str, reply: Reply, asked: &str) {
        let mut output = Vec::new();
        let mut lines = typed.split_inclusive('\n');
        let mut next = || Ok(lines.next().unwrap_or_default().to_owned());
        assert_eq!(ask("Clean", choices, &mut next, &mut output).unwrap(), reply);
        assert_eq!(String::from_utf8(output).unwrap(), asked);
    }

    #[test]
    fn only_a_clear_answer_ends_the_question() {
        check("y/n", "y\n", Reply::Yes, "Clean (y/n)? ");
        check("y/n", "what\n\nNO\n", Reply::No, "Clean (y/n)? Clean (y/n)? Clean (y/n)? ");
        check("y/n", "", Reply::No, "Clean (y/n)? \n");
    }

    #[test]
    fn all_is_an_answer_where_there_is_more_than_one_question() {
        check("y/n", "a\nn\n", Reply::No, "Clean (y/n)? Clean (y/n)? ");
        check("y/n/a for all", "a\n", Reply::All, "Clean (y/n/a for all)? ");
    }

    #[test]
    fn standing_answers_ask_nobody() {
        let stop = Stop::default();
        assert_eq!(Prompt::new(Answer::Yes).unwrap().confirm("?", &stop), Ok(true));
        assert_eq!(Prompt::new(Answer::No).unwrap().confirm("?", &stop), Ok(false));
    }
}
