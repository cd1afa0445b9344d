//! Sizes and offsets as they are typed: `4k`, `1M`, `0x1000`, `1GiB`, `10MB`.

use std::fmt;

/// Reads a size in bytes.
///
/// A decimal or `0x` hexadecimal number, and for decimals a suffix: `k`, `M`, `G`, `T`, `P` (alone
/// or with `iB`) are powers of 1024; with `B` (`kB`, `MB`, ...) they are powers of 1000; `B` alone
/// is bytes. Case does not matter. `_` may separate digits.
///
/// # Errors
/// Says what is wrong, without what was typed: clap says that before it.
pub fn parse_size(typed: &str) -> Result<u64, String> {
    let lower = typed.trim().to_ascii_lowercase();
    if let Some(hex) = lower.strip_prefix("0x") {
        return digits(hex, 16).ok_or_else(bad);
    }
    let split = lower.find(|it: char| !it.is_ascii_digit() && it != '_').unwrap_or(lower.len());
    let (number, suffix) = lower.split_at(split);
    if suffix.starts_with(['.', ',']) {
        return Err("not a whole number, use a smaller unit".to_owned());
    }
    if number.is_empty() {
        return Err(bad());
    }
    let unit = unit(suffix).ok_or_else(|| {
        format!("unknown unit {suffix:?}, expected k, M, G, T or P, KiB .. or kB ..")
    })?;
    digits(number, 10)
        .and_then(|it| it.checked_mul(unit))
        .ok_or_else(|| "does not fit in 64 bits".to_owned())
}

fn bad() -> String {
    "not a size, expected something like 4096, 4k, 1M or 0x1000".to_owned()
}

fn digits(text: &str, radix: u32) -> Option<u64> {
    let text: String = text.chars().filter(|it| *it != '_').collect();
    // from_str_radix takes a sign, a size has none.
    if text.starts_with(['+', '-']) {
        return None;
    }
    u64::from_str_radix(&text, radix).ok()
}

fn unit(suffix: &str) -> Option<u64> {
    const LETTERS: &str = "kmgtp";
    let (letter, rest) = match suffix {
        "" | "b" => return Some(1),
        _ => suffix.split_at_checked(1)?,
    };
    let power = u32::try_from(LETTERS.find(letter)?).ok()? + 1;
    match rest {
        "" | "ib" => Some(1024_u64.pow(power)),
        "b" => Some(1000_u64.pow(power)),
        _ => None,
    }
}

/// Shows bytes for reading: `512 B`, `4.0 KiB`, `1.5 GiB`.
#[derive(Clone, Copy, Debug)]
pub struct Bytes(pub u64);

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
        if self.0 < 1024 {
            return write!(f, "{} B", self.0);
        }
        let mut whole = self.0;
        let mut tenths = 0;
        let mut name = "B";
        for unit in UNITS {
            if whole < 1024 {
                break;
            }
            tenths = whole % 1024 * 10 / 1024;
            whole /= 1024;
            name = unit;
        }
        write!(f, "{whole}.{tenths} {name}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_mean_what_dd_and_truncate_mean() {
        for (typed, bytes) in [
            ("0", 0),
            ("4096", 4096),
            ("4k", 4096),
            ("4K", 4096),
            ("1KiB", 1024),
            ("1kB", 1000),
            ("1M", 1 << 20),
            ("1MB", 1_000_000),
            ("1GiB", 1 << 30),
            ("2t", 2 << 40),
            ("0x1000", 4096),
            ("0xFFFF_FFFF_FFFF_FFFF", u64::MAX),
            ("1_000", 1000),
            ("512b", 512),
        ] {
            assert_eq!(parse_size(typed), Ok(bytes), "{typed}");
        }
    }

    #[test]
    fn a_bad_size_is_refused_with_what_was_expected() {
        let size = "not a size, expected something like 4096, 4k, 1M or 0x1000";
        for (typed, message) in [
            ("", size),
            ("-1", size),
            ("0x", size),
            ("0x+1", size),
            ("1.5G", "not a whole number, use a smaller unit"),
            ("4q", "unknown unit \"q\", expected k, M, G, T or P, KiB .. or kB .."),
            ("4\u{b5}", "unknown unit \"\u{b5}\", expected k, M, G, T or P, KiB .. or kB .."),
            ("16777216T", "does not fit in 64 bits"),
            ("18446744073709551616", "does not fit in 64 bits"),
        ] {
            assert_eq!(parse_size(typed), Err(message.to_owned()), "{typed}");
        }
    }

    #[test]
    fn bytes_are_shown_in_the_unit_that_reads_best() {
        assert_eq!(Bytes(0).to_string(), "0 B");
        assert_eq!(Bytes(1023).to_string(), "1023 B");
        assert_eq!(Bytes(4096).to_string(), "4.0 KiB");
        assert_eq!(Bytes(3 << 29).to_string(), "1.5 GiB");
        assert_eq!(Bytes(u64::MAX).to_string(), "15.9 EiB");
    }
}
