//! The headers, tree nodes and records of quota files.
