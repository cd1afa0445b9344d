//! Problems of pass 2: directories.

super::problems! {
    Two;
    DOT_INODE: "dot-inode", Some(0x02_0001), Damage, Stop,
        "`.` leads to another inode", "correct it",
        "The first name of a directory is `.` and leads to the directory itself.";
    BAD_INODE: "entry-inode", Some(0x02_0002), Damage, Stop,
        "name for an inode number that cannot be", "clear the name",
        "The number is above the last inode, or that of a reserved inode. What the name once was \
         for cannot be known; if the file is still there, it comes to lost+found.";
    UNUSED_INODE: "entry-unused-inode", Some(0x02_0003), Damage, Fix,
        "name for an inode that is not in use", "clear the name",
        "The file has been deleted, the name has not: what a crash without a journal leaves behind.";
    LINK_DOT: "entry-self", Some(0x02_0004), Damage, Stop,
        "name for the directory itself", "clear the name",
        "Besides `.` a directory has no name in itself: it would be its own parent.";
    LINK_DIRECTORY: "entry-second-parent", Some(0x02_0006), Damage, Stop,
        "second name for a directory", "clear the name",
        "A directory has one name; the one that was met first counts.";
    LINK_ROOT: "entry-root", Some(0x02_0007), Damage, Stop,
        "name for the root directory", "clear the name",
        "The root is in no directory.";
    BAD_NAME: "entry-name-bytes", Some(0x02_0008), Damage, Stop,
        "name with bytes that no name has", "put dots in their place",
        "A name has no `/` and no zero byte. They are replaced, the file stays.";
    MISSING_DOT: "dot-missing", Some(0x02_0009), Damage, Stop,
        "`.` is missing", "put it there",
        "The first entry of a directory is `.`; here it is empty.";
    MISSING_DOTDOT: "dotdot-missing", Some(0x02_000A), Damage, Stop,
        "`..` is missing", "put it there",
        "The second entry of a directory is `..`; here it is empty. It leads to the root until pass 3 \
         knows the parent.";
    FIRST_NOT_DOT: "first-not-dot", Some(0x02_000B), Damage, Stop,
        "the first entry is not `.`", "make it so",
        "The first entry of a directory is `.`. What stands there instead loses this name; the file \
         comes to lost+found if it has no other.";
    SECOND_NOT_DOTDOT: "second-not-dotdot", Some(0x02_000C), Damage, Stop,
        "the second entry is not `..`", "make it so",
        "The second entry of a directory is `..`. What stands there instead loses this name; the file \
         comes to lost+found if it has no other.";
    FADDR: "inode-faddr", Some(0x02_000D), Damage, Stop,
        "i_faddr is set", "clear it",
        "The address of a fragment, which no ext4 ever had.";
    FILE_ACL_REV0: "inode-file-acl", Some(0x02_000E), Damage, Stop,
        "i_file_acl is set on a filesystem without attributes", "clear it",
        "The feature ext_attr is off, so no inode has a block of attributes.";
    DIR_SIZE_HIGH: "directory-size-high", Some(0x02_000F), Damage, Stop,
        "the high half of a directory's size is set", "clear it",
        "Without the feature largedir a directory is below 4 GiB.";
    FRAG: "inode-frag", Some(0x02_0010), Damage, Stop,
        "the number of a fragment is set", "clear it",
        "No ext4 ever had fragments (seen on filesystems of the Hurd).";
    FSIZE: "inode-fsize", Some(0x02_0011), Damage, Stop,
        "the size of a fragment is set", "clear it",
        "No ext4 ever had fragments (seen on filesystems of the Hurd).";
    BAD_MODE: "inode-mode", Some(0x02_0012), Damage, Stop,
        "mode of no kind of file", "clear the inode",
        "The type in i_mode is none that exists, so nothing says what the inode holds.";
    CORRUPTED: "directory-corrupted", Some(0x02_0013), Damage, Stop,
        "directory block is damaged", "save what holds together",
        "The records of the block do not follow each other to its end. Names that hold together are \
         kept; files whose names were lost come to lost+found.";
    HOLE: "directory-hole", Some(0x02_0015), Damage, Stop,
        "directory has a block that is not mapped", "give it an empty one",
        "Each block of a directory up to its size is mapped.";
    DOT_TERM: "dot-termination", Some(0x02_0016), Damage, Stop,
        "`.` does not end in a zero byte", "end it",
        "The bytes behind `.` up to the next entry begin with zero.";
    DOTDOT_TERM: "dotdot-termination", Some(0x02_0017), Damage, Stop,
        "`..` does not end in a zero byte", "end it",
        "The bytes behind `..` up to the next entry begin with zero.";
    BAD_CHAR_DEVICE: "inode-char-device", Some(0x02_0018), Damage, Stop,
        "character device with contents", "clear the inode",
        "Of a device's i_block only the device number is set, and it has no size.";
    BAD_BLOCK_DEVICE: "inode-block-device", Some(0x02_0019), Damage, Stop,
        "block device with contents", "clear the inode",
        "Of a device's i_block only the device number is set, and it has no size.";
    DUPLICATE_DOT: "dot-duplicate", Some(0x02_001A), Damage, Stop,
        "second `.`", "clear it",
        "`.` is the first entry and nothing else.";
    DUPLICATE_DOTDOT: "dotdot-duplicate", Some(0x02_001B), Damage, Stop,
        "second `..`", "clear it",
        "`..` is the second entry and nothing else.";
    SPLIT_DOT: "dot-room", Some(0x02_0024), Accounting, Stop,
        "`.` takes more room than it needs", "split it",
        "`.` has 12 bytes; what follows is the entry of `..`.";
    BAD_FIFO: "inode-fifo", Some(0x02_0025), Damage, Stop,
        "fifo with contents", "clear the inode",
        "A fifo has no size and no blocks.";
    BAD_SOCKET: "inode-socket", Some(0x02_0026), Damage, Stop,
        "socket with contents", "clear the inode",
        "A socket has no size and no blocks.";
    FILETYPE: "entry-filetype", Some(0x02_0028), Accounting, Stop,
        "the name's kind of file is not the inode's", "correct it",
        "A name tells the kind of its file, so that a listing need not read the inode.";
    FILETYPE_SET: "entry-filetype-set", Some(0x02_0029), Accounting, Fix,
        "the name tells a kind of file without the feature filetype", "clear it",
        "Without the feature the byte belongs to the length of the name.";
    NULL_NAME: "entry-name-empty", Some(0x02_0030), Damage, Stop,
        "empty name", "clear it",
        "An entry in use has a name of at least one byte.";
    BAD_SYMLINK: "inode-symlink", Some(0x02_0031), Damage, Stop,
        "symbolic link that leads nowhere", "clear the inode",
        "The target is not as long as the size says, or is not there.";
    FILE_ACL_RANGE: "inode-file-acl-range", Some(0x02_0032), Damage, Stop,
        "block of attributes outside of the filesystem", "clear it",
        "The attributes that were in the block are lost.";
    LARGE_FILES: "feature-large-file", Some(0x02_0033), Accounting, Fix,
        "there are files of 2 GiB and more without the feature large_file", "set the feature",
        "The feature says that sizes have 64 bits.";
    INDEX_NOT_REFERRED: "index-unreferred", Some(0x02_0034), Accounting, Stop,
        "block of an indexed directory that its index does not lead to", "",
        "Names in the block are not found by looking them up. The index is made anew.";
    INDEX_TWICE: "index-twice", Some(0x02_0035), Accounting, Stop,
        "block of an indexed directory that its index leads to twice", "",
        "The index is made anew.";
    INDEX_MIN_HASH: "index-min-hash", Some(0x02_0036), Accounting, Stop,
        "leaf of an indexed directory holds a name that belongs before it", "",
        "The name is not found by looking it up. The index is made anew.";
    INDEX_MAX_HASH: "index-max-hash", Some(0x02_0037), Accounting, Stop,
        "leaf of an indexed directory holds a name that belongs behind it", "",
        "The name is not found by looking it up. The index is made anew.";
    INDEX_CLEAR: "index-invalid", Some(0x02_0038), Accounting, Stop,
        "index of the directory does not hold together", "make it anew",
        "The index of a directory only speeds up finding names. It is dropped and made anew from the \
         names.";
    LARGE_DIRS: "feature-largedir", Some(0x02_0039), Accounting, Fix,
        "there are directories of more than 2 GiB without the feature largedir", "set the feature",
        "The feature says that directories may be that large, and their index one level higher.";
    INDEX_BAD_BLOCK: "index-block", Some(0x02_003A), Accounting, Stop,
        "index leads to a block that the directory does not have", "make the index anew",
        "The index of a directory only speeds up finding names. It is dropped and made anew from the \
         names.";
    INDEX_ROOT: "index-root", Some(0x02_003C), Accounting, Fix,
        "root of the index is not one", "make the index anew",
        "The index of a directory only speeds up finding names. It is dropped and made anew from the \
         names.";
    INDEX_LIMIT: "index-limit", Some(0x02_003D), Accounting, Fix,
        "room of an index block is wrong", "make the index anew",
        "An index block says how many entries it has room for; its size says otherwise.";
    INDEX_COUNT: "index-count", Some(0x02_003E), Accounting, Fix,
        "index block has more entries than room", "make the index anew",
        "The index of a directory only speeds up finding names. It is dropped and made anew from the \
         names.";
    INDEX_ORDER: "index-order", Some(0x02_003F), Accounting, Fix,
        "entries of an index block are not in order", "make the index anew",
        "The entries of an index block are in order of hash.";
    INDEX_DEPTH: "index-depth", Some(0x02_0040), Accounting, Stop,
        "block of an index at a level where it cannot be", "",
        "Leaves are all at the same level. The index is made anew.";
    DUPLICATE: "entry-duplicate", Some(0x02_0041), Damage, Stop,
        "same name twice, for the same file", "clear the second",
        "A directory has each name once. Nothing is lost: the first stays.";
    NOT_UNIQUE: "entry-not-unique", Some(0x02_0042), Damage, Stop,
        "same name twice, for different files", "rename the second",
        "A directory has each name once. The second file gets a name with a `~` and a number.";
    BLOCKS_HIGH: "inode-blocks-high", Some(0x02_0044), Damage, Stop,
        "the high half of i_blocks is set without the feature huge_file", "clear it",
        "Without the feature i_blocks has 32 bits.";
    INODE_IN_UNINIT: "entry-inode-uninit", Some(0x02_0046), Accounting, Fix,
        "name for an inode of a group that is said to have none", "look at the group's inodes",
        "The flag INODE_UNINIT says that no inode of the group is in use. It is cleared, and all \
         begins again with the inodes of the group.";
    INODE_IN_UNUSED: "entry-inode-unused-part", Some(0x02_0047), Accounting, Fix,
        "name for an inode in the part of the table that is said to be unused",
        "look at the whole table",
        "The descriptor of a group says how many inodes at the end of its table were never used. The \
         number is cleared, and all begins again with these inodes.";
    FILE_ACL_HIGH: "inode-file-acl-high", Some(0x02_0048), Damage, Fix,
        "the high half of i_file_acl is set without the feature 64bit", "clear it",
        "Without the feature there is no block of such a number.";
    INDEX_ROOT_CHECKSUM: "index-root-checksum", Some(0x02_0049), Accounting, Fix,
        "checksum of the index's root is wrong", "make the index anew",
        "The index of a directory only speeds up finding names. It is dropped and made anew from the \
         names.";
    INDEX_NODE_CHECKSUM: "index-node-checksum", Some(0x02_004A), Accounting, Fix,
        "checksum of an index block is wrong", "make the index anew",
        "The index of a directory only speeds up finding names. It is dropped and made anew from the \
         names.";
    NO_TAIL: "directory-no-checksum", Some(0x02_004C), Accounting, Fix,
        "directory block without a place for its checksum", "make the directory anew",
        "The last 12 bytes of a directory block hold its checksum. Names are moved to make room.";
    LEAF_CHECKSUM: "directory-checksum", Some(0x02_004D), Accounting, Fix,
        "checksum of a directory block is wrong, and nothing else", "renew it",
        "All names of the block hold together.";
    INLINE_SIZE: "inline-directory-size", Some(0x02_004E), Damage, Stop,
        "size of a directory inside its inode is no multiple of 4", "correct it",
        "Entries of a directory end at multiples of 4 bytes.";
    ENCRYPTED_NAME: "entry-encrypted-name", Some(0x02_0050), Damage, Stop,
        "encrypted name is too short", "clear it",
        "An encrypted name has 16 bytes at the least: the file cannot be opened by it.";
    UNENCRYPTED: "entry-unencrypted", Some(0x02_0051), Damage, Stop,
        "file that is not encrypted in an encrypted directory", "clear the name",
        "Whatever is in an encrypted directory is encrypted. The file comes to lost+found.";
    POLICY: "entry-encryption-policy", Some(0x02_0052), Damage, Stop,
        "file is encrypted by another policy than its directory", "clear the name",
        "A directory and what is in it have the same policy. The file comes to lost+found.";
    ENCODED_NAME: "entry-encoding", Some(0x02_0053), Damage, Stop,
        "name that is not text in a case-folded directory", "put dots in place of what is none",
        "Where names are compared without regard to case they are UTF-8; this filesystem refuses \
         others (strict encoding).";
    NOT_UNIQUE_HIDDEN: "entry-not-unique-hidden", Some(0x02_0054), Damage, Stop,
        "same name twice, for different files, and no new one can be made up",
        "clear the second",
        "An encrypted name cannot be changed without the key. The second file comes to lost+found.";
    EA_INODE_LINK: "entry-ea-inode", Some(0x02_0055), Damage, Stop,
        "name for an inode that holds an attribute's value", "clear the name",
        "Values of extended attributes have no names in directories.";
}
