//! What can be seen of the file from outside, by a reader that is not the product's own.

use super::PATH;
use anyhow::{Context as _, Result};
use ext4_blockdev::BlockDevice;
use ext4_testkit::{
    judge,
    model::{ModelFile, Stamp},
    process::FAKE_TIME,
    view::{Node, RunKind, View},
};

const EXTENTS_FL: u32 = 0x8_0000;
const INLINE_DATA_FL: u32 = 0x1000_0000;

/// The file as it lies on an unmounted image.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Face {
    pub(super) size: u64,
    /// `W0-1 U2-255`: written and unwritten blocks, one word for each extent; `inline` for contents
    /// in the inode.
    pub(super) shape: String,
    /// `i_blocks`.
    pub(super) sectors: u64,
    pub(super) mode: u16,
    pub(super) links: u16,
    /// Whether its times are other than those it was made with.
    pub(super) touched: bool,
    /// Names of its attributes.
    pub(super) xattrs: Vec<String>,
    /// What lies in written blocks below the size: where, and the bytes.
    pub(super) content: Vec<(u64, Vec<u8>)>,
    /// RO_COMPAT of the filesystem.
    pub(super) ro_compat: u32,
    /// Free blocks and inodes of the filesystem.
    pub(super) free: (u64, u64),
}

impl std::fmt::Debug for Face {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Face")
            .field("size", &self.size)
            .field("shape", &self.shape)
            .field("sectors", &self.sectors)
            .field("mode", &format_args!("{:o}", self.mode))
            .field("links", &self.links)
            .field("touched", &self.touched)
            .field("xattrs", &self.xattrs)
            .field("content", &format_args!("{}", self.words()))
            .field("ro_compat", &format_args!("{:#x}", self.ro_compat))
            .field("free", &self.free)
            .finish()
    }
}

impl Face {
    /// Looks at `/f`.
    pub(super) fn of(device: &dyn BlockDevice) -> Result<Self> {
        let view = View::new(device)?;
        let ino = *view.paths()?.get(&PATH[1..]).context("no /f")?;
        Self::of_inode(&view, ino)
    }

    /// Looks at an inode that may have no name.
    pub(super) fn of_inode(view: &View<'_>, ino: u32) -> Result<Self> {
        let node = view.inode(ino)?;
        let made = u32::try_from(FAKE_TIME.parse::<u64>()?)?;
        let touched = [node.raw.i_mtime.get(), node.raw.i_ctime.get()] != [made; 2];
        let attributes = view.xattrs(&node)?;
        let mut xattrs: Vec<String> = attributes.keys().map(ToString::to_string).collect();
        xattrs.retain(|name| name != "system.data");
        Ok(Self {
            size: node.size(),
            shape: shape(view, &node)?,
            sectors: view.sectors(&node),
            mode: node.raw.i_mode.get() & 0o7777,
            links: node.raw.i_links_count.get(),
            touched,
            xattrs,
            content: content(view, &node)?,
            ro_compat: view.sb.s_feature_ro_compat.get(),
            free: judge::free_counts(view),
        })
    }

    /// The same with neighbours of one state as one extent.
    pub(super) fn merged(&self) -> Self {
        let mut words: Vec<(char, String, u64)> = Vec::new();
        for word in self.shape.split(' ').filter(|it| !it.is_empty() && *it != "inline") {
            let (first, last) = word[1..].split_once('-').unwrap_or((&word[1..], &word[1..]));
            let kind = word.chars().next().unwrap_or_default();
            let (begin, end): (u64, u64) = (first.parse().unwrap(), last.parse().unwrap());
            match words.last_mut() {
                Some((before, _, last)) if *before == kind && *last + 1 == begin => *last = end,
                _ => words.push((kind, first.to_owned(), end)),
            }
        }
        let word = |(kind, first, last): &(char, String, u64)| {
            if *first == last.to_string() {
                format!("{kind}{first}")
            } else {
                format!("{kind}{first}-{last}")
            }
        };
        let shape = words.iter().map(word).collect::<Vec<_>>().join(" ");
        Self { shape, ..self.clone() }
    }

