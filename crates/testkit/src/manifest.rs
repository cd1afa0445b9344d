//! Everything on a file system in a form that can be compared: one entry a path.

use anyhow::{Context, Result};
use rustix::fs::SeekFrom;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::{
    collections::BTreeMap,
    fmt::Write,
    fs::{self, File},
    io,
    os::unix::{
        ffi::OsStrExt,
        fs::{FileExt, FileTypeExt, MetadataExt},
    },
    path::Path,
};

const SECTOR: usize = 512;
const STRING: &str = "writing to a string cannot fail";

/// What is known of one path.
///
/// As JSON it is the row `[type, mode, uid, gid, nlink, size, blocks, content, xattrs]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Row", into = "Row")]
pub struct Entry {
    /// `f` regular, `d` directory, `l` symlink, `p` fifo, `c` and `b` devices, `s` socket.
    pub kind: char,
    /// Permission bits, in octal.
    pub mode: String,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Hard links.
    pub nlink: u64,
    /// Size in bytes.
    pub size: u64,
    /// `st_blocks`: 512-byte units in use, or `None` when not compared.
    pub blocks: Option<u64>,
    /// Regular file: [`ContentHash`]. Symlink: its target. Device: `major:minor`. Else empty.
    pub content: String,
    /// Hash of names and values of the extended attributes; empty when there are none.
    pub xattrs: String,
    /// An error the reader met here, such as `LISTERR117`.
    pub error: Option<String>,
}

/// The row of an entry: eight or more values of mixed types.
#[derive(Serialize, Deserialize)]
#[serde(transparent)]
struct Row(Vec<Value>);

impl From<Row> for Entry {
    fn from(Row(row): Row) -> Self {
        let text = |i: usize| row.get(i).and_then(Value::as_str).unwrap_or_default().to_owned();
        let number = |i: usize| row.get(i).and_then(Value::as_u64).unwrap_or_default();
        let small = |i: usize| u32::try_from(number(i)).unwrap_or(u32::MAX);
        Self {
            kind: text(0).chars().next().unwrap_or('?'),
            mode: text(1),
            uid: small(2),
            gid: small(3),
            nlink: number(4),
            size: number(5),
            blocks: Some(number(6)),
            content: text(7),
            xattrs: text(8),
            error: row.get(9).and_then(Value::as_str).map(str::to_owned),
        }
    }
}

impl From<Entry> for Row {
    fn from(it: Entry) -> Self {
        let mut row: Vec<Value> = vec![
            it.kind.to_string().into(),
            it.mode.into(),
            it.uid.into(),
            it.gid.into(),
            it.nlink.into(),
            it.size.into(),
        ];
        row.extend(it.blocks.map(Value::from));
        row.push(it.content.into());
        row.push(it.xattrs.into());
        row.extend(it.error.map(Value::from));
        Self(row)
    }
}

impl Entry {
    fn fields(&self) -> Vec<(&'static str, String)> {
        let blocks = self.blocks.map_or_else(String::new, |it| it.to_string());
        vec![
            ("type", self.kind.to_string()),
            ("mode", self.mode.clone()),
            ("uid", self.uid.to_string()),
            ("gid", self.gid.to_string()),
            ("nlink", self.nlink.to_string()),
            ("size", self.size.to_string()),
            ("blocks", blocks),
            ("content", self.content.clone()),
            ("xattrs", self.xattrs.clone()),
            ("error", self.error.clone().unwrap_or_default()),
        ]
    }
}

/// A whole tree: path without a leading slash (the root is `.`) to what is there.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Manifest(pub BTreeMap<String, Entry>);

impl Manifest {
    /// Walks a mounted tree.
    pub fn of_folder(root: &Path) -> Result<Self> {
        let mut manifest = Self::default();
        let mut todo = vec![(root.to_path_buf(), ".".to_owned())];
        while let Some((path, name)) = todo.pop() {
            let mut entry =
                entry_of(&path).with_context(|| format!("manifest: {}", path.display()))?;
            if entry.kind == 'd' {
                match list(&path) {
                    Ok(names) => todo.extend(names.into_iter().map(|it| {
                        let below = if name == "." { it.1 } else { format!("{name}/{}", it.1) };
                        (path.join(it.0), below)
                    })),
                    Err(error) => {
                        let errno = error.raw_os_error().unwrap_or_default();
                        entry.error = Some(format!("LISTERR{errno}"));
                    }
                }
            }
            manifest.0.insert(name, entry);
        }
        Ok(manifest)
    }

