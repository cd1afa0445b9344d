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
                "An inode is named by its path from the root or by its number, in angle brackets as \
                 in debugfs(8) or without: addresses in messages can be typed as they are. In names and attributes, control characters and bytes that are \
                 not UTF-8 are shown as escapes.",
            ),
            Para::Text(
                "Damage does not stop it where something can still be shown: what is wrong is \
                 printed in its place, and the exit code says so.",
            ),
        ],
    },
    Section {
        title: "JSON",
        body: &[
            Para::Text(
                "With --json each question has one answer of a fixed form: an object, for ls an \
                 object a line. Fields of the disk have the kernel's names, times are [seconds, \
                 nanoseconds], bytes are in hexadecimal, a member that does not apply is null. A \
                 name that is no UTF-8 is escaped, and beside it NAME_hex has its bytes. What is \
                 damaged is told in the list damage (ls, manifest: the member error of the entry).",
            ),
            Para::Item(
                "super",
                "s_*: every field; features; blocks_count, r_blocks_count, \
                free_blocks_count: both halves together.",
            ),
            Para::Item(
                "groups",
                "groups: a list of group, first_block, last_block, has_super, \
                base_metadata [first, count], bg_*, flags, damage.",
            ),
            Para::Item(
                "inode",
                "ino, block and offset where it lies, group, in_use, i_*, type, \
                flags, format (extents, indirect, inline_data, fast_symlink, none) with depth, \
                nodes, runs, written_blocks and unwritten_blocks, rdev, target, xattrs.",
            ),
            Para::Item(
                "extents",
                "ino, i_size, i_blocks, format, and pieces: a list in the \
                order of the tree of kind node or indirect (depth, block, eh_depth, eh_entries, \
                eh_max, lblk), extent or run (depth, lblk, len, start, unwritten), and damage \
                (fault).",
            ),
            Para::Item(
                "ls",
                "name, ino, type, i_mode, i_links_count, i_uid, i_gid, i_size, \
                i_mtime, rdev of a device, target of a symlink; or error.",
            ),
            Para::Item("cat", "ino, i_size, hex."),
            Para::Item("stat", "st_*, type."),
            Para::Item(
                "dump",
                "files, folders, symlinks, bytes, left_out, and remarks: a list \
                of path, why.",
            ),
            Para::Item(
                "xattr",
                "ino, i_file_acl, xattrs: a list of name, e_name_index, place \
                (inode or block), block, e_value_inum, e_value_size, e_hash, value_hex.",
            ),
            Para::Item(
                "journal",
                "has_journal, needs_recovery, s_*; transactions: a list of tid, \
                log_block, log_blocks, descriptors, commit (log_block, sec, nsec, is_torn), \
                logged (log_block, block, kind, escaped, revoked), revokes; n_transactions, \
                end_tid, next_tid, head, log_end, revoked_blocks, finding_count; fast_commits, \
                fast_commit_records, fast_commit_end, fast_commit_ops; leftovers.",
            ),
            Para::Item(
                "orphans",
                "s_last_orphan, has_orphan_file, s_orphan_file_inum, \
                orphan_present; list and file: of ino, i_links_count, i_size, i_blocks, i_dtime, \
                fate (delete, truncate), in the file also block and slot.",
            ),
            Para::Item(
                "block",
                "block, kind, with what belongs to it, allocated, looks_like; \
                owners: a list of ino, kind, role, lblk, depth, unwritten; paths (--path): of \
                ino, path; hex (--hex).",
            ),
            Para::Item(
                "sizes",
                "ino, only_after_recovery; in_place, after_replay and \
                after_recovery: i_size, i_blocks, i_links_count, i_mode; logged: a list of the \
                same with tid, log_block, revoked; fast_commits.",
            ),
            Para::Item(
                "manifest",
                "entries: a list of path, type, ino, mode, uid, gid, nlink, \
                size, blocks, atime, mtime, ctime, crtime, rdev, flags, projid, sha256, target, \
                xattrs.",
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
