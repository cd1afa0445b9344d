//! Problems of pass 6: journal, quota and orphan file made anew.

super::problems! {
    Six;
    JOURNAL_ANEW: "journal-anew", Some(0x06_0001), Accounting, Fix,
        "the filesystem's journal was removed", "make a new one",
        "The journal that was there could not be used. The new one has the size that goes with the \
         size of the filesystem.";
    JOURNAL_NO_ROOM: "journal-no-room", None, Note, Fix,
        "no room is left for a new journal", "",
        "The filesystem stays without one; tune2fs -j makes one later.";
    QUOTA_USAGE: "quota-usage", Some(0x06_0002), Accounting, Fix,
        "quota does not say what its owners have", "write what they have",
        "Each owner's inodes and space are counted anew; limits stay as they are where the file can \
         be read.";
    ORPHAN_FILE_WITHOUT_JOURNAL: "orphan-file-without-journal", Some(0x06_0007), Accounting, Fix,
        "there is an orphan file but no journal", "remove it",
        "The orphan file is of use only with a journal.";
    ORPHAN_FILE_DAMAGED: "orphan-file-damaged", Some(0x06_0009), Accounting, Fix,
        "the orphan file is damaged", "make it anew",
        "It lists inodes that were deleted or cut while in use. Those are checked like all others.";
    ORPHAN_FILE_DIRTY: "orphan-file-dirty", Some(0x06_000C), Accounting, Fix,
        "the orphan file still lists inodes", "clear the list",
        "The inodes were deleted or cut while in use, and are checked like all others.";
    ORPHAN_PRESENT_CLEAN: "orphan-present-clean", Some(0x06_000D), Accounting, Fix,
        "orphan_present is set, but the orphan file lists nothing", "clear it",
        "The mark tells that the file has to be worked off.";
    ORPHAN_PRESENT_ALONE: "orphan-present-alone", Some(0x06_000E), Accounting, Fix,
        "orphan_present is set, but there is no orphan file", "clear it",
        "The mark tells that the file has to be worked off.";
    ORPHAN_FILE_LENGTH: "orphan-file-length", Some(0x06_000F), Accounting, Fix,
        "the size of the orphan file is no whole number of blocks", "",
        "The file is made anew.";
    ORPHAN_FILE_GAP: "orphan-file-gap", Some(0x06_0010), Accounting, Fix,
        "the orphan file has a hole", "",
        "The file is made anew.";
}
