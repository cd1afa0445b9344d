//! The filesystem against images that mke2fs, debugfs and the kernel made.
#![cfg(test)]

mod crash;
mod full;
mod kernel;
mod mmp;
mod mutants;
mod names;
mod refusals;
mod rig;
