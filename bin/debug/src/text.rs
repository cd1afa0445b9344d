//! Numbers and bytes as people read them: modes, times, hexadecimal, names.

use ext4_ondisk::name::Name;
use ext4_ondisk::{inode::FileType, time::Timestamp};
use serde_json::{Map, Value, json};
use std::fmt::{self, Write as _};

/// Bytes in hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// A text of fixed length, up to its first zero.
pub(crate) fn until_zero(bytes: &[u8]) -> &[u8] {
    let len = bytes.iter().position(|&byte| byte == 0).unwrap_or(bytes.len());
    &bytes[..len]
}

/// Puts a name into an object as text, with its bytes in hex beside it when they are no UTF-8.
pub(crate) fn put_name(object: &mut Map<String, Value>, key: &str, bytes: &[u8]) {
    object.insert(key.to_owned(), Name(bytes).to_string().into());
    if str::from_utf8(bytes).is_err() {
        object.insert(format!("{key}_hex"), hex(bytes).into());
    }
}

/// The ten characters of `ls -l`, `-rw-r--r--`.
pub(crate) fn mode(mode: u16) -> String {
    let kind = match FileType::of_mode(mode) {
        FileType::Regular => '-',
        other => other.letter(),
    };
    let mut text = String::from(kind);
    for (shift, special, set, clear) in
        [(6, 0o4000, 's', 'S'), (3, 0o2000, 's', 'S'), (0, 0o1000, 't', 'T')]
    {
        let bits = mode >> shift;
        text.push(if bits & 4 != 0 { 'r' } else { '-' });
        text.push(if bits & 2 != 0 { 'w' } else { '-' });
        text.push(match (bits & 1 != 0, mode & special != 0) {
            (true, true) => set,
            (false, true) => clear,
            (true, false) => 'x',
            (false, false) => '-',
        });
    }
    text
}

/// The type in words, as stat(1) has them.
pub(crate) const fn file_type(file_type: FileType) -> &'static str {
    match file_type {
        FileType::Unknown => "no known type",
        FileType::Regular => "regular file",
        FileType::Directory => "directory",
        FileType::CharDevice => "character special file",
        FileType::BlockDevice => "block special file",
        FileType::Fifo => "fifo",
        FileType::Socket => "socket",
        FileType::Symlink => "symbolic link",
    }
}

/// A time as `[seconds, nanoseconds]`.
pub(crate) fn pair(time: Timestamp) -> Value {
    json!([time.sec, time.nsec])
}

/// Shows seconds and nanoseconds since 1970 as `2023-11-14 22:13:20.000000000` (UTC).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Time(pub(crate) Timestamp);

impl Time {
    /// A time of whole seconds.
    pub(crate) const fn of_sec(sec: i64) -> Self {
        Self(Timestamp { sec, nsec: 0 })
    }
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Timestamp { sec, nsec } = self.0;
        let (days, rest) = (sec.div_euclid(86400), sec.rem_euclid(86400));
        let (year, month, day) = civil(days);
        let (hour, minute, second) = (rest / 3600, rest / 60 % 60, rest % 60);
        write!(f, "{year}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}")?;
        if nsec != 0 {
            write!(f, ".{nsec:09}")?;
        }
        f.write_str(" UTC")
    }
}

/// The date of a day counted from 1970-01-01, by the Gregorian calendar: in years that begin in
/// March, so that the leap day is the last, in eras of 400 of them.
fn civil(days: i64) -> (i64, i64, i64) {
    const DAYS_OF_ERA: i64 = 146_097;
    const DAYS_BEFORE_1970: i64 = 719_468;
    let days = days.saturating_add(DAYS_BEFORE_1970);
    let (era, day) = (days.div_euclid(DAYS_OF_ERA), days.rem_euclid(DAYS_OF_ERA));
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let (month, carry) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    (era * 400 + year + carry, month, day)
}

/// The names of flags in lower case, separated by commas; `-` for none.
pub(crate) fn names<'a>(names: impl Iterator<Item = &'a str>) -> Vec<String> {
    names.map(str::to_ascii_lowercase).collect()
}

/// A number of things: `1 block`, `2 blocks`.
pub(crate) fn count(n: impl Into<u64>, one: &str) -> String {
    let n = n.into();
    let s = if n == 1 { "" } else { "s" };
    format!("{n} {one}{s}")
}

/// Bytes as `hexdump -C` shows them, equal lines left out.
pub(crate) fn hexdump(bytes: &[u8]) -> String {
    let mut text = String::new();
    let mut before: Option<&[u8]> = None;
    let mut is_repeat = false;
    for (i, line) in bytes.chunks(16).enumerate() {
        if before == Some(line) {
            if !is_repeat {
                text.push_str("*\n");
            }
            is_repeat = true;
            continue;
        }
        (before, is_repeat) = (Some(line), false);
        let _ = write!(text, "{:08x} ", i * 16);
        for (i, byte) in line.iter().enumerate() {
            let gap = if i % 8 == 0 { " " } else { "" };
            let _ = write!(text, "{gap}{byte:02x} ");
        }
        let shown =
            line.iter().map(|&it| if it.is_ascii_graphic() || it == b' ' { it } else { b'.' });
        let _ = writeln!(text, " |{}|", shown.map(char::from).collect::<String>());
    }
    let _ = writeln!(text, "{:08x}", bytes.len());
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_are_those_of_ls() {
        for (bits, text) in [
            (0o100_644, "-rw-r--r--"),
            (0o40_755, "drwxr-xr-x"),
            (0o104_755, "-rwsr-xr-x"),
            (0o102_640, "-rw-r-S---"),
            (0o41_777, "drwxrwxrwt"),
            (0o41_776, "drwxrwxrwT"),
            (0o120_777, "lrwxrwxrwx"),
            (0, "?---------"),
        ] {
            assert_eq!(mode(bits), text);
        }
    }

    // By `date -u -d @N`.
    #[test]
    fn times_are_those_of_the_calendar() {
        for (sec, text) in [
            (0, "1970-01-01 00:00:00 UTC"),
            (951_782_399, "2000-02-28 23:59:59 UTC"),
            (951_782_400, "2000-02-29 00:00:00 UTC"),
            (1_700_000_000, "2023-11-14 22:13:20 UTC"),
            (-2_147_483_648, "1901-12-13 20:45:52 UTC"),
            (15_032_385_535, "2446-05-10 22:38:55 UTC"),
        ] {
            assert_eq!(Time::of_sec(sec).to_string(), text);
        }
        let time = Time(Timestamp { sec: 1, nsec: 5 });
        assert_eq!(time.to_string(), "1970-01-01 00:00:01.000000005 UTC");
    }

    #[test]
    fn equal_lines_of_a_dump_are_left_out() {
        let mut bytes = vec![0; 64];
        bytes[48..51].copy_from_slice(b"abc");
        let zeros = "00 00 00 00 00 00 00 00  00 00 00 00 00 00 00 00";
        let last = "61 62 63 00 00 00 00 00  00 00 00 00 00 00 00 00";
        let expected = format!(
            "00000000  {zeros}  |................|\n*\n00000030  {last}  |abc.............|\n00000040\n"
        );
        assert_eq!(hexdump(&bytes), expected);
    }
}
