//! Man pages: the synopsis and the options from the command line, the prose from `sections.rs`.

use crate::programs::{self, Program};
use anyhow::{Context as _, Result};
use clap::{Arg, Command};
use ext4_cli::man::{Para, Section, words};
use roff::{Roff, bold, italic, roman};
use std::path::Path;

/// Writes the page of each program into `dir`.
pub(crate) fn write(dir: &Path) -> Result<()> {
    std::fs::create_dir_all(dir).with_context(|| dir.display().to_string())?;
    for program in programs::all() {
        let path = dir.join(file_name(&program));
        std::fs::write(&path, page(program)?).with_context(|| path.display().to_string())?;
    }
    Ok(())
}

fn file_name(program: &Program) -> String {
    format!("{}.8", program.command.get_name())
}

/// The whole page: no date in it, so that the same tree gives the same bytes.
fn page(program: Program) -> Result<String> {
    let mut command = program.command;
    command.build();
    let source = format!("{} {}", command.get_name(), command.get_version().unwrap_or_default());
    let man = clap_mangen::Man::new(command.clone())
        .section("8")
        .date("")
        .source(source)
        .manual("ext4 image tools");
    let mut page = Vec::new();
    man.render_title(&mut page)?;
    man.render_name_section(&mut page)?;
    man.render_synopsis_section(&mut page)?;
    let (description, rest): (Vec<_>, Vec<_>) =
        program.sections.iter().partition(|it| it.title == "DESCRIPTION");
    for section in description {
        prose(section).to_writer(&mut page)?;
    }
    man.render_options_section(&mut page)?;
    if command.has_subcommands() {
        commands(&command).to_writer(&mut page)?;
    }
    for section in rest {
        prose(section).to_writer(&mut page)?;
    }
    Ok(String::from_utf8(page)?)
}

fn prose(section: &Section) -> Roff {
    let mut roff = Roff::new();
    roff.control("SH", [section.title]);
    for para in section.body {
        match para {
            Para::Text(it) => roff.control("PP", []).text([roman(words(it))]),
            Para::Item(term, it) => {
                roff.control("TP", []).text([bold(*term)]).text([roman(words(it))])
            }
            Para::Code(exit, it) => roff
                .control("TP", [])
                .text([bold(exit.code().to_string())])
                .text([roman(words(it))]),
            Para::Example(command, it) => roff
                .control("PP", [])
                .text([roman(words(it))])
                .control("PP", [])
                .control("in", ["+4n"])
                .control("nf", [])
                .text([roman(*command)])
                .control("fi", [])
                .control("in", []),
        };
    }
    roff
}

/// clap_mangen would point to a page per command; here each is a paragraph.
fn commands(command: &Command) -> Roff {
    let mut roff = Roff::new();
    roff.control("SH", ["COMMANDS"]);
    for sub in command.get_subcommands().filter(|it| it.get_name() != "help") {
        let mut head = vec![bold(sub.get_name())];
        let args: Vec<_> = sub
            .get_arguments()
            .filter(|it| !it.is_global_set() && it.get_id() != "help" && !is_inherited(command, it))
            .collect();
        for arg in &args {
            head.push(roman(" "));
            head.extend(usage(arg));
        }
        roff.control("TP", []).text(head);
        let about = sub.get_long_about().or_else(|| sub.get_about());
        let about = about.map(ToString::to_string).unwrap_or_default();
        // The first paragraph is a title, without a full stop.
        roff.text([roman(words(&about.replacen("\n\n", ". ", 1)))]);
        roff.control("RS", []);
        for arg in args.iter().filter(|it| !it.is_positional() || it.get_id() == "dest") {
            roff.control("TP", []).text(usage(arg));
            let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
            roff.text([roman(words(&help))]);
        }
        roff.control("RE", []);
    }
    roff
}

fn is_inherited(command: &Command, arg: &Arg) -> bool {
    command.get_arguments().any(|it| it.get_id() == arg.get_id() && it.is_global_set())
}

fn usage(arg: &Arg) -> Vec<roff::Inline> {
    let value = arg
        .get_value_names()
        .and_then(<[_]>::first)
        .map_or_else(|| arg.get_id().as_str().to_uppercase(), ToString::to_string);
    match (arg.get_long(), arg.get_action().takes_values()) {
        (None, _) if arg.is_required_set() => vec![italic(value)],
        (None, _) => vec![roman("["), italic(value), roman("]")],
        (Some(long), true) => {
            vec![roman("["), bold(format!("--{long}")), roman(" "), italic(value), roman("]")]
        }
        (Some(long), false) => vec![roman("["), bold(format!("--{long}")), roman("]")],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pages_in_the_tree_are_the_ones_the_programs_give() {
        let dir = crate::root().unwrap().join("man");
        for program in programs::all() {
            let name = file_name(&program);
            let kept = std::fs::read_to_string(dir.join(&name)).unwrap_or_default();
            assert!(page(program).unwrap() == kept, "man/{name} is stale: run cargo xtask man");
        }
    }

    #[test]
    fn each_page_has_the_sections_a_reader_looks_for() {
        for program in programs::all() {
            let name = file_name(&program);
            let page = page(program).unwrap();
            for title in [
                "NAME",
                "SYNOPSIS",
                "DESCRIPTION",
                "OPTIONS",
                "EXIT STATUS",
                "EXAMPLES",
                "SEE ALSO",
            ] {
                assert!(
                    page.contains(&format!(".SH {title}\n"))
                        || page.contains(&format!(".SH \"{title}\"\n")),
                    "{name} has no {title}"
                );
            }
        }
    }
}
