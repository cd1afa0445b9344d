//! Everything that a tree of files can be told apart by, of a folder on the host or of a mounted
//! image: what a [`Manifest`](crate::manifest::Manifest) leaves out, times, names that are no text,
//! which names are one file and where the holes are.

use crate::manifest::{ContentHash, hex};
use anyhow::{Context, Result};
use rustix::fs::{FileType, SeekFrom, Stat};
use sha2::{Digest, Sha256};
use std::{
    collections::{BTreeMap, HashMap},
    ffi::OsStr,
    fmt::Write as _,
    fs::{self, File},
    ops::Range,
    os::unix::{ffi::OsStrExt as _, fs::FileExt as _},
    path::Path,
};

/// Bytes of a value or of all names of attributes (`XATTR_SIZE_MAX`, `XATTR_LIST_MAX`).
const XATTR_MAX: usize = 1 << 16;

/// One name.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Entry {
    /// Type and permissions, `st_mode`.
    mode: u32,
    uid: u32,
    gid: u32,
    /// Of a directory: 0, for each filesystem has its own.
    size: u64,
    /// Seconds and nanoseconds.
    mtime: (i64, u64),
    /// Of a device.
    rdev: u64,
    /// The names it has in the tree; of a directory what ext4 keeps: two and its subdirectories.
    links: u64,
    /// What `st_nlink` says.
    nlink: u64,
    /// The first of its names.
    first: Vec<u8>,
    /// Hash of the contents, or the target.
    content: String,
    /// Parts that are no holes.
    data: Vec<Range<u64>>,
    /// Names, and the values or hashes of them.
    xattrs: BTreeMap<String, String>,
}

/// A tree of files by path.
#[derive(Clone, Debug, Default)]
pub struct Census {
    entries: BTreeMap<Vec<u8>, Entry>,
}

impl Census {
    /// Takes down everything below a folder.
    ///
    /// # Errors
    /// When something in it cannot be read.
    pub fn of_folder(root: &Path) -> Result<Self> {
        let mut entries = BTreeMap::new();
        // Names of one file, by device and inode.
        let mut names: HashMap<(u64, u64), Vec<Vec<u8>>> = HashMap::new();
        let mut todo = vec![Vec::new()];
        while let Some(name) = todo.pop() {
            let path = root.join(OsStr::from_bytes(&name));
            let context = || format!("census: {}", path.display());
            let stat = rustix::fs::lstat(&path).with_context(context)?;
            let mut entry = entry(&path, &stat).with_context(context)?;
            if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
                entry.links = 2;
                for it in fs::read_dir(&path).with_context(context)? {
                    let it = it?;
                    entry.links += u64::from(it.file_type()?.is_dir());
                    let mut below = name.clone();
                    if !below.is_empty() {
                        below.push(b'/');
                    }
                    below.extend(it.file_name().as_bytes());
                    todo.push(below);
                }
                entry.first.clone_from(&name);
            } else {
                names.entry((stat.st_dev, stat.st_ino)).or_default().push(name.clone());
            }
            entries.insert(name, entry);
        }
        for mut group in names.into_values() {
            group.sort();
            for name in &group {
                let entry = entries.get_mut(name).expect("each name was taken down");
                entry.links = group.len() as u64;
                entry.first.clone_from(&group[0]);
            }
        }
        Ok(Self { entries })
    }

    /// How many names there are, the root's among them.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is nothing, not even a root.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Takes a path and all below it out of the comparison.
    pub fn forget(&mut self, path: &[u8]) {
        let gone = |it: &[u8]| it.strip_prefix(path).is_some_and(|it| it.first() == Some(&b'/'));
        let is_dir = self.entries.remove(path).is_some_and(|it| it.mode & 0o170_000 == 0o040_000);
        self.entries.retain(|it, _| !gone(it));
        if is_dir {
            let above = path.iter().rposition(|it| *it == b'/').map_or(&b""[..], |at| &path[..at]);
            if let Some(above) = self.entries.get_mut(above) {
                above.links -= 1;
                above.nlink = above.nlink.saturating_sub(1).max(1);
            }
        }
    }

    /// Where an image, mounted, is not what it was made of: a line for each path. Its files lie in
    /// units of `unit` bytes, so a hole smaller than that need not be kept.
    pub fn differences(&self, image: &Self, unit: u64) -> Vec<String> {
        let mut lines = Vec::new();
        for (path, one) in &self.entries {
            let mut line = String::new();
            match image.entries.get(path) {
                Some(two) => compare(&mut line, one, two, unit),
                None => line.push_str(" missing;"),
            }
            if !line.is_empty() {
                lines.push(format!("{}:{line}", path.escape_ascii()));
            }
        }
        let more = image.entries.keys().filter(|it| !self.entries.contains_key(*it));
        lines.extend(more.map(|it| format!("{}: only in the image", it.escape_ascii())));
        lines
    }
}

