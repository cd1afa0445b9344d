//! The command line of `ext4-debug`.
