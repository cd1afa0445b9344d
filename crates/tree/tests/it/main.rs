//! Trees from what other tools make.
#![cfg(test)]

mod archive;
mod listing;
