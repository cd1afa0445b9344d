//! Times of 34 bits and nanoseconds.
//!
//! An inode has 32 bits of seconds, signed, and, where `i_extra_isize` covers it, an extra word:
//! two more bits of seconds on top and 30 bits of nanoseconds.

/// Seconds since 1970, which may be negative, and nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp {
    /// Seconds since the epoch.
    pub sec: i64,
    /// Nanoseconds within the second. From disk up to 2^30 - 1, as the kernel takes it.
    pub nsec: u32,
}

impl Timestamp {
    /// The earliest time an inode can hold, -2^31.
    pub const MIN: Self = Self { sec: i32::MIN as i64, nsec: 0 };
    /// The latest second an inode with extra fields can hold, `EXT4_EXTRA_TIMESTAMP_MAX`: in 2446.
    pub const MAX_SEC: i64 = (1 << 34) - 1 + i32::MIN as i64;

    /// From the base word and, where there is one, the extra word (`ext4_decode_extra_time`).
    pub const fn decode(base: u32, extra: Option<u32>) -> Self {
        let sec = base.cast_signed() as i64;
        match extra {
            Some(extra) => Self { sec: sec + ((extra as i64 & 3) << 32), nsec: extra >> 2 },
            None => Self { sec, nsec: 0 },
        }
    }

    /// The base word and the extra word (`ext4_encode_extra_time`), clamped to what they hold.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "the encoding is the low 32 bits"
    )]
    pub fn encode(self) -> (u32, u32) {
        let sec = self.sec.clamp(Self::MIN.sec, Self::MAX_SEC);
        let base = sec as u32;
        let epoch = ((sec - i64::from(base.cast_signed())) >> 32) as u32 & 3;
        (base, self.nsec.min((1 << 30) - 1) << 2 | epoch)
    }

    /// The base word of a time that has no extra word: clamped to 32 bits, signed.
    #[expect(clippy::cast_possible_truncation, reason = "clamped to an i32 just before")]
    pub fn encode_base(self) -> u32 {
        (self.sec.clamp(i64::from(i32::MIN), i64::from(i32::MAX)) as i32).cast_unsigned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // The table in the kernel's ext4_decode_extra_time documentation.
    #[test]
    fn the_extra_bits_move_the_epoch_by_four_gibi_seconds() {
        let cases = [
            (0, 0x8000_0000u32, -0x8000_0000i64),
            (0, 0x7fff_ffff, 0x7fff_ffff),
            (1, 0x8000_0000, 0x8000_0000),
            (1, 0x7fff_ffff, 0x1_7fff_ffff),
            (2, 0x8000_0000, 0x1_8000_0000),
            (3, 0x7fff_ffff, 0x3_7fff_ffff),
        ];
        for (epoch, base, sec) in cases {
            let time = Timestamp { sec, nsec: 999_999_999 };
            assert_eq!(Timestamp::decode(base, Some(epoch | 999_999_999 << 2)), time);
            assert_eq!(time.encode(), (base, epoch | 999_999_999 << 2));
        }
        assert_eq!(Timestamp { sec: i64::MAX, nsec: 0 }.encode(), (0x7fff_ffff, 3));
        assert_eq!(Timestamp { sec: i64::MIN, nsec: 0 }.encode(), (0x8000_0000, 0));
        assert_eq!(Timestamp { sec: 1 << 33, nsec: 1 }.encode_base(), 0x7fff_ffff);
    }
}
