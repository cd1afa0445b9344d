//! Times of 34 bits and nanoseconds.
