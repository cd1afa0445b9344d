//! Damage by name: each problem found with its id, mended, and gone for e2fsck too.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on ends")]

mod crash;
mod damage;
mod faults;
mod hostile;
mod kit;
mod optimize;
mod pass0;
mod pass1;
mod paths;
mod rescue;
