//! What can be typed. What it means is in `run.rs`.

use crate::sections;
use ext4_cli::{Answer, CommonArgs};
use std::ffi::OsString;

/// Replays the journal of an ext4 image, cleans its orphans and checks the sizes
#[derive(Clone, Debug, clap::Parser)]
#[command(
    name = "fsck-orphans",
    version,
    max_term_width = 100,
    after_long_help = sections::after_help()
)]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch on the command line")]
pub struct Args {
    /// The image or block device, which may end in `@OFFSET` or `#PARTITION`
    pub image: OsString,

    /// Show what would be done to each inode; change no byte
    #[arg(short = 'n', long, conflicts_with_all = ["yes", "preen"])]
    pub no: bool,

    /// Do it without asking
    #[arg(short = 'y', long, conflicts_with = "preen")]
    pub yes: bool,

    /// Do it without asking (the same as -y; for scripts written for fsck)
    #[arg(short = 'p', long)]
    pub preen: bool,

    /// Check the size of every inode, not only of those that were cleaned
    #[arg(long)]
    pub all_inodes: bool,

    /// Replay the journal and leave the orphans
    #[arg(long)]
    pub replay_only: bool,

    /// The device of an external journal
    #[arg(long, value_name = "DEVICE")]
    pub journal_device: Option<OsString>,

    #[command(flatten)]
    #[expect(missing_docs, reason = "clap would take them for the program's description")]
    pub common: CommonArgs,
}

impl Args {
    /// The standing answer to the program's questions.
    pub const fn answer(&self) -> Answer {
        match (self.no, self.yes || self.preen) {
            (true, _) => Answer::No,
            (false, true) => Answer::Yes,
            (false, false) => Answer::Ask,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser as _;

    #[test]
    fn one_answer_at_most() {
        let parse = |line: &str| Args::try_parse_from(line.split(' '));
        assert_eq!(parse("fsck-orphans disk.img").unwrap().answer(), Answer::Ask);
        assert_eq!(parse("fsck-orphans -n disk.img").unwrap().answer(), Answer::No);
        assert_eq!(parse("fsck-orphans disk.img -y").unwrap().answer(), Answer::Yes);
        assert_eq!(parse("fsck-orphans -p disk.img").unwrap().answer(), Answer::Yes);
        assert!(parse("fsck-orphans -n -y disk.img").is_err());
        assert!(parse("fsck-orphans -y -p disk.img").is_err());
        assert!(parse("fsck-orphans -y").is_err());
    }
}
