//! The text formats of /proc.

use std::{ffi::OsString, os::unix::ffi::OsStringExt, path::PathBuf};

/// One line of /proc/PID/mountinfo.
#[derive(Debug)]
pub(super) struct Mount {
    pub(super) dev: u64,
    pub(super) target: PathBuf,
    /// What was mounted: a device's path for most filesystems on devices.
    pub(super) source: PathBuf,
}

/// One line of /proc/locks.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Lock {
    /// Taken by flock(2), otherwise by fcntl(2).
    pub(super) is_flock: bool,
    pub(super) is_write: bool,
    /// The process; `None` for a lock that belongs to a descriptor (OFD), not a process.
    pub(super) pid: Option<u32>,
    pub(super) dev: u64,
    pub(super) ino: u64,
}

/// The mounts of a mountinfo list (proc_pid_mountinfo(5)); lines of another form are left out.
pub(super) fn mounts(list: &[u8]) -> impl Iterator<Item = Mount> + '_ {
    list.split(|&it| it == b'\n').filter_map(|line| {
        let mut fields = line.split(|&it| it == b' ');
        let dev = device_number(str::from_utf8(fields.nth(2)?).ok()?)?;
        let target = unescape(fields.nth(1)?);
        // Optional fields end in a lone hyphen, then come type and source.
        let source = unescape(fields.skip_while(|it| *it != b"-").nth(2)?);
        Some(Mount { dev, target, source })
    })
}

/// The paths of a list of swap areas: /proc/swaps.
pub(super) fn swaps(list: &[u8]) -> impl Iterator<Item = PathBuf> + '_ {
    let lines = list.split(|&it| it == b'\n').skip(1).filter(|it| !it.is_empty());
    lines.map(|line| unescape(line.split(|it| matches!(it, b' ' | b'\t')).next().unwrap_or(line)))
}

/// The locks that are held, of /proc/locks (proc_locks(5)); those waited for are left out.
pub(super) fn locks(list: &str) -> impl Iterator<Item = Lock> + '_ {
    list.lines().filter_map(|line| {
        let mut fields = line.split_ascii_whitespace().skip(1);
        let kind = fields.next()?;
        if !matches!(kind, "FLOCK" | "POSIX" | "OFDLCK") {
            return None;
        }
        let is_write = fields.nth(1)? == "WRITE";
        let pid = fields.next()?.parse().ok();
        let mut place = fields.next()?.split(':');
        let mut hex = || u32::from_str_radix(place.next()?, 16).ok();
        let dev = rustix::fs::makedev(hex()?, hex()?);
        let ino = place.next()?.parse().ok()?;
        Some(Lock { is_flock: kind == "FLOCK", is_write, pid, dev, ino })
    })
}

/// `MAJOR:MINOR`.
pub(super) fn device_number(text: &str) -> Option<u64> {
    let (major, minor) = text.split_once(':')?;
    Some(rustix::fs::makedev(major.parse().ok()?, minor.parse().ok()?))
}

/// Undoes the kernel's `mangle_path`: space, tab, newline, backslash and # stand as `\ooo`.
fn unescape(field: &[u8]) -> PathBuf {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let [first, tail @ ..] = rest {
        let octal = |it: &u8| (b'0'..=b'7').contains(it).then(|| u32::from(it - b'0'));
        let code = match rest {
            [b'\\', a, b, c, ..] => octal(a)
                .zip(octal(b))
                .zip(octal(c))
                .and_then(|((a, b), c)| u8::try_from(a * 64 + b * 8 + c).ok()),
            _ => None,
        };
        bytes.push(code.unwrap_or(*first));
        rest = if code.is_some() { &rest[4..] } else { tail };
    }
    PathBuf::from(OsString::from_vec(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mountinfo_has_optional_fields_and_escapes() {
        let list =
            b"36 35 98:0 /mnt1 /mnt\\0402 rw,noatime master:1 shared:2 - ext3 /dev/ro\\134ot rw\n\
                     \n40 1 0:5 / /proc rw - proc proc rw\nnonsense\n1 2 x:y / / - a b\n";
        let found: Vec<_> = mounts(list).collect();
        assert_eq!(found.len(), 2);
        assert_eq!(found[0].dev, rustix::fs::makedev(98, 0));
        assert_eq!(found[0].target, PathBuf::from("/mnt 2"));
        assert_eq!(found[0].source, PathBuf::from("/dev/ro\\ot"));
    }

    #[test]
    fn broken_escapes_stay_as_they_are() {
        for text in ["a\\", "\\04", "\\999", "\\777"] {
            assert_eq!(unescape(text.as_bytes()), PathBuf::from(text));
        }
    }

    #[test]
    fn locks_are_by_process_or_descriptor() {
        let list = "1: FLOCK  ADVISORY  WRITE 708 00:13:22321 0 EOF\n\
                    2: OFDLCK ADVISORY  READ  -1 fe:00:77 100 101\n\
                    2: -> POSIX  ADVISORY  WRITE 9 fe:00:77 0 EOF\n\
                    3: LEASE  ACTIVE    READ  10 fe:00:77 0 EOF\nx\n";
        let dev = rustix::fs::makedev;
        assert_eq!(
            locks(list).collect::<Vec<_>>(),
            [
                Lock {
                    is_flock: true,
                    is_write: true,
                    pid: Some(708),
                    dev: dev(0, 0x13),
                    ino: 22321
                },
                Lock { is_flock: false, is_write: false, pid: None, dev: dev(0xfe, 0), ino: 77 },
            ]
        );
    }
}
