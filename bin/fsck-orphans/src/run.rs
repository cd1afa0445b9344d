//! From what was typed to what the library does.

use crate::cli::Args;
use ext4_cli::{Exit, Failure};

/// Runs the program.
///
/// # Errors
/// One line and an exit code.
pub fn run(_args: &Args) -> Result<Exit, Failure> {
    Err(Failure::usage("not built yet"))
}
