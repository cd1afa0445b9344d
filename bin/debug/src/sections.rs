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
                "ext4-debug shows the structures of an ext4 image or block device, as text or \
                 with --json. It opens the image for reading only and never changes it. A dirty \
                 image is shown as it is, or with --replayed as it would be after the journal's \
                 replay, which then happens in memory.",
            ),
            Para::Text(
                "An inode is named by its path from the root or by its number in angle brackets, \
                 as in debugfs(8). In names and attributes, control characters and bytes that are \
                 not UTF-8 are shown as escapes.",
            ),
            Para::Text(
                "Damage does not stop it where something can still be shown: what is wrong is \
                 printed in its place, and the exit code says so.",
            ),
        ],
    },
    Section {
        title: "EXIT STATUS",
        body: &[
            Para::Code(Exit::OK, "Shown."),
            Para::Code(Exit::UNCORRECTED, "Damage was met on the way."),
            Para::Code(
                Exit::OPERATIONAL,
                "It could not be shown: not ext4, a feature that is not supported, no such path, \
                 a device error.",
            ),
            Para::Code(Exit::USAGE, "Wrong usage; nothing was opened."),
            Para::Code(Exit::CANCELLED, "Stopped by a signal."),
        ],
    },
    Section {
        title: "ENVIRONMENT",
        body: &[Para::Item("NO_COLOR", "When set and not empty, no color is used.")],
    },
    Section {
        title: "EXAMPLES",
        body: &[
            Para::Example(
                "ext4-debug disk.img inode /var/lib/db.bin",
                "Everything about one inode.",
            ),
            Para::Example(
                "ext4-debug disk.img extents '<12>' --json",
                "The extent tree of inode 12 as JSON.",
            ),
            Para::Example(
                "ext4-debug disk.img sizes /var/lib/db.bin",
                "The file's size now, in each transaction of the log, and after replay.",
            ),
            Para::Example(
                "ext4-debug disk.img --replayed cat /etc/fstab",
                "A file as it would be after recovery, without recovering.",
            ),
            Para::Example("ext4-debug disk.img block 8193", "Who owns block 8193."),
            Para::Example(
                "ext4-debug disk.img manifest > tree.json",
                "The whole tree with hashes.",
            ),
        ],
    },
    Section {
        title: "SEE ALSO",
        body: &[Para::Text("dio-write(8), fsck-orphans(8), ext4(5), debugfs(8), dumpe2fs(8)")],
    },
];
