//! Problems of pass 5: bitmaps and counts.

super::problems! {
    Five;
    INODE_PADDING: "inode-bitmap-padding", Some(0x05_0001), Accounting, Fix,
        "padding of the inode bitmap is not set", "set it",
        "The bits of an inode bitmap behind the last inode of the group stand for nothing and are \
         all set, so that nobody takes them for free inodes.";
    BLOCK_PADDING: "block-bitmap-padding", Some(0x05_0002), Accounting, Fix,
        "padding of the block bitmap is not set", "set it",
        "The bits of a block bitmap behind the last cluster of the group stand for nothing and are \
         all set, so that nobody takes them for free space.";
    BLOCK_MARKED_USED: "block-marked-used", Some(0x05_0004), Accounting, Fix,
        "block marked as used, but nothing uses it", "mark it free",
        "A bit of a block bitmap is set, but no file and no structure of the filesystem has the \
         block. The space is lost until the bit is cleared.";
    BLOCK_MARKED_FREE: "block-marked-free", Some(0x05_0005), Accounting, Fix,
        "block marked as free, but in use", "mark it used",
        "A bit of a block bitmap is clear, though a file or a structure of the filesystem has the \
         block. It would be given to the next file too.";
    INODE_MARKED_USED: "inode-marked-used", Some(0x05_0008), Accounting, Fix,
        "inode marked as used, but it is free", "mark it free",
        "A bit of an inode bitmap is set, but the inode is not in use. It is lost until the bit is \
         cleared.";
    INODE_MARKED_FREE: "inode-marked-free", Some(0x05_0009), Accounting, Fix,
        "inode marked as free, but in use", "mark it used",
        "A bit of an inode bitmap is clear, though the inode is in use. The next new file would \
         overwrite it.";
    GROUP_FREE_INODES: "group-free-inodes", Some(0x05_000B), Accounting, Fix,
        "count of the group's free inodes is wrong", "correct it",
        "The descriptor of a group counts its free inodes; the bitmap says otherwise.";
    GROUP_DIRECTORIES: "group-directories", Some(0x05_000C), Accounting, Fix,
        "count of the group's directories is wrong", "correct it",
        "The descriptor of a group counts the directories among its inodes; the inodes say \
         otherwise.";
    FREE_INODES: "free-inodes", Some(0x05_000D), Accounting, Fix,
        "count of free inodes is wrong", "correct it",
        "The superblock counts the free inodes of all groups; the groups say otherwise.";
    GROUP_FREE_BLOCKS: "group-free-blocks", Some(0x05_000E), Accounting, Fix,
        "count of the group's free clusters is wrong", "correct it",
        "The descriptor of a group counts its free clusters; the bitmap says otherwise.";
    FREE_BLOCKS: "free-blocks", Some(0x05_000F), Accounting, Fix,
        "count of free blocks is wrong", "correct it",
        "The superblock counts the free blocks of all groups; the groups say otherwise.";
    BLOCKS_MARKED_USED: "blocks-marked-used", Some(0x05_0014), Accounting, Fix,
        "blocks marked as used, but nothing uses them", "mark them free",
        "Bits of a block bitmap are set, but no file and no structure of the filesystem has the \
         blocks. The space is lost until the bits are cleared.";
    BLOCKS_MARKED_FREE: "blocks-marked-free", Some(0x05_0015), Accounting, Fix,
        "blocks marked as free, but in use", "mark them used",
        "Bits of a block bitmap are clear, though files or structures of the filesystem have the \
         blocks. They would be given to other files too.";
    INODES_MARKED_USED: "inodes-marked-used", Some(0x05_0016), Accounting, Fix,
        "inodes marked as used, but they are free", "mark them free",
        "Bits of an inode bitmap are set, but the inodes are not in use. They are lost until the \
         bits are cleared.";
    INODES_MARKED_FREE: "inodes-marked-free", Some(0x05_0017), Accounting, Fix,
        "inodes marked as free, but in use", "mark them used",
        "Bits of an inode bitmap are clear, though the inodes are in use. New files would overwrite \
         them.";
    BLOCK_UNINIT: "block-bitmap-uninit", Some(0x05_0018), Accounting, Fix,
        "the group's block bitmap is said to be unused, but blocks are in use", "write a bitmap",
        "The flag BLOCK_UNINIT says that nothing but the filesystem's own structures is in the \
         group. There is, so the flag goes, and the bitmap is written.";
    INODE_UNINIT: "inode-bitmap-uninit", Some(0x05_0019), Accounting, Fix,
        "the group's inode bitmap is said to be unused, but inodes are in use", "write a bitmap",
        "The flag INODE_UNINIT says that no inode of the group is in use. One is, so the flag goes, \
         and the bitmap is written.";
    INODE_BITMAP_CHECKSUM: "inode-bitmap-checksum", Some(0x05_001A), Accounting, Fix,
        "checksum of the inode bitmap is wrong", "renew it",
        "The checksum in the group's descriptor does not match the inode bitmap. The bitmap itself \
         is compared with the inodes.";
    BLOCK_BITMAP_CHECKSUM: "block-bitmap-checksum", Some(0x05_001B), Accounting, Fix,
        "checksum of the block bitmap is wrong", "renew it",
        "The checksum in the group's descriptor does not match the block bitmap. The bitmap itself \
         is compared with what files have.";
    TABLE_UNUSED: "inode-table-unused", None, Accounting, Fix,
        "inodes are in use where the table is said to be unused", "correct the count",
        "The descriptor of a group says how many inodes at the end of its table were never used; \
         whoever believes it does not read them. One of them is in use.";
}
