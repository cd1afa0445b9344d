//! The journal over devices in memory.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod without_log;
