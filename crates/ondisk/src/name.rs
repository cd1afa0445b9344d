//! Names from an image made safe to print: a file name may hold any byte but `/` and NUL.

use std::fmt::{self, Write as _};

/// Shows bytes as text: valid UTF-8 as it is, control characters, backslashes and bytes that are
/// not UTF-8 as `\n`, `\\`, `\xNN`, so that the output is one line and drives no terminal.
#[derive(Clone, Copy, Debug)]
pub struct Name<'a>(pub &'a [u8]);

impl fmt::Display for Name<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for chunk in self.0.utf8_chunks() {
            for it in chunk.valid().chars() {
                match it {
                    '\n' => f.write_str("\\n")?,
                    '\t' => f.write_str("\\t")?,
                    '\\' => f.write_str("\\\\")?,
                    it if it.is_control() => {
                        let mut utf8 = [0; 4];
                        for byte in it.encode_utf8(&mut utf8).bytes() {
                            write!(f, "\\x{byte:02x}")?;
                        }
                    }
                    it => f.write_char(it)?,
                }
            }
            for byte in chunk.invalid() {
                write!(f, "\\x{byte:02x}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_byte_of_a_name_reaches_the_terminal_as_a_command() {
        assert_eq!(Name(b"plain.txt").to_string(), "plain.txt");
        assert_eq!(Name(b"a\nb\x1b[2J\\").to_string(), "a\\nb\\x1b[2J\\\\");
        assert_eq!(Name(b"\xff\xfe.bin").to_string(), "\\xff\\xfe.bin");
        assert_eq!(Name("\u{e9}\u{85}".as_bytes()).to_string(), "\u{e9}\\xc2\\x85");
    }
}