fn compare(line: &mut String, one: &Entry, two: &Entry, unit: u64) {
    let mut tell = |what: &str, a: &dyn std::fmt::Debug, b: &dyn std::fmt::Debug| {
        let (a, b) = (format!("{a:?}"), format!("{b:?}"));
        if a != b {
            let cut = |it: &str| it.chars().take(120).collect::<String>();
            write!(line, " {what} {}, found {};", cut(&a), cut(&b)).expect("text");
        }
    };
    tell("mode", &format_args!("{:o}", one.mode), &format_args!("{:o}", two.mode));
    tell("owner", &(one.uid, one.gid), &(two.uid, two.gid));
    tell("size", &one.size, &two.size);
    tell("mtime", &one.mtime, &two.mtime);
    tell("rdev", &one.rdev, &two.rdev);
    tell(
        "first name",
        &one.first.escape_ascii().to_string(),
        &two.first.escape_ascii().to_string(),
    );
    // Directories with too many links say 1.
    let is_many = one.links > 64_999 && one.mode & 0o170_000 == 0o040_000;
    tell("links", &if is_many { 1 } else { one.links }, &two.nlink);
    tell("content", &one.content, &two.content);
    for name in
        one.xattrs.keys().chain(two.xattrs.keys().filter(|it| !one.xattrs.contains_key(*it)))
    {
        let (a, b) = (one.xattrs.get(name), two.xattrs.get(name));
        if a != b {
            tell(name, &a, &b);
        }
    }
    for part in &two.data {
        let is_data = |at: u64| {
            one.data
                .iter()
                .any(|it| it.start - it.start % unit <= at && at < it.end.next_multiple_of(unit))
        };
        let mut units = (part.start..part.end.min(one.size)).step_by(crate::in_memory(unit));
        if let Some(at) = units.find(|at| !is_data(*at)) {
            tell("hole", &at, &part);
            break;
        }
    }
}

fn entry(path: &Path, stat: &Stat) -> Result<Entry> {
    let size = u64::try_from(stat.st_size)?;
    let (mut content, mut data) = (String::new(), Vec::new());
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => {
            let file = File::open(path)?;
            data = parts(&file, size)?;
            content = hash(&file, size, &data)?;
        }
        FileType::Symlink => {
            content = fs::read_link(path)?.as_os_str().as_bytes().escape_ascii().to_string();
        }
        _ => {}
    }
    let is_dir = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
    Ok(Entry {
        mode: stat.st_mode,
        uid: stat.st_uid,
        gid: stat.st_gid,
        size: if is_dir { 0 } else { size },
        mtime: (stat.st_mtime, stat.st_mtime_nsec),
        rdev: stat.st_rdev,
        links: 1,
        nlink: stat.st_nlink,
        first: Vec::new(),
        content,
        data,
        xattrs: xattrs(path)?,
    })
}

fn parts(file: &File, size: u64) -> Result<Vec<Range<u64>>> {
    let mut parts = Vec::new();
    let mut at = 0;
    while at < size {
        // ENXIO: only a hole follows.
        let Ok(data) = rustix::fs::seek(file, SeekFrom::Data(at)) else { break };
        let hole = rustix::fs::seek(file, SeekFrom::Hole(data))?;
        parts.push(data..hole);
        at = hole.max(at + 1);
    }
    Ok(parts)
}

fn hash(file: &File, size: u64, data: &[Range<u64>]) -> Result<String> {
    let mut hash = ContentHash::new(size);
    let mut buf = vec![0; 1 << 18];
    for part in data {
        let mut at = part.start - part.start % 512;
        while at < part.end {
            let want = usize::try_from(part.end - at)?.min(buf.len());
            file.read_exact_at(&mut buf[..want], at)?;
            hash.update(at, &buf[..want]);
            at += want as u64;
        }
    }
    Ok(hash.finish())
}

fn xattrs(path: &Path) -> Result<BTreeMap<String, String>> {
    let mut all = BTreeMap::new();
    let len = rustix::fs::llistxattr_query(path).unwrap_or(0);
    if len == 0 {
        return Ok(all);
    }
    let mut names = vec![0; XATTR_MAX];
    let len = rustix::fs::llistxattr(path, &mut names[..])?;
    for name in names[..len].split(|it| *it == 0).filter(|it| !it.is_empty()) {
        let mut value = vec![0; XATTR_MAX];
        let len = rustix::fs::lgetxattr(path, name, &mut value[..])?;
        value.truncate(len);
        let value = match len {
            0..=40 => hex(&value),
            _ => format!("{len} bytes {}", hex(&Sha256::digest(&value)[..8])),
        };
        all.insert(name.escape_ascii().to_string(), value);
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_differs_is_told_by_name() {
        let (a, b) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        for root in [a.path(), b.path()] {
            fs::create_dir(root.join("d")).unwrap();
            fs::write(root.join("d/f"), b"one").unwrap();
            fs::hard_link(root.join("d/f"), root.join("g")).unwrap();
        }
        let now = |root: &Path, name: &str| {
            let time = rustix::fs::Timespec { tv_sec: 5, tv_nsec: 6 };
            let times = rustix::fs::Timestamps { last_access: time, last_modification: time };
            let flags = rustix::fs::AtFlags::SYMLINK_NOFOLLOW;
            rustix::fs::utimensat(rustix::fs::CWD, root.join(name), &times, flags).unwrap();
        };
        let census = |root: &Path| {
            for name in ["d/f", "d", "."] {
                now(root, name);
            }
            Census::of_folder(root).unwrap()
        };
        assert_eq!(census(a.path()).len(), 4);
        let one = census(a.path());
        assert_eq!(one.differences(&census(b.path()), 4096), Vec::<String>::new());
        fs::remove_file(b.path().join("g")).unwrap();
        fs::write(b.path().join("g"), b"two").unwrap();
        now(b.path(), "g");
        let lines = one.differences(&census(b.path()), 4096);
        assert_eq!(lines.len(), 2, "{lines:?}");
        assert!(lines[0].contains("d/f: links 2, found 1"), "{lines:?}");
        assert!(lines[1].contains("g: first name"), "{lines:?}");
        assert!(lines[1].contains("content"), "{lines:?}");
    }
}
