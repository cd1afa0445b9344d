//! The contents of a file, and what of them another state of the same file has no longer.

use super::{Extract, Loss, Source, candidates::any, there};
use crate::{
    Result,
    bits::Bits,
    pieces::{self, What},
    snapshot::{Snapshot, inline_contents},
};
use ext4_ondisk::inode::{FileType, Inode};
use ext4_units::{BlockNr, InodeNr};

/// Most runs of one file that are kept in mind.
const MOST_RUNS: usize = 1 << 22;
/// Most blocks of maps that are read, in all.
const MOST_NODES: u64 = 1 << 24;
/// Most blocks that one place in a file can have.
const MOST_LAYERS: usize = 8;

/// What may still be done: a damaged filesystem can name the same blocks any number of times.
#[derive(Clone, Debug)]
pub(super) struct Budget {
    /// Blocks of maps to be read.
    pub(super) nodes: u64,
    /// Blocks of contents to be compared.
    pub(super) blocks: u64,
    /// Bytes to be kept, of contents and of attributes.
    pub(super) bytes: u64,
    /// Whether something was left out for want of it.
    pub(super) is_spent: bool,
}

impl Budget {
    pub(super) fn of(snapshot: &Snapshot) -> Self {
        let blocks = snapshot.image.n_blocks();
        Self {
            nodes: blocks.saturating_mul(4).min(MOST_NODES),
            blocks: blocks.saturating_mul(4),
            bytes: blocks.saturating_mul(snapshot.geo.block_size.bytes().into()),
            is_spent: false,
        }
    }

    /// Takes bytes to be kept; false when so many are not left.
    pub(super) fn take(&mut self, bytes: u64) -> bool {
        let left = self.bytes.checked_sub(bytes);
        self.bytes = left.unwrap_or(self.bytes);
        self.is_spent |= left.is_none();
        left.is_some()
    }
}

/// A run of a file's blocks.
#[derive(Clone, Copy, Debug)]
struct Run {
    lblk: u64,
    start: BlockNr,
    len: u64,
}

/// The contents of a file.
#[derive(Debug)]
pub(super) struct Contents<'s> {
    snapshot: &'s Snapshot,
    size: u64,
    /// Those inside the inode.
    inside: Option<Vec<u8>>,
    /// Those in blocks, in the order of the map.
    runs: Vec<Run>,
}

impl<'s> Contents<'s> {
    pub(super) fn of(
        snapshot: &'s Snapshot,
        ino: InodeNr,
        inode: &Inode,
        budget: &mut Budget,
    ) -> Self {
        let mut runs = Vec::new();
        let mut is_spent = false;
        let walked =
            pieces::walk(&snapshot.image, &snapshot.geo, inode, &mut budget.nodes, &mut |it| {
                if let What::Contents { lblk, unwritten: false } = it.what {
                    is_spent |= runs.len() == MOST_RUNS;
                    if runs.len() < MOST_RUNS {
                        runs.push(Run { lblk, start: it.start, len: it.len });
                    }
                }
            });
        budget.is_spent |= is_spent || budget.nodes == 0 || walked.is_err();
        let size = usize::try_from(inode.size).unwrap_or(usize::MAX);
        let is_short = inode.file_type() == FileType::Symlink && runs.is_empty();
        let inside = inline_contents(ino, inode)
            .or_else(|| is_short.then(|| inode.i_block.to_vec()))
            .map(|mut bytes| {
                bytes.truncate(size);
                bytes
            });
        Self { snapshot, size: inode.size, inside, runs }
    }

    /// The block at this place, and how many follow it there. Of a map out of order it may be missed.
    fn block_at(&self, lblk: u64) -> Option<(BlockNr, u64)> {
        let at = self.runs.partition_point(|it| it.lblk <= lblk).checked_sub(1)?;
        let run = self.runs.get(at)?;
        let skip = lblk.checked_sub(run.lblk).filter(|it| *it < run.len)?;
        Some((run.start.plus(skip), run.len - skip))
    }

    /// The bytes of the block at this place, zeros where there are none.
    fn read(&self, lblk: u64) -> Result<Vec<u8>> {
        let len = self.snapshot.geo.block_size.len();
        let mut bytes = match (&self.inside, self.block_at(lblk)) {
            (Some(inside), _) if lblk == 0 => inside.clone(),
            (None, Some((blk, _))) => there(self.snapshot.image.read(blk))?,
            _ => Vec::new(),
        };
        bytes.resize(len, 0);
        Ok(bytes)
    }

    /// All of them, up to `most` bytes: the value of an attribute.
    pub(super) fn read_all(&self, most: usize) -> Result<Vec<u8>> {
        let size = usize::try_from(self.size).unwrap_or(usize::MAX).min(most);
        let mut bytes = Vec::new();
        let n = size.div_ceil(self.snapshot.geo.block_size.len());
        for lblk in 0..n as u64 {
            bytes.extend(self.read(lblk)?);
        }
        bytes.truncate(size);
        Ok(bytes)
    }

