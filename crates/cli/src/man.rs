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
                Para::Text(it) => writeln!(text, "  {}", words(it)),
                Para::Item(term, it) => writeln!(text, "  {term:<12} {}", words(it)),
                Para::Code(exit, it) => writeln!(text, "  {:>3}  {}", exit.code(), words(it)),
                Para::Example(command, it) => {
                    writeln!(text, "  {command}\n      {}", words(it))
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
}
