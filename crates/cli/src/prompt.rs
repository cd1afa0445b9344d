//! Questions with yes or no for an answer, asked on a terminal only.

use crate::Failure;
use std::io::{self, BufRead, IsTerminal as _, Write};

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
    /// The terminal cannot be read or written.
    pub fn confirm(&self, question: &str) -> Result<bool, Failure> {
        match self.answer {
            Answer::Yes => Ok(true),
            Answer::No => Ok(false),
            Answer::Ask => ask(question, &mut io::stdin().lock(), &mut io::stderr())
                .map_err(|err| Failure::operational(format_args!("terminal: {err}"))),
        }
    }
}

fn ask(question: &str, input: &mut dyn BufRead, output: &mut dyn Write) -> io::Result<bool> {
    loop {
        write!(output, "{question} (y/n)? ")?;
        output.flush()?;
        let mut line = String::new();
        if input.read_line(&mut line)? == 0 {
            writeln!(output)?;
            return Ok(false);
        }
        match line.trim().to_ascii_lowercase().as_str() {
            "y" | "yes" => return Ok(true),
            "n" | "no" => return Ok(false),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(typed: &str, answer: bool, asked: &str) {
        let mut output = Vec::new();
        assert_eq!(ask("Clean", &mut typed.as_bytes(), &mut output).unwrap(), answer);
        assert_eq!(String::from_utf8(output).unwrap(), asked);
    }

    #[test]
    fn only_a_clear_answer_ends_the_question() {
        check("y\n", true, "Clean (y/n)? ");
        check("what\n\nNO\n", false, "Clean (y/n)? Clean (y/n)? Clean (y/n)? ");
        check("", false, "Clean (y/n)? \n");
    }

    #[test]
    fn standing_answers_ask_nobody() {
        assert_eq!(Prompt::new(Answer::Yes).unwrap().confirm("?"), Ok(true));
        assert_eq!(Prompt::new(Answer::No).unwrap().confirm("?"), Ok(false));
    }
}
