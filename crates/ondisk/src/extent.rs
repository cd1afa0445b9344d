//! Extent headers, index entries, extents and the tail of a node.
