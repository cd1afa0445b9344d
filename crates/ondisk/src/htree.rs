//! The root and nodes of an indexed directory.
