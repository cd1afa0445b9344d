//! Chores of the tree: man pages, completions, and the rules that keep it in shape.

mod completions;
mod man;
mod problems;
mod programs;
mod scenarios;
mod sources;
mod tidy;

use anyhow::{Context as _, Result};
use clap::Parser;
use std::{
    io::Write as _,
    path::{Path, PathBuf},
    process::ExitCode,
};

/// Chores of the tree
#[derive(Parser)]
#[command(name = "cargo xtask")]
enum Chore {
    /// Writes the man pages into man/
    Man,
    /// Writes shell completions for bash, zsh and fish
    Completions {
        /// The folder to write them to
        dir: PathBuf,
    },
    /// Counts the numbered scenarios: as tests, compared with the kernel, not applicable
    Scenarios,
    /// Writes the table of e2fsck's problems into ARCHITECTURE.md
    Problems,
    /// Checks the rules of the tree
    Tidy,
}

fn main() -> ExitCode {
    match run(Chore::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(err) => {
            // Nothing useful is left to do when standard error is gone.
            let _ = writeln!(std::io::stderr(), "xtask: {err:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(chore: Chore) -> Result<()> {
    match chore {
        Chore::Man => man::write(&root()?.join("man")),
        Chore::Completions { dir } => completions::write(&dir),
        Chore::Scenarios => {
            writeln!(std::io::stdout(), "{}", scenarios::Scenarios::of(&root()?)?)?;
            Ok(())
        }
        Chore::Problems => problems::write(&root()?),
        Chore::Tidy => tidy::run(&root()?),
    }
}

/// The top of the tree.
fn root() -> Result<PathBuf> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).map(Path::to_owned).context("xtask is not in crates/xtask")
}
