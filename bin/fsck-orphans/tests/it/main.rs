//! What the program does to whole images.
#![cfg(test)]

mod corpus;
mod run;
mod states;
