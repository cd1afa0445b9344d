//! `ext4-debug`.

fn main() {}
