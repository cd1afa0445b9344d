//! Whole maps: against a model, against the kernel's shapes, with damage, with failing allocations.
#![cfg(test)]

mod any_bytes;
mod corpus;
mod damage;
mod fault;
mod image;
mod indirect;
mod kernel;
mod model;
mod shapes;
mod store;
