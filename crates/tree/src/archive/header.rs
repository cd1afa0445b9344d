//! One header block of a tar archive: the fields that every entry has, as numbers and names.

use crate::Time;
use std::fmt::Display;

/// Bytes of a header; contents are filled up to a multiple of it.
pub(super) const BLOCK: usize = 512;

/// A header block whose checksum is right. Its fields are believed when they are asked for: those
/// that an extended header replaces may be anything.
#[derive(Debug)]
pub(super) struct Header {
    block: [u8; BLOCK],
}

/// Who wrote it, as far as that changes where fields are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flavor {
    /// Before POSIX: nothing behind the link's name.
    V7,
    /// POSIX 1003.1, PAX too.
    Ustar,
    /// star: as ustar, with times in the second part of the prefix.
    Star,
    /// GNU before PAX.
    Gnu,
}

impl Header {
    /// Checks the checksum, which some old tars computed of signed bytes.
    ///
    /// # Errors
    /// Says which sum was found and which was expected.
    pub(super) fn new(block: &[u8; BLOCK]) -> Result<Self, String> {
        let this = Self { block: *block };
        let field = this.raw().as_old().cksum;
        // The field itself counts as eight blanks.
        let blanks = 8 * i64::from(b' ');
        let sum = |of: fn(u8) -> i64| {
            let all: i64 = block.iter().map(|&it| of(it)).sum();
            let own: i64 = field.iter().map(|&it| of(it)).sum();
            i128::from(all - own + blanks)
        };
        let unsigned = sum(i64::from);
        let signed = sum(|it| i64::from(it.cast_signed()));
        match number(&field) {
            Ok(found) if found == unsigned || found == signed => Ok(this),
            Ok(found) => Err(format!("header checksum: found {found}, expected {unsigned}")),
            Err(found) => Err(format!("header checksum: {found}")),
        }
    }

    /// The layout, by the crate that knows it.
    pub(super) fn raw(&self) -> &tar::Header {
        tar::Header::from_byte_slice(&self.block)
    }

    /// The type of the entry, as it is written.
    pub(super) fn kind(&self) -> u8 {
        self.raw().as_old().linkflag[0]
    }

    /// Who wrote it.
    pub(super) fn flavor(&self) -> Flavor {
        if self.raw().as_gnu().is_some() {
            Flavor::Gnu
        } else if self.raw().as_ustar().is_none() {
            Flavor::V7
        } else if self.block.ends_with(b"tar\0") {
            Flavor::Star
        } else {
            Flavor::Ustar
        }
    }

    /// The path.
    pub(super) fn name(&self) -> Vec<u8> {
        let name = text(&self.raw().as_old().name);
        let prefix = match (self.flavor(), self.raw().as_ustar()) {
            (Flavor::Ustar, Some(ustar)) => text(&ustar.prefix),
            (Flavor::Star, Some(ustar)) => text(&ustar.prefix[..131]),
            _ => b"",
        };
        if prefix.is_empty() { name.to_vec() } else { [prefix, b"/", name].concat() }
    }

    /// The target of a link.
    pub(super) fn link(&self) -> &[u8] {
        text(&self.raw().as_old().linkname)
    }

    /// Permission bits with setuid, setgid and sticky; what some tars keep above them is not looked
    /// at.
    pub(super) fn perms(&self) -> Result<u16, String> {
        let mode = number(&self.raw().as_old().mode).map_err(|why| format!("mode: {why}"))?;
        Ok(u16::try_from(mode & 0o7777).unwrap_or_default())
    }

    /// Owner.
    pub(super) fn uid(&self) -> Result<u32, String> {
        id("owner", number(&self.raw().as_old().uid))
    }

    /// Group.
    pub(super) fn gid(&self) -> Result<u32, String> {
        id("group", number(&self.raw().as_old().gid))
    }

    /// Names of owner and group; empty where there are none.
    pub(super) fn names(&self) -> (&[u8], &[u8]) {
        match (self.raw().as_ustar(), self.raw().as_gnu()) {
            (Some(it), _) => (text(&it.uname), text(&it.gname)),
            (_, Some(it)) => (text(&it.uname), text(&it.gname)),
            (None, None) => (b"", b""),
        }
    }

    /// Bytes behind the header.
    pub(super) fn size(&self) -> Result<u64, String> {
        size(number(&self.raw().as_old().size))
    }

