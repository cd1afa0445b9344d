//! Shell completions, generated from the command lines; not kept in the tree.

use crate::programs;
use anyhow::{Context as _, Result};
use clap_complete::Shell;
use std::path::Path;

/// Writes a file per program and shell into `dir`, which is made if it is not there.
pub(crate) fn write(dir: &Path) -> Result<()> {
    std::fs::create_dir_all(dir).with_context(|| dir.display().to_string())?;
    for mut program in programs::all() {
        let name = program.command.get_name().to_owned();
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
            clap_complete::generate_to(shell, &mut program.command, &name, dir)?;
        }
    }
    Ok(())
}
