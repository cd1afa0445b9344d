//! New places for bitmaps and tables that had none where they could be.

use super::descriptors::is_legal;
use crate::{Error, Result, session::Session};
use ext4_ondisk::{features::Incompat, group_desc::GroupFlags};
use ext4_units::{BlockNr, BlockRange, GroupNr};

/// Gives a place to what was found to be at none. Bitmaps say nothing until pass 5 fills them; a
/// table begins empty.
pub(super) fn descriptors(session: &mut Session<'_, '_>) -> Result<()> {
    while let Some((group, part)) = session.gate.todo.homeless.pop_first() {
        let Some(desc) = session.descs.get(group.0 as usize) else { continue };
        let BlockRange { start, len } = part.run(desc, &session.geo);
        // A copy may have known better in the meantime.
        if start.0 != 0 {
            continue;
        }
        let start = take_run(session, group, len)?;
        let zeros = vec![0; session.image.size.len()];
        for blk in BlockRange::new(start, len).iter() {
            session.image.write(blk, &zeros)?;
        }
        if let Some(desc) = session.descs.get_mut(group.0 as usize) {
            *part.start_mut(desc) = start;
            // What the new bitmaps say is written out by pass 5.
            desc.flags.remove(GroupFlags::INODE_UNINIT | GroupFlags::BLOCK_UNINIT);
        }
        session.put_descriptor(group)?;
    }
    Ok(())
}

/// Takes that many free blocks in a row for a group's structure: in the group, or with flex_bg in
/// the nearest one behind it that has them.
fn take_run(session: &mut Session<'_, '_>, group: GroupNr, len: u64) -> Result<BlockNr> {
    let bits = session.geo.cluster_ratio_bits;
    let clusters = len.div_ceil(1 << bits);
    let can_be_elsewhere = session.sb.features.has_incompat(Incompat::FLEX_BG);
    let all = session.geo.groups_count;
    let tried = if can_be_elsewhere { all } else { 1 };
    for place in (group.0..all).chain(0..group.0).take(tried as usize).map(GroupNr) {
        let home = session.geo.group_blocks(place);
        let end = home.end().0.min(session.image.n_blocks()) >> bits;
        let at = home.start.0.div_ceil(1 << bits);
        let Some(first) = session.facts.used.first_room(at, end, clusters) else { continue };
        let run = BlockRange::new(BlockNr(first << bits), len);
        if is_legal(session, group, run) {
            session.facts.used.insert_run(first, clusters);
            session.facts.metadata.insert_run(run.start.0, len);
            return Ok(run.start);
        }
    }
    Err(Error::NoSpace("run of blocks for a bitmap or an inode table"))
}
