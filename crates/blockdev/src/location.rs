//! What the user calls an image: a path, and perhaps an offset or a partition in it.

use crate::OpenError;
use std::{
    ffi::{OsStr, OsString},
    fmt,
    os::unix::ffi::{OsStrExt, OsStringExt},
    path::{Path, PathBuf},
};

/// A file and the part of it that holds the filesystem.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Location {
    /// The image file or block device.
    pub path: PathBuf,
    /// Which part of it.
    pub part: Part,
}

/// The part of a file that holds the filesystem.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// All of it.
    Whole,
    /// From this byte to the end.
    Offset(u64),
    /// This partition, as Linux numbers them: GPT entries and primary MBR partitions from 1,
    /// logical ones from 5.
    Partition(u32),
}

impl Location {
    /// All of a file.
    pub fn whole(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), part: Part::Whole }
    }

    /// Reads `PATH`, `PATH@OFFSET` or `PATH#PARTITION`. An offset is in bytes, decimal or `0x` and
    /// hexadecimal, or decimal with a suffix: `s` for sectors of 512 bytes, `K`, `M`, `G` or `T`.
    /// Where a file has the whole text as its name, it is that file.
    ///
    /// # Errors
    /// [`OpenError::Location`] when what follows the last `@` or `#` is neither, and no file has
    /// the whole text as its name.
    pub fn parse(text: impl AsRef<OsStr>) -> Result<Self, OpenError> {
        let text = text.as_ref();
        let bytes = text.as_bytes();
        let Some(at) = bytes.iter().rposition(|it| matches!(it, b'@' | b'#')) else {
            return Ok(Self::whole(text));
        };
        // A sign inside a folder's name (`a@b/disk.img`) says nothing about the file.
        if bytes[at..].contains(&b'/') || Path::new(text).symlink_metadata().is_ok() {
            return Ok(Self::whole(text));
        }
        let path = PathBuf::from(OsString::from_vec(bytes[..at].to_vec()));
        let word = String::from_utf8_lossy(&bytes[at + 1..]);
        let wrong = |fault: String| OpenError::Location { text: text.to_owned(), fault };
        if path.as_os_str().is_empty() {
            return Err(wrong(format!("no path before `{}`", char::from(bytes[at]))));
        }
        let part = if bytes[at] == b'@' {
            Part::Offset(parse_size(&word).ok_or_else(|| {
                let expected = "bytes, 0x and hexadecimal, or a number with s, K, M, G or T";
                wrong(format!("found offset `{word}`, expected {expected}"))
            })?)
        } else {
            let number = word.parse().ok().filter(|&it| it > 0 && is_decimal(&word));
            Part::Partition(number.ok_or_else(|| {
                wrong(format!("found partition `{word}`, expected a number from 1"))
            })?)
        };
        Ok(Self { path, part })
    }
}

fn is_decimal(word: &str) -> bool {
    !word.is_empty() && word.bytes().all(|it| it.is_ascii_digit())
}

fn parse_size(word: &str) -> Option<u64> {
    if let Some(hex) = word.strip_prefix("0x").or_else(|| word.strip_prefix("0X")) {
        let is_hex = hex.bytes().all(|it| it.is_ascii_hexdigit());
        return u64::from_str_radix(hex, 16).ok().filter(|_| is_hex);
    }
    let (digits, unit) = match word.char_indices().next_back()? {
        (at, 's') => (&word[..at], 512),
        (at, 'k' | 'K') => (&word[..at], 1 << 10),
        (at, 'm' | 'M') => (&word[..at], 1 << 20),
        (at, 'g' | 'G') => (&word[..at], 1 << 30),
        (at, 't' | 'T') => (&word[..at], 1 << 40),
        _ => (word, 1_u64),
    };
    if !is_decimal(digits) {
        return None;
    }
    digits.parse::<u64>().ok()?.checked_mul(unit)
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.path.display();
        match self.part {
            Part::Whole => write!(f, "{path}"),
            Part::Offset(offset) => write!(f, "{path}@{offset}"),
            Part::Partition(number) => write!(f, "{path}#{number}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, path: &str, part: Part) {
        assert_eq!(Location::parse(text).unwrap(), Location { path: path.into(), part });
    }

    #[track_caller]
    fn check_wrong(text: &str, fault: &str) {
        let err = Location::parse(text).unwrap_err().to_string();
        assert_eq!(err, format!("{text}: {fault}"));
    }

    #[test]
    fn offsets_have_units() {
        check("disk.img", "disk.img", Part::Whole);
        check("disk.img@0", "disk.img", Part::Offset(0));
        check("disk.img@1M", "disk.img", Part::Offset(1 << 20));
        check("disk.img@2048s", "disk.img", Part::Offset(1 << 20));
        check("disk.img@0x100000", "disk.img", Part::Offset(1 << 20));
        check("a@b#c@3k", "a@b#c", Part::Offset(3072));
        check("x@2T", "x", Part::Offset(2 << 40));
        check("x@4G", "x", Part::Offset(4 << 30));
        check("x@18446744073709551615", "x", Part::Offset(u64::MAX));
    }

    #[test]
    fn partitions_are_numbers_from_1() {
        check("disk.img#2", "disk.img", Part::Partition(2));
        check("/dev/sda#12", "/dev/sda", Part::Partition(12));
        check_wrong("disk.img#0", "found partition `0`, expected a number from 1");
        check_wrong("disk.img#+1", "found partition `+1`, expected a number from 1");
        check_wrong("disk.img#", "found partition ``, expected a number from 1");
        check_wrong("#1", "no path before `#`");
    }

    #[test]
    fn what_is_no_offset_is_refused() {
        let expected = "expected bytes, 0x and hexadecimal, or a number with s, K, M, G or T";
        for word in ["", "M", "1MB", "-1", "0x", "0x+1", "1.5M", "99999999T", "\u{e9}", "0x1K"] {
            check_wrong(&format!("disk.img@{word}"), &format!("found offset `{word}`, {expected}"));
        }
    }

    #[test]
    fn a_sign_in_a_folders_name_is_no_part() {
        check("a@b/disk.img", "a@b/disk.img", Part::Whole);
        check("a#1/disk.img@512", "a#1/disk.img", Part::Offset(512));
    }

    #[test]
    fn a_file_of_that_name_wins() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a#1");
        check(
            path.to_str().unwrap(),
            folder.path().join("a").to_str().unwrap(),
            Part::Partition(1),
        );
        std::fs::write(&path, "x").unwrap();
        check(path.to_str().unwrap(), path.to_str().unwrap(), Part::Whole);
    }
}
