//! Inodes and what they map.

mod attributes;
mod extents;
mod fields;
mod maps;
mod special;
