//! The older block map: direct, indirect, double and triple.
