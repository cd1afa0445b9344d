//! What can be typed. What it means is in `run.rs`.

use crate::sections;
use ext4_cli::CommonArgs;
use ext4_ondisk::name::Name;
use std::{
    ffi::{OsStr, OsString},
    fmt,
    os::unix::ffi::OsStrExt as _,
    path::PathBuf,
};

/// Shows what is in an ext4 image: inodes, extents, folders, journal, groups, blocks
#[derive(Clone, Debug, clap::Parser)]
#[command(
    name = "ext4-debug",
    version,
    max_term_width = 100,
    disable_help_subcommand = true,
    arg_required_else_help = false,
    subcommand_required = true,
    after_long_help = sections::after_help()
)]
pub struct Args {
    /// The image or block device, which may end in `@OFFSET` or `#PARTITION`
    pub image: OsString,

    /// Look at the image as it would be after the journal's replay, in memory
    ///
    /// Without it a dirty image is shown as it is. The image is never changed.
    #[arg(long, global = true)]
    pub replayed: bool,

    /// Use the copy of the superblock in block N, in memory, when the first one is damaged
    ///
    /// A copy does not say whether the journal has to be replayed.
    #[arg(long, value_name = "N", global = true, conflicts_with = "replayed")]
    pub superblock: Option<u64>,

    /// The device of an external journal
    #[arg(long, value_name = "DEVICE", global = true)]
    pub journal_device: Option<OsString>,

    #[command(flatten)]
    #[expect(missing_docs, reason = "clap would take them for the program's description")]
    pub common: CommonArgs,

    /// What to show
    #[command(subcommand)]
    pub command: Command,
}

/// What to show.
#[derive(Clone, Debug, clap::Subcommand)]
pub enum Command {
    /// The superblock: every field, features by name
    Super,

    /// The block groups: where their bitmaps and tables are, what is free
    Groups {
        /// Only this group
        #[arg(long, value_name = "N")]
        group: Option<u32>,
    },

    /// Everything about one inode
    Inode {
        /// A path, or an inode number as `<12>` or `12`
        #[arg(value_parser = spec_parser())]
        inode: Spec,
    },

    /// The mapping of one inode as a tree, with the depth of each node
    Extents {
        /// A path, or an inode number as `<12>` or `12`
        #[arg(value_parser = spec_parser())]
        inode: Spec,
    },

    /// The entries of a folder
    Ls {
        /// A path, or an inode number as `<12>` or `12`
        #[arg(default_value = "/", value_parser = spec_parser())]
        folder: Spec,

        /// Also what is below it
        #[arg(short = 'R', long)]
        recursive: bool,
    },

    /// The content of a file, on standard output
    Cat {
        /// A path, or an inode number as `<12>` or `12`
        #[arg(value_parser = spec_parser())]
        file: Spec,
    },

    /// Type, mode, owner, size, links and times, as stat(1) shows them
    Stat {
        /// A path, or an inode number as `<12>` or `12`
        #[arg(value_parser = spec_parser())]
        inode: Spec,
    },

    /// Copies a file or a folder out of the image
    ///
    /// Nothing outside DEST is written whatever the names inside the image are: DEST must not
    /// exist, and no symlink is followed. Owners, modes and special files are not copied.
    Dump {
        /// A path, or an inode number as `<12>` or `12`
        #[arg(value_parser = spec_parser())]
        inode: Spec,

        /// The file or folder to make
        dest: PathBuf,
    },

    /// The extended attributes of an inode, and where each is kept
    Xattr {
        /// A path, or an inode number as `<12>` or `12`
        #[arg(value_parser = spec_parser())]
        inode: Spec,
    },

    /// The journal: its superblock, and every transaction with what it holds
    Journal,

    /// The orphans: on the superblock's list and in the orphan file
    Orphans,

    /// What a block is, and who owns it
    Block {
        /// The block's number in the filesystem
        #[arg(value_name = "N", allow_negative_numbers = true)]
        block: u64,

        /// Also every path of the inode it belongs to
        #[arg(long)]
        path: bool,

        /// Also its bytes in hexadecimal
        #[arg(long)]
        hex: bool,
    },

    /// The size of a file in its place, in each committed transaction of the log, and after replay
    Sizes {
        /// A path, or an inode number as `<12>` or `12`
        #[arg(value_parser = spec_parser())]
        inode: Spec,
    },

    /// The whole tree as JSON: every name with its inode, times, xattrs and content hash
    Manifest,
}

/// An inode by number or by path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Spec {
    /// `<12>` or `12`: the number.
    Inode(u32),
    /// `/a/b`: the path from the root; symlinks are not followed in its last part.
    Path(Vec<u8>),
}

impl Spec {
    /// Reads `<12>`, `12` or an absolute path.
    ///
    /// # Errors
    /// Says what was expected.
    pub fn parse(typed: &OsStr) -> Result<Self, String> {
        let bytes = typed.as_bytes();
        let bracketed = bytes.strip_prefix(b"<").and_then(|it| it.strip_suffix(b">"));
        // A path begins with a slash, so that a number is one without brackets too, as messages
        // have it.
        let is_number = !bytes.is_empty() && bytes.iter().all(u8::is_ascii_digit);
        if let Some(number) = bracketed.or(is_number.then_some(bytes)) {
            let number = std::str::from_utf8(number).ok().and_then(|it| it.parse().ok());
            return match number {
                Some(ino) if ino > 0 => Ok(Self::Inode(ino)),
                _ => Err("expected an inode number from 1 up".to_owned()),
            };
        }
        if bytes.starts_with(b"/") {
            return Ok(Self::Path(bytes.to_vec()));
        }
        Err("expected a path from / or an inode number as <12>".to_owned())
    }
}

impl fmt::Display for Spec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Inode(ino) => write!(f, "<{ino}>"),
            Self::Path(path) => Name(path).fmt(f),
        }
    }
}

fn spec_parser() -> impl clap::builder::TypedValueParser<Value = Spec> {
    clap::builder::TypedValueParser::try_map(clap::builder::OsStringValueParser::new(), |it| {
        Spec::parse(&it)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser as _;

    #[test]
    fn the_image_comes_before_the_question() {
        let args = Args::try_parse_from(["ext4-debug", "disk.img", "inode", "/db.bin"]).unwrap();
        assert_eq!(args.image, "disk.img");
        assert!(matches!(args.command, Command::Inode { inode } if inode.to_string() == "/db.bin"));
        let line = ["ext4-debug", "disk.img", "ls", "--replayed", "--json"];
        let args = Args::try_parse_from(line).unwrap();
        assert!(args.replayed && args.common.json);
    }

    #[test]
    fn an_inode_is_a_number_or_an_absolute_path() {
        assert_eq!(Spec::parse(OsStr::new("<12>")), Ok(Spec::Inode(12)));
        assert_eq!(Spec::parse(OsStr::new("12")), Ok(Spec::Inode(12)));
        assert_eq!(Spec::parse(OsStr::new("/a")), Ok(Spec::Path(b"/a".to_vec())));
        for typed in ["<0>", "0", "<x>", "<4294967296>", "4294967296", "a", "12a", ""] {
            assert!(Spec::parse(OsStr::new(typed)).unwrap_err().contains("expected"), "{typed}");
        }
    }
}
