//! Options that every program takes.

/// Output options, the same everywhere.
#[derive(Clone, Debug, Default, clap::Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch on the command line")]
pub struct CommonArgs {
    /// Print the result as JSON on standard output
    #[arg(long, global = true, help_heading = "Output")]
    pub json: bool,

    /// Show progress on standard error even when it is not a terminal
    #[arg(long, global = true, overrides_with = "no_progress", help_heading = "Output")]
    pub progress: bool,

    /// Never show progress
    #[arg(long, global = true, overrides_with = "progress", help_heading = "Output")]
    pub no_progress: bool,

    /// Print errors only
    #[arg(short, long, global = true, conflicts_with = "verbose", help_heading = "Output")]
    pub quiet: bool,

    /// Say more about what is done; twice for every step
    #[arg(short, long, global = true, action = clap::ArgAction::Count, help_heading = "Output")]
    pub verbose: u8,
}
