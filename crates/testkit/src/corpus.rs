//! The corpus of real crashes: images of a kernel that was shut down in the middle of its work,
//! recordings of its writes with power cuts chosen in them, journals made by debugfs, and damage;
//! each with what the kernel made of it.
//!
//! The folder is named by the environment variable `EXT4_CORPUS`.

mod clean;
mod crash;
mod journal;
mod json;
mod mutation;
mod recording;

use crate::{
    explore::Violation,
    image::Image,
    judge::{accounts, at_rest, free_counts, stale},
    manifest::{Manifest, hex},
    oracle,
    promise::Promises,
    view::{View, ViewFiles},
};
use anyhow::{Context, Result, ensure};
pub use clean::{CleanEntry, CleanImage};
pub use crash::Crash;
use ext4_blockdev::BlockDevice;
pub use journal::Journal;
use json::Json;
pub use mutation::Mutation;
pub use recording::{Loaded, PowerCut, Recording};
use sha2::{Digest, Sha256};
use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

/// Crashes which the kernel itself does not recover, by its own faults: it is no judge of these.
const KERNEL_IS_WRONG: &[&str] = &["fc-fc4k-wb-o", "fc-fcorph4k-o", "kara-fc4k-f2"];

/// The corpus.
#[derive(Clone, Debug)]
pub struct Corpus {
    dir: PathBuf,
}

impl Corpus {
    /// The one `EXT4_CORPUS` names; `None`, said aloud, when there is none.
    pub fn find() -> Option<Self> {
        if oracle::skip_without(&[oracle::Need::Corpus]) {
            return None;
        }
        oracle::corpus().map(|dir| Self { dir })
    }

    /// The clean images that have a manifest, in the order of their names.
    pub fn clean(&self) -> Result<Vec<CleanImage>> {
        let all = named(&self.dir.join("clean"), ".json")?;
        all.into_iter().map(|(name, file)| CleanImage::load(name, &file)).collect()
    }

    /// Shut-down kernels, in the order of their names.
    pub fn crashes(&self) -> Result<Vec<Crash>> {
        let dir = self.dir.join("crash-images");
        named(&dir, ".img.zst")?.into_iter().map(|(name, file)| Crash::load(name, file)).collect()
    }

    /// Recordings, in the order of their names.
    pub fn recordings(&self) -> Result<Vec<Recording>> {
        let dir = self.dir.join("crash-images/powercut");
        named(&dir, ".base.img.zst")?.into_keys().map(|name| Recording::load(&dir, name)).collect()
    }

    /// Journals that debugfs wrote, in the order of their names.
    pub fn journals(&self) -> Result<Vec<Journal>> {
        let dir = self.dir.join("crash-images/jw");
        named(&dir, ".img.zst")?.into_iter().map(|(name, file)| Journal::load(name, file)).collect()
    }

    /// Damage to the crash images.
    pub fn mutations(&self) -> Result<Vec<Mutation>> {
        let dir = self.dir.join("crash-images");
        let all = Json::load(&dir.join("mutations.json"))?;
        all.get("mutations").list().map(|it| Mutation::of(&dir, &it)).collect()
    }
}

/// The files of a folder whose names end so, by the rest of the name.
fn named(dir: &Path, end: &str) -> Result<BTreeMap<String, PathBuf>> {
    let mut all = BTreeMap::new();
    for entry in fs::read_dir(dir).with_context(|| format!("list {}", dir.display()))? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if let Some(stem) = name.strip_suffix(end) {
            all.insert(stem.to_owned(), path);
        }
    }
    Ok(all)
}

/// What the kernel made of an image.
#[derive(Clone, Debug)]
pub struct Kernel {
    /// Whether it mounted it at all.
    pub mounted: bool,
    /// What e2fsck said of the result: 0 is clean.
    pub e2fsck: u64,
    /// Free blocks and inodes afterwards, by the group descriptors.
    pub free: (u64, u64),
    /// The tree it saw.
    pub tree: Tree,
}

/// A tree, whole or by its digests.
#[derive(Clone, Debug)]
pub enum Tree {
    /// Nobody saw one.
    Unknown,
    /// Everything.
    Whole(Manifest),
    /// [`Manifest::digest`], with and without `st_blocks`.
    Digests {
        /// Of all.
        all: String,
        /// Of [`Manifest::without_blocks`].
        without_blocks: String,
    },
}