    /// The same without `st_blocks`: where two correct recoveries may differ.
    #[must_use]
    pub fn without_blocks(&self) -> Self {
        let entries = self.0.iter();
        Self(entries.map(|(k, v)| (k.clone(), Entry { blocks: None, ..v.clone() })).collect())
    }

    /// The first 16 hex digits of SHA-256 over the JSON text `{"path": [..], ..}`, sorted by path,
    /// with a blank after each comma and colon and non-ASCII text escaped.
    pub fn digest(&self) -> String {
        let mut text = String::from("{");
        for (i, (path, entry)) in self.0.iter().enumerate() {
            text.push_str(if i == 0 { "" } else { ", " });
            ascii_json(&mut text, path);
            text.push_str(": [");
            for (j, value) in Row::from(entry.clone()).0.iter().enumerate() {
                text.push_str(if j == 0 { "" } else { ", " });
                match value {
                    Value::String(it) => ascii_json(&mut text, it),
                    other => text.push_str(&other.to_string()),
                }
            }
            text.push(']');
        }
        text.push('}');
        let mut hex = hex(&Sha256::digest(text.as_bytes()));
        hex.truncate(16);
        hex
    }

    /// What differs, a line a path; empty when the two are equal.
    pub fn differences(&self, other: &Self) -> Vec<String> {
        let mut lines = Vec::new();
        let paths = self.0.keys().chain(other.0.keys().filter(|it| !self.0.contains_key(*it)));
        for path in paths {
            match (self.0.get(path), other.0.get(path)) {
                (Some(a), Some(b)) if a != b => {
                    let mut line = format!("{path}:");
                    for ((field, one), (_, two)) in a.fields().into_iter().zip(b.fields()) {
                        if one != two {
                            write!(line, " {field} {one}/{two};").expect(STRING);
                        }
                    }
                    lines.push(line);
                }
                (Some(_), None) => lines.push(format!("{path}: only in the first")),
                (None, Some(_)) => lines.push(format!("{path}: only in the second")),
                _ => {}
            }
        }
        lines.sort();
        lines
    }
}

/// A JSON string with everything outside ASCII as an escape of four hexadecimal digits.
fn ascii_json(out: &mut String, text: &str) {
    for c in Value::from(text).to_string().chars() {
        if c.is_ascii() {
            out.push(c);
        } else {
            let mut units = [0; 2];
            for unit in c.encode_utf16(&mut units) {
                write!(out, "\\u{unit:04x}").expect(STRING);
            }
        }
    }
}

/// Lower-case hex digits.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut all, byte| {
        write!(all, "{byte:02x}").expect(STRING);
        all
    })
}

/// The hash of a file's content that sees only bytes, never where the holes are: SHA-256 over the
/// size and each 512-byte sector that is not zero, with its offset.
#[derive(Clone, Debug)]
pub struct ContentHash(Sha256);

impl ContentHash {
    /// For a file of `size` bytes.
    pub fn new(size: u64) -> Self {
        Self(Sha256::new().chain_update(format!("{size};")))
    }

    /// Adds the bytes at `offset`, a multiple of 512. Only the last piece of a file may have a
    /// length that is not one. Pieces come in rising order; what is left out counts as zero.
    pub fn update(&mut self, offset: u64, bytes: &[u8]) {
        for (i, sector) in bytes.chunks(SECTOR).enumerate() {
            if sector.iter().any(|&byte| byte != 0) {
                self.0.update(format!("{}:", offset + (i * SECTOR) as u64));
                self.0.update(sector);
            }
        }
    }

    /// The first 32 hex digits.
    pub fn finish(self) -> String {
        let mut hex = hex(&self.0.finalize());
        hex.truncate(32);
        hex
    }
}

/// The hash of extended attributes: names as the kernel lists them, sorted, each with its value.
pub fn xattr_hash(xattrs: &BTreeMap<String, Vec<u8>>) -> String {
    if xattrs.is_empty() {
        return String::new();
    }
    let pairs: Vec<_> = xattrs.iter().map(|(k, v)| format!("('{k}', '{}')", hex(v))).collect();
    let mut hex = hex(&Sha256::digest(format!("[{}]", pairs.join(", ")).as_bytes()));
    hex.truncate(16);
    hex
}

fn list(path: &Path) -> io::Result<Vec<(std::ffi::OsString, String)>> {
    fs::read_dir(path)?
        .map(|it| {
            let name = it?.file_name();
            let text = name.to_string_lossy().into_owned();
            Ok((name, text))
        })
        .collect()
}

