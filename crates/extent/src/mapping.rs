//! A run of logical blocks and what stands behind it.

use ext4_units::{BlockNr, BlockRange, LogicalBlock};

/// What a run of logical blocks is mapped to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Nothing: reads as zeros.
    Hole,
    /// Data, from this block on.
    Written(BlockNr),
    /// Allocated from this block on, but reads as zeros.
    Unwritten(BlockNr),
}

/// A run of logical blocks in one state, physically contiguous.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mapping {
    /// First logical block.
    pub lblk: LogicalBlock,
    /// Length in blocks, at least 1.
    pub len: u32,
    /// What the run is mapped to.
    pub state: State,
}

impl Mapping {
    /// The physical blocks, written or not; `None` for a hole.
    pub fn blocks(&self) -> Option<BlockRange> {
        match self.state {
            State::Hole => None,
            State::Written(start) | State::Unwritten(start) => {
                Some(BlockRange::new(start, u64::from(self.len)))
            }
        }
    }

    /// The logical block just past the run.
    pub const fn end(&self) -> u32 {
        self.lblk.0.saturating_add(self.len)
    }

    /// The run cut off at `to`, which must lie behind its first block.
    #[must_use]
    pub(crate) fn until(self, to: u32) -> Self {
        debug_assert!(self.lblk.0 < to);
        Self { len: self.len.min(to.saturating_sub(self.lblk.0)), ..self }
    }

    /// A hole from `lblk` to `end`. At least one block, so that who steps over it moves on.
    pub(crate) fn hole(lblk: LogicalBlock, end: u32) -> Self {
        Self { lblk, len: end.saturating_sub(lblk.0).max(1), state: State::Hole }
    }

    /// Both runs as one, when `next` continues this one.
    pub(crate) fn join(&self, next: &Self) -> Option<Self> {
        if self.lblk.0.checked_add(self.len)? != next.lblk.0 {
            return None;
        }
        let fits = match (self.state, next.state) {
            (State::Hole, State::Hole) => true,
            (State::Written(_), State::Written(start))
            | (State::Unwritten(_), State::Unwritten(start)) => self.blocks()?.end() == start,
            _ => false,
        };
        fits.then_some(Self { len: self.len.checked_add(next.len)?, ..*self })
    }
}
