//! A run of blocks goes into a hole.

use super::edit::{Edit, edit};
use crate::{Context, NodeStore, Root};
use ext4_ondisk::indirect::{N_DIRECT, Path, per_block};
use ext4_units::{BlockNr, BlockRange, LogicalBlock};

/// Maps a hole, from `lblk` on, to a run of blocks, and allocates the blocks of pointers on the way
/// (`ext4_ind_map_blocks`, `ext4_alloc_branch`). They and the run must lie below block 2^32.
///
/// An error leaves the map as it was; so does a part that is mapped already, which is reported as damage.
/// The blocks of the run are the caller's to give back.
pub fn insert<S: NodeStore + ?Sized>(
    ctx: &Context,
    root: &mut Root,
    store: &mut S,
    lblk: LogicalBlock,
    run: BlockRange,
) -> Result<(), S::Error> {
    edit(ctx, root, store, |edit| edit.insert(lblk, run))
}

impl<S: NodeStore + ?Sized> Edit<'_, S> {
    fn insert(&mut self, lblk: LogicalBlock, run: BlockRange) -> Result<(), S::Error> {
        if run.len == 0 || !self.ctx.is_legal(run) {
            return Err(self.corrupt(format!(
                "new blocks {run} at logical block {lblk}, expected at least one within {}",
                self.ctx.blocks
            )));
        }
        let mut next = Some(lblk);
        let mut blocks = run.iter().peekable();
        while let Some(first) = blocks.peek() {
            let path = next.and_then(|it| Path::to(it, self.ctx.block_size));
            let (Some(lblk), Some(path)) = (next, path) else {
                return Err(self.corrupt(format!(
                    "new blocks {run} at logical block {lblk}, expected below {}",
                    ext4_ondisk::indirect::end(self.ctx.block_size)
                )));
            };
            let (table, from, to) = self.leaf(&path, *first)?;
            let mut n = 0;
            for (slot, blk) in (from..to).zip(std::iter::from_fn(|| blocks.next())) {
                if let Some(old) = self.get(table, slot)? {
                    return Err(self.corrupt(format!(
                        "new block {blk} at logical block {}, expected a hole instead of block {old}",
                        u64::from(lblk.0) + u64::from(n)
                    )));
                }
                self.set(table, slot, Some(blk))?;
                n += 1;
            }
            next = lblk.checked_add(n);
        }
        Ok(())
    }

    /// The table that a path ends in, made if there is none, and its slots from the path's on.
    fn leaf(
        &mut self,
        path: &Path,
        goal: BlockNr,
    ) -> Result<(super::edit::Place, u32, u32), S::Error> {
        let (mut place, mut end) = (None, N_DIRECT);
        let (last, way) = path.slots().split_last().unwrap_or((&0, &[]));
        for (slot, levels) in way.iter().zip((0..path.levels).rev()) {
            place = match self.get(place, *slot)? {
                Some(blk) => self.load(blk, levels)?,
                None => self.new_table(place, *slot, goal)?,
            };
            end = per_block(self.ctx.block_size);
        }
        Ok((place, *last, end))
    }
}
