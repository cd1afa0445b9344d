//! Whether blocks are a group's inode table, by what lies there: so that no files are lost with the place
//! of their inodes.

use super::descriptors::is_legal;
use crate::{Result, session::Session};
use ext4_ondisk::{
    group_desc::{GroupDesc, GroupFlags},
    inode::{FileType, RawInode},
};
use ext4_units::{BlockNr, BlockRange, GroupNr, InodeNr};

/// Inodes in use that must look like inodes.
const LEAST: u32 = 2;
/// Most places where the first table could begin that are tried.
const MOST_ROOTS: usize = 8;
/// Bytes that are looked through for them: the whole group with blocks of up to 4 KiB.
const SEARCHED: u64 = 128 << 20;
/// The group with the root.
const FIRST: GroupNr = GroupNr(0);

/// The block where the group's table must begin, by what lies there: behind the group's inode
/// bitmap, behind the table of the group before, or before that of the group behind; that of the first
/// group where the root is.
pub(super) fn find(
    session: &Session<'_, '_>,
    group: GroupNr,
    desc: &GroupDesc,
) -> Result<Option<BlockNr>> {
    let len = u64::from(session.geo.itable_blocks());
    let neighbour = |nr: Option<u32>| session.descs.get(nr? as usize).map(|it| it.inode_table);
    let bitmap = BlockRange::new(desc.inode_bitmap, 1);
    if !is_legal(session, group, bitmap) {
        return Ok(None);
    }
    let bitmap = session.image.read(desc.inode_bitmap)?;
    let mut candidates = vec![
        desc.inode_bitmap.checked_add(1),
        neighbour(group.0.checked_sub(1)).and_then(|it| it.checked_add(len)),
        neighbour(group.0.checked_add(1)).and_then(|it| it.0.checked_sub(len)).map(BlockNr),
        Some(session.geo.base_metadata(group).end().plus(2)),
    ];
    if group == FIRST {
        candidates.extend(roots(session)?.into_iter().map(Some));
    }
    for start in candidates.into_iter().flatten() {
        let run = BlockRange::new(start, len);
        let is_taken = session.geo.groups().zip(&session.descs).any(|(other, it)| {
            let table = it.inode_table.0;
            other != group && table < run.end().0 && table.saturating_add(len) > start.0
        });
        if is_legal(session, group, run) && !is_taken && is_table(session, group, run, &bitmap)? {
            return Ok(Some(start));
        }
    }
    Ok(None)
}

/// Whether a group's table is not where it is said to be: the first group has the root, and no inode at
/// all is there.
pub(super) fn is_lost(session: &Session<'_, '_>, group: GroupNr, desc: &GroupDesc) -> Result<bool> {
    if group != FIRST || has_root(session, &session.image.read(desc.inode_table)?) {
        return Ok(false);
    }
    Ok(look_at(session, group, desc)?.good == 0)
}

/// Blocks at the beginning of the first group that begin as its table does. Without checksums none:
/// those of a filesystem inside a file look like that too.
fn roots(session: &Session<'_, '_>) -> Result<Vec<BlockNr>> {
    let mut found = Vec::new();
    if session.sb.metadata_csum().is_none() {
        return Ok(found);
    }
    let searched = usize::try_from(SEARCHED >> session.geo.block_size.bits()).unwrap_or(usize::MAX);
    for blk in session.geo.group_blocks(FIRST).iter().take(searched) {
        if blk.0 >= session.image.n_blocks() || found.len() == MOST_ROOTS {
            break;
        }
        if has_root(session, &session.image.read(blk)?) {
            found.push(blk);
        }
    }
    Ok(found)
}

/// Whether the root is in the block that a table begins with.
fn has_root(session: &Session<'_, '_>, block: &[u8]) -> bool {
    let size = session.format.inode_size();
    let root = block.get(size..2 * size);
    root.is_some_and(|it| is_inode(session, InodeNr::ROOT, it))
}

/// Whether the inodes of a group are where `other` says, and not where `desc` does.
pub(super) fn is_better(
    session: &Session<'_, '_>,
    group: GroupNr,
    desc: &GroupDesc,
    other: &GroupDesc,
) -> Result<bool> {
    let (there, here) = (look_at(session, group, other)?, look_at(session, group, desc)?);
    Ok(there != here && there.good >= here.good && there.bad <= here.bad)
}

/// Whether these blocks look like the table that goes with the bitmap.
fn is_table(
    session: &Session<'_, '_>,
    group: GroupNr,
    run: BlockRange,
    bitmap: &[u8],
) -> Result<bool> {
    let found = look(session, group, run, bitmap)?;
    Ok(found.good >= LEAST && found.bad == 0)
}

/// What is where a descriptor says; nothing where it says that the bitmap was never written.
fn look_at(session: &Session<'_, '_>, group: GroupNr, desc: &GroupDesc) -> Result<Look> {
    if desc.flags.contains(GroupFlags::INODE_UNINIT) {
        return Ok(Look::default());
    }
    let bitmap = session.image.read(desc.inode_bitmap)?;
    let table = BlockRange::new(desc.inode_table, session.geo.itable_blocks().into());
    look(session, group, table, &bitmap)
}

/// Inodes in use by a bitmap: those that look like one and are sealed as one of their number, and others.
#[derive(Default, PartialEq, Eq)]
struct Look {
    good: u32,
    bad: u32,
}

fn look(session: &Session<'_, '_>, group: GroupNr, run: BlockRange, bitmap: &[u8]) -> Result<Look> {
    let geo = &session.geo;
    let size = session.format.inode_size();
    let mut found = Look::default();
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
            if is_inode(session, ino, bytes) { found.good += 1 } else { found.bad += 1 }
        }
    }
    Ok(found)
}

fn is_inode(session: &Session<'_, '_>, ino: InodeNr, bytes: &[u8]) -> bool {
    let raw = RawInode::read(bytes);
    let kind = FileType::of_mode(raw.i_mode.get());
    let is_right =
        if ino == InodeNr::ROOT { kind == FileType::Directory } else { kind != FileType::Unknown };
    is_right && raw.i_links_count.get() != 0 && session.format.verify(ino, bytes).is_ok()
}
