//! The filesystem against images that mke2fs, debugfs and the kernel made.
#![cfg(test)]

mod crash;
mod damage_recorded;
mod damaged_logs;
mod fast_commits;
mod full;
mod kernel;
mod mmp;
mod mutants;
mod names;
mod orphans;
mod pages;
mod refusals;
mod remembered;
mod rig;
