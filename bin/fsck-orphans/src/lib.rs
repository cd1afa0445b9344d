//! The command line of `fsck-orphans`.
