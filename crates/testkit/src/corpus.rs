//! The corpus of real crashes: images of a kernel that was shut down in the middle of its work,
//! recordings of its writes with power cuts chosen in them, journals made by debugfs, and damage;
//! each with what the kernel made of it.
//!
//! The folder is named by the environment variable `EXT4_CORPUS`.

mod json;

use crate::{
    crash::{CrashState, Kept},
    explore::Violation,
    image::Image,
    judge::{accounts, at_rest, free_counts, stale},
    manifest::{Manifest, hex},
    oracle,
    promise::Promises,
    trace::Trace,
    view::{View, ViewFiles},
};
use anyhow::{Context, Result, ensure};
use ext4_blockdev::BlockDevice;
use json::Json;
use sha2::{Digest, Sha256};
use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    sync::Arc,
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

    /// The clean images, by name.
    pub fn clean(&self) -> Result<BTreeMap<String, PathBuf>> {
        named(&self.dir.join("clean"), ".img")
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

/// An image as a shut-down kernel left it.
#[derive(Clone, Debug)]
pub struct Crash {
    /// Its name.
    pub name: String,
    file: PathBuf,
    sha256: String,
    /// What its recovery has to come to.
    pub expected: Expected,
    /// Whether the kernel's answer can be believed.
    pub kernel_is_right: bool,
    /// Whether there are fast commits in it that count.
    pub has_fast_commits: bool,
    /// Replay alone: the blocks it changes, with the CRC-32 of each; `None` when there are too many
    /// to have been listed. The blocks of the superblock and of the journal's superblock are as
    /// debugfs leaves them.
    pub replay: Option<BTreeMap<u64, u32>>,
}

impl Crash {
    fn load(name: String, file: PathBuf) -> Result<Self> {
        let json = Json::load(&file.with_file_name(format!("{name}.json")))?;
        let kernel = json.get("oracles").get("kernel");
        let changed = json.get("journal_only").get("changed");
        let replay = changed.is_list().then(|| changed.list().map(|it| pair(&it)).collect());
        Ok(Self {
            expected: Expected {
                kernel: Kernel {
                    mounted: kernel.get("mount_rc").number() == 0,
                    e2fsck: kernel.get("e2fsck_fn_rc").number(),
                    free: (kernel.get("free_blocks").number(), kernel.get("free_inodes").number()),
                    tree: match kernel.get("manifest").into::<Manifest>() {
                        Some(manifest) => Tree::Whole(manifest),
                        None => Tree::Unknown,
                    },
                },
                promises: json.promises(),
                may_shift: json.get("workload").text() == "mix",
                may_be_stale: json.get("mount_opts").text().contains("writeback"),
            },
            kernel_is_right: !KERNEL_IS_WRONG.contains(&name.as_str()),
            has_fast_commits: json.get("facts_raw").get("journal").get("fc").get("live").is_true(),
            sha256: json.get("image_sha256").text(),
            replay,
            name,
            file,
        })
    }

    /// The image; its checksum is verified.
    pub fn image(&self) -> Result<Image> {
        load_verified(&self.file, &self.sha256)
    }

    /// Looks at an image on which the journal was replayed and nothing else was done.
    pub fn judge_replay(&self, device: &dyn BlockDevice) -> Result<Vec<Violation>> {
        let Some(expected) = &self.replay else { return Ok(Vec::new()) };
        let before = self.image()?;
        let view = View::new(&before)?;
        let bs = view.block_size;
        let jsb = view.inode(view.sb.s_journal_inum.get()).and_then(|it| view.runs(&it))?;
        let ignored = [(1024 / bs) as u64, jsb.first().map_or(0, |it| it.start)];
        let mut after = vec![0; bs];
        let mut found = BTreeMap::new();
        for (nr, old) in (0..).zip(before.bytes().chunks(bs)) {
            device.read_at(nr * bs as u64, &mut after[..old.len()])?;
            if after[..old.len()] != *old && !ignored.contains(&nr) {
                found.insert(nr, crc32(&after));
            }
        }
        let is_compared = |blk: &&u64| !ignored.contains(blk);
        let all = expected.keys().chain(found.keys().filter(|it| !expected.contains_key(it)));
        let differs = all.filter(is_compared).filter(|it| expected.get(it) != found.get(it));
        Ok(differs
            .map(|it| {
                let (a, b) = (found.get(it), expected.get(it));
                Violation::new("replay", format!("block {it}: crc {a:x?}, expected {b:x?}"))
            })
            .collect())
    }
}

/// `[number, "hex digits"]`.
fn pair(row: &Json) -> (u64, u32) {
    let crc = u32::from_str_radix(&row.at(1).text(), 16).unwrap_or(0);
    (row.at(0).number(), crc)
}

fn load_verified(file: &Path, sha256: &str) -> Result<Image> {
    let image = Image::load(file)?;
    let found = hex(&Sha256::digest(image.bytes()));
    ensure!(found.starts_with(sha256), "{}: SHA-256 {found}, expected {sha256}", file.display());
    Ok(image)
}

/// Everything a kernel or e2fsck wrote while it worked, and power cuts in it.
#[derive(Clone, Debug)]
pub struct Recording {
    /// Its name.
    pub name: String,
    dir: PathBuf,
    /// The power cuts.
    pub cuts: Vec<PowerCut>,
    /// What was recorded when it was itself a recovery: `kernel` or `e2fsck`.
    pub recoverer: Option<String>,
    may_shift: bool,
    may_be_stale: bool,
}

/// A recording in memory.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The image before the first write.
    pub base: Image,
    /// What was done.
    pub trace: Arc<Trace>,
}

