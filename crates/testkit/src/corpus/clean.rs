//! Clean images of many feature sets with the kernel's list of everything on them.

use super::Json;
use anyhow::{Context, Result};
use serde::Deserialize;
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

/// One path of a clean image. Times are seconds and nanoseconds.
#[derive(Clone, Debug, Deserialize)]
pub struct CleanEntry {
    /// The path, in an escaped form when it is not text.
    pub path: String,
    /// Its bytes in hex digits, when it is not text.
    pub path_hex: Option<String>,
    /// `f` regular, `d` directory, `l` symlink, `c` and `b` devices, `p` fifo, `s` socket.
    #[serde(rename = "type")]
    pub kind: String,
    /// Inode number.
    pub ino: u64,
    /// Permission bits.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Hard links.
    pub nlink: u64,
    /// Size in bytes; nothing where later steps changed it.
    pub size: Option<u64>,
    /// Units of 512 bytes in use; nothing where later steps changed it.
    pub blocks: Option<u64>,
    /// `FS_IOC_GETFLAGS`.
    pub flags: Option<u32>,
    /// Access time.
    pub atime: (i64, u32),
    /// Modification time.
    pub mtime: (i64, u32),
    /// Inode change time.
    pub ctime: (i64, u32),
    /// Creation time, where the inode has one.
    pub crtime: Option<(i64, u32)>,
    /// SHA-256 of a regular file.
    pub sha256: Option<String>,
    /// Offset and length of what is not a hole, for sparse files.
    pub data: Option<Vec<(u64, u64)>>,
    /// Target of a symlink.
    pub target: Option<String>,
    /// Its bytes in hex digits, when it is not text.
    pub target_hex: Option<String>,
    /// Device number.
    pub rdev: Option<(u32, u32)>,
    /// Extended attributes: values in hex digits.
    #[serde(default)]
    pub xattrs: BTreeMap<String, String>,
}

/// A clean image.
#[derive(Clone, Debug)]
pub struct CleanImage {
    /// Its name.
    pub name: String,
    /// The image file: not to be written to.
    pub file: PathBuf,
    /// Everything on it.
    pub entries: Vec<CleanEntry>,
}

impl CleanImage {
    pub(super) fn load(name: String, json: &Path) -> Result<Self> {
        let entries = Json::load(json)?.get("entries").into();
        let entries = entries.with_context(|| format!("{}: entries", json.display()))?;
        Ok(Self { file: json.with_extension("img"), name, entries })
    }
}
