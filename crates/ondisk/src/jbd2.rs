//! The journal's structures, all big-endian.
