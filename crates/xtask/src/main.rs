//! Chores: man pages, completions, the rules of the tree.

fn main() {}