/// One power cut of a recording.
#[derive(Clone, Debug)]
pub struct PowerCut {
    /// Its number in the recording.
    pub id: u64,
    /// How it was chosen.
    pub kind: String,
    /// Only steps before this one had happened.
    pub upto: usize,
    /// The last flush that had completed.
    pub flushed: Option<usize>,
    /// The later writes that reached the medium; `None` for all.
    pub kept: Option<Vec<Kept>>,
    /// The first half of the image's SHA-256, or less.
    pub sha256: String,
    /// What the kernel made of it.
    pub kernel: Kernel,
}

impl Recording {
    fn load(dir: &Path, name: String) -> Result<Self> {
        let json = Json::load(&dir.join(format!("{name}.json")))?;
        Ok(Self {
            cuts: json.get("states").list().map(|it| PowerCut::of(&it)).collect(),
            recoverer: json.get("recover").optional_text(),
            may_shift: json.get("workload").text() == "mix",
            may_be_stale: json.get("mount_opts").text().contains("writeback"),
            dir: dir.to_path_buf(),
            name,
        })
    }

    /// Image and trace, decompressed.
    pub fn decompress(&self) -> Result<Loaded> {
        let base = Image::load(&self.dir.join(format!("{}.base.img.zst", self.name)))?;
        let log = Image::load(&self.dir.join(format!("{}.log.zst", self.name)))?;
        Ok(Loaded { base, trace: Arc::new(Trace::parse(log.bytes())?) })
    }

    /// What a recovery from this power cut has to come to.
    pub fn expected(&self, loaded: &Loaded, cut: &PowerCut) -> Expected {
        let marks = loaded.trace.marks(cut.upto);
        Expected {
            kernel: cut.kernel.clone(),
            promises: Promises::of_marks(marks),
            may_shift: self.may_shift,
            may_be_stale: self.may_be_stale,
        }
    }
}

impl PowerCut {
    fn of(json: &Json) -> Self {
        let kernel = json.get("kernel");
        let keep = json.get("keep");
        let kept = |(step, sectors): (String, Json)| Kept {
            step: step.parse().unwrap_or(0),
            sectors: sectors.is_list().then(|| sectors.list().map(|it| it.small()).collect()),
        };
        let mut kept: Option<Vec<Kept>> = keep.is_map().then(|| keep.entries().map(kept).collect());
        if let Some(kept) = &mut kept {
            kept.sort_by_key(|it| it.step);
        }
        let free = kernel.get("free");
        Self {
            id: json.get("id").number(),
            kind: json.get("kind").text(),
            upto: json.get("upto").small() as usize,
            // -1 stands for none.
            flushed: json.get("flushed").optional_number().and_then(|it| it.try_into().ok()),
            kept,
            sha256: json.get("sha").text(),
            kernel: Kernel {
                mounted: kernel.get("mount_rc").number() == 0,
                e2fsck: kernel.get("fn").number(),
                free: (free.at(0).number(), free.at(1).number()),
                tree: match kernel.get("manifest").optional_text() {
                    Some(all) => Tree::Digests {
                        all,
                        without_blocks: kernel.get("manifest_noblocks").text(),
                    },
                    None => Tree::Unknown,
                },
            },
        }
    }

    /// The state of the medium.
    pub fn state(&self, loaded: &Loaded) -> CrashState {
        let Loaded { base, trace } = loaded;
        CrashState::build(base, trace, self.upto, self.flushed, self.kept.clone())
    }

    /// Whether an image is this state.
    pub fn is(&self, image: &Image) -> bool {
        hex(&Sha256::digest(image.bytes())).starts_with(&self.sha256)
    }
}

