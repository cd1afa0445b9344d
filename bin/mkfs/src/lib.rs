//! The command line of `ext4-mkfs`, as a library so that man pages and completions are made from
//! it.

pub mod cli;
mod extended;
mod meaning;
pub mod outcome;
pub mod run;
pub mod sections;
mod source;
mod values;

/// The whole command line.
pub fn command() -> clap::Command {
    <cli::Args as clap::CommandFactory>::command()
}
