//! Single values as they are typed: uuids, percentages, sizes in mke2fs's way.

use ext4_cli::{Failure, parse_size};

/// 16 bytes from the usual form, with or without dashes.
pub(crate) fn uuid(text: &str) -> Option<[u8; 16]> {
    let digits: String = text.chars().filter(|it| *it != '-').collect();
    if digits.len() != 32 || !digits.bytes().all(|it| it.is_ascii_hexdigit()) {
        return None;
    }
    let mut bytes = [0; 16];
    for (byte, pair) in bytes.iter_mut().zip(digits.as_bytes().chunks_exact(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(bytes)
}

/// Hundredths of a percent from `5`, `0.5` or `12.25`.
pub(crate) fn percent(text: &str) -> Option<u32> {
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    if whole.is_empty() && part.is_empty() {
        return None;
    }
    let is_digits = |it: &str| it.bytes().all(|b| b.is_ascii_digit());
    if !is_digits(whole) || !is_digits(part) || whole.len() > 3 {
        return None;
    }
    let whole: u32 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    let mut hundredths = 0;
    for (digit, weight) in part.bytes().zip([10, 1]) {
        hundredths += u32::from(digit - b'0') * weight;
    }
    Some(whole * 100 + hundredths)
}

/// A size where a number alone counts `unit` bytes.
pub(crate) fn size_in(text: &str, unit: u64) -> Result<u64, Failure> {
    let bad = |why: String| Failure::usage(format_args!("size `{text}`: {why}"));
    if text.bytes().all(|it| it.is_ascii_digit())
        && let Ok(count) = text.parse::<u64>()
    {
        return count.checked_mul(unit).ok_or_else(|| bad("does not fit in 64 bits".into()));
    }
    if let Some(sectors) = text.strip_suffix('s') {
        let count: u64 = sectors.parse().map_err(|_not| bad("not a number of sectors".into()))?;
        return count.checked_mul(512).ok_or_else(|| bad("does not fit in 64 bits".into()));
    }
    parse_size(text).map_err(bad)
}

/// A number of the type asked for.
pub(crate) fn number<T: std::str::FromStr>(what: &str, text: &str) -> Result<T, Failure> {
    let parsed = text.trim().parse();
    parsed.map_err(|_not| Failure::usage(format_args!("{what}: found `{text}`, expected a number")))
}

/// `1`, `0` or nothing, which is yes.
pub(crate) fn switch(what: &str, value: Option<&str>) -> Result<bool, Failure> {
    match value {
        None | Some("1") => Ok(true),
        Some("0") => Ok(false),
        Some(other) => {
            Err(Failure::usage(format_args!("{what}: found `{other}`, expected 0 or 1")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uuids_come_with_or_without_dashes() {
        let bytes = uuid("00112233-4455-6677-8899-aabbccddeeff").unwrap();
        assert_eq!(bytes[15], 0xFF);
        assert_eq!(uuid("00112233445566778899aabbccddeeff"), Some(bytes));
        assert_eq!(uuid("0011"), None);
        assert_eq!(uuid("+0112233445566778899aabbccddeeff"), None);
    }

    #[test]
    fn percentages_have_two_places() {
        assert_eq!(percent("5"), Some(500));
        assert_eq!(percent("0.5"), Some(50));
        assert_eq!(percent("12.257"), Some(1225));
        assert_eq!(percent("."), None);
        assert_eq!(percent("-1"), None);
    }

    #[test]
    fn a_bare_number_counts_blocks() {
        assert_eq!(size_in("100", 1024), Ok(102_400));
        assert_eq!(size_in("100k", 4096), Ok(102_400));
        assert_eq!(size_in("4s", 4096), Ok(2048));
        assert!(size_in("1q", 1024).is_err());
    }
}
