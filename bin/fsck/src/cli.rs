//! What can be typed. What it means is in `run.rs`.

use crate::sections;
use ext4_cli::{Answer, CommonArgs};
use std::{ffi::OsString, path::PathBuf};

/// Checks an ext2, ext3 or ext4 filesystem, and repairs it
#[derive(Clone, Debug, clap::Parser)]
#[command(
    name = "ext4-fsck",
    version,
    max_term_width = 100,
    after_long_help = sections::after_help()
)]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch on the command line")]
pub struct Args {
    /// The image or block device, which may end in `@OFFSET` or `#PARTITION`
    #[arg(required_unless_present_any = ["explain", "list_problems"])]
    pub image: Option<OsString>,

    /// Show what is wrong and what would be done; change no byte
    #[arg(short = 'n', long, conflicts_with_all = ["yes", "preen"])]
    pub no: bool,

    /// Repair everything without asking
    #[arg(short = 'y', long, conflicts_with = "preen")]
    pub yes: bool,

    /// Repair unattended what needs no decision, and stop at what does; a clean filesystem is left
    /// alone
    #[arg(short = 'p', long, visible_short_alias = 'a')]
    pub preen: bool,

    /// Check even a filesystem that says it is clean (with -p; else it is always checked)
    #[arg(short = 'f', long)]
    pub force: bool,

    /// Use the superblock copy in this block
    #[arg(short = 'b', long, value_name = "BLOCK")]
    pub superblock: Option<u64>,

    /// The block size that -b counts in
    #[arg(short = 'B', long, value_name = "BYTES", requires = "superblock")]
    pub block_size: Option<u32>,

    /// The device of an external journal
    #[arg(short = 'j', long, value_name = "DEVICE")]
    pub journal_device: Option<OsString>,

    /// Keep what is overwritten in FILE, which must not be there yet; --rollback takes it back
    #[arg(long, value_name = "FILE", conflicts_with = "no")]
    pub undo: Option<PathBuf>,

    /// Take a repair back by the file that --undo made
    #[arg(long, value_name = "FILE", conflicts_with_all = ["no", "yes", "preen", "undo"])]
    pub rollback: Option<PathBuf>,

    /// Copy what the repair takes away into DIR, which must be new or empty; with -n, what it would
    #[arg(long, value_name = "DIR", conflicts_with = "rollback")]
    pub rescue: Option<PathBuf>,

    /// With -n: keep the plan in FILE, which must not be there yet; --apply carries it out
    #[arg(long, value_name = "FILE", requires = "no")]
    pub plan: Option<PathBuf>,

    /// Carry out the plan in FILE, if the image is still the one it was made for
    #[arg(long, value_name = "FILE", conflicts_with_all = ["no", "yes", "preen", "rollback"])]
    pub apply: Option<PathBuf>,

    /// Threads that scan [default: as many as the machine has; the result is the same]
    #[arg(long, value_name = "N")]
    pub threads: Option<usize>,

    /// Say what a problem means and what repairing it does, and end
    #[arg(long, value_name = "ID", conflicts_with = "image")]
    pub explain: Option<String>,

    /// List all problems that are looked for, and end
    #[arg(long, conflicts_with_all = ["image", "explain"])]
    pub list_problems: bool,

    #[command(flatten)]
    #[expect(missing_docs, reason = "clap would take them for the program's description")]
    pub common: CommonArgs,
}

impl Args {
    /// The standing answer to the program's questions.
    pub const fn answer(&self) -> Answer {
        match (self.no, self.yes || self.preen || self.apply.is_some() || self.rollback.is_some()) {
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
        assert_eq!(parse("ext4-fsck disk.img").unwrap().answer(), Answer::Ask);
        assert_eq!(parse("ext4-fsck -n disk.img").unwrap().answer(), Answer::No);
        assert_eq!(parse("ext4-fsck -fy disk.img").unwrap().answer(), Answer::Yes);
        assert_eq!(parse("ext4-fsck -a disk.img").unwrap().answer(), Answer::Yes);
        assert!(parse("ext4-fsck -n -y disk.img").is_err());
        assert!(parse("ext4-fsck -y -p disk.img").is_err());
        assert!(parse("ext4-fsck -y").is_err());
        assert!(parse("ext4-fsck --explain inode-size").is_ok());
    }
}
