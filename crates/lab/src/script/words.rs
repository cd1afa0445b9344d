//! The words of the language.

/// Errors that can be expected, by name.
const ERRNOS: &[(&str, i32)] = &[
    ("EPERM", 1),
    ("ENOENT", 2),
    ("EIO", 5),
    ("EAGAIN", 11),
    ("EACCES", 13),
    ("EFAULT", 14),
    ("EEXIST", 17),
    ("ENOTDIR", 20),
    ("EISDIR", 21),
    ("EINVAL", 22),
    ("ETXTBSY", 26),
    ("EFBIG", 27),
    ("ENOSPC", 28),
    ("EROFS", 30),
    ("EBADMSG", 74),
    ("EOVERFLOW", 75),
    ("EOPNOTSUPP", 95),
    ("EUCLEAN", 117),
    ("ENOKEY", 126),
];

/// Operations and what stands behind them.
pub(super) const OPERATIONS: &[&str] = &[
    "create",
    "open",
    "unlink",
    "close",
    "buffered",
    "direct",
    "submit",
    "wait",
    "fsync",
    "fdatasync",
    "writeback",
    "sync",
    "commit",
    "truncate",
    "fallocate",
    "punch",
    "chmod",
    "read",
    "size",
    "finish",
    "crash",
];

/// Steps of each operation that `until` can name.
pub(crate) mod steps {
    /// It waits for somebody else.
    pub(crate) const BLOCKED: &str = "blocked";
    /// A direct write, or one that is submitted.
    pub(crate) const DIRECT: &[&str] = &[
        "locked",
        "checked",
        "upgraded",
        "modified",
        "orphan",
        "flushed",
        "mapped",
        "submitted",
        "unlocked",
        "drained",
        "converted",
        "sized",
        "removed",
        "buffered",
        "synced",
        BLOCKED,
    ];
    /// A buffered write.
    pub(crate) const BUFFERED: &[&str] =
        &["locked", "checked", "modified", "buffered", "unlocked", "synced", BLOCKED];
    /// Pages on their way.
    pub(crate) const WRITEBACK: &[&str] = &["mapped", "submitted", "written", "converted", BLOCKED];
    /// Pages on their way, then the journal.
    pub(crate) const FSYNC: &[&str] =
        &["mapped", "submitted", "written", "converted", "committed", BLOCKED];
    /// What takes the exclusive lock, waits for direct IO in flight, and acts.
    pub(crate) const LOCKED: &[&str] = &["locked", BLOCKED];
}

/// The errno of a name.
pub(super) fn errno(name: &str) -> Option<i32> {
    ERRNOS.iter().find(|(it, _)| *it == name).map(|&(_, nr)| nr)
}

/// The name of an errno, or its number.
pub fn errno_name(nr: i32) -> String {
    let name = ERRNOS.iter().find(|&&(_, it)| it == nr);
    name.map_or_else(|| format!("errno {nr}"), |&(name, _)| name.to_owned())
}

/// A size: a decimal number, and `k`, `M` or `G` for powers of 1024.
pub(super) fn size(text: &str) -> Option<u64> {
    let (digits, shift) = match text.as_bytes().last()? {
        b'k' => (&text[..text.len() - 1], 10),
        b'M' => (&text[..text.len() - 1], 20),
        b'G' => (&text[..text.len() - 1], 30),
        _ => (text, 0),
    };
    if digits.is_empty() || !digits.bytes().all(|it| it.is_ascii_digit()) {
        return None;
    }
    digits.parse::<u64>().ok()?.checked_mul(1 << shift)
}
