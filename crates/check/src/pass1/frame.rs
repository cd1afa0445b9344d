//! The filesystem's own blocks: which they are, which of them lie on each other, and where those go.

use crate::{
    Error, Place, Problem, Result,
    bits::Bits,
    part::Part,
    problem::pass1::{
        BLOCK_BITMAP_CONFLICT, INODE_BITMAP_CONFLICT, INODE_TABLE_CONFLICT, NO_ROOM_TO_MOVE,
    },
    session::Session,
};
use ext4_units::{BlockNr, BlockRange, GroupNr};

/// Blocks that are moved at a time.
const CHUNK: u64 = 64;

/// Finds the filesystem's own blocks (`mark_table_blocks`), and tells of those that are two things
/// at once. Gives what has to move, once it is known where there is room.
pub(super) fn mark(session: &mut Session<'_, '_>) -> Result<Vec<(GroupNr, Part)>> {
    let geo = session.geo;
    let end = geo.blocks_count.min(session.image.n_blocks());
    let mut metadata = Bits::default();
    let mut moves = Vec::new();
    for group in geo.groups() {
        let run = geo.base_metadata(group);
        metadata.insert_run(run.start.0, run.len);
    }
    let descs = session.descs.clone();
    for (group, desc) in geo.groups().zip(&descs) {
        for part in Part::ALL {
            let run = part.run(desc, &geo);
            let is_inside = run.start.0.checked_add(run.len).is_some_and(|it| it <= end);
            if run.start.0 == 0 || !is_inside {
                continue;
            }
            let taken = metadata.range(run.start.0, run.start.0 + run.len).next();
            if let Some(blk) = taken {
                let place = Place::group(group).at_block(BlockNr(blk));
                if session.fix(conflict(part), place, "", "")? {
                    moves.push((group, part));
                    continue;
                }
            }
            metadata.insert_run(run.start.0, run.len);
        }
    }
    if let Some(blk) = session.sb.mmp_block.filter(|it| it.0 != 0 && geo.contains(*it)) {
        metadata.insert(blk.0);
    }
    session.facts.metadata = metadata;
    Ok(moves)
}

/// That a structure lies on another one.
const fn conflict(part: Part) -> &'static Problem {
    match part {
        Part::InodeTable => &INODE_TABLE_CONFLICT,
        Part::BlockBitmap => &BLOCK_BITMAP_CONFLICT,
        Part::InodeBitmap => &INODE_BITMAP_CONFLICT,
    }
}

/// The clusters of the filesystem's own blocks.
pub(super) fn clusters(metadata: &Bits, ratio_bits: u32) -> Bits {
    if ratio_bits == 0 {
        return metadata.clone();
    }
    let mut clusters = Bits::default();
    let mut last = None;
    for blk in metadata.iter() {
        let cluster = blk >> ratio_bits;
        if last != Some(cluster) {
            clusters.insert(cluster);
            last = Some(cluster);
        }
    }
    clusters
}

/// Gives the structures of `moves` new places, and copies what they hold (`new_table_block`).
/// After that all begins again.
pub(super) fn relocate(
    session: &mut Session<'_, '_>,
    mut moves: Vec<(GroupNr, Part)>,
) -> Result<()> {
    moves.sort_unstable();
    moves.dedup();
    let geo = session.geo;
    let mut is_moved = false;
    for (group, part) in moves {
        let Some(desc) = session.descs.get(group.0 as usize).copied() else { continue };
        let BlockRange { start: old, len } = part.run(&desc, &geo);
        let Some(new) = room(session, group, len) else {
            session.gate.leave(&NO_ROOM_TO_MOVE, Place::group(group).at_block(old), len)?;
            continue;
        };
        let mut done = 0;
        while done < len {
            let n = (len - done).min(CHUNK);
            let bytes = session.image.read_run(BlockRange::new(old.plus(done), n))?;
            for (nr, block) in (0..).zip(bytes.chunks_exact(geo.block_size.len())) {
                session.image.write(new.plus(done + nr), block)?;
            }
            done += n;
        }
        let bits = geo.cluster_ratio_bits;
        let (first, last) = (new.0 >> bits, (new.0 + len - 1) >> bits);
        session.facts.used.insert_run(first, last - first + 1);
        session.facts.metadata.insert_run(new.0, len);
        if let Some(desc) = session.descs.get_mut(group.0 as usize) {
            *part.start_mut(desc) = new;
        }
        session.put_descriptor(group)?;
        is_moved = true;
    }
    if is_moved { Err(Error::Restart) } else { Ok(()) }
}

/// A run of free blocks: in the flex group of `group` if there is one, else anywhere.
fn room(session: &Session<'_, '_>, group: GroupNr, len: u64) -> Option<BlockNr> {
    let geo = session.geo;
    let bits = geo.cluster_ratio_bits;
    let all = session.clusters();
    let n = len.div_ceil(1 << bits);
    let first_group = GroupNr(geo.flex_group(group) << geo.log_groups_per_flex);
    let last_group = GroupNr(first_group.0 | ((1 << geo.log_groups_per_flex) - 1));
    let last_group = last_group.min(GroupNr(geo.groups_count.saturating_sub(1)));
    let home = (geo.group_blocks(first_group).start.0, geo.group_blocks(last_group).end().0);
    let whole = (all.start << bits, all.end << bits);
    let find = |(from, to): (u64, u64)| {
        let (from, to) = (from.div_ceil(1 << bits), (to >> bits).min(all.end));
        session.facts.used.first_room(from, to, n).map(|it| BlockNr(it << bits))
    };
    let at_home = if geo.log_groups_per_flex > 0 {
        find((geo.group_blocks(group).start.0, home.1)).or_else(|| find(home))
    } else {
        find(home)
    };
    // Without flex groups a structure elsewhere is refused.
    at_home.or_else(|| if geo.log_groups_per_flex > 0 { find(whole) } else { None })
}
