//! `fsck-orphans`.

fn main() {}
