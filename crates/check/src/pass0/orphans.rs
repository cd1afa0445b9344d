//! The list of orphans and the orphan file, as far as they were not worked off before the check.

use super::special::{self, Allowance, Special};
use crate::{
    Place, Problem, Result,
    bits::Bits,
    inode_tables::deletion_time,
    problem::{
        pass0::{
            ORPHAN_CHAIN, ORPHAN_FILE_CHECKSUM, ORPHAN_FILE_HOLE, ORPHAN_FILE_MAGIC,
            ORPHAN_FILE_SIZE, ORPHAN_FREE_BLOCK, ORPHAN_HEAD, ORPHAN_ILLEGAL_BLOCK, ORPHANS_LEFT,
        },
        pass1::ORPHAN_FILE_NOT_CLEAR,
    },
    session::Session,
};
use ext4_ondisk::{
    features::{Compat, RoCompat},
    group_desc::GroupFlags,
    inode::RawInode,
    orphan_file,
};
use ext4_units::{BlockNr, BlockRange, GroupNr, InodeNr};

/// Where `i_dtime` is in an inode.
const DTIME: std::ops::Range<usize> = 0x14..0x18;

/// Checks both.
pub(super) fn check(session: &mut Session<'_, '_>) -> Result<()> {
    list(session)?;
    forgotten_file(session)?;
    file(session)
}

/// Whether an inode may be on the list.
fn is_legal(session: &Session<'_, '_>, number: u32) -> Option<InodeNr> {
    let ino = InodeNr::new(number)?;
    let is_legal = number >= session.geo.first_ino && number <= session.geo.inodes_count;
    (is_legal && session.has_place(ino)).then_some(ino)
}

/// The list: the superblock has the first inode, each inode the next one.
fn list(session: &mut Session<'_, '_>) -> Result<()> {
    let head = session.raw.s_last_orphan.get();
    if head == 0 {
        return Ok(());
    }
    let mut listed = Vec::new();
    let mut seen = Bits::default();
    let mut next = head;
    while next != 0 {
        let Some(ino) = is_legal(session, next).filter(|_| seen.insert(next.into())) else { break };
        next = RawInode::read(&session.read_inode(ino)?).i_dtime.get();
        listed.push(ino);
    }
    let mut allowance = Allowance::of(session);
    for &ino in &listed {
        match special::mapped(session, ino, &session.read_inode(ino)?, &mut allowance)? {
            Err(fault) => {
                session.fix(&ORPHAN_ILLEGAL_BLOCK, Place::inode(ino), fault, "")?;
            }
            Ok(runs) => {
                if let Some(blk) = free_block(session, &runs)? {
                    session.fix(&ORPHAN_FREE_BLOCK, Place::inode(ino).at_block(blk), "", "")?;
                }
            }
        }
    }
    let place = Place::what("superblock");
    let is_dropped = match listed.last() {
        None => session.fix(&ORPHAN_HEAD, place, head, "")?,
        Some(last) if next != 0 => session.fix(&ORPHAN_CHAIN, Place::inode(*last), next, "")?,
        Some(_) => session.fix(&ORPHANS_LEFT, place, format!("{} inodes", listed.len()), "")?,
    };
    if !is_dropped {
        return Ok(());
    }
    let now = deletion_time(session.now);
    for ino in listed {
        let mut bytes = session.read_inode(ino)?;
        // What was the next on the list is a time of deletion again.
        let is_deleted = RawInode::read(&bytes).i_links_count.get() == 0;
        let time = if is_deleted { now } else { 0 };
        bytes[DTIME].copy_from_slice(&time.to_le_bytes());
        session.write_inode(ino, &bytes)?;
    }
    session.raw.s_last_orphan.set(0);
    session.put_superblock()
}

/// The first block of these that the bitmaps on disk have as free.
fn free_block(session: &Session<'_, '_>, runs: &[BlockRange]) -> Result<Option<BlockNr>> {
    let geo = &session.geo;
    let mut bitmap: Option<(GroupNr, Vec<u8>)> = None;
    for blk in runs.iter().flat_map(|it| it.iter()) {
        let Some(group) = geo.group_of_block(blk) else { continue };
        if bitmap.as_ref().is_none_or(|it| it.0 != group) {
            bitmap = Some((group, block_bitmap(session, group)?));
        }
        let bit = (blk.0 - geo.group_blocks(group).start.0) >> geo.cluster_ratio_bits;
        let byte = usize::try_from(bit / 8).unwrap_or(usize::MAX);
        let byte = bitmap.as_ref().and_then(|(_, bits)| bits.get(byte));
        if byte.is_none_or(|it| it >> (bit % 8) & 1 == 0) {
            return Ok(Some(blk));
        }
    }
    Ok(None)
}

