//! Transaction ids, which wrap.

use std::{cmp::Ordering, fmt};

/// A jbd2 transaction id. 32 bits, compared as a signed difference (`tid_gt`); 0 is a legal id.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Tid(pub u32);

impl Tid {
    /// The id that follows.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.wrapping_add(1))
    }

    /// The id before this one.
    #[must_use]
    pub const fn prev(self) -> Self {
        Self(self.0.wrapping_sub(1))
    }

    /// Order modulo 2^32: `Less` when `other` lies within the next 2^31 ids. Not a total order, so
    /// `Ord` is not implemented.
    pub fn wrapping_cmp(self, other: Self) -> Ordering {
        self.0.wrapping_sub(other.0).cast_signed().cmp(&0)
    }

    /// Whether this transaction is the same as or later than `other`, `tid_geq`.
    pub fn is_at_or_after(self, other: Self) -> bool {
        self.wrapping_cmp(other) != Ordering::Less
    }
}

impl fmt::Display for Tid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_ordered_across_the_wrap() {
        assert!(Tid(0).is_at_or_after(Tid(u32::MAX)));
        assert!(!Tid(u32::MAX).is_at_or_after(Tid(0)));
        assert_eq!(Tid(u32::MAX).next(), Tid(0));
        assert_eq!(Tid(0).prev(), Tid(u32::MAX));
    }
}
