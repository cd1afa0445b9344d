//! Extended attributes: in the inode, in a block, in an inode of their own.
