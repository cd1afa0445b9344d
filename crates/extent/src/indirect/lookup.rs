//! One logical block's mapping.

use super::table::Table;
use crate::{Context, Mapping, NodeRead, Root, State};
use ext4_ondisk::{
    Corrupt,
    indirect::{self, N_DIRECT, Path, per_block, root_slot_start, span},
};
use ext4_units::{BlockRange, LogicalBlock};

/// What `lblk` is mapped to, and how far that goes at least: a run or hole is followed to the end of the
/// block of pointers that decides it, and may go on behind it (`ext4_ind_map_blocks`).
pub fn lookup<S: NodeRead + ?Sized>(
    ctx: &Context,
    root: &Root,
    store: &S,
    lblk: LogicalBlock,
) -> Result<Mapping, S::Error> {
    let size = ctx.block_size;
    let Some(path) = Path::to(lblk, size) else { return Ok(Mapping::hole(lblk, u32::MAX)) };
    let mut table = Table::of_root(ctx, root)?;
    let mut table_end = if path.levels == 0 { N_DIRECT } else { path.slots()[0] + 1 };
    let below_root = u64::from(lblk.0) - root_slot_start(path.slots()[0], size);

    for (slot, levels) in path.slots().iter().zip((0..=path.levels).rev()) {
        let Some(pointer) = table.get(*slot) else {
            // The hole starts before `lblk` when a block of pointers is missing.
            let held = span(size, levels);
            let end = u64::from(lblk.0) - below_root % held
                + u64::from(table.holes(*slot, table_end)) * held;
            let end = u32::try_from(end).unwrap_or(u32::MAX);
            let end = if end >= indirect::end(size) { u32::MAX } else { end };
            return Ok(Mapping::hole(lblk, end));
        };
        if levels == 0 {
            let len = table.run(*slot, table_end);
            let blocks = BlockRange::new(pointer, u64::from(len));
            if !ctx.is_legal(blocks) {
                let place = format!("block map (inode {})", ctx.ino);
                let fault = format!(
                    "logical block {lblk} is at blocks {blocks}, expected free of system blocks"
                );
                return Err(Corrupt::new(place, fault).into());
            }
            return Ok(Mapping { lblk, len, state: State::Written(pointer) });
        }
        table = Table::read(ctx, store, pointer, levels - 1)?;
        table_end = per_block(size);
    }
    unreachable!("the last slot of a path stands for data")
}
