//! The whole tree as JSON, with content hashes: what two readers of one image must agree on.
//!
//! One object `{"entries": [...]}`, an entry a line, directories before what is in them, so that
//! nothing but the entry at hand is kept in memory.

use ext4_fs::{Error, Filesystem, Inode, Visit, WalkError};
use ext4_jbd2::MetaRead;
use ext4_ondisk::{
    acl,
    inode::{FileType, InodeFlags, decode_device},
    time::Timestamp,
    xattr::NameIndex,
};
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};
use std::io::{self, Write};

/// Bytes read and hashed at a time.
const CHUNK: usize = 1 << 20;

/// How a manifest went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Entries written.
    pub entries: u64,
    /// Entries of which something could not be read; they have a member `error`.
    pub damaged: u64,
}

/// Writes the manifest of a filesystem as `meta` shows it.
///
/// What can't be read is told in the entry's member `error`; the rest goes on.
///
/// # Errors
/// Only those of `out`.
pub fn write(fs: &Filesystem, meta: &dyn MetaRead, out: &mut dyn Write) -> io::Result<Summary> {
    let mut summary = Summary::default();
    let mut chunk = vec![0; CHUNK];
    write!(out, "{{\"entries\":[")?;
    for visit in fs.walk(meta) {
        let entry = match visit {
            Ok(visit) => describe(fs, meta, &visit, &mut chunk),
            Err(error) => unreadable(&error),
        };
        out.write_all(if summary.entries == 0 { b"\n" } else { b",\n" })?;
        summary.entries += 1;
        summary.damaged += u64::from(entry.contains_key("error"));
        serde_json::to_writer(&mut *out, &entry)?;
    }
    writeln!(out, "\n]}}")?;
    Ok(summary)
}

/// An entry that says no more than that there is one.
fn unreadable(error: &WalkError) -> Map<String, Value> {
    let mut entry = Map::new();
    put_text(&mut entry, "path", &error.path);
    entry.insert("error".into(), error.source.to_string().into());
    entry
}

fn describe(
    fs: &Filesystem,
    meta: &dyn MetaRead,
    visit: &Visit,
    chunk: &mut [u8],
) -> Map<String, Value> {
    let inode = &visit.inode;
    let mut entry = Map::new();
    put_text(&mut entry, "path", &visit.path);
    put_stat(&mut entry, inode);
    if let Err(error) = put_contents(&mut entry, fs, meta, inode, chunk) {
        entry.insert("error".into(), error.to_string().into());
    }
    if let Err(error) = put_xattrs(&mut entry, fs, meta, inode) {
        entry.insert("error".into(), error.to_string().into());
    }
    entry
}

/// What stat(2) and FS_IOC_GETFLAGS show.
fn put_stat(entry: &mut Map<String, Value>, inode: &Inode) {
    let file_type = inode.file_type();
    let mut put = |key: &str, value: Value| {
        entry.insert(key.into(), value);
    };
    put("type", file_type.letter().to_string().into());
    put("ino", inode.ino.get().into());
    put("mode", (inode.mode & 0o7777).into());
    put("uid", inode.uid.into());
    put("gid", inode.gid.into());
    put("nlink", inode.links_count.into());
    put("size", inode.i_size.into());
    put("blocks", blocks(inode).into());
    put("atime", pair(inode.atime));
    put("mtime", pair(inode.mtime));
    put("ctime", pair(inode.ctime));
    if let Some(crtime) = inode.crtime {
        put("crtime", pair(crtime));
    }
    if matches!(file_type, FileType::CharDevice | FileType::BlockDevice) {
        let (major, minor) = decode_device(&inode.i_block);
        put("rdev", json!([major, minor]));
    }
    if matches!(file_type, FileType::Regular | FileType::Directory) {
        let mut flags = inode.flags & InodeFlags::USER_VISIBLE;
        if file_type == FileType::Regular {
            flags.remove(InodeFlags::PROJINHERIT);
        }
        put("flags", flags.bits().into());
    }
    if let Some(projid) = inode.projid.filter(|&projid| projid != 0) {
        put("projid", projid.into());
    }
}

/// `st_blocks`: inline contents of a file count as if they took space (`ext4_file_getattr`).
pub(crate) fn blocks(inode: &Inode) -> u64 {
    let inline = inode.is_regular() && inode.has_inline_data();
    inode.sectors.saturating_add(if inline { inode.i_size.div_ceil(512) } else { 0 })
}

fn put_contents(
    entry: &mut Map<String, Value>,
    fs: &Filesystem,
    meta: &dyn MetaRead,
    inode: &Inode,
    chunk: &mut [u8],
) -> Result<(), Error> {
    // Without the key there is nothing to compare.
    if inode.flags.contains(InodeFlags::ENCRYPT) {
        return Ok(());
    }
    match inode.file_type() {
        FileType::Symlink => put_text(entry, "target", &fs.read_link(meta, inode)?),
        FileType::Regular => {
            let mut hash = Sha256::new();
            let mut offset = 0;
            while offset < inode.i_size {
                let n = fs.read_at(meta, inode, offset, chunk)?;
                hash.update(&chunk[..n]);
                offset += n as u64;
            }
            entry.insert("sha256".into(), hex(&hash.finalize()).into());
        }
        _ => {}
    }
    Ok(())
}

/// The attributes that listxattr(2) shows to root, ACLs in the form programs see.
fn put_xattrs(
    entry: &mut Map<String, Value>,
    fs: &Filesystem,
    meta: &dyn MetaRead,
    inode: &Inode,
) -> Result<(), Error> {
    let mut found = Map::new();
    for xattr in fs.xattrs(meta, inode)? {
        let index = NameIndex(xattr.index);
        if !index.is_listed() {
            continue;
        }
        let is_acl = matches!(index, NameIndex::POSIX_ACL_ACCESS | NameIndex::POSIX_ACL_DEFAULT);
        let value = is_acl.then(|| acl::from_disk(&xattr.value)).flatten();
        let name = escape(&xattr.full_name());
        found.insert(name, hex(&value.unwrap_or(xattr.value)).into());
    }
    if !found.is_empty() {
        entry.insert("xattrs".into(), found.into());
    }
    Ok(())
}

/// A text, and its bytes in hex when they are no UTF-8.
fn put_text(entry: &mut Map<String, Value>, key: &str, bytes: &[u8]) {
    entry.insert(key.into(), escape(bytes).into());
    if str::from_utf8(bytes).is_err() {
        entry.insert(format!("{key}_hex"), hex(bytes).into());
    }
}

/// Bytes as text; those that are no UTF-8 as `\xff`.
fn escape(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        for byte in chunk.invalid() {
            text.push_str("\\x");
            text.push_str(&hex(&[*byte]));
        }
    }
    text
}

fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    bytes
        .iter()
        .flat_map(|byte| [byte >> 4, byte & 15])
        .map(|digit| char::from(DIGITS[usize::from(digit)]))
        .collect()
}

fn pair(time: Timestamp) -> Value {
    json!([time.sec, time.nsec])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_are_no_text_are_given_in_hex_too() {
        let mut entry = Map::new();
        put_text(&mut entry, "path", b"/a\xff\xc3\xa4");
        put_text(&mut entry, "target", b"plain");
        let expected = json!({
            "path": "/a\\xff\u{e4}", "path_hex": "2f61ffc3a4", "target": "plain",
        });
        assert_eq!(Value::from(entry), expected);
    }
}
