//! What is wrong with bytes that were read: where, found and expected, in one line.

use std::{borrow::Cow, fmt};

/// Damage found while decoding a structure.
///
/// Prints as `extent node at block 8193 (inode 12, depth 1): magic 0x0000, expected 0xf30a`: lower
/// case, no full stop, addresses that can be pasted into `ext4-debug`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Corrupt {
    /// The structure and its address, such as `inode 12` or `group 3 descriptor`.
    pub place: Cow<'static, str>,
    /// What is wrong: the field, what was found, what was expected.
    pub fault: Cow<'static, str>,
    /// Whether the fault is a checksum that does not match (the kernel's EFSBADCRC = EBADMSG);
    /// everything else is EFSCORRUPTED = EUCLEAN.
    pub is_checksum: bool,
}

impl Corrupt {
    /// A structure whose contents make no sense (EFSCORRUPTED).
    pub fn new(place: impl Into<Cow<'static, str>>, fault: impl Into<Cow<'static, str>>) -> Self {
        Self { place: place.into(), fault: fault.into(), is_checksum: false }
    }

    /// A checksum that does not match (EFSBADCRC).
    pub fn checksum(place: impl Into<Cow<'static, str>>, found: u32, expected: u32) -> Self {
        Self {
            place: place.into(),
            fault: format!("checksum {found:#010x}, expected {expected:#010x}").into(),
            is_checksum: true,
        }
    }

    /// The same fault with a fuller address, for callers that know more of where it was.
    #[must_use]
    pub fn at(self, place: impl Into<Cow<'static, str>>) -> Self {
        Self { place: place.into(), ..self }
    }
}

impl fmt::Display for Corrupt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.fault)
    }
}

impl std::error::Error for Corrupt {}
