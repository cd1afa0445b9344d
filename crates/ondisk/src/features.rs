//! Feature bits, and the one table that says what we read, write and replay.
