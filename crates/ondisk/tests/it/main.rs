//! What mke2fs and the kernel wrote, decoded, verified and encoded again.
#![cfg(test)]

mod attributes;
mod image;
mod layout;
mod quota;