    /// When the contents changed.
    pub(super) fn mtime(&self) -> Result<Time, String> {
        let sec = number(&self.raw().as_old().mtime)
            .and_then(|it| i64::try_from(it).map_err(|_wide| format!("{it} is no time")));
        Ok(Time { sec: sec.map_err(|why| format!("modification time: {why}"))?, nsec: 0 })
    }

    /// Major and minor number of a device.
    pub(super) fn device(&self) -> Result<(u32, u32), String> {
        let number = |field: &[u8]| {
            let found = number(field)?;
            u32::try_from(found).map_err(|_wide| format!("found {found}, expected 32 bits"))
        };
        let (major, minor) = match (self.raw().as_ustar(), self.raw().as_gnu()) {
            (Some(it), _) => (number(&it.dev_major), number(&it.dev_minor)),
            (_, Some(it)) => (number(&it.dev_major), number(&it.dev_minor)),
            (None, None) => return Ok((0, 0)),
        };
        let wrong = |why| format!("device number: {why}");
        Ok((major.map_err(wrong)?, minor.map_err(wrong)?))
    }
}

/// A name in a field: all up to a NUL.
fn text(field: &[u8]) -> &[u8] {
    field.split(|&it| it == 0).next().unwrap_or_default()
}

/// A user's or group's number.
pub(super) fn id<T: TryInto<u32> + Display + Copy>(
    what: &str,
    found: Result<T, String>,
) -> Result<u32, String> {
    let found = found.map_err(|why| format!("{what}: {why}"))?;
    match found.try_into() {
        Ok(id) if id != u32::MAX => Ok(id),
        _ => Err(format!("{what}: found {found}, expected 0 to 4294967294")),
    }
}

/// A number of bytes.
pub(super) fn size(found: Result<i128, String>) -> Result<u64, String> {
    let found = found.map_err(|why| format!("size: {why}"))?;
    // The kernel's loff_t has 63 bits.
    match u64::try_from(found) {
        Ok(size) if i64::try_from(size).is_ok() => Ok(size),
        _ => Err(format!("size: found {found}, expected 0 to {}", i64::MAX)),
    }
}

/// A number in a field: octal digits between blanks, or base 256 with the first bit set, of which
/// the second is the sign. A field without a digit is 0.
pub(super) fn number(field: &[u8]) -> Result<i128, String> {
    if let Some((first, rest)) = field.split_first()
        && first & 0x80 != 0
    {
        let negative = first & 0x40 != 0;
        let top = i128::from(first & 0x3F) - if negative { 0x40 } else { 0 };
        // Fields have 8 or 12 bytes: 94 bits at most.
        return Ok(rest.iter().fold(top, |it, byte| it << 8 | i128::from(*byte)));
    }
    let digits = field.trim_ascii_start();
    let end = digits.iter().position(|it| matches!(it, 0 | b' ')).unwrap_or(digits.len());
    digits.iter().take(end).try_fold(0, |it, digit| match digit {
        b'0'..=b'7' => Ok(it << 3 | i128::from(digit - b'0')),
        _ => Err(format!("found \"{}\", expected octal digits", field.escape_ascii())),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_come_in_octal_and_in_base_256() {
        for (field, value) in [
            (&b"0000644\0"[..], 0o644),
            (b"   644 \0", 0o644),
            (b"77777777", 0o7777_7777),
            (b"\0\0\0\0\0\0\0\0", 0),
            (b"        ", 0),
            (b"\x80\0\0\0\0\x20\0\0", 0x20_0000),
            (b"\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFE", -2),
            (b"\x80\0\0\0\x02\0\0\0\0\0\0\0", 0x0200_0000_0000_0000),
        ] {
            assert_eq!(number(field), Ok(value), "{}", field.escape_ascii());
        }
        let err = number(b"00x\0\0\0\0\0").expect_err("no digit");
        assert_eq!(err, "found \"00x\\x00\\x00\\x00\\x00\\x00\", expected octal digits");
    }

    #[test]
    fn a_wrong_checksum_tells_both_sums() {
        let mut header = tar::Header::new_gnu();
        header.set_cksum();
        let mut block = *header.as_bytes();
        assert!(Header::new(&block).is_ok());
        block[0] += 1;
        let err = Header::new(&block).expect_err("changed");
        assert!(err.starts_with("header checksum: found "), "{err}");
    }

    #[test]
    fn sizes_have_63_bits() {
        assert!(size(Ok(i128::from(i64::MAX))).is_ok());
        let err = size(Ok(1 << 63)).expect_err("too many");
        assert!(err.contains("found 9223372036854775808"), "{err}");
    }
}
