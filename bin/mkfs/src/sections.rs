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
                "ext4-mkfs makes a filesystem that equals in geometry and features the one mke2fs \
                 of e2fsprogs 1.47 makes with the same options, under the same option letters. An \
                 image file is made, or grown, when --size asks for more than there is.",
            ),
            Para::Text(
                "With -d it has the files of a directory or an archive from the start, with a \
                 manifest also such that only root could make: see FILES and MANIFEST. --size min \
                 and --free choose the size that goes with them.",
            ),
            Para::Text(
                "The same options, size and files give the same bytes on every machine: uuid and \
                 hash seed follow from them unless given, all times are SOURCE_DATE_EPOCH or 0 \
                 unless --time says otherwise, and no configuration file is read. --random draws \
                 uuid and hash seed as mke2fs does.",
            ),
            Para::Text(
                "Everything is planned before the first write, and -n shows the plan: geometry, \
                 features, and where each structure lies. The superblock is written last; what an \
                 interrupted run leaves is no filesystem. An image file that this run has made is \
                 removed again when the run fails or is stopped.",
            ),
            Para::Text(
                "A target that is mounted or in use is refused, also with -F. One that holds a \
                 filesystem or a partition table is refused with its name unless -F is given.",
            ),
            Para::Text(
                "Differences from mke2fs: the kind is ext4 unless -t says otherwise; the journal \
                 is one run of blocks wherever there is one, and so may lie elsewhere; reserved \
                 blocks are the percentage asked for also where groups had to shrink for many \
                 inodes; inode tables are zeroed on image files, where holes cost nothing, and left \
                 to the kernel on block devices. Of mke2fs's options -c, -D and -z are refused: they \
                 would leave nothing on disk.",
            ),
        ],
    },
    Section {
        title: "FEATURES",
        body: &[
            Para::Text(
                "-O takes names separated by commas: has_journal, ext_attr, resize_inode, \
                 dir_index, sparse_super2, fast_commit, stable_inodes, orphan_file, filetype, \
                 journal_dev, meta_bg, extent, 64bit, mmp, flex_bg, ea_inode, metadata_csum_seed, \
                 large_dir, inline_data, encrypt, casefold, sparse_super, large_file, huge_file, \
                 uninit_bg, dir_nlink, extra_isize, quota, bigalloc, metadata_csum, project, \
                 verity; none turns everything before it off. A feature that needs another one is \
                 refused without it, in one line. ext4(5) says what each is.",
            ),
            Para::Text(
                "With journal_dev no filesystem is made but a journal for others, which then name \
                 it with -J device=.",
            ),
        ],
    },
    Section {
        title: "EXTENDED OPTIONS",
        body: &[
            Para::Text("-E takes these, separated by commas:"),
            Para::Item("stride=BLOCKS, stripe_width=BLOCKS", "The shape of a RAID below."),
            Para::Item("offset=BYTES", "Where the filesystem starts; the same as IMAGE@BYTES."),
            Para::Item("resize=BLOCKS", "Room for descriptors to grow online to that size."),
            Para::Item("num_backup_sb=0|1|2", "Copies of the superblock, with sparse_super2."),
            Para::Item("packed_meta_blocks[=0|1]", "All tables at the start, with flex_bg."),
            Para::Item(
                "lazy_itable_init[=0|1]",
                "Leave unused inode tables to the kernel. The default is 0 for image files and 1 \
                 for block devices.",
            ),
            Para::Item("lazy_journal_init[=0|1]", "Do not zero the journal."),
            Para::Item(
                "discard, nodiscard",
                "Give the whole range back to the host first, or not. Where it then reads as \
                 zeros, none are written.",
            ),
            Para::Item("assume_storage_prezeroed[=0|1]", "The range reads as zeros already."),
            Para::Item(
                "root_owner=UID:GID, root_perms=OCTAL, root_selinux=LABEL",
                "Of the root directory, whatever SOURCE and the manifest say of it.",
            ),
            Para::Item("no_copy_xattrs[=0|1]", "Leave out extended attributes of SOURCE."),
            Para::Item(
                "hash_seed=UUID, hash_alg=legacy|half_md4|tea",
                "The seed of directory hashes, and which hash.",
            ),
            Para::Item("desc_size=BYTES", "Of a group descriptor, with 64bit: 64 to 1024."),
            Para::Item("revision=0|1", "The same as -r."),
            Para::Item("quotatype=usrquota:grpquota:prjquota", "Whose quota, with quota."),
            Para::Item("encoding=utf8, encoding_flags=strict", "Of names, with casefold."),
            Para::Item("mmp_update_interval=SECONDS", "With mmp."),
            Para::Item("orphan_file_size=BYTES", "With orphan_file; 512 blocks at the most."),
            Para::Item("test_fs", "Marks the filesystem as one to test with."),
        ],
    },
    Section {
        title: "FILES",
        body: &[
            Para::Text(
                "-d takes a directory, or a tar archive in any of its forms (ustar, GNU, PAX), also \
                 through gzip, xz, lzip or zstd, known by its first bytes; `-` is an archive on \
                 standard input. One that is compressed or comes through a pipe is unpacked beside \
                 the image, or in TMPDIR, into a file without a name.",
            ),
            Para::Text(
                "An entry of an archive means what it means to tar -x: a later one replaces an earlier \
                 one, a leading slash is dropped. Paths with `..` or through a symbolic link are \
                 refused, and so is an archive without its end mark. Access control lists that \
                 GNU tar writes have names instead of numbers: those of owners of files are taken from \
                 the archive, others need --names, such as `--names /etc`; bsdtar writes numbers.",
            ),
            Para::Text(
                "Kept are owner, group, permissions, modification time to the nanosecond, extended \
                 attributes and ACLs, hard links, holes and device numbers. Access and change time \
                 are the modification time. With --time or SOURCE_DATE_EPOCH none is later than \
                 that. What lies below a mount point goes in too, unless -x is given.",
            ),
            Para::Text(
                "A directory named lost+found at the top is the filesystem's own. Inodes are as many \
                 as there have to be, and more where the size gives more; -N and -i count as they \
                 are. A name that no filesystem can hold, a path that leaves the tree, and an image \
                 that lies in its own source are refused by name.",
            ),
            Para::Text(
                "Files are read once, while they are copied. One that changes length meanwhile ends \
                 the run.",
            ),
        ],
    },
    Section {
        title: "MANIFEST",
        body: &[
            Para::Text(
                "--manifest takes a file in the form of mtree(5), which BSD's mtree and `bsdtar \
                 --format=mtree` write. Each line has a path and keywords. What is not there is \
                 made, with the directories on the way to it; what is there, from -d or an earlier \
                 line, is changed. Paths are whole when they have a slash (./etc/passwd); otherwise \
                 they are names in the directory of the last line with type=dir and no slash, until \
                 a line `..` leaves it. Blanks and other odd bytes are \\040. In a path *, ? and [a-z] \
                 match within a name and ** any number of directories; with a pattern, type= \
                 chooses among what it matches. /set gives keywords to all lines that follow, /unset \
                 takes them back.",
            ),
            Para::Item("type=file|dir|link|char|block|fifo|socket", "What it is."),
            Para::Item(
                "mode=OCTAL, uid=N, gid=N",
                "Permissions, owner and group. A symbolic link always has 777.",
            ),
            Para::Item(
                "time=SECONDS.NANOSECONDS",
                "When it changed. Behind the point is a number, as in mtree: 1.5 is five \
                 nanoseconds after one second.",
            ),
            Para::Item(
                "contents=PATH",
                "A file of this machine with its contents; a path that is not absolute starts \
                 beside the manifest.",
            ),
            Para::Item("size=BYTES", "Checked against the contents."),
            Para::Item("link=TARGET", "Of a symbolic link."),
            Para::Item(
                "device=MAJOR,MINOR",
                "Also as native,MAJOR,MINOR, linux,MAJOR,MINOR or one number.",
            ),
            Para::Item("hardlink=PATH", "One more name of a file that is there."),
            Para::Item(
                "xattr.NAME=VALUE",
                "An extended attribute: text, hexadecimal behind 0x or base64 behind 0s, as \
                 getfattr(1) writes them.",
            ),
            Para::Item("selinux=LABEL", "The attribute security.selinux."),
            Para::Item(
                "acl=ENTRIES, default-acl=ENTRIES",
                "Access control lists: u::rwx,u:1000:r--,g::r-x,m::r-x,o::---.",
            ),
            Para::Item("no-xattrs", "Without the attributes it has from -d."),
            Para::Item("remove", "Not there, with everything below."),
            Para::Item("optional", "Says nothing when nothing is there."),
            Para::Item("nochange", "Only says that it is there."),
            Para::Text(
                "uname and gname are not looked up, and refused unless uid and gid stand beside \
                 them; flags only as none. nlink, inode, resdevice, tags, ignore and checksums are \
                 passed over. Any other keyword is refused with its line.",
            ),
        ],
    },
    Section {
        title: "RESCUE",
        body: &[Para::Text(
            "-S writes superblocks and group descriptors where a filesystem with these options and \
             this size has them, and nothing else. Where the old filesystem was made with the same \
             ones, e2fsck then finds its files; where it was not, this does the rest of the damage. \
             With metadata_csum the uuid must be the old one (-U): every checksum is made with it. \
             -F is needed where a superblock is left.",
        )],
    },
    Section {
        title: "USAGE TYPES",
        body: &[Para::Text(
            "Without -T the size chooses: floppy below 3 MiB, small below 512 MiB (both with \
             blocks of 1 KiB), default, big from 4 TiB, huge from 16 TiB. -T also takes news, \
             largefile and largefile4.",
        )],
    },
    Section {
        title: "EXIT STATUS",
        body: &[
            Para::Code(Exit::OK, "The filesystem was made, or the plan shown."),
            Para::Code(
                Exit::OPERATIONAL,
                "It could not be done: too small, in use, something is there already, a device \
                 error.",
            ),
            Para::Code(
                Exit::USAGE,
                "Wrong usage: options that contradict each other or the format. Nothing was \
                 written.",
            ),
            Para::Code(
                Exit::CANCELLED,
                "Stopped by a signal. An image that this run has made is gone again; of another, \
                 what is left is no filesystem.",
            ),
        ],
    },
    Section {
        title: "ENVIRONMENT",
        body: &[
            Para::Item(
                "SOURCE_DATE_EPOCH",
                "Seconds since 1970 for all times in the filesystem, when --time is not given.",
            ),
            Para::Item("TMPDIR", "Where archives are unpacked to, instead of beside the image."),
            Para::Item("NO_COLOR", "When set and not empty, no color is used."),
        ],
    },
    Section {
        title: "EXAMPLES",
        body: &[
            Para::Example(
                "ext4-mkfs --size 2G disk.img",
                "Makes an image file of 2 GiB, which takes a few MiB of space.",
            ),
            Para::Example(
                "ext4-mkfs -d rootfs/ --free 200M --owner 0:0 disk.img",
                "Makes an image of a directory that leaves 200 MiB to its users.",
            ),
            Para::Example(
                "docker export web | ext4-mkfs -d - --size min web.img",
                "Makes the smallest image that holds a container's files.",
            ),
            Para::Example(
                "ext4-mkfs -d rootfs.tar.zst --manifest devices.mtree --size 1G disk.img",
                "Adds to an archive what a manifest says: device nodes, owners, labels. Nobody needs \
                 to be root for that.",
            ),
            Para::Example(
                "ext4-mkfs -n --json --size 8T disk.img > plan.json",
                "Shows where everything would lie.",
            ),
            Para::Example(
                "ext4-mkfs -t ext4 -O ^has_journal,inline_data -L data -U random /dev/sdb1",
                "Makes one on a partition, with options as for mke2fs.",
            ),
            Para::Example(
                "ext4-mkfs --compat grub-2.06 --compat kernel-4.19 'disk.img#2'",
                "Makes one in the second partition of an image that these two can read.",
            ),
            Para::Example(
                "ext4-mkfs -O journal_dev -b 4096 --size 128M log.img && ext4-mkfs -J \
                 device=log.img --size 1G disk.img",
                "Makes a journal on a device of its own, and a filesystem that uses it.",
            ),
        ],
    },
    Section {
        title: "SEE ALSO",
        body: &[Para::Text(
            "dio-write(8), ext4-debug(8), fsck-orphans(8), ext4(5), mke2fs(8), dumpe2fs(8), \
             mtree(5), tar(1)",
        )],
    },
];
