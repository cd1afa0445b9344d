//! Problems of pass 4: link counts.

super::problems! {
    Four;
    EMPTY_UNATTACHED: "unattached-empty-inode", Some(0x04_0001), Accounting, Fix,
        "inode in use without a name and without contents", "clear it",
        "No directory has a name for the inode, and it has neither data nor attributes: it is what a \
         file that was being made or removed leaves behind. It is cleared; nothing is lost.";
    UNATTACHED: "unattached-inode", Some(0x04_0002), Damage, Stop,
        "inode in use without a name", "give it a name in lost+found",
        "No directory has a name for the inode, which has contents. It gets a name of its number in \
         /lost+found.";
    LINK_COUNT: "link-count", Some(0x04_0003), Accounting, Fix,
        "link count is wrong", "correct it",
        "The inode's link count is not the number of names that directories have for it. Too low, and \
         removing one name frees a file that has others.";
    EA_INODE_REFS: "ea-inode-references", Some(0x04_0005), Accounting, Fix,
        "reference count of an attribute's value is wrong", "correct it",
        "The inode holds the value of extended attributes and counts how many have it; the \
         attributes say otherwise.";
    DIR_NLINK: "dir-nlink", Some(0x04_0006), Accounting, Stop,
        "directory has more subdirectories than links can be counted, without the feature dir_nlink",
        "set the feature",
        "A directory with more than 64,998 subdirectories has the link count 1, which means that it \
         is not counted. That is what the feature dir_nlink allows.";
    DIR_LINK_OVERFLOW: "dir-link-overflow", Some(0x04_0007), Accounting, Fix,
        "link count says that there are too many to be counted, but there are not", "correct it",
        "A directory's link count is 1, which stands for more than can be counted; the true number \
         would fit.";
    EA_INODE_FLAG: "ea-inode-flag", Some(0x04_0008), Accounting, Fix,
        "file has the flag of an attribute's value, but no attribute has it", "clear the flag",
        "The inode's flag EA_INODE says that it holds the value of an extended attribute. No attribute \
         refers to it, but a directory has a name for it: it is an ordinary file.";
}
