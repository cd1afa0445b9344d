//! Tests of the write path on images that mke2fs made.

mod campaign;
mod crash;
mod world;
