//! Directories against a model, an independent walk, damage, and what the kernel makes of them.
#![cfg(test)]

mod build;
mod collisions;
mod damage;
mod full;
mod hash;
mod image;
mod inline;
mod kernel;
mod mem;
mod model;
mod walk;
