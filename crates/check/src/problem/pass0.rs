//! Problems of pass 0: superblock, descriptors, journal, MMP and orphans.

super::problems! {
    Zero;
    BLOCK_BITMAP_PLACE: "block-bitmap-place", Some(0x00_0001), Critical, Stop,
        "a group's block bitmap is not where it may be", "give it a new place",
        "The descriptor of a group says that its block bitmap lies outside of the group, or, with \
         flex_bg, outside of the filesystem. The bitmap gets a free block; what it says is worked \
         out again, so nothing is lost.";
    INODE_BITMAP_PLACE: "inode-bitmap-place", Some(0x00_0002), Critical, Stop,
        "a group's inode bitmap is not where it may be", "give it a new place",
        "The descriptor of a group says that its inode bitmap lies outside of the group, or, with \
         flex_bg, outside of the filesystem. The bitmap gets a free block; what it says is worked \
         out again, so nothing is lost.";
    INODE_TABLE_PLACE: "inode-table-place", Some(0x00_0003), Critical, Stop,
        "a group's inode table is not where it may be", "give it a new place",
        "The descriptor of a group says that its inode table lies outside of the group, or, with \
         flex_bg, outside of the filesystem, or that of the first group where there is no inode, and \
         no copy of the descriptor knows better. The table is looked for beside others and by its \
         root; where there is none, it gets free blocks and begins empty: the files of the group are \
         lost. A superblock copy (-b) may have better descriptors.";
    SUPERBLOCK_DAMAGED: "superblock-damaged", Some(0x00_0004), Critical, Stop,
        "the superblock is damaged", "use a copy of it",
        "The superblock cannot be believed: it is none, a field is impossible, or its checksum is \
         wrong. One of the copies that a filesystem has in several groups takes its place, with \
         the counts and times worked out again.";
    SUPERBLOCK_BIT: "superblock-bit", None, Critical, Stop,
        "one bit of the superblock is wrong", "set it right",
        "With this bit the other way the checksum is right and all fields make sense.";
    SUPERBLOCK_CHECKSUM: "superblock-checksum", None, Critical, Stop,
        "the superblock's checksum is wrong", "renew it",
        "All fields make sense, and agree with a copy of the superblock if there is one.";
    DEVICE_TOO_SHORT: "device-too-short", Some(0x00_0005), Critical, Stop,
        "the filesystem is larger than its device", "stop here and change nothing",
        "The superblock counts more blocks than the device has. The image was cut off, or the \
         partition shrunk: make it as long as it was, then check again. Going on removes all that \
         lay behind the end.";
    FRAGMENT_SIZE: "fragment-size", Some(0x00_0006), Critical, Stop,
        "the size of fragments is not that of blocks", "set it to the size of blocks",
        "Without bigalloc the field of the cluster size is that of fragments, which never came to \
         be: the kernel does not mount a filesystem where the two sizes differ.";
    GROUP_SIZE: "group-size", Some(0x00_0007), Critical, Stop,
        "clusters per group do not match blocks per group", "set them to match",
        "A group has as many clusters as its blocks divided by the blocks of a cluster. The field \
         that does not fit is worked out again from the other.";
    FIRST_DATA_BLOCK: "first-data-block", Some(0x00_0008), Critical, Stop,
        "the first data block does not fit the block size", "set it",
        "The first group begins at block 1 with blocks of 1 KiB, and at block 0 with larger ones.";
    NO_UUID: "no-uuid", Some(0x00_0009), Note, Fix,
        "the filesystem has no uuid", "give it one",
        "Programs tell filesystems apart by their uuid. One is made from what the superblock holds \
         and the time.";
    SUPERBLOCK_FIELD: "superblock-field", Some(0x00_000B), Critical, Stop,
        "a field of the superblock has an impossible value", "set it to what it can be",
        "The field is set to its value in a copy of the superblock, or to the one that fits the \
         other fields.";
    INODES_COUNT: "inodes-count", Some(0x00_000D), Critical, Stop,
        "the count of inodes is not groups times inodes per group", "set it",
        "Every group has the same number of inodes, so that their count follows from the others.";
    HURD_FILETYPE: "hurd-filetype", Some(0x00_000E), Accounting, Stop,
        "a filesystem of the Hurd has types in its directories", "take the feature away",
        "The Hurd does not know the feature filetype. The directories' entries lose their types.";
    JOURNAL_INODE: "journal-inode", Some(0x00_000F), Critical, Fix,
        "the journal's inode is not usable", "remove the journal, and make a new one at the end",
        "The inode is no regular file, too short, or a block of its map is outside of the \
         filesystem or missing. What the journal held is lost, which the check makes good.";
    JOURNAL_SHARED: "journal-shared", Some(0x00_0010), Critical, Stop,
        "the external journal is used by several filesystems", "",
        "A journal that several filesystems share is not supported by any program.";
    JOURNAL_DEVICE_SUPERBLOCK: "journal-device-superblock", Some(0x00_0012), Critical, Stop,
        "the superblock of the external journal is damaged", "",
        "What is on the device given for the journal is none, or its blocks are of another size. \
         Nothing is done without the right one: it may hold what is not yet in the filesystem.";
    JOURNAL_DEVICE_UUID: "journal-device-uuid", Some(0x00_0013), Critical, Stop,
        "the external journal does not belong to this filesystem", "",
        "The journal that the superblock asks for has another uuid. Nothing is done without the \
         right one: it may hold what is not yet in the filesystem.";
    JOURNAL_SUPERBLOCK: "journal-superblock", Some(0x00_0015), Critical, Fix,
        "the journal's superblock is damaged", "begin an empty journal",
        "A field is impossible or the checksum is wrong. What the journal held is lost, which the \
         check makes good.";
    JOURNAL_WITHOUT_FEATURE: "journal-without-feature", Some(0x00_0016), Accounting, Fix,
        "the superblock names a journal, but the feature has_journal is off", "forget the journal",
        "The fields of the journal are cleared; its inode, when reserved, is cleared too.";
    RECOVERY_WITHOUT_JOURNAL: "recovery-without-journal", Some(0x00_0017), Accounting, Fix,
        "needs_recovery is set, but there is no journal", "clear it",
        "There is nothing to replay.";
    JOURNAL_NOT_EMPTY: "journal-not-empty", Some(0x00_0018), Damage, Stop,
        "the journal holds data, but needs_recovery is not set", "empty the journal",
        "The kernel does not replay such a journal but throws away what it holds, and so does \
         this: the data may be older than what is in place.";
    REVISION: "revision", Some(0x00_001A), Accounting, Fix,
        "features are set on a filesystem of revision 0", "make it revision 1",
        "Many programs look at features only from revision 1 on.";
    ORPHAN_ILLEGAL_BLOCK: "orphan-illegal-block", Some(0x00_0021), Damage, Stop,
        "an inode of the orphan list maps a block outside of the filesystem", "",
        "The list is not worked off; the inodes are checked like all others.";
    ORPHAN_FREE_BLOCK: "orphan-free-block", Some(0x00_0022), Damage, Stop,
        "an inode of the orphan list maps a block that is free", "",
        "The list is not worked off; the inodes are checked like all others.";
    ORPHAN_HEAD: "orphan-head", Some(0x00_0023), Damage, Fix,
        "the head of the orphan list is no inode that may be on it", "drop the list",
        "The list holds inodes that were deleted or cut while in use. The inodes are checked like \
         all others: one without a name goes to lost+found or is removed.";
    ORPHAN_CHAIN: "orphan-chain", Some(0x00_0024), Damage, Fix,
        "the orphan list leads to what is no inode that may be on it", "drop the list",
        "The list holds inodes that were deleted or cut while in use. The inodes are checked like \
         all others: one without a name goes to lost+found or is removed.";
    ORPHANS_LEFT: "orphans-left", None, Accounting, Fix,
        "the orphan list holds inodes", "drop the list",
        "The inodes were deleted or cut while in use, and could not be finished. They are checked \
         like all others: one without a name is removed.";
    JOURNAL_UNKNOWN_RO: "journal-unknown-ro-feature", Some(0x00_0025), Critical, Stop,
        "the journal has read-only features that are not known", "stop here and change nothing",
        "What they change in the journal cannot be judged. Going on makes an empty journal of it.";
    JOURNAL_UNKNOWN_INCOMPAT: "journal-unknown-feature", Some(0x00_0026), Critical, Stop,
        "the journal has features that are not known", "stop here and change nothing",
        "What they change in the journal cannot be judged. Going on makes an empty journal of it.";
    JOURNAL_VERSION: "journal-version", Some(0x00_0027), Critical, Stop,
        "the journal's superblock is of a type that is not known", "stop here and change nothing",
        "The magic is right, so that this may be a format of the future. Going on makes an empty \
         journal of it.";
    JOURNAL_NEWER_EMPTY: "journal-newer-empty", None, Damage, Stop,
        "an empty journal has features or a type that are not known", "begin it anew",
        "It holds nothing that a newer program would have to bring home: what goes is that the journal \
         was to be written in another way. tune2fs can set it again.";
    JOURNAL_VISIBLE: "journal-visible", Some(0x00_0028), Accounting, Fix,
        "the journal is an ordinary file", "move it to the inode reserved for it",
        "A journal that tune2fs made on a mounted filesystem begins as a file with a name, which \
         could be removed. Its name goes.";
    JOURNAL_V2_FIELDS: "journal-v2-fields", Some(0x00_002A), Accounting, Fix,
        "a journal superblock of version 1 has fields of version 2", "clear them",
        "The fields were left by something else that had the block before.";
    JOURNAL_USERS: "journal-users", None, Accounting, Fix,
        "the journal counts other users than its filesystem", "set the count to 1",
        "A journal belongs to one filesystem. The kernel does not open one that says otherwise.";
    JOURNAL_RUN_DEFAULT: "journal-of-a-copy", Some(0x00_002C), Note, Fix,
        "the superblock copy in use does not tell that the journal holds data", "",
        "Copies are not told when a filesystem is mounted. What the journal holds is replayed all the same.";
    JOURNAL_BACKUP: "journal-backup", Some(0x00_002D), Note, Fix,
        "the superblock's copy of the journal's map is not up to date", "copy the map",
        "The superblock keeps a copy of the journal inode's map, with which the journal is found \
         when its inode is damaged.";
    JOURNAL_MAP_LOST: "journal-map-lost", None, Critical, Fix,
        "the journal's inode is damaged, but the superblock has a copy of its map", "restore it",
        "The superblock keeps a copy of the journal inode's map, which leads to a journal that is \
         whole.";
    JOURNAL_REPLAY: "journal-replay", None, Note, Fix,
        "the journal has to be replayed", "replay it",
        "The filesystem was not unmounted. What was written to the journal is put in place.";
    JOURNAL_ERRNO: "journal-errno", None, Note, Fix,
        "the journal has recorded an error", "clear it",
        "The kernel met an error and stopped writing. The check makes good what it was about.";
    RESERVED_GDT: "reserved-gdt", Some(0x00_002E), Accounting, Stop,
        "descriptor blocks are reserved without the feature resize_inode", "set them to zero",
        "The reserve belongs to the resize inode.";
    RESIZE_INODE_IN_USE: "resize-inode-in-use", Some(0x00_002F), Accounting, Stop,
        "the resize inode maps blocks without the feature resize_inode", "clear it",
        "The inode is reserved and must be empty; its blocks become free.";
    RESIZE_INODE: "resize-inode", Some(0x00_0030), Accounting, Stop,
        "the resize inode is not as it must be", "make it anew",
        "It lists the blocks reserved for more descriptors and their copies, all of which follow \
         from the superblock.";
    RESIZE_INODE_LATE: "resize-inode-late", None, Note, Fix,
        "the resize inode lists other copies than there are", "make it anew",
        "It lists the blocks reserved for more descriptors and their copies. Only growing the filesystem \
         while it is mounted uses these lists, and would be refused; e2fsck looks at a quarter of them.";
    FUTURE_MOUNT: "future-mount-time", Some(0x00_0031), Accounting, Fix,
        "the last mount is in the future", "set it to now",
        "The clock of this computer or of the one that mounted it was wrong.";
    FUTURE_WRITE: "future-write-time", Some(0x00_0032), Accounting, Fix,
        "the last write is in the future", "set it to now",
        "The clock of this computer or of the one that wrote it was wrong.";
    JOURNAL_DEVICE_HINT: "journal-device-hint", Some(0x00_0033), Accounting, Fix,
        "the number of the external journal's device is out of date", "set it",
        "The number is a hint for the kernel; the journal is known by its uuid.";
    DIR_HASH_HINT: "dir-hash-hint", Some(0x00_0034), Note, Fix,
        "it is not recorded whether directory hashes take bytes as signed", "record it",
        "Old programs left it out, and hashed with the bytes of the computer they ran on: signed.";
    DESCRIPTOR_CHECKSUM: "descriptor-checksum", Some(0x00_0035), Accounting, Fix,
        "a group descriptor's checksum is wrong", "renew it",
        "The fields of the descriptor are checked one by one; flags that say that something was \
         never used are taken away, as they cannot be believed.";
    DESCRIPTOR_COPY: "descriptor-copy", None, Critical, Stop,
        "a group descriptor is damaged", "take what its copy says",
        "The places of bitmaps and table are not possible, or the checksum is wrong, or there are no \
         inodes; and a copy of the descriptor, which is sound, names other places. The places never \
         change in a filesystem's life but when it is resized.";
    DESCRIPTOR_UNINIT: "descriptor-uninit", Some(0x00_0036), Accounting, Fix,
        "a group is marked as not initialised without the feature for it", "clear the marks",
        "The marks mean something only where descriptors have checksums.";
    ITABLE_UNUSED: "itable-unused", Some(0x00_0038), Accounting, Fix,
        "a group has more never used inodes than free ones", "set the never used ones to none",
        "The count only saves time; all inodes of the group are looked at instead.";
    LAST_GROUP_UNINIT: "last-group-uninit", Some(0x00_0039), Accounting, Fix,
        "the last group's block bitmap is marked as not initialised", "clear the mark",
        "The last group may be short, and its bitmap must say so.";
    JOURNAL_TRANSACTION: "journal-transaction", Some(0x00_003A), Damage, Fix,
        "a transaction in the journal is damaged", "empty the journal",
        "What came before it is in place; it and what followed are lost, which the check makes \
         good.";
    TEST_FILESYSTEM: "test-filesystem", Some(0x00_003B), Note, Fix,
        "the filesystem is marked for ext4 under development", "clear the mark",
        "The mark asks for a kernel of before 2008.";
    FUTURE_MOUNT_SLIGHTLY: "future-mount-time-slightly", Some(0x00_003C), Note, Fix,
        "the last mount is less than a day in the future", "set it to now",
        "The clock was probably set to the wrong time zone while booting.";
    FUTURE_WRITE_SLIGHTLY: "future-write-time-slightly", Some(0x00_003D), Note, Fix,
        "the last write is less than a day in the future", "set it to now",
        "The clock was probably set to the wrong time zone while booting.";
    QUOTA_VISIBLE: "quota-visible", Some(0x00_0041), Accounting, Fix,
        "a quota file is an ordinary file", "move it to the inode reserved for it",
        "Quota that was kept in a file with a name, before the filesystem did it by itself. Its \
         name goes.";
    MMP_BLOCK: "mmp-block", Some(0x00_0042), Accounting, Fix,
        "the MMP block is not inside the filesystem", "give it a new place",
        "The block says which computer has the filesystem mounted.";
    MMP_MAGIC: "mmp-magic", Some(0x00_0043), Accounting, Fix,
        "the MMP block is none", "make it anew",
        "The block says which computer has the filesystem mounted; anew it says that none has.";
    BOTH_CHECKSUMS: "both-checksums", Some(0x00_0046), Accounting, Fix,
        "both metadata_csum and uninit_bg are set", "take uninit_bg away",
        "metadata_csum is the newer of the two and contains the older.";
    MMP_CHECKSUM: "mmp-checksum", Some(0x00_0047), Accounting, Fix,
        "the MMP block's checksum is wrong", "make it anew",
        "The block says which computer has the filesystem mounted; anew it says that none has.";
    BIT64_WITHOUT_EXTENTS: "64bit-without-extents", Some(0x00_0048), Accounting, Fix,
        "64bit is set without extents", "set extents",
        "Only extents can name all blocks of a large filesystem.";
    FIRST_META_BG: "first-meta-bg", Some(0x00_0049), Critical, Stop,
        "the first meta group is beyond the descriptors", "set it to none",
        "Where the descriptors lie follows from this field.";
    JOURNAL_DEVICE_CHECKSUM: "journal-device-checksum", Some(0x00_004A), Accounting, Fix,
        "the checksum of the external journal's superblock is wrong", "correct it",
        "All that is needed of it is the uuid, which is compared. What the journal holds has \
         checksums of its own.";
    CSUM_SEED_ALONE: "csum-seed-alone", Some(0x00_004B), Accounting, Fix,
        "metadata_csum_seed is set without metadata_csum", "take it away",
        "A seed of checksums is of no use without them.";
    MIN_EXTRA_ISIZE: "min-extra-isize", Some(0x00_004D), Accounting, Stop,
        "the extra size that all inodes have is impossible", "set it to 32",
        "The field tells how many bytes of each inode behind the first 128 are fields.";
    WANT_EXTRA_ISIZE: "want-extra-isize", Some(0x00_004E), Accounting, Stop,
        "the extra size of new inodes is impossible", "set it to 32",
        "The field tells how many bytes of a new inode behind the first 128 are fields.";
    QUOTA_INODE_NUMBER: "quota-inode-number", Some(0x00_004F), Accounting, Stop,
        "the superblock's number of a quota inode is none that can be", "set it to none",
        "The number is that of another special inode, or larger than all. Quota is made anew.";
    TOO_MANY_INODES: "too-many-inodes", Some(0x00_0050), Critical, Stop,
        "groups times inodes per group is more than an inode number can be", "",
        "A field of the superblock is damaged; a copy of it is used.";
    RESIZE_INODE_META_BG: "resize-inode-meta-bg", Some(0x00_0051), Accounting, Stop,
        "both resize_inode and meta_bg are set", "take resize_inode away",
        "With meta_bg descriptors grow in another way, and the resize inode lists nothing.";
    ORPHAN_FILE_HOLE: "orphan-file-hole", Some(0x00_0052), Damage, Fix,
        "the orphan file has a hole", "",
        "The file is not worked off, and is made anew at the end; its inodes are checked like all \
         others.";
    ORPHAN_FILE_MAGIC: "orphan-file-magic", Some(0x00_0053), Damage, Fix,
        "a block of the orphan file is none", "",
        "The file is not worked off, and is made anew at the end; its inodes are checked like all \
         others.";
    ORPHAN_FILE_CHECKSUM: "orphan-file-checksum", Some(0x00_0054), Damage, Fix,
        "the checksum of a block of the orphan file is wrong", "",
        "The file is not worked off, and is made anew at the end; its inodes are checked like all \
         others.";
    ORPHAN_FILE_SIZE: "orphan-file-size", Some(0x00_0055), Damage, Fix,
        "the size of the orphan file is no whole number of blocks", "",
        "The file is not worked off, and is made anew at the end; its inodes are checked like all \
         others.";
    COPIES_STALE: "superblock-copies", None, Note, Fix,
        "copies of the superblock are not up to date", "write them anew",
        "The copies serve when the first one is damaged, and must agree with it in what never \
         changes. They and the copies of the descriptors are written from the first ones.";
}
