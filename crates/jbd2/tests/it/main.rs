//! The journal over devices in memory, and its logs before other judges.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on has failed")]

mod crash;
mod fault;
mod judges;
mod layouts;
mod limits;
mod pending;
mod protocol;
mod recovery;
mod reference;
mod rig;
mod threads;
mod without_log;
