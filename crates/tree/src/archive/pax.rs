//! Extended headers of PAX: records of a keyword and a value, for one entry or for all that follow.

use super::{header, owners::Lists, sparse::Map};
use crate::{Time, Xattrs};

/// What extended headers say of an entry.
#[derive(Clone, Debug, Default)]
pub(super) struct Pax {
    pub(super) path: Option<Vec<u8>>,
    pub(super) link: Option<Vec<u8>>,
    pub(super) size: Option<u64>,
    pub(super) uid: Option<u32>,
    pub(super) gid: Option<u32>,
    pub(super) mtime: Option<Time>,
    pub(super) major: Option<u32>,
    pub(super) minor: Option<u32>,
    pub(super) sparse: Sparse,
    pub(super) xattrs: Xattrs,
    pub(super) lists: Lists,
    /// Names of owner and group.
    pub(super) user: Option<Vec<u8>>,
    pub(super) group: Option<Vec<u8>>,
}

/// What GNU tar says of a sparse file.
#[derive(Clone, Debug, Default)]
pub(super) struct Sparse {
    pub(super) name: Option<Vec<u8>>,
    /// Bytes of the file, holes included.
    pub(super) size: Option<u64>,
    /// The map of versions 0.0 and 0.1.
    pub(super) map: Option<Map>,
    /// Versions 1.0 and later.
    pub(super) version: Option<(u64, u64)>,
    /// An offset that waits for its length (version 0.0).
    offset: Option<u64>,
}

impl Pax {
    /// Takes the records of a header over.
    ///
    /// # Errors
    /// Says which record is wrong.
    pub(super) fn extend(&mut self, records: &[u8]) -> Result<(), String> {
        let mut rest = records;
        while !rest.is_empty() {
            let (record, more) = record(rest)?;
            let (key, value) = record;
            self.set(key, value).map_err(|why| format!("{}: {why}", key.escape_ascii()))?;
            rest = more;
        }
        Ok(())
    }

    fn set(&mut self, key: &[u8], value: &[u8]) -> Result<(), String> {
        // A record without a value takes back what was said before it.
        let given = Some(value).filter(|it| !it.is_empty());
        let number = |of: fn(&[u8]) -> Result<u64, String>| given.map(of).transpose();
        let id = || given.map(|it| header::id("number", decimal(it))).transpose();
        match key {
            b"path" => self.path = given.map(<[u8]>::to_vec),
            b"linkpath" => self.link = given.map(<[u8]>::to_vec),
            b"size" => self.size = number(size)?,
            b"uid" => self.uid = id()?,
            b"uname" => self.user = given.map(<[u8]>::to_vec),
            b"gname" => self.group = given.map(<[u8]>::to_vec),
            b"gid" => self.gid = id()?,
            b"mtime" => self.mtime = given.map(time).transpose()?,
            b"SCHILY.devmajor" => self.major = number(decimal)?.map(narrow).transpose()?,
            b"SCHILY.devminor" => self.minor = number(decimal)?.map(narrow).transpose()?,
            b"SCHILY.acl.access" => self.lists.access = given.map(<[u8]>::to_vec),
            b"SCHILY.acl.default" => self.lists.default = given.map(<[u8]>::to_vec),
            b"SCHILY.realsize" | b"SUN.holesdata" => {
                return Err("a sparse file in the way of star or Solaris, expected GNU's".into());
            }
            b"GNU.volume.filename" | b"GNU.volume.offset" | b"GNU.volume.size" => {
                return Err("part of an archive of several volumes".to_owned());
            }
            // setfilecon(3) writes the NUL behind a context, too.
            b"RHT.security.selinux" => self.xattr(b"security.selinux", [value, &[0]].concat())?,
            _ => {
                if let Some(name) = key.strip_prefix(b"GNU.sparse.") {
                    self.sparse.set(name, value)?;
                } else if let Some(name) = key.strip_prefix(b"SCHILY.xattr.") {
                    self.xattr(name, value.to_vec())?;
                } else if let Some(name) = key.strip_prefix(b"LIBARCHIVE.xattr.") {
                    self.xattr(&from_url(name)?, from_base64(value)?)?;
                }
                // Others (atime, comment, a vendor's) say nothing that a tree keeps.
            }
        }
        Ok(())
    }

    fn xattr(&mut self, name: &[u8], value: Vec<u8>) -> Result<(), String> {
        if name.contains(&0) {
            return Err("an attribute's name with a NUL".to_owned());
        }
        let spaces = [&b"user."[..], b"trusted.", b"security.", b"system."];
        if spaces.iter().any(|space| name.starts_with(space) && name.len() > space.len()) {
            self.xattrs.insert(name.into(), value.into());
        }
        Ok(())
    }
}