    /// The bytes of a range, zeros where nothing is written.
    pub(super) fn bytes(&self, from: u64, len: usize) -> Vec<u8> {
        let mut out = vec![0; len];
        for (at, bytes) in &self.content {
            let end = from + len as u64;
            let (first, last) = ((*at).max(from), (at + bytes.len() as u64).min(end));
            if first < last {
                let n = usize::try_from(last - first).unwrap();
                let (to, of) =
                    (usize::try_from(first - from).unwrap(), usize::try_from(first - at).unwrap());
                out[to..to + n].copy_from_slice(&bytes[of..of + n]);
            }
        }
        out
    }

    /// Size and bytes are the model's.
    pub(super) fn assert_is(&self, model: &ModelFile) {
        assert_eq!(self.size, model.size(), "size: {self:?}");
        for (at, bytes) in &self.content {
            let expected = model.read(*at, bytes.len());
            let wrong = bytes.iter().zip(&expected).position(|(a, b)| a != b);
            assert_eq!(wrong.map(|it| it as u64 + at), None, "first wrong byte of {self:?}");
        }
        for (at, len) in model.written() {
            let len = usize::try_from(len).unwrap();
            assert!(self.bytes(at, len) == model.read(at, len), "{len} bytes at {at}: {self:?}");
        }
    }

    /// The contents in a few words: runs of sectors by what they say of themselves.
    fn words(&self) -> String {
        let mut words: Vec<String> = Vec::new();
        for (at, bytes) in &self.content {
            let mut last = (String::new(), *at, *at);
            for (i, sector) in bytes.chunks(512).enumerate() {
                let place = at + i as u64 * 512;
                let word = match Stamp::of(sector) {
                    Some(it) => format!("generation {}", it.generation),
                    None if sector.iter().all(|&byte| byte == 0) => "zeros".to_owned(),
                    None => "other".to_owned(),
                };
                if last.0 != word {
                    words.extend(said(&last));
                    last = (word, place, place);
                }
                last.2 = place + sector.len() as u64;
            }
            words.extend(said(&last));
        }
        words.join(", ")
    }
}

fn said((word, from, to): &(String, u64, u64)) -> Option<String> {
    (!word.is_empty()).then(|| format!("{from}..{to} {word}"))
}

fn shape(view: &View<'_>, node: &Node) -> Result<String> {
    if node.has(INLINE_DATA_FL) {
        return Ok("inline".to_owned());
    }
    let mut runs: Vec<(RunKind, u64, u64)> = Vec::new();
    for run in view.runs(node)? {
        match runs.last_mut() {
            // An indirect map knows no extents, only which blocks there are.
            Some((_, _, end)) if !node.has(EXTENTS_FL) && *end == run.lblk => *end += run.len,
            _ => runs.push((run.kind, run.lblk, run.lblk + run.len)),
        }
    }
    let word = |&(kind, first, end): &(RunKind, u64, u64)| {
        let letter = if kind == RunKind::Written { 'W' } else { 'U' };
        match end - first {
            1 => format!("{letter}{first}"),
            _ => format!("{letter}{first}-{}", end - 1),
        }
    };
    Ok(runs.iter().map(word).collect::<Vec<_>>().join(" "))
}

fn content(view: &View<'_>, node: &Node) -> Result<Vec<(u64, Vec<u8>)>> {
    let size = view.block_size as u64;
    let mut all: Vec<(u64, Vec<u8>)> = Vec::new();
    if node.has(INLINE_DATA_FL) {
        return Ok(vec![(0, view.read(node, 0, usize::try_from(node.size())?)?)]);
    }
    for run in view.runs(node)?.iter().filter(|it| it.kind == RunKind::Written) {
        let from = run.lblk * size;
        let len = (run.len * size).min(node.size().saturating_sub(from));
        if len == 0 {
            continue;
        }
        let mut bytes = Vec::new();
        for blk in run.start..run.start + run.len {
            bytes.extend(view.block(blk)?);
        }
        bytes.truncate(usize::try_from(len)?);
        match all.last_mut() {
            Some((at, before)) if *at + before.len() as u64 == from => before.extend(bytes),
            _ => all.push((from, bytes)),
        }
    }
    Ok(all)
}
