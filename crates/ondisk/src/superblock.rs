//! The superblock, every field to 0x3FF.