impl Sparse {
    /// Whether the entry is a sparse file.
    pub(super) fn is_sparse(&self) -> bool {
        self.map.is_some() || self.version.is_some() || self.size.is_some()
    }

    fn set(&mut self, key: &[u8], value: &[u8]) -> Result<(), String> {
        match key {
            b"name" => self.name = Some(value.to_vec()),
            b"size" | b"realsize" => self.size = Some(size(value)?),
            b"major" => self.version = Some((decimal(value)?, self.version.map_or(0, |it| it.1))),
            b"minor" => self.version = Some((self.version.map_or(0, |it| it.0), decimal(value)?)),
            b"offset" => self.offset = Some(decimal(value)?),
            b"numbytes" => {
                let offset = self.offset.take().ok_or("a length without an offset")?;
                self.map.get_or_insert_default().push(offset, decimal(value)?)?;
            }
            b"map" => {
                let map = self.map.get_or_insert_default();
                let mut numbers = value.split(|&it| it == b',').filter(|it| !it.is_empty());
                while let Some(offset) = numbers.next() {
                    let len = numbers.next().ok_or("an offset without a length")?;
                    map.push(decimal(offset)?, decimal(len)?)?;
                }
            }
            // The number of parts, which is seen anyway.
            _ => {}
        }
        Ok(())
    }
}

/// A keyword and its value.
type Record<'a> = (&'a [u8], &'a [u8]);

/// The first record and what follows it: `19 path=some/where\n`.
fn record(records: &[u8]) -> Result<(Record<'_>, &[u8]), String> {
    let bad = || {
        let some = records.get(..records.len().min(32)).unwrap_or_default();
        format!("found the record \"{}\", expected `LENGTH KEY=VALUE`", some.escape_ascii())
    };
    let blank = records.iter().take(20).position(|it| *it == b' ').ok_or_else(bad)?;
    let (digits, _) = records.split_at(blank);
    let len = decimal(digits).ok().and_then(|it| usize::try_from(it).ok()).ok_or_else(bad)?;
    let (record, rest) = records.split_at_checked(len).ok_or_else(bad)?;
    let text = record.get(blank + 1..).and_then(|it| it.strip_suffix(b"\n")).ok_or_else(bad)?;
    let equals = text.iter().position(|it| *it == b'=').ok_or_else(bad)?;
    let (key, value) = text.split_at(equals);
    Ok(((key, value.get(1..).unwrap_or_default()), rest))
}

fn decimal(text: &[u8]) -> Result<u64, String> {
    let digits =
        std::str::from_utf8(text).ok().filter(|it| it.bytes().all(|it| it.is_ascii_digit()));
    digits
        .and_then(|it| it.parse().ok())
        .ok_or_else(|| format!("found \"{}\", expected a number of 64 bits", text.escape_ascii()))
}

fn size(text: &[u8]) -> Result<u64, String> {
    header::size(decimal(text).map(i128::from))
}

fn narrow(number: u64) -> Result<u32, String> {
    u32::try_from(number).map_err(|_wide| format!("found {number}, expected 32 bits"))
}

/// Seconds with a fraction. What is finer than a nanosecond is cut towards the past.
fn time(text: &[u8]) -> Result<Time, String> {
    let bad = || format!("found \"{}\", expected seconds", text.escape_ascii());
    let (is_negative, rest) = match text.strip_prefix(b"-") {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let mut halves = rest.splitn(2, |it| *it == b'.');
    let (whole, fraction) = (halves.next().unwrap_or_default(), halves.next().unwrap_or_default());
    if !fraction.iter().all(u8::is_ascii_digit) || whole.is_empty() && fraction.is_empty() {
        return Err(bad());
    }
    let whole = if whole.is_empty() { 0 } else { decimal(whole).map_err(|_not| bad())? };
    let sec = i64::try_from(whole).map_err(|_wide| bad())?;
    let digits = fraction.iter().copied().chain(std::iter::repeat(b'0')).take(9);
    let nsec = digits.fold(0, |it, digit| it * 10 + u32::from(digit - b'0'));
    if !is_negative {
        return Ok(Time { sec, nsec });
    }
    let is_finer = fraction.iter().skip(9).any(|it| *it != b'0');
    let nsec = nsec + u32::from(is_finer);
    Ok(if nsec == 0 {
        Time { sec: -sec, nsec }
    } else {
        Time { sec: -sec - 1, nsec: 1_000_000_000 - nsec }
    })
}

/// Undoes `%41`.
fn from_url(text: &[u8]) -> Result<Vec<u8>, String> {
    let mut plain = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&byte, more)) = rest.split_first() {
        rest = more;
        if byte != b'%' {
            plain.push(byte);
            continue;
        }
        let (digits, more) = more.split_at_checked(2).ok_or("a `%` without two digits")?;
        let digits = std::str::from_utf8(digits).ok();
        let byte = digits.and_then(|it| u8::from_str_radix(it, 16).ok());
        plain.push(byte.ok_or("a `%` without two digits")?);
        rest = more;
    }
    Ok(plain)
}

