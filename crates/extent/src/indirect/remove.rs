//! A range becomes a hole: truncate and punch, in steps.

use super::edit::{Edit, Place, edit};
use crate::{Context, NodeStore, Removed, Root};
use ext4_ondisk::indirect::{
    N_DIRECT, ROOT_POINTERS, per_block, root_slot_levels, root_slot_start, span,
};
use ext4_units::{BlockNr, BlockRange, LogicalBlock};

/// Unmaps the logical blocks from `from` up to, not including, `to`: one step of it, from the right,
/// within one block of pointers and at most `budget` runs (`ext4_ind_truncate`,
/// `ext4_ind_remove_space`). Blocks of pointers that hold nothing any more are freed. The last step may
/// find nothing left to do. Needs no block.
pub fn remove<S: NodeStore + ?Sized>(
    ctx: &Context,
    root: &mut Root,
    store: &mut S,
    from: LogicalBlock,
    to: LogicalBlock,
    budget: usize,
) -> Result<Removed, S::Error> {
    edit(ctx, root, store, |edit| {
        let mut step = Step {
            from: u64::from(from.0),
            to: u64::from(to.0),
            budget: budget.max(1),
            freed: Vec::new(),
            is_over: false,
        };
        for slot in (N_DIRECT..ROOT_POINTERS).rev() {
            let levels = root_slot_levels(slot);
            edit.clear_below(None, slot, root_slot_start(slot, ctx.block_size), levels, &mut step)?;
        }
        edit.clear_data(None, N_DIRECT, 0, &mut step)?;
        Ok(Removed { done: !step.is_over, freed: step.freed })
    })
}

/// What is to be removed, and what was so far.
struct Step {
    from: u64,
    to: u64,
    budget: usize,
    freed: Vec<(LogicalBlock, BlockRange)>,
    /// Nothing more is removed in this step.
    is_over: bool,
}

impl Step {
    fn overlaps(&self, start: u64, len: u64) -> bool {
        start < self.to && self.from < start.saturating_add(len)
    }

    /// Takes one block; `false` when the budget has no run left for it.
    fn take(&mut self, lblk: LogicalBlock, blk: BlockNr) -> bool {
        if let Some((run_lblk, run)) = self.freed.last_mut()
            && lblk.checked_add(1) == Some(*run_lblk)
            && blk.checked_add(1) == Some(run.start)
        {
            (*run_lblk, *run) = (lblk, BlockRange::new(blk, run.len + 1));
            return true;
        }
        let fits = self.freed.len() < self.budget;
        if fits {
            self.freed.push((lblk, BlockRange::new(blk, 1)));
        }
        fits
    }
}

impl<S: NodeStore + ?Sized> Edit<'_, S> {
    /// Removes what lies below one slot, `levels` blocks of pointers above the data, and the block of
    /// pointers itself when it becomes empty. At most 3 levels of recursion.
    fn clear_below(
        &mut self,
        parent: Place,
        slot: u32,
        start: u64,
        levels: u32,
        step: &mut Step,
    ) -> Result<(), S::Error> {
        let size = self.ctx.block_size;
        if step.is_over || !step.overlaps(start, span(size, levels)) {
            return Ok(());
        }
        let Some(blk) = self.get(parent, slot)? else { return Ok(()) };
        let below = levels - 1;
        let table = self.load(blk, below)?;
        if below == 0 {
            self.clear_data(table, per_block(size), start, step)?;
        } else {
            for slot in (0..per_block(size)).rev() {
                let start = start + u64::from(slot) * span(size, below);
                self.clear_below(table, slot, start, below, step)?;
            }
        }
        if self.table(table)?.is_empty() {
            self.set(parent, slot, None)?;
            self.free_table(blk)?;
            step.is_over = true;
        }
        Ok(())
    }

    /// Removes pointers to data from a table's first `n` slots, which begin with logical block `start`.
    fn clear_data(
        &mut self,
        table: Place,
        n: u32,
        start: u64,
        step: &mut Step,
    ) -> Result<(), S::Error> {
        for slot in (0..n).rev() {
            let lblk = start + u64::from(slot);
            if step.is_over || !step.overlaps(lblk, 1) {
                continue;
            }
            let Some(blk) = self.get(table, slot)? else { continue };
            let lblk = u32::try_from(lblk).map(LogicalBlock);
            let Ok(lblk) = lblk else { continue };
            if !self.ctx.is_legal_block(blk) {
                return Err(self.corrupt(format!(
                    "logical block {lblk} is at block {blk}, expected free of system blocks"
                )));
            }
            if step.take(lblk, blk) {
                self.set(table, slot, None)?;
            } else {
                step.is_over = true;
            }
        }
        // One block of pointers a step, so that a step has a bound.
        step.is_over |= !step.freed.is_empty() && table.is_some();
        Ok(())
    }
}
