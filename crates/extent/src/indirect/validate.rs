//! A check of the whole map.

use super::table::Table;
use crate::{Context, NodeRead, Root, Summary};
use ext4_ondisk::{
    Corrupt,
    indirect::{ROOT_POINTERS, per_block, root_slot_levels},
};
use ext4_units::BlockNr;

/// Reads every block of pointers and checks every pointer.
///
/// A block of pointers that is met more often than the filesystem has blocks is refused: pointers say
/// nothing of where they belong, and a map may point to itself.
pub fn validate<S: NodeRead + ?Sized>(
    ctx: &Context,
    root: &Root,
    store: &S,
) -> Result<Summary, S::Error> {
    let table = Table::of_root(ctx, root)?;
    let mut sum = Summary::default();
    for slot in 0..ROOT_POINTERS {
        if let Some(pointer) = table.get(slot) {
            let levels = root_slot_levels(slot);
            sum.depth = u16::try_from(levels).unwrap_or(u16::MAX);
            visit(ctx, store, pointer, levels, &mut sum)?;
        }
    }
    Ok(sum)
}

fn visit<S: NodeRead + ?Sized>(
    ctx: &Context,
    store: &S,
    blk: BlockNr,
    levels: u32,
    sum: &mut Summary,
) -> Result<(), S::Error> {
    let count = if levels == 0 { &mut sum.n_data_blocks } else { &mut sum.n_tree_blocks };
    *count += 1;
    if *count > ctx.blocks.len || !ctx.is_legal_block(blk) {
        let place = format!("block map (inode {})", ctx.ino);
        let fault = format!("points to block {blk}, a system block or one met before");
        return Err(Corrupt::new(place, fault).into());
    }
    if levels == 0 {
        sum.n_extents += 1;
        return Ok(());
    }
    let table = Table::read(ctx, store, blk, levels - 1)?;
    for slot in 0..per_block(ctx.block_size) {
        if let Some(pointer) = table.get(slot) {
            visit(ctx, store, pointer, levels - 1, sum)?;
        }
    }
    Ok(())
}
