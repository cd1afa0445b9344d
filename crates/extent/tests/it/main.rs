//! Whole maps: against a model, against the kernel's shapes, with damage, with failing allocations.
#![cfg(test)]

mod damage;
mod fault;
mod indirect;
mod model;
mod shapes;
mod store;
