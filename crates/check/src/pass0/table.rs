//! Looks for an inode table whose place was lost, so that the files of its group are not.

use super::descriptors::is_legal;
use crate::{Result, session::Session};
use ext4_ondisk::{group_desc::GroupDesc, inode::RawInode};
use ext4_units::{BlockNr, BlockRange, GroupNr, InodeNr};

/// Inodes in use that must look like inodes.
const LEAST: u32 = 2;
const S_IFMT: u16 = 0o170_000;
const S_IFDIR: u16 = 0o040_000;

/// The block where the group's table must begin, by what lies there: behind the group's inode
/// bitmap, behind the table of the group before, or before that of the group behind.
pub(super) fn find(
    session: &Session<'_, '_>,
    group: GroupNr,
    desc: &GroupDesc,
) -> Result<Option<BlockNr>> {
    let len = u64::from(session.geo.itable_blocks());
    let neighbour = |nr: Option<u32>| session.descs.get(nr? as usize).map(|it| it.inode_table);
    let candidates = [
        desc.inode_bitmap.checked_add(1),
        neighbour(group.0.checked_sub(1)).and_then(|it| it.checked_add(len)),
        neighbour(group.0.checked_add(1)).and_then(|it| it.0.checked_sub(len)).map(BlockNr),
        Some(session.geo.base_metadata(group).end().plus(2)),
    ];
    let bitmap = BlockRange::new(desc.inode_bitmap, 1);
    if !is_legal(session, group, bitmap) {
        return Ok(None);
    }
    let bitmap = session.image.read(desc.inode_bitmap)?;
    for start in candidates.into_iter().flatten() {
        let run = BlockRange::new(start, len);
        let is_taken = session.descs.iter().any(|it| {
            it.inode_table.0 < run.end().0 && it.inode_table.0.saturating_add(len) > start.0
        });
        if is_legal(session, group, run) && !is_taken && is_table(session, group, run, &bitmap)? {
            return Ok(Some(start));
        }
    }
    Ok(None)
}

/// Whether these blocks look like the table that goes with the bitmap: each inode in use looks like
/// one, and is sealed as one of this number.
fn is_table(
    session: &Session<'_, '_>,
    group: GroupNr,
    run: BlockRange,
    bitmap: &[u8],
) -> Result<bool> {
    let geo = &session.geo;
    let size = session.format.inode_size();
    let (mut good, mut bad) = (0, 0);
    for nr in 0..run.len {
        let block = session.image.read(run.start.plus(nr))?;
        for (bytes, index) in block.chunks_exact(size).zip(0u32..) {
            let index = u64::from(index) + nr * u64::from(geo.inodes_per_block());
            let Ok(index) = u32::try_from(index) else { break };
            let Some(ino) = geo.inode_at(group, index) else { break };
            let is_used =
                bitmap.get(index as usize / 8).is_some_and(|byte| byte >> (index % 8) & 1 != 0);
            if !is_used || !geo.is_ordinary_inode(ino) {
                continue;
            }
            if is_inode(session, ino, bytes) { good += 1 } else { bad += 1 }
        }
    }
    Ok(good >= LEAST && bad == 0)
}

fn is_inode(session: &Session<'_, '_>, ino: InodeNr, bytes: &[u8]) -> bool {
    let raw = RawInode::read(bytes);
    let kind = raw.i_mode.get() & S_IFMT;
    let is_known = [0o010, 0o020, 0o040, 0o060, 0o100, 0o120, 0o140].contains(&(kind >> 9));
    let found = u32::from(raw.i_checksum_hi.get()) << 16 | u32::from(raw.l_i_checksum_lo.get());
    let is_sealed = session
        .format
        .checksum(ino, bytes)
        .is_none_or(|(expected, mask)| expected & mask == found & mask);
    let is_right = ino != InodeNr::ROOT || kind == S_IFDIR;
    is_known && is_right && raw.i_links_count.get() != 0 && is_sealed
}
