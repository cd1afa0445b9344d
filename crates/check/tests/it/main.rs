//! Damage by name: each problem found with its id, mended, and gone for e2fsck too.

mod kit;
mod pass0;
mod pass1;
