//! The prose of the man page; EXAMPLES and EXIT STATUS also end `--help`.

use ext4_cli::{
    Exit,
    man::{self, Para, Section},
};

/// What ends `--help`.
pub fn after_help() -> String {
    man::help(SECTIONS, &["EXAMPLES", "EXIT STATUS"])
}

/// Sections after the options, in the order of the page.
pub const SECTIONS: &[Section] = &[
    Section {
        title: "DESCRIPTION",
        body: &[
            Para::Text(
                "fsck-orphans does to an image that was left by a crash what the kernel's next \
                 mount would do, and then looks whether it worked. It is no full check: damage \
                 elsewhere is neither searched for nor repaired; ext4-fsck(8) does that.",
            ),
            Para::Text(
                "First the journal is read and verified as a whole, and only then replayed; fast \
                 commits are applied after the last full commit. A damaged log is refused with \
                 nothing written.",
            ),
            Para::Text(
                "Then the orphans are cleaned: those on the list that begins in the superblock \
                 and those in the orphan file. An orphan without links is deleted; one that still \
                 has a name is cut to its i_size, which removes the blocks an extending write had \
                 allocated when it was interrupted.",
            ),
            Para::Text(
                "Last, i_size is compared with the mapping of each inode that was cleaned, or of \
                 every inode with --all-inodes: written blocks beyond the end of file, a size \
                 beyond what the format allows, a hole where the size says there must be data, a \
                 wrong i_blocks.",
            ),
            Para::Text(
                "With -n the same run happens in memory and is shown; the image keeps every byte. \
                 A run that is interrupted can be repeated: each step is journaled.",
            ),
        ],
    },
    Section {
        title: "EXIT STATUS",
        body: &[
            Para::Text("The sum of:"),
            Para::Code(Exit::OK, "Nothing to do and nothing wrong."),
            Para::Code(Exit::CORRECTED, "The journal was replayed or orphans were cleaned."),
            Para::Code(
                Exit::UNCORRECTED,
                "Something is left: a damaged log or inode, a wrong size, or work that -n or an \
                 answer held back.",
            ),
            Para::Code(
                Exit::OPERATIONAL,
                "It could not be done: not ext4, a feature that is not supported, in use, \
                 read-only, a device error.",
            ),
            Para::Code(
                Exit::USAGE,
                "Wrong usage, also: no terminal to ask on and none of -n, -y and -p given.",
            ),
            Para::Code(Exit::CANCELLED, "Stopped by a signal, or by the answer no; run it again."),
        ],
    },
    Section {
        title: "ENVIRONMENT",
        body: &[
            Para::Item(
                "SOURCE_DATE_EPOCH",
                "Seconds since 1970 to use for all times instead of the clock.",
            ),
            Para::Item("NO_COLOR", "When set and not empty, no color is used."),
        ],
    },
    Section {
        title: "EXAMPLES",
        body: &[
            Para::Example("fsck-orphans -n disk.img", "Shows what a cleaning would do."),
            Para::Example("fsck-orphans -y disk.img", "Replays and cleans without asking."),
            Para::Example(
                "fsck-orphans -y --all-inodes --json 'disk.img#1' > report.json",
                "Cleans the first partition, checks every inode's size, and keeps the report.",
            ),
        ],
    },
    Section {
        title: "SEE ALSO",
        body: &[Para::Text(
            "dio-write(8), ext4-fsck(8), ext4-debug(8), ext4(5), e2fsck(8), fsck(8)",
        )],
    },
];
