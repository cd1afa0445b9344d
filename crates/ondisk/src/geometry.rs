//! Where things are: groups, tables and limits, from a checked superblock.
