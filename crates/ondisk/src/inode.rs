//! Inodes: the 128 old bytes and the extra fields.
