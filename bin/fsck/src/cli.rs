//! What can be typed. What it means is in `run.rs`.

use crate::{extended::Extended, sections};
use ext4_check::Optimize;
use ext4_cli::{Answer, CommonArgs, Failure};
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

    /// Repair unattended what needs no decision, and stop at what does; a filesystem that is clean,
    /// once its journal is replayed, is left alone
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

    /// Optimise directories: rebuild each in as few blocks as its names need, sorted, and indexed where
    /// it has more than one
    #[arg(short = 'D', long)]
    pub optimize_directories: bool,

    /// Extended options, separated by commas, as in e2fsck(8): journal_only, fragcheck, discard,
    /// nodiscard, optimize_extents, no_optimize_extents, bmap2extent, unshare_blocks, fixes_only,
    /// ea_ver=2
    #[arg(short = 'E', value_name = "OPTIONS", value_delimiter = ',', value_parser = Extended::parse)]
    pub extended: Vec<Extended>,

    /// Write progress to file descriptor FD, in lines of `pass done total device`; 0: a bar on the
    /// terminal; negative: to -FD, silent until SIGUSR1
    #[arg(short = 'C', value_name = "FD", allow_negative_numbers = true)]
    pub completion: Option<i32>,

    /// Say how long it took; twice: each pass
    #[arg(short = 't', action = clap::ArgAction::Count)]
    pub timing: u8,

    /// Keep what is overwritten in FILE, which must not be there yet; --rollback takes it back
    #[arg(short = 'z', long, value_name = "FILE", conflicts_with = "no")]
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

    /// Threads that scan, 256 at most [default: as many as the machine has; the result is the same]
    #[arg(long, value_name = "N")]
    pub threads: Option<usize>,

    /// Say what a problem means and what repairing it does, and end
    #[arg(long, value_name = "ID", conflicts_with = "image")]
    pub explain: Option<String>,

    /// List all problems that are looked for, and end
    #[arg(long, conflicts_with_all = ["image", "explain"])]
    pub list_problems: bool,

    /// Not here: read every block and note those that cannot be read
    #[arg(short = 'c', hide = true, action = clap::ArgAction::Count)]
    pub bad_blocks: u8,

    /// Not here: keep the bad blocks that are noted
    #[arg(short = 'k', hide = true)]
    pub keep_bad_blocks: bool,

    /// Not here: note the bad blocks listed in FILE
    #[arg(short = 'l', hide = true, value_name = "FILE")]
    pub add_bad_blocks: Option<PathBuf>,

    /// Not here: note only the bad blocks listed in FILE
    #[arg(short = 'L', hide = true, value_name = "FILE")]
    pub set_bad_blocks: Option<PathBuf>,

    #[command(flatten)]
    #[expect(missing_docs, reason = "clap would take them for the program's description")]
    pub common: CommonArgs,
}

impl Args {
    /// What is made better behind the check.
    pub fn optimize(&self) -> Optimize {
        let is_on = |on, off| Extended::is_on(&self.extended, on, off);
        Optimize {
            directories: self.optimize_directories,
            extents: is_on(Extended::OptimizeExtents, Extended::NoOptimizeExtents),
            block_maps: self.has(Extended::BmapToExtent),
            shared_blocks: self.has(Extended::UnshareBlocks),
        }
    }

    /// Whether an extended option was given.
    pub fn has(&self, option: Extended) -> bool {
        self.extended.contains(&option)
    }

    /// Whether free blocks are given back.
    pub fn discards(&self) -> bool {
        Extended::is_on(&self.extended, Extended::Discard, Extended::NoDiscard)
    }

    /// Whether to look even at a filesystem that says it is clean: there is something to do besides.
    pub fn is_forced(&self) -> bool {
        self.force || self.optimize().is_any() || self.discards() || self.has(Extended::Fragcheck)
    }

    /// Refuses what does not go together.
    ///
    /// # Errors
    /// Usage.
    pub fn check(&self) -> Result<(), Failure> {
        let has_list = self.add_bad_blocks.is_some() || self.set_bad_blocks.is_some();
        let optimizes = self.optimize().is_any();
        let does_more = optimizes || self.discards() || self.has(Extended::Fragcheck);
        let has_copy = self.superblock.is_some();
        let has_file = self.plan.is_some() || self.apply.is_some() || self.rescue.is_some();
        let why = if self.bad_blocks > 0 || self.keep_bad_blocks || has_list {
            "-c, -k, -l, -L: the list of bad blocks is checked, but not added to; devices replace \
             bad sectors themselves, and e2fsck has these options"
        } else if optimizes && self.has(Extended::FixesOnly) {
            "-E fixes_only is given, and options that are no repair"
        } else if (does_more || has_copy || has_file) && self.has(Extended::JournalOnly) {
            "-E journal_only is given, and options of the check"
        } else if (does_more || has_copy || self.has(Extended::JournalOnly))
            && self.rollback.is_some()
        {
            "--rollback is given, and options of the check"
        } else if (optimizes || has_copy) && self.apply.is_some() {
            "--apply takes from the plan what is made better, and by which superblock"
        } else if self.discards() && self.undo.is_some() {
            "-E discard cannot be taken back, which --undo is for"
        } else {
            return Ok(());
        };
        Err(Failure::usage(why))
    }

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
        let check = |line: &str| parse(line).unwrap().check().is_ok();
        assert!(check("ext4-fsck -y -D -E fragcheck,discard -E bmap2extent disk.img"));
        for line in [
            "-y -E fixes_only -D",
            "-y -E journal_only,discard",
            "-y -E journal_only -b 8193",
            "-y -E journal_only --rescue lost",
            "-n -E journal_only --plan plan",
            "--rollback undo -D",
            "--rollback undo -b 8193",
            "--apply plan -D",
            "--apply plan -b 8193",
            "-y -z undo -E discard",
            "-y -cc",
            "-y -l list",
        ] {
            assert!(!check(&format!("ext4-fsck {line} disk.img")), "{line}");
        }
        assert!(parse("ext4-fsck -y -E no_such_thing disk.img").is_err());
        assert_eq!(parse("ext4-fsck -y -C -3 disk.img").unwrap().completion, Some(-3));
        assert!(parse("ext4-fsck --explain inode-size").is_ok());
    }
}
