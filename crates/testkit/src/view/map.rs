//! Where a file's blocks are: extents and indirect blocks.

use super::{EXTENTS_FL, INLINE_DATA_FL, Node, View, le16, le32};
use anyhow::{Result, ensure};

/// What a run of a file's blocks holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RunKind {
    /// Data.
    Written,
    /// Preallocated: reads as zero.
    Unwritten,
}

/// Blocks of a file that lie one after the other on the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    /// First block in the file.
    pub lblk: u64,
    /// First block on the device.
    pub start: u64,
    /// Number of blocks.
    pub len: u64,
    /// What they hold.
    pub kind: RunKind,
}

const EXTENT_MAGIC: u16 = 0xF30A;
const MAX_WRITTEN: u64 = 32768;
const ROOT_SLOTS: usize = 15;
const DIRECT: usize = 12;

/// A mapping being read: its runs, and the blocks that hold the mapping itself.
#[derive(Default)]
struct Mapping {
    runs: Vec<Run>,
    nodes: Vec<u64>,
}

impl View<'_> {
    /// The runs of a file in order; none for a symlink within its inode or for inline data.
    pub fn runs(&self, node: &Node) -> Result<Vec<Run>> {
        Ok(self.mapping(node)?.runs)
    }

    /// The blocks of a file's extent tree or indirect blocks.
    pub fn map_blocks(&self, node: &Node) -> Result<Vec<u64>> {
        Ok(self.mapping(node)?.nodes)
    }

    /// Whether `i_block` holds block numbers at all.
    pub(super) fn is_mapped(&self, node: &Node) -> bool {
        let acl = if node.acl_block() == 0 { 0 } else { self.block_size as u64 / 512 };
        match node.file_type() {
            0o100_000 | 0o040_000 => !node.has(INLINE_DATA_FL),
            // A fast symlink has no blocks but that of its attributes. (With ea_inode the kernel
            // goes by the size: up to 59 bytes are within the inode.)
            0o120_000 if node.has(INLINE_DATA_FL) => false,
            0o120_000 => node.size() >= 60 || self.sectors(node) > acl && !self.has_incompat(0x400),
            // Reserved inodes, such as that of bad blocks, have no type.
            0 => node.ino < self.first_ino(),
            _ => false,
        }
    }

    fn mapping(&self, node: &Node) -> Result<Mapping> {
        let mut mapping = Mapping::default();
        if !self.is_mapped(node) {
            return Ok(mapping);
        }
        let root = &node.raw.i_block;
        if node.has(EXTENTS_FL) {
            self.extents(node.ino, root, None, &mut mapping)?;
            return Ok(mapping);
        }
        let per = self.block_size as u64 / 4;
        let mut lblk = 0;
        for slot in 0..ROOT_SLOTS {
            let levels = u32::try_from(slot.saturating_sub(DIRECT - 1)).unwrap_or(0);
            self.indirect(le32(root, slot * 4).into(), levels, lblk, &mut mapping)?;
            lblk += per.pow(levels);
        }
        Ok(mapping)
    }

    fn extents(
        &self,
        ino: u32,
        bytes: &[u8],
        depth: Option<u16>,
        mapping: &mut Mapping,
    ) -> Result<()> {
        let magic = le16(bytes, 0);
        ensure!(magic == EXTENT_MAGIC, "inode {ino}: extent node with magic {magic:#x}");
        let found = le16(bytes, 6);
        ensure!(depth.is_none_or(|it| it == found) && found <= 5, "inode {ino}: depth {found}");
        let n = usize::from(le16(bytes, 2));
        ensure!(12 * (n + 1) <= bytes.len(), "inode {ino}: {n} entries in an extent node");
        for at in (1..=n).map(|it| it * 12) {
            let high = |it| u64::from(le16(bytes, it)) << 32;
            if found == 0 {
                let len = u64::from(le16(bytes, at + 4));
                let is_unwritten = len > MAX_WRITTEN;
                mapping.runs.push(Run {
                    lblk: le32(bytes, at).into(),
                    start: high(at + 6) | u64::from(le32(bytes, at + 8)),
                    len: if is_unwritten { len - MAX_WRITTEN } else { len },
                    kind: if is_unwritten { RunKind::Unwritten } else { RunKind::Written },
                });
            } else {
                let child = high(at + 8) | u64::from(le32(bytes, at + 4));
                ensure!(!mapping.nodes.contains(&child), "inode {ino}: block {child} twice");
                mapping.nodes.push(child);
                self.extents(ino, &self.block(child)?, Some(found - 1), mapping)?;
            }
        }
        Ok(())
    }

    fn indirect(&self, blk: u64, levels: u32, lblk: u64, mapping: &mut Mapping) -> Result<()> {
        if blk == 0 {
            return Ok(());
        }
        if levels == 0 {
            match mapping.runs.last_mut() {
                Some(run) if run.lblk + run.len == lblk && run.start + run.len == blk => {
                    run.len += 1;
                }
                _ => mapping.runs.push(Run { lblk, start: blk, len: 1, kind: RunKind::Written }),
            }
            return Ok(());
        }
        mapping.nodes.push(blk);
        ensure!(mapping.nodes.len() as u64 <= self.n_blocks, "indirect blocks without end");
        let per = self.block_size as u64 / 4;
        let bytes = self.block(blk)?;
        for i in 0..self.block_size / 4 {
            let below = lblk + i as u64 * per.pow(levels - 1);
            self.indirect(le32(&bytes, i * 4).into(), levels - 1, below, mapping)?;
        }
        Ok(())
    }
}
