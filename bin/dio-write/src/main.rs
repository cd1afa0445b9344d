//! `dio-write`.

fn main() {}
