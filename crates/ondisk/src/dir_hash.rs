//! The hashes of indexed directories: legacy, half-MD4, TEA, signed and unsigned.