impl Tree {
    /// Compares with a tree that was found. `Ok(true)` when also `st_blocks` are the same: two
    /// right recoveries may differ in whether they keep an index block that is no longer needed.
    fn compare(&self, found: &Manifest) -> Result<bool, Vec<String>> {
        match self {
            Self::Unknown => Ok(false),
            Self::Whole(expected) if expected == found => Ok(true),
            Self::Whole(expected) => {
                let lines = expected.without_blocks().differences(&found.without_blocks());
                if lines.is_empty() { Ok(false) } else { Err(lines) }
            }
            Self::Digests { all, .. } if *all == found.digest() => Ok(true),
            Self::Digests { without_blocks, .. } => {
                let digest = found.without_blocks().digest();
                if *without_blocks == digest {
                    return Ok(false);
                }
                Err(vec![format!("digest of the tree {digest}, expected {without_blocks}")])
            }
        }
    }
}

/// What a recovery has to come to.
#[derive(Clone, Debug)]
pub struct Expected {
    /// The kernel's answer.
    pub kernel: Kernel,
    /// What programs had been promised.
    pub promises: Promises,
    /// Whether sectors were moved within files (collapse and insert range).
    pub may_shift: bool,
    /// Whether stale data is to be expected: `data=writeback` promises nothing.
    pub may_be_stale: bool,
}

impl Expected {
    /// Looks at a recovered image: in order, at rest, nothing stale, promises kept, and the same
    /// tree and free counts as the kernel's recovery.
    pub fn judge(&self, device: &dyn BlockDevice) -> Vec<Violation> {
        let view = match View::new(device) {
            Ok(view) => view,
            Err(error) => return vec![Violation::new("superblock", format!("{error:#}"))],
        };
        let mut all = accounts(&view);
        all.extend(at_rest(&view));
        if !self.may_be_stale {
            all.extend(stale(&view, self.may_shift));
        }
        match ViewFiles::new(device) {
            Err(error) => all.push(Violation::new("walk", format!("{error:#}"))),
            Ok(files) => {
                let broken = self.promises.violations(&files);
                all.extend(broken.into_iter().map(|it| Violation::new("durable", it)));
            }
        }
        match view.manifest() {
            Err(error) => all.push(Violation::new("walk", format!("{error:#}"))),
            Ok(found) => all.extend(self.compare(&view, &found)),
        }
        all
    }

    fn compare(&self, view: &View<'_>, found: &Manifest) -> Vec<Violation> {
        match self.kernel.tree.compare(found) {
            Err(lines) => {
                lines.into_iter().map(|it| Violation::new("not the kernel's tree", it)).collect()
            }
            Ok(false) => Vec::new(),
            Ok(true) => {
                let (found, kernel) = (free_counts(view), self.kernel.free);
                let text = format!("{found:?} free blocks and inodes, the kernel {kernel:?}");
                let differs = (found != kernel).then(|| Violation::new("free counts", text));
                differs.into_iter().collect()
            }
        }
    }
}

fn load_verified(file: &Path, sha256: &str) -> Result<Image> {
    let image = Image::load(file)?;
    let found = hex(&Sha256::digest(image.bytes()));
    ensure!(found.starts_with(sha256), "{}: SHA-256 {found}, expected {sha256}", file.display());
    Ok(image)
}

/// CRC-32 as zlib has it.
pub fn crc32(bytes: &[u8]) -> u32 {
    const TABLE: [u32; 256] = table();
    !bytes.iter().fold(!0, |crc: u32, &byte| {
        let [low, ..] = crc.to_le_bytes();
        crc >> 8 ^ TABLE[usize::from(low ^ byte)]
    })
}

const fn table() -> [u32; 256] {
    let mut table = [0; 256];
    let mut i = 0;
    while i < 256 {
        let (mut crc, mut bit) = (i, 0);
        while bit < 8 {
            crc = if crc & 1 == 1 { crc >> 1 ^ 0xEDB8_8320 } else { crc >> 1 };
            bit += 1;
        }
        table[i as usize] = crc;
        i += 1;
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_crc_is_that_of_zlib() {
        assert_eq!(crc32(b"123456789"), 0xCBF4_3926);
    }
}
