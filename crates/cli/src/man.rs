//! Prose about a program, written once: the man page and the end of `--help` are made from it.

use crate::Exit;
use std::fmt::Write as _;

/// A section of a man page.
#[derive(Clone, Copy, Debug)]
pub struct Section {
    /// The heading, in capitals.
    pub title: &'static str,
    /// What stands under it.
    pub body: &'static [Para],
}

/// A piece of a section.
#[derive(Clone, Copy, Debug)]
pub enum Para {
    /// A paragraph; line breaks mean nothing.
    Text(&'static str),
    /// A term and what it means.
    Item(&'static str, &'static str),
    /// An exit code and what it means here.
    Code(Exit, &'static str),
    /// What to type, as it is, with what it does.
    Example(&'static str, &'static str),
}

/// Every section whose title is in `titles`, as plain text for the end of `--help`.
pub fn help(sections: &[Section], titles: &[&str]) -> String {
    let mut text = String::new();
    for section in sections.iter().filter(|it| titles.contains(&it.title)) {
        if !text.is_empty() {
            text.push('\n');
        }
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{}:", capitalised(section.title));
        for para in section.body {
            let _ = match para {
                Para::Text(it) => writeln!(text, "  {}", wrapped(it, 2)),
                Para::Item(term, it) => writeln!(text, "  {term}\n      {}", wrapped(it, 6)),
                Para::Code(exit, it) => writeln!(text, "  {:>3}  {}", exit.code(), wrapped(it, 7)),
                Para::Example(command, it) => {
                    writeln!(text, "  {command}\n      {}", wrapped(it, 6))
                }
            };
        }
    }
    text
}

/// The words of `text` with single blanks between them.
pub fn words(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The words of `text` in lines of up to 80 columns, all but the first indented.
fn wrapped(text: &str, indent: usize) -> String {
    let mut wrapped = String::new();
    let mut column = indent;
    for word in text.split_whitespace() {
        let len = word.chars().count();
        if column > indent && column + 1 + len > 80 {
            wrapped.push('\n');
            wrapped.extend(std::iter::repeat_n(' ', indent));
            column = indent;
        } else if column > indent {
            wrapped.push(' ');
            column += 1;
        }
        wrapped.push_str(word);
        column += len;
    }
    wrapped
}

fn capitalised(title: &str) -> String {
    let (first, rest) = title.split_at(title.len().min(1));
    format!("{first}{}", rest.to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn help_takes_the_sections_asked_for() {
        let sections = [
            Section { title: "FILES", body: &[Para::Text("none")] },
            Section { title: "EXIT STATUS", body: &[Para::Code(Exit::USAGE, "wrong\n  usage")] },
            Section { title: "EXAMPLES", body: &[Para::Example("x disk.img", "Shows it.")] },
        ];
        assert_eq!(
            help(&sections, &["EXIT STATUS", "EXAMPLES"]),
            "Exit status:\n   16  wrong usage\n\nExamples:\n  x disk.img\n      Shows it.\n"
        );
    }

    #[test]
    fn long_text_hangs_below_its_first_word() {
        let text = wrapped(&"word ".repeat(20), 7);
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines, [["word"; 14].join(" "), format!("       {}", ["word"; 6].join(" "))]);
    }
}
