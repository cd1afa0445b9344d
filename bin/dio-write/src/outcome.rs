//! What a run did, or would do, as text and JSON.

use ext4_cli::{Exit, size::Bytes};
use ext4_dio::{LockMode, Plan};
use ext4_fs::{Filesystem, MapState, Result};
use ext4_units::{InodeNr, LogicalBlock};
use serde::Serialize;
use std::fmt;

/// What was written.
#[derive(Clone, Debug, Serialize)]
pub struct Outcome {
    /// The image as typed.
    pub image: String,
    /// The path in it.
    pub path: String,
    /// The file's inode.
    pub inode: u32,
    /// Whether the file was created.
    pub created: bool,
    /// Bytes written.
    pub written: u64,
    /// How many of them could not be written directly.
    pub buffered: u64,
    /// The size before.
    pub old_size: u64,
    /// The size after.
    pub size: u64,
    /// Whether a signal ended the run early.
    pub stopped: bool,
    /// With --dry-run, what would be done.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub plan: Option<Planned>,
}

impl Outcome {
    /// The exit code.
    pub(crate) fn exit(&self) -> Exit {
        if self.stopped { Exit::CANCELLED } else { Exit::OK }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { image, path, inode, .. } = self;
        if let Some(plan) = &self.plan {
            let made = if self.created { ", to be created" } else { "" };
            write!(f, "{image}:{path} (inode {inode}{made}): would write {plan}")?;
            return Ok(());
        }
        let made = if self.created { ", created" } else { "" };
        write!(f, "{image}:{path} (inode {inode}{made}): wrote {}", Bytes(self.written))?;
        if self.buffered > 0 {
            write!(f, " ({} not directly)", Bytes(self.buffered))?;
        }
        write!(f, ", size {} to {}", self.old_size, self.size)?;
        if self.stopped {
            write!(f, ", stopped by a signal")?;
        }
        Ok(())
    }
}

/// What a write would be.
#[derive(Clone, Debug, Serialize)]
pub struct Planned {
    /// First byte.
    pub offset: u64,
    /// Bytes, where known.
    pub length: Option<u64>,
    /// Whether the file grows: an orphan record protects the write.
    pub extends: bool,
    /// Whether the kernel would hold the inode lock exclusively.
    pub exclusive: bool,
    /// Blocks overwritten in place.
    pub written_blocks: u64,
    /// Preallocated blocks to be converted.
    pub unwritten_blocks: u64,
    /// Blocks to be allocated.
    pub new_blocks: u64,
}

impl Planned {
    /// Looks up what the write would meet.
    pub(crate) fn new(fs: &Filesystem, ino: InodeNr, plan: &Plan) -> Result<Self> {
        let size = fs.geometry().block_size;
        let mut planned = Self {
            offset: plan.pos,
            length: plan.len,
            extends: plan.extends,
            exclusive: plan.lock == LockMode::Exclusive,
            written_blocks: 0,
            unwritten_blocks: 0,
            new_blocks: 0,
        };
        let Some(len) = plan.len else { return Ok(planned) };
        let inode = fs.inode(fs.meta(), ino)?;
        let block = |nr: u64| LogicalBlock(u32::try_from(nr).unwrap_or(u32::MAX));
        let from = block(plan.pos >> size.bits());
        let to = block(size.blocks_for(plan.pos.saturating_add(len)));
        fs.mappings(fs.meta(), &inode, from, to, |mapping| {
            let count = match mapping.state {
                MapState::Hole => &mut planned.new_blocks,
                MapState::Written(_) => &mut planned.written_blocks,
                MapState::Unwritten(_) => &mut planned.unwritten_blocks,
            };
            *count += u64::from(mapping.len);
            Ok(())
        })?;
        Ok(planned)
    }
}

impl fmt::Display for Planned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.length {
            Some(len) => write!(f, "{} at byte {}", Bytes(len), self.offset)?,
            None => write!(f, "to the input's end at byte {}", self.offset)?,
        }
        if self.length.is_some() {
            let Self { written_blocks, unwritten_blocks, new_blocks, .. } = self;
            write!(
                f,
                ", over {written_blocks} written and {unwritten_blocks} preallocated blocks"
            )?;
            write!(f, ", {new_blocks} to be allocated")?;
        }
        let how =
            if self.extends { "extends the file, on the orphan record" } else { "in its size" };
        write!(f, ", {how}")
    }
}
