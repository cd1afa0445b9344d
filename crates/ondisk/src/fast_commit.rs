//! The TLVs of the fast-commit area.
