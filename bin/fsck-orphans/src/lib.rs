//! The command line of `fsck-orphans`, as a library so that man pages and completions are made from
//! it.

pub mod cli;
pub mod outcome;
pub mod run;
pub mod sections;

/// The whole command line.
pub fn command() -> clap::Command {
    <cli::Args as clap::CommandFactory>::command()
}
