//! What the tests stand on: images from recipes, judges other than our own code, and crashes.
//!
//! Only ever a dev-dependency. Nothing in here knows the product's own file-system code: what it
//! needs of it (recovery, a check, an operation) comes in as a closure, so the answers stay
//! independent.

pub mod image;
pub mod manifest;
pub mod mount;
pub mod oracle;
pub mod process;