/// Undoes base64, with or without `=` at the end.
fn from_base64(text: &[u8]) -> Result<Vec<u8>, String> {
    let mut plain = Vec::with_capacity(text.len() / 4 * 3);
    let end = text.iter().rposition(|it| *it != b'=').map_or(0, |last| last + 1);
    for four in text.get(..end).unwrap_or_default().chunks(4) {
        let mut bits = 0_u32;
        for letter in four {
            let six = match letter {
                b'A'..=b'Z' => letter - b'A',
                b'a'..=b'z' => letter - b'a' + 26,
                b'0'..=b'9' => letter - b'0' + 52,
                b'+' => 62,
                b'/' => 63,
                _ => return Err("a value that is not base64".to_owned()),
            };
            bits = bits << 6 | u32::from(six);
        }
        let missing = 4 - four.len();
        let [_, bytes @ ..] = (bits << (6 * missing)).to_be_bytes();
        if missing == 3 {
            return Err("a value that is not base64".to_owned());
        }
        plain.extend_from_slice(bytes.get(..3 - missing).unwrap_or_default());
    }
    Ok(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn read(records: &[(&str, &[u8])]) -> Pax {
        let mut pax = Pax::default();
        for (key, value) in records {
            let text = [key.as_bytes(), b"=", value, b"\n"].concat();
            let len = text.len() + 3;
            assert!((10..100).contains(&len), "two digits and a blank");
            let record = [format!("{len} ").as_bytes(), &text].concat();
            pax.extend(&record).expect("a good record");
        }
        pax
    }

    #[test]
    fn values_may_hold_new_lines_and_take_others_back() {
        let pax = read(&[
            ("SCHILY.xattr.user.a", b"\n=\n\0x"),
            ("path", b"a path"),
            ("uid", b"1000"),
            ("comment", b""),
        ]);
        assert_eq!(&*pax.xattrs[&b"user.a"[..]], b"\n=\n\0x");
        assert_eq!((pax.path.as_deref(), pax.uid), (Some(&b"a path"[..]), Some(1000)));
        let mut pax = pax;
        pax.extend(b"7 uid=\n").expect("a good record");
        assert_eq!(pax.uid, None);
    }

    #[test]
    fn a_record_that_is_none_is_told() {
        for bad in [
            &b"9 path=ab\n"[..],
            b"11 path=abc",
            b"x",
            b"99999999999999999999999 a=b\n",
            b"6 abc\n",
        ] {
            let err = Pax::default().extend(bad).expect_err("bad");
            assert!(err.starts_with("found the record \""), "{err}");
        }
    }

    #[test]
    fn times_before_1970_count_up_from_the_second_below() {
        for (text, sec, nsec) in [
            ("1.5", 1, 500_000_000),
            ("-1.5", -2, 500_000_000),
            ("-0.000000001", -1, 999_999_999),
            ("-1", -1, 0),
            ("1.0000000019", 1, 1),
            ("-1.0000000011", -2, 999_999_998),
            (".25", 0, 250_000_000),
        ] {
            assert_eq!(time(text.as_bytes()), Ok(Time { sec, nsec }), "{text}");
        }
        assert!(time(b"-9223372036854775807.1").is_ok(), "no overflow");
        for bad in ["", "-", ".", "1e5", "1.x", "9223372036854775808"] {
            assert!(time(bad.as_bytes()).is_err(), "{bad}");
        }
    }

    #[test]
    fn attributes_come_in_the_ways_of_star_bsdtar_and_selinux() {
        let pax = read(&[
            ("LIBARCHIVE.xattr.user.%61b", b"aGVsbG8K"),
            ("RHT.security.selinux", b"a:b:c:s0"),
            ("SCHILY.xattr.com.apple.x", b"dropped"),
        ]);
        let found: Vec<_> = pax.xattrs.iter().map(|(key, value)| (&**key, &**value)).collect();
        assert_eq!(
            found,
            [(&b"security.selinux"[..], &b"a:b:c:s0\0"[..]), (b"user.ab", b"hello\n")]
        );
        assert_eq!(from_base64(b"aGk="), Ok(b"hi".to_vec()));
        assert_eq!(from_base64(b"aA"), Ok(b"h".to_vec()));
        assert!(from_base64(b"a").is_err());
    }
}
