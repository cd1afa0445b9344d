//! File contents and small directories inside the inode.
