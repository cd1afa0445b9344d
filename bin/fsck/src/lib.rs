//! The command line of `ext4-fsck`, as a library so that man pages and completions are made from
//! it.

mod answers;
pub mod cli;
mod durable;
pub mod explain;
pub mod extended;
mod filesystem;
mod meter;
pub mod outcome;
mod plan;
mod rescue;
pub mod run;
pub mod sections;
pub mod statistics;
mod watch;

/// The whole command line.
pub fn command() -> clap::Command {
    <cli::Args as clap::CommandFactory>::command()
}
