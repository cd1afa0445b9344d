//! Exit codes: the bits of fsck(8), the same for every program here.

use std::{
    ops::{BitOr, BitOrAssign},
    process::ExitCode,
};

/// How a run ended: a set of fsck(8) bits, [`Exit::OK`] when none is set.
///
/// Bits add up: a check that corrected something and left something else is
/// `Exit::CORRECTED | Exit::UNCORRECTED`, exit code 5.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Exit(u8);

impl Exit {
    /// 0: done, nothing was wrong.
    pub const OK: Self = Self(0);
    /// 1: errors were found and corrected.
    pub const CORRECTED: Self = Self(1);
    /// 2: the system should be rebooted. Never set here: nothing we touch is mounted.
    pub const REBOOT: Self = Self(2);
    /// 4: damage was found and left as it is.
    pub const UNCORRECTED: Self = Self(4);
    /// 8: the run failed: no such file, no space, in use, a device error.
    pub const OPERATIONAL: Self = Self(8);
    /// 16: wrong usage; nothing was opened for writing.
    pub const USAGE: Self = Self(16);
    /// 32: stopped by a signal or by the answer to a question.
    pub const CANCELLED: Self = Self(32);
    /// 128: a shared library is missing. Never set here: we link none but the C library.
    pub const SHARED_LIBRARY: Self = Self(128);

    /// The number the shell sees.
    pub const fn code(self) -> u8 {
        self.0
    }

    /// Whether every bit of `other` is set.
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

impl BitOr for Exit {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl BitOrAssign for Exit {
    fn bitor_assign(&mut self, other: Self) {
        *self = *self | other;
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_add_up_as_in_fsck() {
        let mut exit = Exit::OK;
        exit |= Exit::CORRECTED;
        exit |= Exit::UNCORRECTED;
        assert_eq!(exit.code(), 5);
        assert!(exit.contains(Exit::CORRECTED));
        assert!(!exit.contains(Exit::USAGE));
        assert_eq!((exit | Exit::CORRECTED).code(), 5);
    }
}
