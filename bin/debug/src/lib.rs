//! The command line of `ext4-debug`, as a library so that man pages and completions are made from
//! it.

pub mod cli;
mod image;
mod layout;
pub mod manifest;
mod map;
mod print;
pub mod run;
pub mod sections;
mod show;
mod superblock_copy;
mod text;

/// The whole command line.
pub fn command() -> clap::Command {
    <cli::Args as clap::CommandFactory>::command()
}
