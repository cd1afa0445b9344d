//! Folders, and everything below them.

use super::{INLINE_DATA_FL, Node, RunKind, View, le16, le32};
use crate::{
    in_memory,
    manifest::{ContentHash, Entry, Manifest, xattr_hash},
};
use anyhow::{Context, Result, ensure};
use std::collections::BTreeSet;

impl View<'_> {
    /// The entries of a folder, without `.` and `..`: name, inode, type byte.
    pub fn entries_of(&self, node: &Node) -> Result<Vec<(Vec<u8>, u32, u8)>> {
        let mut all = Vec::new();
        if node.has(INLINE_DATA_FL) {
            let bytes = self.inline(node)?;
            let (first, second) = bytes.split_at(60.min(bytes.len()));
            // Four bytes of the folder above stand for both dots.
            records(first.get(4..).unwrap_or_default(), &mut all)?;
            records(second, &mut all)?;
        } else {
            let bs = self.block_size as u64;
            for run in self.runs(node)?.iter().filter(|it| it.kind == RunKind::Written) {
                for i in (0..run.len).filter(|i| (run.lblk + i) * bs < node.size()) {
                    let blk = run.start + i;
                    records(&self.block(blk)?, &mut all)
                        .with_context(|| format!("inode {}, block {blk}", node.ino))?;
                }
            }
        }
        all.retain(|(name, _, _)| name != b"." && name != b"..");
        Ok(all)
    }

    /// Gives every path (without a leading slash, the root is `.`) with its inode.
    pub fn walk(&self, each: &mut dyn FnMut(&str, u32) -> Result<()>) -> Result<()> {
        let mut todo = vec![(".".to_owned(), 2_u32)];
        let mut seen = BTreeSet::new();
        while let Some((path, ino)) = todo.pop() {
            each(&path, ino)?;
            let node = self.inode(ino).with_context(|| path.clone())?;
            if node.file_type() != 0o040_000 {
                continue;
            }
            ensure!(seen.insert(ino), "{path}: folder {ino} has two paths");
            for (name, child, _) in self.entries_of(&node).with_context(|| path.clone())? {
                let name = String::from_utf8_lossy(&name);
                let below = if path == "." { name.into_owned() } else { format!("{path}/{name}") };
                todo.push((below, child));
            }
        }
        Ok(())
    }

    /// Everything on the image, as a mounted one would show it.
    pub fn manifest(&self) -> Result<Manifest> {
        let mut manifest = Manifest::default();
        self.walk(&mut |path, ino| {
            let node = self.inode(ino)?;
            let entry = self.entry(&node).with_context(|| format!("{path} (inode {ino})"))?;
            manifest.0.insert(path.to_owned(), entry);
            Ok(())
        })?;
        Ok(manifest)
    }

    fn entry(&self, node: &Node) -> Result<Entry> {
        let raw = &node.raw;
        let (kind, content) = match node.file_type() {
            0o100_000 => ('f', self.content(node)?),
            0o040_000 => ('d', String::new()),
            0o120_000 => {
                let target = self.target(node)?;
                ('l', String::from_utf8_lossy(&target).chars().take(400).collect())
            }
            0o010_000 => ('p', String::new()),
            0o140_000 => ('s', String::new()),
            other => (if other == 0o020_000 { 'c' } else { 'b' }, device_numbers(&raw.i_block)),
        };
        // The kernel adds what an inode holds of a regular file (`ext4_file_getattr`).
        let is_inline = kind == 'f' && node.has(INLINE_DATA_FL);
        let inline = if is_inline { node.size().div_ceil(512) } else { 0 };
        let word = |low: u16, high: u16| u32::from(high) << 16 | u32::from(low);
        Ok(Entry {
            kind,
            mode: format!("{:o}", raw.i_mode.get() & 0o7777),
            uid: word(raw.i_uid.get(), raw.l_i_uid_high.get()),
            gid: word(raw.i_gid.get(), raw.l_i_gid_high.get()),
            nlink: raw.i_links_count.get().into(),
            size: node.size(),
            blocks: Some(self.sectors(node) + inline),
            content,
            xattrs: xattr_hash(&self.xattrs(node)?),
            error: None,
        })
    }

    /// Where a symlink points to.
    pub fn target(&self, node: &Node) -> Result<Vec<u8>> {
        if node.has(INLINE_DATA_FL) || self.is_mapped(node) {
            return self.read(node, 0, self.block_size);
        }
        let len = in_memory(node.size()).min(60);
        Ok(node.raw.i_block[..len].to_vec())
    }

    fn content(&self, node: &Node) -> Result<String> {
        let mut hash = ContentHash::new(node.size());
        self.pieces(node, &mut |at, bytes| {
            hash.update(at, bytes);
            Ok(())
        })?;
        Ok(hash.finish())
    }

    /// Gives the written parts of a file up to its size, block by block, in order.
    pub fn pieces(
        &self,
        node: &Node,
        each: &mut dyn FnMut(u64, &[u8]) -> Result<()>,
    ) -> Result<()> {
        let size = node.size();
        if node.has(INLINE_DATA_FL) {
            return each(0, &self.read(node, 0, self.block_size)?);
        }
        let bs = self.block_size as u64;
        for run in self.runs(node)?.iter().filter(|it| it.kind == RunKind::Written) {
            for i in 0..run.len {
                let at = (run.lblk + i) * bs;
                if at < size {
                    let block = self.block(run.start + i)?;
                    let n = block.len().min(in_memory(size - at));
                    each(at, &block[..n])?;
                }
            }
        }
        Ok(())
    }
}

/// The records of a folder's block, or of an area of an inline one, that name an inode.
fn records(bytes: &[u8], all: &mut Vec<(Vec<u8>, u32, u8)>) -> Result<()> {
    let mut at = 0;
    while at + 8 <= bytes.len() {
        let ino = le32(bytes, at);
        let len = match usize::from(le16(bytes, at + 4)) {
            // A block of 64 KiB in one record.
            0 | 65535 => bytes.len(),
            len => len,
        };
        let name_len = usize::from(bytes[at + 6]);
        let is_whole = len >= 8 + name_len && at + len <= bytes.len();
        // The unused end of an inline folder is zero.
        if len == bytes.len() && at > 0 || le16(bytes, at + 4) == 0 && bytes.len() < 1024 {
            return Ok(());
        }
        ensure!(is_whole, "a record of {len} bytes at {at} with a name of {name_len}");
        if ino != 0 && name_len > 0 {
            all.push((bytes[at + 8..at + 8 + name_len].to_vec(), ino, bytes[at + 7]));
        }
        at += len;
    }
    Ok(())
}

/// `major:minor`: the old form in the first word, or the new one in the second.
fn device_numbers(i_block: &[u8; 60]) -> String {
    let (old, new) = (le32(i_block, 0), le32(i_block, 4));
    if old != 0 {
        return format!("{}:{}", old >> 8 & 0xFF, old & 0xFF);
    }
    format!("{}:{}", new >> 8 & 0xFFF, new & 0xFF | new >> 12 & 0xF_FF00)
}