fn entry_of(path: &Path) -> Result<Entry> {
    let meta = fs::symlink_metadata(path)?;
    let kind = meta.file_type();
    let error = |it: io::Error| format!("ERR{}", it.raw_os_error().unwrap_or_default());
    let (kind, content) = if kind.is_file() {
        ('f', content_of(path, meta.size()).unwrap_or_else(error))
    } else if kind.is_dir() {
        ('d', String::new())
    } else if kind.is_symlink() {
        let target = fs::read_link(path);
        ('l', target.map_or_else(error, |it| it.to_string_lossy().chars().take(400).collect()))
    } else if kind.is_fifo() {
        ('p', String::new())
    } else if kind.is_socket() {
        ('s', String::new())
    } else {
        let dev = meta.rdev();
        let numbers = format!("{}:{}", rustix::fs::major(dev), rustix::fs::minor(dev));
        (if kind.is_char_device() { 'c' } else { 'b' }, numbers)
    };
    Ok(Entry {
        kind,
        mode: format!("{:o}", meta.mode() & 0o7777),
        uid: meta.uid(),
        gid: meta.gid(),
        nlink: meta.nlink(),
        size: meta.size(),
        blocks: Some(meta.blocks()),
        content,
        xattrs: xattr_hash(&xattrs_of(path)?),
        error: None,
    })
}

fn content_of(path: &Path, size: u64) -> io::Result<String> {
    let file = File::open(path)?;
    let mut hash = ContentHash::new(size);
    let mut buf = vec![0; 1 << 18];
    let mut at = 0;
    while at < size {
        // ENXIO: only a hole follows.
        let Ok(data) = rustix::fs::seek(&file, SeekFrom::Data(at)) else { break };
        let hole = rustix::fs::seek(&file, SeekFrom::Hole(data))?;
        let mut from = data - data % SECTOR as u64;
        while from < hole {
            let want = usize::try_from(hole - from).unwrap_or(usize::MAX).min(buf.len());
            let n = file.read_at(&mut buf[..want], from)?;
            if n == 0 {
                break;
            }
            hash.update(from, &buf[..n]);
            from += n as u64;
        }
        at = hole.max(at + 1);
    }
    Ok(hash.finish())
}

fn xattrs_of(path: &Path) -> Result<BTreeMap<String, Vec<u8>>> {
    let mut names = vec![0; 65536];
    let Ok(n) = rustix::fs::llistxattr(path, &mut names[..]) else { return Ok(BTreeMap::new()) };
    let mut all = BTreeMap::new();
    for name in names[..n].split(|&byte| byte == 0).filter(|it| !it.is_empty()) {
        let mut value = vec![0; 1 << 16];
        let os = std::ffi::OsStr::from_bytes(name);
        let n = rustix::fs::lgetxattr(path, os, &mut value[..]).context("lgetxattr")?;
        value.truncate(n);
        all.insert(String::from_utf8_lossy(name).into_owned(), value);
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(content: &str) -> Entry {
        Entry {
            kind: 'f',
            mode: "644".into(),
            uid: 0,
            gid: 0,
            nlink: 1,
            size: 5,
            blocks: Some(8),
            content: content.into(),
            xattrs: String::new(),
            error: None,
        }
    }

    #[test]
    fn a_manifest_survives_json_as_rows() {
        let json = r#"{".":["d","755",0,0,3,4096,8,"",""],"a":["f","644",1,2,1,5,0,"00ff","x"]}"#;
        let manifest: Manifest = serde_json::from_str(json).unwrap();
        assert_eq!(manifest.0["a"].uid, 1);
        assert_eq!(serde_json::to_string(&manifest).unwrap(), json);
    }

    #[test]
    fn the_difference_names_path_and_field() {
        let one = Manifest([("a".into(), entry("x")), ("b".into(), entry("x"))].into());
        let two = Manifest([("a".into(), entry("y"))].into());
        assert_eq!(one.differences(&two), ["a: content x/y;", "b: only in the first"]);
        assert_eq!(one.differences(&one), Vec::<String>::new());
    }

    #[test]
    fn holes_and_zeroes_hash_alike() {
        let mut dense = ContentHash::new(1537);
        dense.update(0, &[&[7; 512][..], &[0; 512], &[9; 512], &[1]].concat());
        let mut sparse = ContentHash::new(1537);
        sparse.update(0, &[7; 512]);
        sparse.update(1024, &[&[9; 512][..], &[1]].concat());
        assert_eq!(dense.finish(), sparse.finish());
    }
}
