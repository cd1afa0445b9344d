//! Problems of pass 1: inodes, maps, attributes and shared blocks.

super::problems! {
    One;
    ROOT_NO_DIR: "root-not-directory", Some(0x01_0001), Damage, Stop,
        "root inode is not a directory", "clear it",
        "The root directory's inode has another kind. It is cleared and made anew; what was in \
         it is found again in lost+found.";
    ROOT_DTIME: "root-deletion-time", Some(0x01_0002), Accounting, Fix,
        "root inode has a deletion time", "clear the time",
        "Only deleted inodes have a deletion time, and the root directory cannot be deleted.";
    RESERVED_MODE: "reserved-inode-mode", Some(0x01_0003), Accounting, Fix,
        "reserved inode has a mode", "clear the mode",
        "The first inodes of a filesystem have duties of their own and are no files. One of them \
         says that it is.";
    ZERO_DTIME: "deleted-without-time", Some(0x01_0004), Accounting, Fix,
        "deleted inode has no deletion time", "set the time",
        "The inode has no links, so it is deleted, but does not say when. Nothing else depends \
         on it.";
    SET_DTIME: "used-with-deletion-time", Some(0x01_0005), Accounting, Fix,
        "inode in use has a deletion time", "clear the time",
        "The inode has links, so it is in use, but says when it was deleted. The links are \
         believed.";
    EMPTY_DIRECTORY: "directory-without-blocks", Some(0x01_0006), Damage, Fix,
        "directory has no blocks", "clear it",
        "A directory has at least the block with its `.` and `..`. Without any it has no names, \
         and goes.";
    BLOCK_BITMAP_CONFLICT: "block-bitmap-conflict", Some(0x01_0007), Critical, Stop,
        "block bitmap of a group lies on another structure", "move it",
        "The descriptor of a group puts its block bitmap where something else of the filesystem \
         is. It is moved to free space, and made anew from what files have.";
    INODE_BITMAP_CONFLICT: "inode-bitmap-conflict", Some(0x01_0008), Critical, Stop,
        "inode bitmap of a group lies on another structure", "move it",
        "The descriptor of a group puts its inode bitmap where something else of the filesystem \
         is. It is moved to free space, and made anew from the inodes.";
    INODE_TABLE_CONFLICT: "inode-table-conflict", Some(0x01_0009), Critical, Stop,
        "inode table of a group lies on another structure", "move it",
        "The descriptor of a group puts its inode table where something else of the filesystem \
         is. What is there is copied to free space; inodes that were overwritten are lost.";
    BAD_BLOCK_BITMAP: "bad-block-under-block-bitmap", Some(0x01_000A), Critical, Stop,
        "block bitmap lies on a bad block", "move it",
        "The list of bad blocks has the block of a group's block bitmap. The bitmap is moved.";
    BAD_INODE_BITMAP: "bad-block-under-inode-bitmap", Some(0x01_000B), Critical, Stop,
        "inode bitmap lies on a bad block", "move it",
        "The list of bad blocks has the block of a group's inode bitmap. The bitmap is moved.";
    SIZE: "inode-size", Some(0x01_000C), Accounting, Fix,
        "size does not match what is mapped", "correct it",
        "Blocks are mapped and written behind the file's end, or a directory's size is not that \
         of its blocks. The size is set to what is mapped, so that nothing is lost.";
    BLOCKS: "inode-blocks", Some(0x01_000D), Accounting, Fix,
        "count of blocks is wrong", "correct it",
        "The inode counts the space it takes; its map and its attributes say otherwise.";
    ILLEGAL_BLOCK: "illegal-block", Some(0x01_000E), Damage, Stop,
        "inode maps a block outside of the filesystem", "clear the number",
        "A block number in the inode's map is none: the file has a hole there from now on.";
    TOO_MANY_ILLEGAL: "too-many-illegal-blocks", Some(0x01_0011), Damage, Stop,
        "too many block numbers of the inode are none", "clear the inode",
        "So many numbers in the map are nonsense that the rest can not be believed either. The \
         inode is cleared.";
    BAD_BLOCK_ILLEGAL: "bad-block-illegal", Some(0x01_0012), Accounting, Stop,
        "list of bad blocks has a block outside of the filesystem", "take it off the list",
        "A number in the list of bad blocks is no block of the filesystem.";
    BAD_BLOCK_IS_LIST: "bad-block-under-bad-blocks", Some(0x01_0015), Accounting, Stop,
        "list of bad blocks is kept in a bad block, or in a block that is in use",
        "take it off the list",
        "A block that keeps the list of bad blocks is on the list itself, or something else.";
    BAD_SUPERBLOCK: "bad-block-under-superblock", Some(0x01_0019), Critical, Stop,
        "superblock is on the list of bad blocks", "take it off the list",
        "The first superblock cannot be moved. When its block is truly bad, the filesystem \
         cannot be used; the list is more often wrong than the block.";
    BAD_DESCRIPTORS: "bad-block-under-descriptors", Some(0x01_001A), Critical, Stop,
        "group descriptors are on the list of bad blocks", "take them off the list",
        "The first group descriptors cannot be moved. When their block is truly bad, the \
         filesystem cannot be used; the list is more often wrong than the block.";
    BAD_SUPERBLOCK_COPY: "bad-block-under-superblock-copy", Some(0x01_001B), Note, Fix,
        "copy of the superblock is on the list of bad blocks", "",
        "A copy of the superblock cannot be moved. There are others.";
    BAD_DESCRIPTORS_COPY: "bad-block-under-descriptors-copy", Some(0x01_001C), Note, Fix,
        "copy of the group descriptors is on the list of bad blocks", "",
        "A copy of the group descriptors cannot be moved. There are others.";
    BAD_INODE_TABLE: "bad-block-under-inode-table", None, Damage, Stop,
        "inode table is on the list of bad blocks", "take it off the list",
        "The block could be read, so that the list is more likely wrong than the block. To \
         believe the list would be to lose all inodes in it.";
    NO_ROOM_TO_MOVE: "no-room-to-move", None, Critical, Stop,
        "no free run of blocks is large enough for a structure that must move", "",
        "Two structures of the filesystem lie on each other, and there is no room to move one. \
         Free some space and run again.";
    IMAGIC_FLAG: "imagic-flag", Some(0x01_002F), Accounting, Stop,
        "flag IMAGIC without the feature", "clear the flag",
        "The flag marks inodes of AFS, which this filesystem does not have.";
    IMMUTABLE: "special-file-immutable", Some(0x01_0030), Accounting, Stop,
        "device, pipe, socket or symlink may not change", "clear the flags",
        "The flags IMMUTABLE and APPEND cannot be set on such an inode, so they come from damage.";
    SPECIAL_SIZE: "special-file-size", Some(0x01_0032), Accounting, Fix,
        "device, pipe or socket has a size", "clear it",
        "Such an inode has no contents.";
    REVISION: "revision-with-features", Some(0x01_0033), Accounting, Fix,
        "features are set, but the revision is one without any", "set revision 1",
        "Only filesystems of revision 1 have features.";
    JOURNAL_NOT_CLEAR: "journal-inode-not-clear", Some(0x01_0034), Accounting, Fix,
        "journal inode is in use, but there is no journal in it", "clear it",
        "The inode is kept for the journal, which this filesystem does not have or has elsewhere.";
    JOURNAL_MODE: "journal-inode-mode", Some(0x01_0035), Accounting, Fix,
        "journal inode is not a regular file", "correct the mode",
        "The journal's inode has a mode that is not that of a file.";
    LOW_DTIME: "orphan-list-remains", Some(0x01_0036), Damage, Stop,
        "deletion time looks like a link of the orphan list", "clear it",
        "The inode was being deleted or truncated when the system stopped, and the list it was \
         on is broken. One with links is kept; the others are deleted.";
    ATTRIBUTES_MAGIC: "attribute-block-magic", Some(0x01_003A), Damage, Stop,
        "attribute block has no magic", "drop it",
        "The block that should hold the inode's extended attributes is something else. The \
         attributes are lost.";
    ATTRIBUTES_REFCOUNT: "attribute-block-references", Some(0x01_003C), Accounting, Stop,
        "reference count of an attribute block is wrong", "correct it",
        "The block of extended attributes counts the inodes that share it; the inodes say \
         otherwise.";
    ATTRIBUTES_BLOCKS: "attribute-block-length", Some(0x01_003E), Damage, Stop,
        "attribute block says that it is more than one", "drop it",
        "Extended attributes have one block. One that says otherwise is damaged, and its \
         attributes are lost.";
    ATTRIBUTES_OVERLAP: "attribute-block-overlap", Some(0x01_0040), Damage, Stop,
        "names or values in an attribute block lie on each other", "drop it",
        "What the entries of the block say of their places cannot be true. The attributes are \
         lost.";
    ATTRIBUTE_NAME: "attribute-name", Some(0x01_0041), Damage, Stop,
        "attribute has no name", "drop the block",
        "An entry of the attribute block has a name that cannot be. The attributes are lost.";
    ATTRIBUTE_VALUE: "attribute-value", Some(0x01_0042), Damage, Stop,
        "value of an attribute is outside of its block", "drop the block",
        "An entry of the attribute block says that its value is where no value can be. The \
         attributes are lost.";
    DIRECTORY_TOO_BIG: "directory-too-big", Some(0x01_0044), Damage, Stop,
        "block makes the directory too big", "clear the number",
        "A directory cannot be so large without the feature largedir; the block does not belong \
         to it.";
    FILE_TOO_BIG: "file-too-big", Some(0x01_0045), Damage, Stop,
        "block makes the file too big", "clear the number",
        "A file that is mapped by blocks cannot be so large.";
    SYMLINK_TOO_BIG: "symlink-too-big", Some(0x01_0046), Damage, Stop,
        "block makes the symlink too big", "clear the number",
        "A symlink has one block at most.";
    INDEX_FEATURE: "index-without-feature", Some(0x01_0047), Accounting, Fix,
        "directory has an index, but the filesystem has none", "clear the flag",
        "Indexes need the feature dir_index. Without the flag the directory is searched from its \
         start; no name is lost.";
    INDEX_NO_DIR: "index-without-directory", Some(0x01_0048), Accounting, Fix,
        "flag of an index on what is no directory", "clear the flag",
        "Only directories have an index.";
    INDEX_ROOT: "index-root-invalid", Some(0x01_0049), Accounting, Fix,
        "root of the directory's index is invalid", "clear the flag",
        "The block where the index begins is not what it should be. The names are found without \
         an index.";
    INDEX_HASH: "index-hash", Some(0x01_004A), Accounting, Fix,
        "directory's index has an unknown hash", "clear the flag",
        "The index is sorted by a hash that nobody knows. The names are found without it.";
    INDEX_FLAGS: "index-flags", Some(0x01_004B), Accounting, Fix,
        "directory's index has a flag that nobody knows", "clear the flag",
        "The root of the index says that its format is not known. The names are found without it.";
    INDEX_DEPTH: "index-too-deep", Some(0x01_004C), Accounting, Fix,
        "directory's index is too deep", "clear the flag",
        "The index says that it has more levels than it can have. The names are found without it.";
    BAD_BLOCKS_ON_METADATA: "bad-blocks-on-metadata", Some(0x01_004D), Accounting, Stop,
        "list of bad blocks is kept on the filesystem's own blocks", "take it off the list",
        "A block that keeps the list of bad blocks is one of the filesystem's own structures.";
    EXTRA_ISIZE: "extra-isize", Some(0x01_004F), Accounting, Fix,
        "size of the inode's extra fields is invalid", "correct it",
        "The inode says how many bytes behind its first 128 are fields, and the number cannot be.";
    VALUE_SIZE: "attribute-value-size", Some(0x01_0053), Damage, Fix,
        "size of an attribute's value is invalid", "drop the attributes",
        "An entry says that its value is larger than it can be, or another size than the inode \
         that holds it.";
    ATTRIBUTE_HASH: "attribute-hash", Some(0x01_0054), Damage, Fix,
        "hash of an attribute is wrong", "drop the attributes",
        "The hash of an attribute's name and value does not match. The attributes beside it are \
         dropped with it.";
    LIKE_DIRECTORY: "treat-as-directory", Some(0x01_0055), Damage, Stop,
        "inode is no directory by its mode, but looks like one", "make it a directory",
        "The first block has `.` and `..` as a directory's has. The mode is more likely wrong \
         than the contents.";
    EXTENT_START: "extent-start", Some(0x01_0058), Damage, Stop,
        "extent starts outside of the filesystem", "clear it",
        "The block where the extent begins is none. The file has a hole there from now on.";
    EXTENT_END: "extent-end", Some(0x01_0059), Damage, Stop,
        "extent ends outside of the filesystem", "clear it",
        "The extent begins inside the filesystem but ends beyond it. The file has a hole there \
         from now on.";
    EXTENTS_FLAG: "extents-flag", Some(0x01_005A), Damage, Stop,
        "flag of extents, but there are none and no such feature", "clear the inode",
        "The inode says that it is mapped by extents, which it is not and which the filesystem \
         does not have.";
    EXTENTS_FEATURE: "extents-feature", Some(0x01_005B), Accounting, Stop,
        "inode is mapped by extents, but the feature is missing", "set the feature",
        "The inode is mapped by extents in good order: it is the superblock that is wrong.";
    NO_EXTENTS_FLAG: "extents-without-flag", Some(0x01_005C), Accounting, Fix,
        "inode is mapped by extents, but does not say so", "set the flag",
        "What the inode keeps is the root of a tree of extents.";
    FAST_SYMLINK_EXTENTS: "fast-symlink-extents", Some(0x01_005D), Accounting, Stop,
        "symlink without blocks has the flag of extents", "clear the flag",
        "The symlink's target is inside the inode; it has no map.";
    EXTENT_ORDER: "extent-order", Some(0x01_005E), Damage, Stop,
        "extents are out of order", "clear the extent",
        "Extents are sorted by their place in the file. One that is not is never found.";
    EXTENT_NODE: "extent-node", Some(0x01_005F), Damage, Stop,
        "node of a tree of extents is invalid", "drop the node",
        "The block that should hold a part of the map holds something else. The file has a hole \
         there from now on.";
    EXTENT_DEPTH: "extent-node-depth", None, Damage, Stop,
        "node of a tree of extents says another depth than its place has", "correct the depth",
        "All that the node holds can be extents: the kernel refuses the file for the depth alone, and \
         nothing is lost by making it right.";
    EXTENT_LENGTH: "extent-length", None, Damage, Stop,
        "extent runs over all that are behind it", "end it where the next one begins",
        "One length is wrong rather than several places. What the extent has beyond the next one is not \
         the file's any more.";
    QUOTA_MODE: "quota-inode-mode", Some(0x01_0062), Accounting, Fix,
        "quota inode is not a regular file", "correct the mode",
        "The inode keeps quota, and has a mode that is not that of a file.";
    QUOTA_NOT_CLEAR: "quota-inode-not-clear", Some(0x01_0063), Accounting, Fix,
        "quota inode is in use, but there is no quota", "clear it",
        "The inode is kept for quota, which this filesystem does not have.";
    BAD_BLOCKS_INODE: "bad-blocks-inode", Some(0x01_0065), Accounting, Stop,
        "bad blocks inode is invalid", "clear it",
        "The inode that lists bad blocks has fields that it cannot have. The list is lost; \
         badblocks(8) makes a new one.";
    EXTENT_EMPTY: "extent-empty", Some(0x01_0066), Damage, Stop,
        "extent has no length", "clear it",
        "An extent stands for at least one block.";
    INODE_GARBAGE: "inode-garbage", Some(0x01_0067), Damage, Stop,
        "inode is garbage", "clear it",
        "Its checksum is wrong, and most inodes beside it make no sense: the block of the inode \
         table was overwritten.";
    INODE_CHECKSUM: "inode-checksum", Some(0x01_0068), Accounting, Fix,
        "checksum of the inode is wrong, but nothing else", "renew it",
        "All that the inode says can be, so that only its checksum is likely to be wrong.";
    BODY_OVERLAP: "body-attribute-overlap", Some(0x01_0069), Damage, Stop,
        "attributes in the inode lie on each other", "drop the attributes",
        "What the entries say of their places cannot be true. The attributes in the inode are \
         lost.";
    EXTENT_CHECKSUM: "extent-checksum", Some(0x01_006A), Accounting, Stop,
        "checksum of a node of extents is wrong, but nothing else", "renew it",
        "All that the node says can be, so that only its checksum is likely to be wrong.";
    ATTRIBUTES_CHECKSUM: "attribute-block-checksum", Some(0x01_006C), Accounting, Stop,
        "checksum of an attribute block is wrong, but nothing else", "renew it",
        "All that the block says can be, so that only its checksum is likely to be wrong.";
    EXTENT_INDEX: "extent-index-start", Some(0x01_006D), Accounting, Stop,
        "index of extents has another start than what is below it", "correct it",
        "An entry of an index says where in the file the part below begins, and that part says \
         otherwise.";
    EXTENT_BOUNDS: "extent-bounds", Some(0x01_006E), Damage, Stop,
        "extent goes beyond what the index above allows", "clear it",
        "The next part of the map begins before this extent ends; what is behind is found there.";
    INLINE_DATA_FEATURE: "inline-data-feature", Some(0x01_006F), Accounting, Fix,
        "contents are inside the inode, but the feature is missing", "set the feature",
        "The inode has its contents inside, in good order: it is the superblock that is wrong.";
    INLINE_DATA_FLAG: "inline-data-flag", Some(0x01_0070), Damage, Stop,
        "flag of contents inside the inode, but there are none and no such feature",
        "clear the inode",
        "The inode says that its contents are inside, which they are not and which the \
         filesystem does not have.";
    MAP_ON_METADATA: "map-on-metadata", Some(0x01_0071), Damage, Stop,
        "a block of the inode's map is one of the filesystem's own", "",
        "To mend the map would spoil the structure that the block belongs to. The inode gets \
         another block first.";
    DIRECTORY_HOLE: "directory-gap", Some(0x01_0072), Damage, Stop,
        "directory has a hole", "close it up",
        "Blocks of a directory follow each other. What is behind the hole is moved down.";
    UNWRITTEN_DIRECTORY: "directory-unwritten", Some(0x01_0073), Accounting, Fix,
        "directory has an unwritten extent", "take it as written",
        "Blocks of a directory are always written. They are judged by what is in them.";
    MISALIGNED: "cluster-misaligned", Some(0x01_0074), Damage, Stop,
        "block lies elsewhere in its cluster than it should", "",
        "A cluster of a file is one cluster of the device, block for block. The blocks are \
         copied to a cluster of their own.";
    INLINE_DATA_NO_ATTRIBUTE: "inline-data-attribute", Some(0x01_0075), Damage, Stop,
        "contents are inside the inode, but the attribute that goes with them is missing",
        "add it if the contents are whole, else make the file empty",
        "The attribute system.data is always there where contents are inside the inode. The first 60 \
         bytes lie before it; if there are no more, or the others can be read in spite of other \
         attributes that are damaged, nothing is lost.";
    SPECIAL_FLAGS: "special-file-mapped", Some(0x01_0076), Accounting, Stop,
        "device, pipe or socket has flags of contents", "clear the flags",
        "Such an inode has no contents, neither mapped nor inside.";
    INLINE_BUT_EXTENTS: "inline-flag-on-extents", Some(0x01_0077), Accounting, Stop,
        "flags say both extents and contents inside, and there are extents",
        "clear the flag of contents inside",
        "What the inode keeps is the root of a tree of extents.";
    EXTENTS_BUT_INLINE: "extents-flag-on-inline", Some(0x01_0078), Accounting, Stop,
        "flags say both extents and contents inside, and it is short", "clear the flag of extents",
        "What the inode keeps is no tree of extents, and its size is so small that the contents \
         can be inside.";
    NEITHER_EXTENTS_NOR_INLINE: "flags-on-block-map", Some(0x01_0079), Accounting, Stop,
        "flags say both extents and contents inside, but there are blocks", "clear both flags",
        "What the inode keeps looks like numbers of blocks.";
    EXTENTS_AND_INLINE: "extents-and-inline", Some(0x01_007A), Damage, Stop,
        "flags say both extents and contents inside, and it is neither", "clear the inode",
        "What the inode keeps makes no sense, whatever it is taken for.";
    BAD_BLOCKS_IN_BAD_BLOCK: "bad-blocks-in-bad-block", Some(0x01_007B), Damage, Stop,
        "list of bad blocks has the block of its own inode", "clear the list",
        "The block could be read, so that the list is more likely wrong than the block. \
         badblocks(8) makes a new one.";
    EXTENT_OVERLAP: "extent-overlap", Some(0x01_007D), Damage, Stop,
        "extent maps what another one maps already", "clear it",
        "Two extents of the inode map the same place of the file, in one node or in two. The \
         first is kept.";
    EXTENTS_TOO_DEEP: "extents-depth", Some(0x01_007F), Accounting, Stop,
        "tree of extents is deeper than it can have to be", "make it anew",
        "No file needs so deep a tree. It is made anew from its extents.";
    OLD_MAP_WITH_CLUSTERS: "block-map-with-clusters", Some(0x01_0080), Accounting, Stop,
        "file is mapped by blocks, which the feature bigalloc does not allow", "map it by extents",
        "Where space is given out in clusters the kernel refuses to write to files mapped by \
         blocks.";
    NO_EXTENT_HEADER: "extent-header", Some(0x01_0081), Damage, Stop,
        "inode should be mapped by extents, but there is no tree", "clear the inode",
        "The inode says that it is mapped by extents, but what it keeps does not begin as a tree \
         does. Where its contents are is lost.";
    TIME_OUT_OF_RANGE: "time-out-of-range", Some(0x01_0082), Accounting, Fix,
        "time is after the year 2310", "take it for one before 1970",
        "Kernels of old wrote times before 1970 in a way that is read as times after 2310.";
    VALUE_INODE: "attribute-value-inode", Some(0x01_0083), Damage, Fix,
        "value of an attribute is in an inode that cannot hold it", "drop the attributes",
        "The attribute says that its value is the contents of an inode which holds no such thing.";
    VALUE_NO_FLAG: "attribute-value-inode-flag", Some(0x01_0085), Damage, Fix,
        "inode of an attribute's value does not say that it is one", "drop the attributes",
        "The attribute's value is in an inode that is an ordinary file by its flags.";
    VALUE_FLAG: "attribute-value-inode-unmarked", Some(0x01_0086), Accounting, Fix,
        "inode of an attribute's value does not say that it is one", "set the flag",
        "The inode holds the value that the attribute's hash stands for; only its flag is missing.";
    CASEFOLD_NO_DIR: "casefold-without-directory", Some(0x01_0088), Accounting, Stop,
        "flag of case-folded names on what is no directory", "clear the flag",
        "Only directories have names.";
    CASEFOLD_FEATURE: "casefold-without-feature", Some(0x01_0089), Accounting, Stop,
        "directory has case-folded names, but the filesystem has none", "clear the flag",
        "The flag needs the feature casefold.";
    NO_ENCRYPTION_CONTEXT: "encryption-context-missing", Some(0x01_008A), Damage, Stop,
        "encrypted inode without encryption context", "clear the flag",
        "Without its context nobody can decrypt the inode; as long as it has the flag nobody can \
         remove it either.";
    ENCRYPTION_CONTEXT: "encryption-context", Some(0x01_008B), Damage, Stop,
        "encryption context is damaged", "clear the inode",
        "Without its context nobody can decrypt the inode.";
    INDEX_NEEDS_SIPHASH: "index-needs-siphash", Some(0x01_008D), Accounting, Fix,
        "index of an encrypted and case-folded directory has another hash than SipHash",
        "clear the flag",
        "Names of such a directory are hashed with its key. They are found without an index.";
    INDEX_SIPHASH: "index-siphash", Some(0x01_008E), Accounting, Fix,
        "index of an ordinary directory has the hash of encrypted ones", "clear the flag",
        "SipHash needs a key, which only encrypted directories have. The names are found without \
         an index.";
    ORPHAN_FILE_MODE: "orphan-file-mode", Some(0x01_008F), Accounting, Fix,
        "orphan file is not a regular file", "correct the mode",
        "The inode keeps the list of orphans, and has a mode that is not that of a file.";
    ORPHAN_FILE_NOT_CLEAR: "orphan-file-not-clear", Some(0x01_0090), Accounting, Fix,
        "the superblock names an orphan file, but there is no such feature", "forget it",
        "The inode is cleared when it holds an orphan file; anything else stays, and is checked \
         like all others.";
    EA_INODE_KIND: "ea-inode-kind", Some(0x01_0091), Accounting, Stop,
        "flag of an attribute's value on what is no file", "clear the flag",
        "Values of attributes are kept in regular files.";
    EA_INODE_FEATURE: "ea-inode-feature", Some(0x01_0092), Accounting, Fix,
        "value of an attribute is in an inode of its own, but the feature is missing",
        "set the feature",
        "Where values are in inodes of their own the superblock has to say so.";
    MAP_OF_OTHERS: "map-of-others", None, Damage, Stop,
        "map names what others have, where all maps name far more than there is", "clear the inode",
        "All maps together name many times the blocks of the device: only made-up ones do. The inode has \
         more than a few blocks that inodes before it have too. It is cleared; those before it keep the \
         blocks.";
    SHARED: "shared-blocks", Some(0x01_3006), Damage, Stop,
        "file has blocks that others have too", "give it copies",
        "Blocks belong to one file. Which file they were written for cannot be known, so that each gets \
         a copy; the wrong ones hold what was meant for another.";
    SHARED_LEFT: "shared-blocks-left", Some(0x01_3008), Damage, Stop,
        "file has blocks that others have too, and there is no room for copies", "leave holes in their place",
        "Blocks belong to one file. Each would get a copy, but not enough blocks are free. One file keeps \
         them, this one reads as zeros there; nothing else of it is lost.";
}
