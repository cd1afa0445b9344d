//! The filesystem against images that mke2fs, debugfs and the kernel made.
#![cfg(test)]

mod crash;
mod names;
mod rig;
