//! The list of orphans and the orphan file, as far as they were not worked off before the check.

use super::special;
use crate::{
    Place, Problem, Result,
    problem::pass0::{
        ORPHAN_CHAIN, ORPHAN_FILE_CHECKSUM, ORPHAN_FILE_HOLE, ORPHAN_FILE_MAGIC, ORPHAN_FILE_SIZE,
        ORPHAN_HEAD, ORPHAN_ILLEGAL_BLOCK, ORPHANS_LEFT,
    },
    session::Session,
};
use ext4_ondisk::{
    features::{Compat, RoCompat},
    inode::RawInode,
    orphan_file,
};
use ext4_units::InodeNr;
use std::collections::HashSet;

/// Where `i_dtime` is in an inode.
const DTIME: std::ops::Range<usize> = 0x14..0x18;

/// Checks both.
pub(super) fn check(session: &mut Session<'_, '_>) -> Result<()> {
    list(session)?;
    file(session)
}

/// Whether an inode may be on the list.
fn is_legal(session: &Session<'_, '_>, number: u32) -> Option<InodeNr> {
    let ino = InodeNr::new(number)?;
    let is_legal = number >= session.geo.first_ino && number <= session.geo.inodes_count;
    (is_legal && session.inode_place(ino).is_some()).then_some(ino)
}

/// The list: the superblock has the first inode, each inode the next one.
fn list(session: &mut Session<'_, '_>) -> Result<()> {
    let head = session.raw.s_last_orphan.get();
    if head == 0 {
        return Ok(());
    }
    let mut listed = Vec::new();
    let mut seen = HashSet::new();
    let mut next = head;
    while next != 0 {
        let Some(ino) = is_legal(session, next).filter(|_| seen.insert(next)) else { break };
        let bytes = session.read_inode(ino)?;
        next = RawInode::read(&bytes).i_dtime.get();
        listed.push((ino, bytes));
    }
    for (ino, bytes) in &listed {
        if let Some(fault) = special::map_fault(session, *ino, bytes)? {
            session.fix(&ORPHAN_ILLEGAL_BLOCK, Place::inode(*ino), fault, "")?;
        }
    }
    let place = Place::what("superblock");
    let is_dropped = match listed.last() {
        None => session.fix(&ORPHAN_HEAD, place, head, "")?,
        Some((last, _)) if next != 0 => {
            session.fix(&ORPHAN_CHAIN, Place::inode(*last), next, "")?
        }
        Some(_) => session.fix(&ORPHANS_LEFT, place, format!("{} inodes", listed.len()), "")?,
    };
    if !is_dropped {
        return Ok(());
    }
    let now = (session.now & 0xFFFF_FFFF) as u32;
    for (ino, mut bytes) in listed {
        // What was the next on the list is a time of deletion again.
        let is_deleted = RawInode::read(&bytes).i_links_count.get() == 0;
        let time = if is_deleted { now } else { 0 };
        bytes[DTIME].copy_from_slice(&time.to_le_bytes());
        session.write_inode(ino, &bytes)?;
    }
    session.raw.s_last_orphan.set(0);
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
        Err(fault) => return Ok(Some((&ORPHAN_FILE_HOLE, Some(ino), fault))),
    };
    let size = u64::from(session.geo.block_size.bytes());
    if file.inode.size == 0 || !file.inode.size.is_multiple_of(size) {
        let text = format!("i_size {}", file.inode.size);
        return Ok(Some((&ORPHAN_FILE_SIZE, Some(ino), text)));
    }
    let seed = session.format.seed(ino, file.inode.generation);
    for blk in file.blocks() {
        let block = session.image.read(blk)?;
        if let Err(fault) = orphan_file::verify(&block, blk, seed) {
            let problem =
                if fault.is_checksum { &ORPHAN_FILE_CHECKSUM } else { &ORPHAN_FILE_MAGIC };
            let text = format!("block {blk}: {}", fault.fault);
            return Ok(Some((problem, Some(ino), text)));
        }
    }
    Ok(None)
}