/// A group's block bitmap; nothing where there is none on disk.
fn block_bitmap(session: &Session<'_, '_>, group: GroupNr) -> Result<Vec<u8>> {
    let written = session.descs.get(group.0 as usize).filter(|desc| {
        let place = desc.block_bitmap;
        let is_uninit = desc.flags.contains(GroupFlags::BLOCK_UNINIT);
        !is_uninit && place.0 != 0 && place.0 < session.image.n_blocks()
    });
    written.map_or_else(|| Ok(Vec::new()), |desc| session.image.read(desc.block_bitmap))
}

/// An orphan file that the superblock names without the feature. What holds no orphans was never one:
/// a wrong number costs no file.
fn forgotten_file(session: &mut Session<'_, '_>) -> Result<()> {
    let number = session.raw.s_orphan_file_inum.get();
    if number == 0 || session.sb.features.has_compat(Compat::ORPHAN_FILE) {
        return Ok(());
    }
    let place = Place::what("superblock");
    if !session.fix(&ORPHAN_FILE_NOT_CLEAR, place, format!("inode {number}"), 0)? {
        return Ok(());
    }
    if let Some(ino) = is_legal(session, number)
        && let Ok(file) = special::read(session, ino)?
        && fault_of(session, ino, &file)?.is_none()
    {
        session.write_inode(ino, &vec![0; session.format.inode_size()])?;
    }
    session.raw.s_orphan_file_inum.set(0);
    session.put_superblock()
}

/// The orphan file, when it is said to hold something. It is made anew, or emptied, in pass 6.
fn file(session: &mut Session<'_, '_>) -> Result<()> {
    let features = session.sb.features;
    let is_used = features.has_compat(Compat::ORPHAN_FILE)
        && features.has_ro_compat(RoCompat::ORPHAN_PRESENT);
    if !is_used || session.gate.todo.orphan_file {
        return Ok(());
    }
    if let Some((problem, ino, fault)) = file_fault(session)? {
        let place = ino.map_or_else(|| Place::what("superblock"), Place::inode);
        session.gate.todo.orphan_file = true;
        session.fix(problem, place, fault, "")?;
    }
    Ok(())
}

/// What is wrong with the orphan file.
pub(crate) fn file_fault(
    session: &Session<'_, '_>,
) -> Result<Option<(&'static Problem, Option<InodeNr>, String)>> {
    let Some(ino) = session.sb.orphan_file_inum else {
        let text = "the superblock names no inode".into();
        return Ok(Some((&ORPHAN_FILE_HOLE, None, text)));
    };
    let file = match special::read(session, ino)? {
        Ok(file) => file,
        Err(fault) => {
            let raw = RawInode::read(&session.read_inode(ino).unwrap_or_default());
            let size = u64::from(session.geo.block_size.bytes());
            let is_odd = !u64::from(raw.i_size_lo.get()).is_multiple_of(size);
            let problem = if is_odd { &ORPHAN_FILE_SIZE } else { &ORPHAN_FILE_HOLE };
            return Ok(Some((problem, Some(ino), fault)));
        }
    };
    Ok(fault_of(session, ino, &file)?.map(|(problem, text)| (problem, Some(ino), text)))
}

/// What is wrong with the contents of an orphan file.
fn fault_of(
    session: &Session<'_, '_>,
    ino: InodeNr,
    file: &Special,
) -> Result<Option<(&'static Problem, String)>> {
    let size = u64::from(session.geo.block_size.bytes());
    if file.inode.size == 0 || !file.inode.size.is_multiple_of(size) {
        return Ok(Some((&ORPHAN_FILE_SIZE, format!("i_size {}", file.inode.size))));
    }
    let seed = session.format.seed(ino, file.inode.generation);
    for blk in file.blocks() {
        let block = session.image.read(blk)?;
        if let Err(fault) = orphan_file::verify(&block, blk, seed) {
            let problem =
                if fault.is_checksum { &ORPHAN_FILE_CHECKSUM } else { &ORPHAN_FILE_MAGIC };
            return Ok(Some((problem, format!("block {blk}: {}", fault.fault))));
        }
    }
    Ok(None)
}
