//! What files ought to hold: a reference model, and contents that say where they belong.
//!
//! The model knows nothing of blocks. It is meant to be too simple to be wrong.

use crate::in_memory;
use std::collections::BTreeMap;

const SECTOR: u64 = 512;
const HEADER: usize = 32;
const PER_SECTOR: usize = 16;

/// `len` bytes of file `id`'s content at `offset`, in the `generation`-th writing of it.
///
/// Each 512-byte sector is sixteen copies of `I<id>O<sector>G<generation>~~~~~`, so a sector that
/// holds another file's data, misplaced data or an old version is recognised without knowing what
/// was done. Ids have 28 bits, generations 20.
pub fn pattern(id: u32, generation: u32, offset: u64, len: usize) -> Vec<u8> {
    let (id, generation) = (id & 0x0FFF_FFFF, generation & 0xF_FFFF);
    let skip = in_memory(offset % SECTOR);
    let mut bytes = Vec::with_capacity(len + 2 * HEADER * PER_SECTOR);
    let mut sector = offset / SECTOR;
    while bytes.len() < skip + len {
        let header = format!("I{id:07x}O{sector:011x}G{generation:05x}~~~~~\n");
        bytes.extend_from_slice(&header.as_bytes().repeat(PER_SECTOR));
        sector += 1;
    }
    bytes.drain(..skip);
    bytes.truncate(len);
    bytes
}

/// What a sector says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// The file it was written for.
    pub id: u32,
    /// The file's sector it was written to.
    pub sector: u64,
    /// The writing it is of.
    pub generation: u32,
}

impl Stamp {
    /// Reads the stamp at the start of a sector that [`pattern`] made; `None` for anything else.
    pub fn of(sector: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(sector.get(..HEADER)?).ok()?;
        let rest = text.strip_prefix('I')?.strip_suffix("~~~~~\n")?;
        let (id, rest) = rest.split_once('O')?;
        let (sector, generation) = rest.split_once('G')?;
        let is_hex = |it: &str| it.bytes().all(|c| c.is_ascii_hexdigit());
        if !(is_hex(id) && is_hex(sector) && is_hex(generation)) {
            return None;
        }
        Some(Self {
            id: u32::from_str_radix(id, 16).ok()?,
            sector: u64::from_str_radix(sector, 16).ok()?,
            generation: u32::from_str_radix(generation, 16).ok()?,
        })
    }
}

/// A file of the model: its size, and the bytes that were written to it. Everything else is zero.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ModelFile {
    size: u64,
    /// Start to bytes; never empty, never overlapping, not necessarily merged.
    segments: BTreeMap<u64, Vec<u8>>,
}

impl ModelFile {
    /// An empty file.
    pub fn new() -> Self {
        Self::default()
    }

    /// Size in bytes.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Writes `bytes` at `offset`; the file grows when needed. Nothing happens for no bytes.
    pub fn write(&mut self, offset: u64, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        let end = offset.saturating_add(bytes.len() as u64);
        self.clear(offset, end);
        self.segments.insert(offset, bytes.to_vec());
        self.size = self.size.max(end);
    }

    /// Sets the size; what lies beyond is gone, and reads zero should the file grow again.
    pub fn truncate(&mut self, size: u64) {
        if size < self.size {
            self.clear(size, self.size);
        }
        self.size = size;
    }

    /// Preallocates: the size grows to the end of the range unless `keep_size`; no byte changes.
    pub fn allocate(&mut self, offset: u64, len: u64, keep_size: bool) {
        if !keep_size {
            self.size = self.size.max(offset.saturating_add(len));
        }
    }

    /// Makes a range read zero (punch hole, zero range). The size stays.
    pub fn zero(&mut self, offset: u64, len: u64) {
        self.clear(offset, offset.saturating_add(len));
    }

    /// The bytes at `offset`: at most `len`, fewer at the end of the file.
    pub fn read(&self, offset: u64, len: usize) -> Vec<u8> {
        let end = self.size.min(offset.saturating_add(len as u64));
        let n = in_memory(end.saturating_sub(offset));
        let mut bytes = vec![0; n];
        let from = self.segments.range(..=offset).next_back().map_or(offset, |(&at, _)| at);
        for (&at, segment) in self.segments.range(from..end.max(from)) {
            let (lo, hi) = (at.max(offset), (at + segment.len() as u64).min(end));
            if lo < hi {
                let it = |base: u64| in_memory(lo - base)..in_memory(hi - base);
                bytes[it(offset)].copy_from_slice(&segment[it(at)]);
            }
        }
        bytes
    }

    /// The ranges that were written, merged: start and length.
    pub fn written(&self) -> Vec<(u64, u64)> {
        let mut ranges: Vec<(u64, u64)> = Vec::new();
        for (&at, segment) in &self.segments {
            match ranges.last_mut() {
                Some((start, len)) if *start + *len == at => *len += segment.len() as u64,
                _ => ranges.push((at, segment.len() as u64)),
            }
        }
        ranges
    }

