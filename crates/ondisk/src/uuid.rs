//! How a uuid is written.

use std::fmt::Write as _;

/// A uuid as it is usually written: `c1b9d5a2-f162-11cf-9ece-0020afc76f16`.
pub fn text(bytes: &[u8; 16]) -> String {
    let mut out = String::with_capacity(36);
    for (at, byte) in bytes.iter().enumerate() {
        let hyphen = if matches!(at, 4 | 6 | 8 | 10) { "-" } else { "" };
        let _ = write!(out, "{hyphen}{byte:02x}");
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uuid_has_five_parts() {
        let bytes = *b"sixteen bytes ok";
        assert_eq!(text(&bytes), "73697874-6565-6e20-6279-746573206f6b");
    }
}
