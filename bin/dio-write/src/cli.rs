//! What can be typed. What it means is in `run.rs`.

use crate::sections;
use ext4_cli::{CommonArgs, parse_size};
use std::{ffi::OsString, path::PathBuf};

/// Writes a file inside an unmounted ext4 image with direct IO, journaled and crash-safe
#[derive(Clone, Debug, clap::Parser)]
#[command(
    name = "dio-write",
    version,
    max_term_width = 100,
    after_long_help = sections::after_help()
)]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch on the command line")]
pub struct Args {
    /// The image or block device and the path inside it
    ///
    /// `IMAGE:/PATH`, split at the last `:/`. IMAGE may end in `@OFFSET` (the filesystem starts at
    /// that byte) or `#N` (partition N of a GPT or MBR). With --script the image alone.
    #[arg(value_name = "IMAGE:/PATH", required_unless_present = "tour")]
    pub target: Option<OsString>,

    /// Where in the file to begin
    ///
    /// In bytes, with k, M, G, T or P for powers of 1024. May lie beyond the end: what is between
    /// becomes a hole.
    #[arg(short, long, value_name = "SIZE", default_value = "0", value_parser = parse_size, allow_negative_numbers = true)]
    pub offset: u64,

    /// Where to read from instead of standard input
    #[arg(short, long, value_name = "FILE")]
    pub input: Option<PathBuf>,

    /// Write at most so many bytes of the input
    #[arg(short, long, alias = "count", value_name = "SIZE", value_parser = parse_size, allow_negative_numbers = true)]
    pub length: Option<u64>,

    /// Begin at the end of the file
    #[arg(short, long, conflicts_with = "offset")]
    pub append: bool,

    /// Empty the file before writing
    ///
    /// As `O_TRUNC` does, in transactions of its own: a crash in the middle may leave the file
    /// empty.
    #[arg(short, long, conflicts_with = "append")]
    pub truncate: bool,

    /// Refuse a path that does not exist instead of creating it
    #[arg(long)]
    pub no_create: bool,

    /// Permission bits of a file that is created
    #[arg(
        short, long, value_name = "OCTAL", default_value = "0644", value_parser = mode,
        conflicts_with = "no_create", help_heading = "New files"
    )]
    pub mode: u16,

    /// Owner of a file that is created
    #[arg(
        long,
        value_name = "UID",
        default_value_t = 0,
        conflicts_with = "no_create",
        help_heading = "New files"
    )]
    pub uid: u32,

    /// Group of a file that is created
    #[arg(
        long,
        value_name = "GID",
        default_value_t = 0,
        conflicts_with = "no_create",
        help_heading = "New files"
    )]
    pub gid: u32,

    /// Make data and size durable after each write, as `O_DSYNC` does
    #[arg(long, help_heading = "How to write")]
    pub dsync: bool,

    /// Make data and all metadata durable after each write, as `O_SYNC` does
    #[arg(long, conflicts_with = "dsync", help_heading = "How to write")]
    pub sync: bool,

    /// Refuse, as `RWF_NOWAIT` does, what would have to allocate or to extend
    #[arg(long, conflicts_with = "truncate", help_heading = "How to write")]
    pub nowait: bool,

    /// Transfers in flight at a time
    #[arg(
        long, value_name = "N", default_value_t = 16,
        value_parser = clap::value_parser!(u16).range(1..=1024), help_heading = "How to write"
    )]
    pub in_flight: u16,

    /// Bytes in one transfer
    ///
    /// Memory in use is about this times the transfers in flight. A multiple of the device's
    /// sector, at most 64M.
    #[arg(
        long, value_name = "SIZE", default_value = "1M", value_parser = transfer,
        help_heading = "How to write"
    )]
    pub transfer: u64,

    /// Show what would be written and where; change nothing
    #[arg(long)]
    pub dry_run: bool,

    /// Show the way of a write through a power cut on a small image of its own
    ///
    /// In a temporary folder that is removed afterwards: writes a file, cuts the power in the
    /// middle of an extending write, shows the orphan, recovers, and shows the inode before and
    /// after.
    #[arg(long, exclusive = true)]
    pub tour: bool,

    /// Run a job file of operations against the image
    ///
    /// One operation a line, with an optional label in front that says who does it; see JOB FILES
    /// in the man page. All of it must make sense before the image is opened.
    #[arg(
        long, value_name = "FILE", help_heading = "Laboratory",
        conflicts_with_all = [
            "offset", "input", "length", "append", "truncate", "no_create", "mode", "uid", "gid",
            "dsync", "sync", "nowait", "in_flight", "transfer", "dry_run",
        ]
    )]
    pub script: Option<PathBuf>,

    /// Interleave the labels of the script as threads, by a generator with this seed
    ///
    /// The same seed gives the same order. Without it lines are done in the given order.
    #[arg(long, value_name = "N", requires = "script", help_heading = "Laboratory")]
    pub seed: Option<u64>,

    /// Show each step of the script with both sizes, orphan record and transaction
    #[arg(long, requires = "script", help_heading = "Laboratory")]
    pub trace: bool,

    /// Leave the image as a power cut right after this step would
    ///
    /// Steps are numbered as --trace shows them. What the device has taken stays, nothing else is
    /// done to it.
    #[arg(
        long, value_name = "STEP", requires = "script", help_heading = "Laboratory",
        value_parser = clap::value_parser!(u64).range(1..)
    )]
    pub crash_at: Option<u64>,

    #[command(flatten)]
    #[expect(missing_docs, reason = "clap would take them for the program's description")]
    pub common: CommonArgs,
}

fn mode(typed: &str) -> Result<u16, String> {
    match u16::from_str_radix(typed, 8) {
        Ok(mode) if mode <= 0o7777 && !typed.starts_with('+') => Ok(mode),
        _ => Err("not a mode, expected octal digits from 0 to 7777".to_owned()),
    }
}

fn transfer(typed: &str) -> Result<u64, String> {
    const MAX: u64 = 64 << 20;
    match parse_size(typed)? {
        size @ 512..=MAX if size % 512 == 0 => Ok(size),
        size => Err(format!("{size} bytes, expected a multiple of 512 up to 64M")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser as _;

    #[track_caller]
    fn refused(args: &[&str], why: &str) {
        let err = Args::try_parse_from([&["dio-write"], args].concat()).unwrap_err().to_string();
        assert!(err.contains(why), "{err}");
    }

    #[test]
    fn the_line_of_the_manual_parses() {
        let line = "dio-write disk.img:/db.bin --offset 1M --in-flight 4 --transfer 64k --mode 600";
        let args = Args::try_parse_from(line.split(' ')).unwrap();
        assert_eq!(args.target.unwrap(), "disk.img:/db.bin");
        assert_eq!((args.offset, args.in_flight, args.transfer), (1 << 20, 4, 65536));
        assert_eq!(args.mode, 0o600);
    }

    #[test]
    fn what_contradicts_itself_is_refused() {
        refused(&[], "required");
        refused(&["d:/x", "--trace"], "required");
        refused(&["d", "--script", "s", "--append"], "cannot be used with");
        refused(&["d", "--script", "s", "--crash-at", "0"], "not in 1..");
        refused(&["d:/x", "--append", "--offset", "1"], "cannot be used with");
        refused(&["d:/x", "--no-create", "--mode", "600"], "cannot be used with");
        refused(&["d:/x", "--mode", "888"], "not a mode");
        refused(&["d:/x", "--transfer", "1000"], "expected a multiple of 512 up to 64M");
        refused(&["d:/x", "--in-flight", "0"], "1..=1024");
        refused(&["d:/x", "--tour"], "cannot be used with");
    }
}
