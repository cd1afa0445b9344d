//! Lines and words of a manifest, and the escapes of vis(3) in them.

/// Lines that say something, with their numbers from 1 on. A line that ends in a backslash goes on
/// in the next one and has the number of its first.
pub(super) fn lines(text: &[u8]) -> impl Iterator<Item = (u32, Vec<u8>)> {
    let mut rest = (1_u32..).zip(text.split(|&it| it == b'\n'));
    std::iter::from_fn(move || {
        let (number, first) = rest.next()?;
        let mut line = first.to_vec();
        let is_comment = first.trim_ascii_start().starts_with(b"#");
        while !is_comment && goes_on(&line) {
            line.pop();
            let Some((_, more)) = rest.next() else { break };
            line.extend_from_slice(more);
        }
        Some((number, if is_comment { Vec::new() } else { line }))
    })
}

/// Whether the last backslash is one of its own, not the second of an escaped one.
fn goes_on(line: &[u8]) -> bool {
    line.iter().rev().take_while(|&&it| it == b'\\').count() % 2 == 1
}

/// Words, as they are written.
pub(super) fn words(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    line.split(|it| matches!(it, b' ' | b'\t' | b'\r')).filter(|it| !it.is_empty())
}

/// The bytes of a word, each with whether it was escaped: then it means itself.
pub(super) fn bytes(word: &[u8]) -> Result<Vec<(u8, bool)>, String> {
    let mut out = Vec::with_capacity(word.len());
    let mut rest = word;
    while let Some((&byte, behind)) = rest.split_first() {
        if byte != b'\\' {
            out.push((byte, false));
            rest = behind;
            continue;
        }
        let (value, len) = escape(behind).ok_or_else(|| {
            let shown = &rest[..rest.len().min(2)];
            format!(
                "found the escape `{}`, expected such as \\040",
                String::from_utf8_lossy(shown).escape_debug().to_string().replace("\\\\", "\\")
            )
        })?;
        out.push((value, true));
        rest = &behind[len..];
    }
    Ok(out)
}

/// What stands behind a backslash: three octal digits, or a letter of `VIS_CSTYLE`, or what would
/// mean something by itself.
fn escape(text: &[u8]) -> Option<(u8, usize)> {
    if let [a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', ..] = *text {
        return Some(((a - b'0') << 6 | (b - b'0') << 3 | (c - b'0'), 3));
    }
    let value = match *text.first()? {
        b'a' => 0x07,
        b'b' => 0x08,
        b't' => b'\t',
        b'n' => b'\n',
        b'v' => 0x0B,
        b'f' => 0x0C,
        b'r' => b'\r',
        b's' => b' ',
        it @ (b'\\' | b'#' | b'*' | b'?' | b'[' | b']' | b'=' | b'"' | b'\'') => it,
        _ => return None,
    };
    Some((value, 1))
}

/// The bytes of a value, escapes undone.
pub(super) fn value(word: &[u8]) -> Result<Vec<u8>, String> {
    Ok(bytes(word)?.into_iter().map(|it| it.0).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_goes_on_behind_a_backslash_and_keeps_its_number() {
        let found: Vec<_> =
            lines(b"a \\\n b\n# c \\\nd\\\\\ne").filter(|it| !it.1.is_empty()).collect();
        assert_eq!(found, [(1, b"a  b".to_vec()), (4, b"d\\\\".to_vec()), (5, b"e".to_vec())]);
    }

    #[test]
    fn escapes_are_undone() {
        assert_eq!(value(b"a\\040b\\\\\\n\\377"), Ok(b"a b\\\n\xff".to_vec()));
        assert!(value(b"\\400").is_err());
        assert!(value(b"\\").is_err());
    }
}
