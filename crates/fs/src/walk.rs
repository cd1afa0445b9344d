//! The whole tree below a directory, each name once.

use crate::{Error, Filesystem, Inode, Result};
use ext4_jbd2::MetaRead;
use ext4_ondisk::{Corrupt, inode::InodeFlags};
use ext4_units::InodeNr;
use std::{collections::BTreeSet, fmt, ops::ControlFlow};

/// Paths longer than this are damage, or a joke; they are reported and not gone into.
const MAX_PATH: usize = 1 << 16;

/// A name of the tree.
#[derive(Clone, Debug)]
pub struct Visit {
    /// The path, from `/`. A name in an encrypted directory, which may be any bytes, is given in
    /// base64url.
    pub path: Vec<u8>,
    /// What it names.
    pub inode: Inode,
    /// An earlier visit had the same inode: a further hard link.
    pub is_repeat: bool,
}

/// A name that could not be visited; the walk goes on after it.
#[derive(Debug, thiserror::Error)]
#[error("{}: {source}", String::from_utf8_lossy(path))]
pub struct WalkError {
    /// The path, from `/`.
    pub path: Vec<u8>,
    /// What went wrong.
    #[source]
    pub source: Error,
}

/// A walk through a tree, directories before what is in them, names in the order of their bytes.
///
/// Ends: no directory is gone into twice, and the inodes are finite. A directory with two names is
/// reported where it is met again.
pub struct Walk<'a> {
    fs: &'a Filesystem,
    meta: &'a dyn MetaRead,
    /// Names still to visit, the next one last.
    pending: Vec<(Vec<u8>, InodeNr)>,
    seen: BTreeSet<InodeNr>,
    failed: Option<WalkError>,
}

impl fmt::Debug for Walk<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Walk({} seen, {} pending)", self.seen.len(), self.pending.len())
    }
}

impl Filesystem {
    /// Walks the whole tree from the root.
    pub fn walk<'a>(&'a self, meta: &'a dyn MetaRead) -> Walk<'a> {
        Walk {
            fs: self,
            meta,
            pending: vec![(b"/".to_vec(), InodeNr::ROOT)],
            seen: BTreeSet::new(),
            failed: None,
        }
    }
}

impl Walk<'_> {
    fn visit(&mut self, path: Vec<u8>, ino: InodeNr) -> std::result::Result<Visit, WalkError> {
        let inode = match self.fs.live_inode(self.meta, ino) {
            Ok(inode) => inode,
            Err(source) => return Err(WalkError { path, source }),
        };
        let is_repeat = !self.seen.insert(ino);
        if inode.is_dir() {
            if is_repeat {
                let fault = "a directory with a second name";
                let source = Corrupt::new(format!("inode {ino}"), fault).into();
                return Err(WalkError { path, source });
            }
            // What is wrong inside a directory is told after the directory itself.
            if let Err(source) = self.go_into(&path, &inode) {
                self.failed = Some(WalkError { path: path.clone(), source });
            }
        }
        Ok(Visit { path, inode, is_repeat })
    }

    fn go_into(&mut self, path: &[u8], dir: &Inode) -> Result<()> {
        if path.len() > MAX_PATH {
            let fault = format!("path of {} bytes, expected at most {MAX_PATH}", path.len());
            return Err(Corrupt::new(format!("directory inode {}", dir.ino), fault).into());
        }
        let mut found = Vec::new();
        let listed = self.fs.entries(self.meta, dir, |entry| {
            if entry.is_dot_or_dotdot() {
                return Ok(ControlFlow::Continue(()));
            }
            let name = if dir.flags.contains(InodeFlags::ENCRYPT) {
                base64url(&entry.name)
            } else {
                entry.name
            };
            if name.iter().any(|&byte| byte == b'/' || byte == 0) {
                let fault = format!("name \"{}\" of inode {}", name.escape_ascii(), entry.ino);
                return Err(Corrupt::new(format!("directory inode {}", dir.ino), fault).into());
            }
            let mut full = path.to_vec();
            if full.last() != Some(&b'/') {
                full.push(b'/');
            }
            full.extend_from_slice(&name);
            found.push((full, entry.ino));
            Ok(ControlFlow::Continue(()))
        });
        found.sort_unstable_by(|a, b| b.cmp(a));
        self.pending.append(&mut found);
        listed
    }
}

impl Iterator for Walk<'_> {
    type Item = std::result::Result<Visit, WalkError>;

    fn next(&mut self) -> Option<Self::Item> {
        if let Some(failed) = self.failed.take() {
            return Some(Err(failed));
        }
        let (path, ino) = self.pending.pop()?;
        Some(self.visit(path, ino))
    }
}

/// Without padding, as the kernel shows names whose key it lacks.
fn base64url(bytes: &[u8]) -> Vec<u8> {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut text = Vec::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let word = chunk.iter().fold(0, |word, &byte| word << 8 | usize::from(byte))
            << (8 * (3 - chunk.len()));
        text.extend((0..=chunk.len()).map(|i| DIGITS[word >> (18 - 6 * i) & 63]));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    // RFC 4648, section 10, and one with both odd digits.
    #[test]
    fn base64url_is_that_of_the_rfc() {
        for (bytes, text) in [
            (&b""[..], ""),
            (b"f", "Zg"),
            (b"fo", "Zm8"),
            (b"foo", "Zm9v"),
            (b"foobar", "Zm9vYmFy"),
            (b"\xfb\xff", "-_8"),
        ] {
            assert_eq!(base64url(bytes), text.as_bytes());
        }
    }
}
