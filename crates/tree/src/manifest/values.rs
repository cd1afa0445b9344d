//! Values of keywords: numbers, times, devices, attributes.

use super::words;
use crate::Time;

/// Digits and nothing else.
pub(super) fn decimal(text: &str) -> Option<u64> {
    if text.is_empty() || !text.bytes().all(|it| it.is_ascii_digit()) {
        return None;
    }
    text.parse().ok()
}

/// Permission bits with setuid, setgid and sticky.
pub(super) fn octal(text: &str) -> Option<u16> {
    if text.is_empty() || !text.bytes().all(|it| matches!(it, b'0'..=b'7')) {
        return None;
    }
    u16::from_str_radix(text, 8).ok().filter(|&it| it <= 0o7777)
}

/// Seconds, and behind a point a number of nanoseconds: `1.5` is five of them, as mtree and
/// libarchive read and write it.
pub(super) fn time(text: &str) -> Option<Time> {
    let (sec, nsec) = text.split_once('.').unwrap_or((text, "0"));
    let digits = sec.strip_prefix('-').unwrap_or(sec);
    decimal(digits)?;
    let nsec = decimal(nsec).and_then(|it| u32::try_from(it).ok());
    Some(Time { sec: sec.parse().ok()?, nsec: nsec.filter(|&it| it < 1_000_000_000)? })
}

/// Major and minor number, alone or behind the name of a system, or both as one number of Linux's
/// `makedev`.
pub(super) fn device(text: &str) -> Option<(u32, u32)> {
    let number = |it: &str| match it.strip_prefix("0x") {
        Some(hex) => u64::from_str_radix(hex, 16).ok().filter(|_| !hex.starts_with('+')),
        None => decimal(it),
    };
    let small = |it: &str| number(it).and_then(|it| u32::try_from(it).ok());
    let fields: Vec<_> = text.split(',').collect();
    match *fields {
        ["native" | "linux", major, minor] | [major, minor] => Some((small(major)?, small(minor)?)),
        [whole] => {
            let whole = number(whole)?;
            let major = whole >> 8 & 0xFFF | whole >> 32 & 0xFFFF_F000;
            let minor = whole & 0xFF | whole >> 12 & 0xFFFF_FF00;
            Some((u32::try_from(major).ok()?, u32::try_from(minor).ok()?))
        }
        _ => None,
    }
}

/// What setfattr(1) takes: `0x` and hexadecimal digits, `0s` and base64, or text, with or without
/// quotes.
pub(super) fn attribute(raw: &[u8]) -> Result<Vec<u8>, String> {
    if let [b'0', b'x' | b'X', hex @ ..] = raw {
        return hexadecimal(hex).ok_or_else(|| "expected pairs of hexadecimal digits".to_owned());
    }
    if let [b'0', b's' | b'S', text @ ..] = raw {
        return base64(text).ok_or_else(|| "expected base64".to_owned());
    }
    match raw {
        [b'"', inside @ .., b'"'] => words::value(inside),
        _ => words::value(raw),
    }
}

fn hexadecimal(text: &[u8]) -> Option<Vec<u8>> {
    let digit = |it: u8| char::from(it).to_digit(16).and_then(|it| u8::try_from(it).ok());
    let pairs = text.chunks(2);
    pairs
        .map(|pair| match *pair {
            [high, low] => Some(digit(high)? << 4 | digit(low)?),
            _ => None,
        })
        .collect()
}

fn base64(text: &[u8]) -> Option<Vec<u8>> {
    let text = text.strip_suffix(b"==").or_else(|| text.strip_suffix(b"=")).unwrap_or(text);
    let digit = |it: u8| match it {
        b'A'..=b'Z' => Some(it - b'A'),
        b'a'..=b'z' => Some(it - b'a' + 26),
        b'0'..=b'9' => Some(it - b'0' + 52),
        b'+' => Some(62),
        b'/' => Some(63),
        _ => None,
    };
    let mut out = Vec::with_capacity(text.len());
    for four in text.chunks(4) {
        if four.len() == 1 {
            return None;
        }
        let mut bits = 0_u32;
        for i in 0..4 {
            let value = four.get(i).map_or(Some(0), |&it| digit(it))?;
            bits = bits << 6 | u32::from(value);
        }
        let [_, bytes @ ..] = bits.to_be_bytes();
        out.extend_from_slice(&bytes[..four.len() - 1]);
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_come_in_four_forms() {
        for text in ["native,259,300", "linux,0x103,300", "259,300", "0x11032c", "1114924"] {
            assert_eq!(device(text), Some((259, 300)), "{text}");
        }
        assert_eq!(device("0x501"), Some((5, 1)));
        assert_eq!(device("hpux,1,2"), None);
        assert_eq!(device("0x"), None);
    }

    #[test]
    fn base64_of_every_length() {
        for (text, bytes) in
            [("", ""), ("Zg==", "f"), ("Zm8=", "fo"), ("Zm8", "fo"), ("Zm9v", "foo")]
        {
            assert_eq!(base64(text.as_bytes()).as_deref(), Some(bytes.as_bytes()), "{text}");
        }
        assert_eq!(base64(b"Zm9vY"), None);
    }

    #[test]
    fn nanoseconds_are_a_number_and_no_fraction() {
        assert_eq!(time("1.5"), Some(Time { sec: 1, nsec: 5 }));
        assert_eq!(time("-7"), Some(Time { sec: -7, nsec: 0 }));
        for text in ["", "1.", ".1", "--1", "1.1000000000", "+1"] {
            assert_eq!(time(text), None, "{text}");
        }
    }
}