    /// What `kept`, the same file later, has no longer. `changed` are the blocks that differ.
    pub(super) fn lost(
        &self,
        kept: Option<&Self>,
        changed: &Bits,
        budget: &mut Budget,
        loss: &mut Loss,
    ) -> Result<()> {
        if let Some(inside) = &self.inside {
            let is_kept = match kept {
                Some(kept) => {
                    let mut now = kept.read(0)?;
                    now.truncate(inside.len());
                    kept.size >= inside.len() as u64 && now == *inside
                }
                None => false,
            };
            if !is_kept && !inside.is_empty() && budget.take(inside.len() as u64) {
                let source = Source::Here(inside.clone());
                loss.contents.push(vec![Extract { offset: 0, source }]);
            }
            return Ok(());
        }
        let bytes = u64::from(self.snapshot.geo.block_size.bytes());
        let mut layers = Layers::of(bytes);
        for run in &self.runs {
            if kept.is_some_and(|it| it.has(run, self.size, changed)) {
                continue;
            }
            for nr in 0..run.len {
                let (lblk, blk) = (run.lblk.saturating_add(nr), run.start.plus(nr));
                let offset = lblk.saturating_mul(bytes);
                // What is beyond the end may be what a wrong size hides: all of the block counts.
                let len = match self.size.checked_sub(offset) {
                    None | Some(0) => bytes,
                    Some(len) => len.min(bytes),
                };
                let Some(left) = budget.blocks.checked_sub(1) else {
                    budget.is_spent = true;
                    loss.not_kept =
                        loss.not_kept.saturating_add((run.len - nr).saturating_mul(bytes));
                    break;
                };
                budget.blocks = left;
                let is_kept = match kept {
                    Some(kept) => self.is_kept(kept, lblk, blk, offset, len)?,
                    None => false,
                };
                if !is_kept {
                    layers.add(offset, blk, len, budget);
                }
            }
        }
        layers.into_loss(loss);
        Ok(())
    }

    /// Whether it is certain at first sight that a run of a file of this size is all there.
    fn has(&self, run: &Run, size: u64, changed: &Bits) -> bool {
        let bytes = u64::from(self.snapshot.geo.block_size.bytes());
        let end = run.lblk.saturating_add(run.len).saturating_mul(bytes);
        self.block_at(run.lblk).is_some_and(|(blk, len)| blk == run.start && len >= run.len)
            && self.size >= end.min(size)
            && !any(changed, run.start, run.len)
    }

    /// Whether the bytes of a block are still at their place in the file.
    fn is_kept(&self, kept: &Self, lblk: u64, blk: BlockNr, offset: u64, len: u64) -> Result<bool> {
        let is_seen = offset < self.size;
        let is_there = if is_seen {
            kept.size >= offset.saturating_add(len)
        } else {
            kept.block_at(lblk).is_some()
        };
        if !is_there {
            return Ok(false);
        }
        let len = usize::try_from(len).unwrap_or(usize::MAX);
        let (old, new) = (there(self.snapshot.image.read(blk))?, kept.read(lblk)?);
        Ok(old.iter().take(len).eq(new.iter().take(len)))
    }
}

/// Lost blocks, joined to runs.
#[derive(Debug)]
pub(super) struct Layers {
    block_size: u64,
    all: Vec<Vec<Extract>>,
    not_kept: u64,
}

impl Layers {
    pub(super) const fn of(block_size: u64) -> Self {
        Self { block_size, all: Vec::new(), not_kept: 0 }
    }

    /// Adds the first `len` bytes of a block, which are at `offset` in the file.
    pub(super) fn add(&mut self, offset: u64, blk: BlockNr, len: u64, budget: &mut Budget) {
        let end = |layer: &Vec<Extract>| layer.last().map_or(0, Extract::end);
        let at = self.all.iter().position(|it| end(it) <= offset).unwrap_or(self.all.len());
        if at == MOST_LAYERS || !budget.take(len) {
            self.not_kept = self.not_kept.saturating_add(len);
            budget.is_spent = true;
            return;
        }
        if at == self.all.len() {
            self.all.push(Vec::new());
        }
        let Some(layer) = self.all.get_mut(at) else { return };
        if let Some(last) = layer.last_mut()
            && last.end() == offset
            && let Source::Blocks(start, so_far) = &mut last.source
            && so_far.is_multiple_of(self.block_size)
            && start.0 + *so_far / self.block_size == blk.0
        {
            *so_far += len;
        } else {
            layer.push(Extract { offset, source: Source::Blocks(blk, len) });
        }
    }

    pub(super) fn into_loss(self, loss: &mut Loss) {
        loss.contents = self.all;
        loss.not_kept = loss.not_kept.saturating_add(self.not_kept);
    }
}
