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
                "dio-write writes a file inside an ext4 image or block device that is not \
                 mounted, without the kernel's filesystem: extents, bitmaps, sizes and the \
                 journal are handled by the program itself, in the order the kernel's direct IO \
                 path uses. A file that does not exist is created; its folder must exist.",
            ),
            Para::Text(
                "Opening the image is what a mount would be: a journal that needs recovery is \
                 replayed and orphans are cleaned first. The image is refused while it is \
                 mounted, behind a loop device, or open for writing elsewhere.",
            ),
            Para::Text(
                "Data goes to its place first, the metadata that makes it visible into the \
                 journal after that. A write that extends the file puts the inode on the orphan \
                 list before the first block is allocated, so that after a crash the file has its \
                 old size or the new one and no block is lost. When the program exits with 0, \
                 everything is on stable storage and the journal is empty.",
            ),
            Para::Text(
                "An image without a journal is written too, but then a crash in the middle may \
                 leave it inconsistent, as under the kernel; ext4-fsck(8) repairs it.",
            ),
            Para::Text(
                "SIGINT, SIGTERM and SIGHUP end the run after the transaction at hand, with the \
                 file's size telling what was written; a second signal ends it at once, which \
                 costs no more than a crash would.",
            ),
        ],
    },
    Section {
        title: "JOB FILES",
        body: &[
            Para::Text(
                "--script FILE runs operations on one open filesystem, one a line. A label in \
                 front, such as a:, says who does it: with --seed each label is a thread, and a \
                 generator chooses which of them does its next step; without, lines are done one \
                 after the other. A line without a label is done alone, after all before it and \
                 before all that follow; but what has to wait for somebody lets the next lines \
                 begin. What is written says of each 32 bytes which line wrote them, and where.",
            ),
            Para::Text(
                "Sizes are bytes, with k, M and G for powers of 1024. From # on a line is a \
                 comment. OFFSET may be the word append.",
            ),
            Para::Item("create PATH [MODE], open PATH", "Makes a file; or asks that it is there."),
            Para::Item(
                "direct PATH OFFSET LENGTH [nowait] [dsync|sync] [relaxed] [depth N] [chunk SIZE]",
                "A direct write, as strict about alignment as the kernel unless relaxed.",
            ),
            Para::Item(
                "submit PATH OFFSET LENGTH ..., wait",
                "An asynchronous one with the same options, and taking all completions.",
            ),
            Para::Item(
                "buffered PATH OFFSET LENGTH [dsync|sync]",
                "A write into the page cache, with delayed allocation.",
            ),
            Para::Item(
                "writeback PATH [OFFSET LENGTH]",
                "Writes dirty pages and allocates their blocks; nothing becomes durable.",
            ),
            Para::Item(
                "fsync PATH, fdatasync PATH, sync, commit",
                "Makes a file durable, or everything; or only commits the running transaction.",
            ),
            Para::Item(
                "truncate PATH SIZE, fallocate PATH OFFSET LENGTH [keep-size], \
                 punch PATH OFFSET LENGTH",
                "Sets the size, preallocates, makes a hole.",
            ),
            Para::Item(
                "chmod PATH MODE, unlink PATH [open], close PATH",
                "Changes the inode; removes the name. A file unlinked open is there until close.",
            ),
            Para::Item(
                "read PATH OFFSET LENGTH [is zeros|is line N|is NAME], size PATH",
                "Reads and compares; NAME is what a write with as NAME wrote. Asks for i_size.",
            ),
            Para::Item(
                "... until STEP, finish",
                "Stops the operation after its next step of this kind (mapped, submitted, \
                 drained, blocked ...; a wrong one is answered with the list), and goes on with \
                 the label's operation that is stopped. What is still stopped at the end of the \
                 script is finished there.",
            ),
            Para::Item(
                "... expect ERRNO|N|any",
                "The operation must fail so, end with this number of bytes, or may end anyhow. One \
                 that fails unexpectedly ends the run.",
            ),
            Para::Item(
                "crash",
                "The power goes: what the device has taken stays. Lines behind it see the image \
                 recovered; at the end of the script it stays as the power cut left it.",
            ),
        ],
    },
    Section {
        title: "EXIT STATUS",
        body: &[
            Para::Code(Exit::OK, "Written and durable."),
            Para::Code(
                Exit::UNCORRECTED,
                "The image is damaged. What was found is printed; no repair is tried.",
            ),
            Para::Code(
                Exit::OPERATIONAL,
                "It could not be done: not ext4, a feature that is not supported, no such path, \
                 no space, in use, read-only, a device error; or a script's operation did not \
                 end as expected.",
            ),
            Para::Code(Exit::USAGE, "Wrong usage; nothing was opened."),
            Para::Code(
                Exit::CANCELLED,
                "Stopped by a signal; the image is consistent. (With --script a signal ends the \
                 program at once, as a crash would.)",
            ),
        ],
    },
    Section {
        title: "ENVIRONMENT",
        body: &[
            Para::Item(
                "SOURCE_DATE_EPOCH",
                "Seconds since 1970 to use for all times instead of the clock: the same input \
                 then gives the same image.",
            ),
            Para::Item("NO_COLOR", "When set and not empty, no color is used."),
        ],
    },
    Section {
        title: "EXAMPLES",
        body: &[
            Para::Example(
                "dio-write disk.img:/var/lib/db.bin --offset 1M < data",
                "Overwrites or extends an existing file at 1 MiB.",
            ),
            Para::Example(
                "dio-write disk.img:/new.bin --input big.iso --progress",
                "Creates a file from another one, with a progress bar.",
            ),
            Para::Example(
                "dio-write 'disk.img#2:/etc/hostname' --truncate --input hostname",
                "Replaces a file in the second partition of a disk image.",
            ),
            Para::Example(
                "dio-write disk.img@1M:/log --append --dry-run < line",
                "Shows how a write at the end would go, in a filesystem that starts at 1 MiB.",
            ),
            Para::Example(
                "dio-write disk.img --script race.job --seed 7 --trace",
                "Runs the operations of a job file, interleaved by a seed, and shows each step.",
            ),
            Para::Example("dio-write --tour", "Shows a power cut and the recovery after it."),
        ],
    },
    Section {
        title: "SEE ALSO",
        body: &[Para::Text(
            "fsck-orphans(8), ext4-fsck(8), ext4-debug(8), ext4(5), e2fsck(8), debugfs(8), open(2)",
        )],
    },
];
