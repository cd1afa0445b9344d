//! Names of case-folded directories, as far as they can be told without tables of letters.

use std::borrow::Cow;

/// Flag of `s_encoding_flags`: names that are no text are refused (`SB_ENC_STRICT_MODE_FL`).
const STRICT: u16 = 1;

/// Whether names of case-folded directories have to be text.
pub(super) fn is_strict(encoding_flags: u16) -> bool {
    encoding_flags & STRICT != 0
}

/// A name as it is compared and hashed in a case-folded directory; `None` when it has other letters
/// than those of ASCII, whose folding is not known here.
pub(super) fn folded(name: &[u8]) -> Option<Cow<'_, [u8]>> {
    if !name.is_ascii() {
        return None;
    }
    let has_capitals = name.iter().any(u8::is_ascii_uppercase);
    Some(if has_capitals { name.to_ascii_lowercase().into() } else { name.into() })
}

/// Puts dots in place of what is no UTF-8; whether there was any.
pub(super) fn mend(name: &mut [u8]) -> bool {
    let mut at = 0;
    let bad: Vec<_> = name
        .utf8_chunks()
        .map(|it| {
            let from = at + it.valid().len();
            at = from + it.invalid().len();
            from..at
        })
        .collect();
    let mut is_changed = false;
    for bytes in bad.into_iter().filter(|it| !it.is_empty()) {
        name[bytes].fill(b'.');
        is_changed = true;
    }
    is_changed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_text_becomes_dots_and_the_rest_stays() {
        let mut name = *b"ab\xFF\xE4\xC3\xA4z\xC3";
        assert!(mend(&mut name));
        assert_eq!(&name, b"ab..\xC3\xA4z.");
        assert!(!mend(&mut name));
    }

    #[test]
    fn only_letters_of_ascii_are_folded() {
        assert_eq!(folded(b"ReadMe").as_deref(), Some(&b"readme"[..]));
        assert_eq!(folded(b"\xC3\x84"), None);
    }
}
