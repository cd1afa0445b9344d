//! The command line of `dio-write`, as a library so that man pages and completions are made from
//! it.

pub mod cli;
mod image;
mod input;
pub mod outcome;
pub mod run;
mod script;
pub mod sections;
mod tour;

/// The whole command line.
pub fn command() -> clap::Command {
    <cli::Args as clap::CommandFactory>::command()
}
