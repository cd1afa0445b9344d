//! The command line of `dio-write`.
