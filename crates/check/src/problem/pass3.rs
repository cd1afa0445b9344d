//! Problems of pass 3: connectivity.

super::problems! {
    Three;
    NO_ROOT: "root-missing", Some(0x03_0001), Critical, Stop,
        "there is no root directory", "make an empty one",
        "Inode 2 is no directory any more. An empty one is made in its place; what was in it comes to \
         lost+found.";
    UNCONNECTED: "directory-unconnected", Some(0x03_0003), Damage, Stop,
        "directory without a name", "give it one in lost+found",
        "No directory has a name for it, so it cannot be reached. It gets a name of its number in \
         /lost+found, with all that is in it.";
    NO_LOST_FOUND: "no-lost-found", Some(0x03_0004), Note, Fix,
        "lost+found is missing", "make it",
        "Files that have lost their names are given new ones in /lost+found, which is not there. A new \
         one is made.";
    DOTDOT: "dotdot-inode", Some(0x03_0005), Damage, Stop,
        "`..` does not lead to the directory that has the name", "correct it",
        "The entry `..` of a directory leads to the one that it is in.";
    LOST_FOUND_KIND: "lost-found-kind", Some(0x03_0017), Damage, Stop,
        "lost+found is no directory", "take the name from it and make a directory",
        "What has the name keeps its contents and gets a new name in the new lost+found, if it has no \
         other.";
    LOST_FOUND_INLINE: "lost-found-inline", Some(0x03_0018), Accounting, Stop,
        "lost+found is inside its inode", "give it a block",
        "lost+found has blocks of its own, so that files can be named in it when no block is free.";
    LOST_FOUND_ENCRYPTED: "lost-found-encrypted", Some(0x03_001B), Damage, Stop,
        "lost+found is encrypted", "take the name from it and make a new directory",
        "Names cannot be added to an encrypted directory without its key. The old directory gets a \
         name in the new one.";
    REPAIR_FAILED: "repair-failed", None, Damage, Stop,
        "a repair could not be made", "",
        "There was no room for it, or what it needs is damaged itself. What it was for is told before it; \
         a second run may come further when there is room.";
    LOOPED: "directory-loop", Some(0x03_001D), Damage, Stop,
        "directory is inside itself", "give it a name in lost+found",
        "Following the names upwards from the directory leads to itself and never to the root. Its \
         name is taken away, and it gets a new one in /lost+found.";
}
