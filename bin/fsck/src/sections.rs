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
                "ext4-fsck looks at everything a filesystem consists of and tells what does not \
                 agree: superblock and descriptors, inodes with their sizes, maps and attributes, \
                 directories and their indexes, link counts, bitmaps and counts, journal, quota and \
                 the orphan file. The filesystem must not be mounted.",
            ),
            Para::Text(
                "The journal is replayed and orphans are cleaned first, as fsck-orphans(8) does. \
                 Then all passes run in memory, over a copy of what they change, again and again \
                 until they find nothing more. Only then is anything written: -n shows the very run \
                 that -y carries out.",
            ),
            Para::Text(
                "Each kind of problem has a name that never changes; --explain says what it means, \
                 and what repairing it does. Files that lost their names get new ones in lost+found. What \
                 is found in a file or directory is told with the path it had before the repair, \
                 where it had one.",
            ),
            Para::Text(
                "Unlike e2fsck(8), ext4-fsck checks also a filesystem that says it is clean; only -p \
                 leaves it alone, unless -f is given, a check is due, or its descriptors or its journal \
                 cannot be read.",
            ),
        ],
    },
    Section {
        title: "REPAIRS",
        body: &[
            Para::Text(
                "What is written goes through the filesystem's own journal, as one transaction: a cut \
                 leaves the image as it was, or the repaired one once the journal is replayed, by \
                 whomever. Where that cannot be (no journal, one that is damaged or too small, a \
                 damaged superblock) a note says why, and the order of writes is one in which a cut \
                 leaves an image that a second run mends: first a mark that the filesystem is not in \
                 order, then blocks that nobody uses yet, then others, then those that were shared or \
                 logged, the superblock last.",
            ),
            Para::Text(
                "Without -n, -y and -p each repair is a question on the terminal: y, n, or a for this one \
                 and all that follow. Answers are kept in memory until the last one is given.",
            ),
            Para::Text(
                "With --undo everything that is overwritten is kept in a file first; --rollback puts \
                 it back, to the last byte, also after a repair that was cut. It refuses an image that \
                 was changed since.",
            ),
            Para::Text(
                "A plan is kept with -n --plan and carried out with --apply: the check is made again, \
                 with the same options and time, and must come to the very same bytes.",
            ),
        ],
    },
    Section {
        title: "RESCUE",
        body: &[
            Para::Text(
                "With --rescue everything that a repair takes away is first copied into a folder, \
                 durably, before the image is written to: what could be reached in the filesystem \
                 before, after its journal was replayed, and cannot be after the repair. What a repair \
                 moves, copies or names anew is not in it. With -n the folder holds what would be lost, \
                 and the image is not touched. If the folder cannot be made whole nothing is written.",
            ),
            Para::Item(
                "inode-N/contents",
                "What the file loses, at its places in the file; the rest are holes. Of a directory the \
                 blocks whose entries do not follow each other. Where a damaged map has several blocks \
                 for one place the others are in contents-2 and so on.",
            ),
            Para::Item(
                "inode-N/xattr",
                "Lost attributes, as getfattr --dump has them: for setfattr --restore.",
            ),
            Para::Item("inode-N/xattr-block", "The block of attributes, where it is taken away."),
            Para::Item(
                "inode-N/names",
                "Names that a directory loses, each behind the number of its inode.",
            ),
            Para::Item("inode-N/inode", "The inode as it was in its table."),
            Para::Item(
                "index.json",
                "For each inode its path, kind, size, the problems that were found, whether all of it \
                 is gone, its files here and the places in it that are lost. It is there only when the \
                 folder is whole.",
            ),
            Para::Text(
                "A damaged filesystem can name the same blocks in many files; no more bytes are copied \
                 than the device has, and how many are not is told.",
            ),
        ],
    },
    Section {
        title: "BEHIND THE CHECK",
        body: &[
            Para::Text(
                "-D, -E optimize_extents, -E bmap2extent and -E unshare_blocks make better what is not \
                 wrong. They do it when the check has found nothing, or mended all of it, and a further \
                 round has to find nothing again; where something is left to be mended they do nothing. \
                 With -n it is only told what would be done. Unlike e2fsck(8), ext4-fsck does nothing of \
                 the kind that it was not asked for.",
            ),
            Para::Text(
                "-D leaves directories inside their inodes as they are, and lost+found, whose empty \
                 blocks are there for names when no others are free, and directories with case-folded \
                 names. -E unshare_blocks changes nothing at all when there is no room for all the \
                 copies.",
            ),
            Para::Text(
                "-E fragcheck tells each place where a file goes on elsewhere than behind its last block. \
                 -E discard gives free blocks back when everything else is written; in an image they \
                 become holes. Neither --undo nor anything else brings back what was in them.",
            ),
            Para::Text(
                "-E readahead_kb, inode_count_fullmap, no_inode_count_fullmap, check_encoding and ea_ver=1, \
                 and -c, -k, -l and -L, are refused with the reason.",
            ),
            Para::Text(
                "Where -p meets what needs a decision, it writes nothing but the replayed journal and the \
                 cleaned orphans, and the mark that there are errors: the next unattended run looks again. \
                 e2fsck(8) also writes what it has mended up to there.",
            ),
        ],
    },
    Section {
        title: "SIGNALS",
        body: &[Para::Text(
            "SIGINT, SIGTERM and SIGHUP end the check, also at a question; nothing is written. With -C, \
             SIGUSR1 begins and SIGUSR2 ends the lines of progress.",
        )],
    },
    Section {
        title: "EXIT STATUS",
        body: &[
            Para::Text("The sum of:"),
            Para::Code(Exit::OK, "Nothing is wrong."),
            Para::Code(
                Exit::CORRECTED,
                "Something was wrong and was repaired, or was made better on request.",
            ),
            Para::Code(
                Exit::UNCORRECTED,
                "Something is wrong and was left: by -n, by an answer, or because -p may not decide \
                 it.",
            ),
            Para::Code(
                Exit::OPERATIONAL,
                "It could not be done: no superblock to be found, in use, read-only, a device error, no \
                 terminal to ask on.",
            ),
            Para::Code(Exit::USAGE, "Wrong usage; nothing was opened."),
            Para::Code(Exit::CANCELLED, "Stopped by a signal or an answer; nothing was written."),
            Para::Text(
                "Never 2, to reboot, for what is mounted is not repaired, not even the root; and never \
                 128, a shared library.",
            ),
        ],
    },
    Section {
        title: "EXAMPLES",
        body: &[
            Para::Example("ext4-fsck -n disk.img", "Show what is wrong; change nothing."),
            Para::Example("ext4-fsck -y disk.img", "Repair everything."),
            Para::Example("ext4-fsck -p /dev/sdb1", "At boot: repair what needs no decision."),
            Para::Example(
                "ext4-fsck -n --json disk.img | jq '.findings[].id'",
                "The names of all problems.",
            ),
            Para::Example(
                "ext4-fsck -n --plan fix.json disk.img; less fix.json; ext4-fsck --apply fix.json disk.img",
                "Look at a repair first, then have that very one.",
            ),
            Para::Example(
                "ext4-fsck -y --undo before.undo disk.img; ext4-fsck --rollback before.undo disk.img",
                "Repair, and take it back.",
            ),
            Para::Example(
                "ext4-fsck -n --rescue lost disk.img; jq '.inodes[].path' lost/index.json",
                "Which files a repair would take something from; what it is lies in lost.",
            ),
            Para::Example(
                "ext4-fsck -y -D -E optimize_extents disk.img",
                "Also make directories and maps smaller.",
            ),
            Para::Example(
                "ext4-fsck -n -v -E fragcheck disk.img",
                "What the filesystem consists of, and which files are in pieces.",
            ),
            Para::Example(
                "ext4-fsck -p -C 3 /dev/sdb1 3>&1",
                "At boot, with progress for a program.",
            ),
            Para::Example("ext4-fsck --explain inode-size", "What a problem means."),
            Para::Example("ext4-fsck -b 32768 -B 4096 -y disk.img", "By a copy of the superblock."),
        ],
    },
    Section {
        title: "SEE ALSO",
        body: &[Para::Text(
            "fsck-orphans(8), ext4-debug(8), ext4-mkfs(8), dio-write(8), fsck(8), e2fsck(8)",
        )],
    },
];