/// An image with a journal that debugfs wrote.
#[derive(Clone, Debug)]
pub struct Journal {
    /// Its name: checksums or none, 32 or 64 bit, block size, version of journal checksums.
    pub name: String,
    file: PathBuf,
    sha256: String,
    /// What replay has to put into these blocks, as CRC-32.
    pub replayed: BTreeMap<u64, u32>,
    /// Blocks that are only in revoked or uncommitted transactions: still poison afterwards.
    pub untouched: Vec<u64>,
}

impl Journal {
    fn load(name: String, file: PathBuf) -> Result<Self> {
        let json = Json::load(&file.with_file_name(format!("{name}.json")))?;
        let expected = json.get("expected");
        let number = |(blk, crc): (String, Json)| {
            (blk.parse().unwrap_or(0), u32::from_str_radix(&crc.text(), 16).unwrap_or(0))
        };
        Ok(Self {
            sha256: json.get("image_sha256").text(),
            replayed: expected.entries().map(number).collect(),
            untouched: json.get("poison_blocks").list().map(|it| it.number()).collect(),
            name,
            file,
        })
    }

    /// The image; its checksum is verified.
    pub fn image(&self) -> Result<Image> {
        load_verified(&self.file, &self.sha256)
    }

    /// Looks at the replayed blocks.
    pub fn judge(&self, device: &dyn BlockDevice) -> Result<Vec<Violation>> {
        let view = View::new(device)?;
        let mut all = Vec::new();
        for (&blk, &expected) in &self.replayed {
            let found = crc32(&view.block(blk)?);
            if found != expected {
                let text = format!("block {blk}: crc {found:08x}, expected {expected:08x}");
                all.push(Violation::new("replay", text));
            }
        }
        for &blk in &self.untouched {
            if !view.block(blk)?.starts_with(crate::image::POISON) {
                all.push(Violation::new(
                    "replay",
                    format!("block {blk}: written, expected poison"),
                ));
            }
        }
        Ok(all)
    }
}

/// Damage to a crash image, and what the kernel made of it.
#[derive(Clone, Debug)]
pub struct Mutation {
    /// Its number.
    pub id: u64,
    /// The crash image it damages.
    pub base: String,
    /// What it damages.
    pub what: String,
    file: PathBuf,
    sha256: String,
    patches: Vec<(u64, Vec<u8>)>,
    /// Whether the kernel mounted it.
    pub kernel_mounted: bool,
    /// Whether e2fsck then found nothing.
    pub kernel_clean: bool,
    /// Whether it saw the same tree as without the damage; `None` when it did not mount.
    pub kernel_same: Option<bool>,
}

impl Mutation {
    fn of(dir: &Path, json: &Json) -> Result<Self> {
        let base = json.get("base").text();
        let kernel = json.get("kernel");
        let patch = |it: Json| {
            let bytes = it.at(1);
            // Digits, or digits and how often.
            let bytes = if bytes.is_list() {
                unhex(&bytes.at(0).text())?.repeat(bytes.at(1).small() as usize)
            } else {
                unhex(&bytes.text())?
            };
            Ok((it.at(0).number(), bytes))
        };
        Ok(Self {
            id: json.get("id").number(),
            what: json.get("what").text(),
            file: dir.join(format!("{base}.img.zst")),
            base,
            sha256: json.get("sha").text(),
            patches: json.get("patch").list().map(patch).collect::<Result<_>>()?,
            kernel_mounted: kernel.get("mount_rc").optional_number() == Some(0),
            kernel_clean: kernel.get("fn").optional_number() == Some(0),
            kernel_same: kernel.get("same_as_unmutated").bool(),
        })
    }

    /// The damaged image, from the undamaged one.
    pub fn apply(&self, base: &Image) -> Result<Image> {
        let image = base.patched(self.patches.iter().map(|(at, bytes)| (*at, &bytes[..])))?;
        let found = hex(&Sha256::digest(image.bytes()));
        ensure!(found.starts_with(&self.sha256), "mutation {}: SHA-256 {found}", self.id);
        Ok(image)
    }

    /// The damaged image.
    pub fn image(&self) -> Result<Image> {
        self.apply(&Image::load(&self.file)?)
    }
}

fn unhex(text: &str) -> Result<Vec<u8>> {
    let digits = text.as_bytes().chunks(2);
    let byte = |it: &[u8]| Ok(u8::from_str_radix(std::str::from_utf8(it)?, 16)?);
    digits.map(byte).collect()
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

    #[test]
    fn hex_digits_come_back() {
        assert_eq!(unhex("00ff10").unwrap(), [0, 255, 16]);
        assert!(unhex("0g").is_err());
    }
}