    /// The hash a [`crate::manifest`] would have for this content.
    pub fn content_hash(&self) -> String {
        let mut hash = crate::manifest::ContentHash::new(self.size);
        let mut done = 0;
        for (start, len) in self.written() {
            // Whole sectors, so that pieces of one never come apart.
            let from = (start - start % SECTOR).max(done);
            let to = (start + len).next_multiple_of(SECTOR).min(self.size);
            let mut at = from;
            while at < to {
                let n = in_memory((to - at).min(1 << 20));
                hash.update(at, &self.read(at, n));
                at += n as u64;
            }
            done = to.max(done);
        }
        hash.finish()
    }

    /// Removes the bytes of `[from, to)`, cutting segments at both ends.
    fn clear(&mut self, from: u64, to: u64) {
        let first = self.segments.range(..from).next_back().map_or(from, |(&at, _)| at);
        let touched: Vec<u64> =
            self.segments.range(first..to.max(first)).map(|(&at, _)| at).collect();
        for at in touched {
            let Some(mut segment) = self.segments.remove(&at) else { continue };
            let end = at + segment.len() as u64;
            if end > to {
                let tail = segment.split_off(in_memory(to.max(at) - at));
                self.segments.insert(to.max(at), tail);
            }
            if at < from {
                segment.truncate(in_memory(from - at));
                self.segments.insert(at, segment);
            }
        }
    }
}

/// The files of the model by path.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Model {
    files: BTreeMap<String, ModelFile>,
}

impl Model {
    /// No files.
    pub fn new() -> Self {
        Self::default()
    }

    /// Makes an empty file, or empties one.
    pub fn create(&mut self, path: &str) -> &mut ModelFile {
        let file = self.files.entry(path.to_owned()).or_default();
        *file = ModelFile::new();
        file
    }

    /// Removes a file; whether it was there.
    pub fn unlink(&mut self, path: &str) -> bool {
        self.files.remove(path).is_some()
    }

    /// A file.
    pub fn file(&self, path: &str) -> Option<&ModelFile> {
        self.files.get(path)
    }

    /// A file, to be changed.
    pub fn file_mut(&mut self, path: &str) -> Option<&mut ModelFile> {
        self.files.get_mut(path)
    }

    /// All files.
    pub fn files(&self) -> impl Iterator<Item = (&str, &ModelFile)> {
        self.files.iter().map(|(path, file)| (path.as_str(), file))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;

    #[test]
    fn a_pattern_says_where_it_belongs() {
        let bytes = pattern(0x12, 3, 1000, 1100);
        assert_eq!(bytes.len(), 1100);
        assert_eq!(Stamp::of(&bytes[24..]), Some(Stamp { id: 0x12, sector: 2, generation: 3 }));
        assert_eq!(pattern(1, 1, 0, 2048)[1000..], pattern(1, 1, 1000, 1048));
        assert_eq!(&pattern(1, 1, 0, 32), b"I0000001O00000000000G00001~~~~~\n");
        assert_eq!(Stamp::of(&[0; 512]), None);
    }

    #[test]
    fn the_model_equals_a_plain_vector() {
        let mut rng = Rng::new(7);
        let mut file = ModelFile::new();
        let mut plain: Vec<u8> = Vec::new();
        for step in 0..2000_u32 {
            let (offset, len) = (rng.below(300), rng.below(60));
            match rng.below(6) {
                0 => {
                    file.truncate(offset as u64);
                    plain.resize(offset, 0);
                }
                1 => {
                    file.zero(offset as u64, len as u64);
                    let end = (offset + len).min(plain.len());
                    plain[offset.min(end)..end].fill(0);
                }
                2 => {
                    file.allocate(offset as u64, len as u64, false);
                    plain.resize(plain.len().max(offset + len), 0);
                }
                _ if len > 0 => {
                    let bytes = vec![u8::try_from(step % 255).unwrap() + 1; len];
                    file.write(offset as u64, &bytes);
                    plain.resize(plain.len().max(offset + len), 0);
                    plain[offset..offset + len].copy_from_slice(&bytes);
                }
                _ => {}
            }
            assert_eq!(file.size(), plain.len() as u64, "step {step}");
            assert!(file.read(0, 1000) == plain, "step {step}");
            let (a, n) = (rng.below(300), rng.below(100));
            let end = plain.len().min(a + n);
            assert_eq!(file.read(a as u64, n), plain[a.min(end)..end], "step {step}");
        }
    }

    #[test]
    fn the_model_hashes_content_as_a_manifest_does() {
        let mut file = ModelFile::new();
        file.write(1 << 40, b"far");
        file.write(700, &[5; 900]);
        file.write(1600, b"x");
        let mut hash = crate::manifest::ContentHash::new((1 << 40) + 3);
        hash.update(512, &file.read(512, 1536));
        hash.update(1 << 40, b"far");
        assert_eq!(file.content_hash(), hash.finish());
    }
}
