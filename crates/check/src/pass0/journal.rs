//! The journal: whether there is one, its inode, its superblock, and what it still holds.
//!
//! Replay is done before a check as a rule. What is replayed here is a log that could not be
//! reached then: behind a damaged superblock or descriptor.

use super::{
    journal_device, journal_inode,
    special::{self, Special},
};
use crate::{
    Error, Place, Result,
    problem::pass0::{
        JOURNAL_ERRNO, JOURNAL_NEWER_EMPTY, JOURNAL_NOT_EMPTY, JOURNAL_REPLAY, JOURNAL_RUN_DEFAULT,
        JOURNAL_SHARED, JOURNAL_SUPERBLOCK, JOURNAL_TRANSACTION, JOURNAL_UNKNOWN_INCOMPAT,
        JOURNAL_UNKNOWN_RO, JOURNAL_USERS, JOURNAL_V2_FIELDS, JOURNAL_VERSION,
        JOURNAL_WITHOUT_FEATURE, RECOVERY_WITHOUT_JOURNAL, SUPERBLOCK_FIELD,
    },
    session::Session,
};
use ext4_jbd2::{
    Log,
    recovery::{self, Scan},
};
use ext4_ondisk::{
    checksum::Csum,
    features::{Compat, Incompat},
    jbd2::{
        BlockKind, JournalCompat, JournalIncompat, JournalSuperblock, MAGIC, RawJournalSuperblock,
        TagFlags, unescape,
    },
    superblock::{RawSuperblock, State, keep_error_history},
};
use ext4_units::{BlockNr, InodeNr, Tid};
use std::{collections::HashSet, sync::Arc};
use zerocopy::{FromZeros as _, IntoBytes as _};

/// Where the fields of version 2 begin in a journal superblock.
const V1_LEN: usize = 0x24;
/// The first of `s_users`.
const FIRST_USER: std::ops::Range<usize> = 0x100..0x110;

/// Checks the journal. One on another device is looked at if that is at hand.
pub(super) fn check(session: &mut Session<'_, '_>) -> Result<()> {
    if !session.sb.features.has_compat(Compat::HAS_JOURNAL) {
        return without_feature(session);
    }
    if journal_device::is_elsewhere(session) {
        return match journal_device::check(session)? {
            Some(log) => the_log(session, &log, &Place::what("journal device")),
            None => Ok(()),
        };
    }
    let Some((ino, file)) = journal_inode::find(session)? else { return Ok(()) };
    let (device, uuid) = (session.raw.s_journal_dev.get(), session.raw.s_journal_uuid);
    if device != 0 || uuid != [0; 16] {
        let found = format!("s_journal_dev {device:#x} besides a journal inode");
        if session.fix(&SUPERBLOCK_FIELD, Place::what("superblock"), found, 0)? {
            session.raw.s_journal_dev.set(0);
            session.raw.s_journal_uuid = [0; 16];
            session.put_superblock()?;
        }
    }
    let ino = journal_inode::hidden(session, ino, &file)?;
    journal_inode::backup(session, &file)?;
    let log = Log::internal(file.runs);
    the_log(session, &log, &Place { what: Some("journal"), ..Place::inode(ino) })
}

fn the_log(session: &mut Session<'_, '_>, log: &Log, place: &Place) -> Result<()> {
    match superblock(session, log, place)? {
        Some(superblock) => contents(session, log, &superblock),
        None => Ok(()),
    }
}

/// The journal inside the filesystem, for a repair to be written through it.
#[derive(Clone, Debug)]
pub(crate) struct OwnJournal {
    pub(crate) inode: InodeNr,
    pub(crate) log: Log,
    /// Blocks of its map that are not in the inode.
    pub(crate) nodes: Vec<BlockNr>,
}

/// The journal as it is at the end of a round, if there is one in the filesystem.
pub(crate) fn own(session: &Session<'_, '_>) -> Result<Option<OwnJournal>> {
    if !session.sb.features.has_compat(Compat::HAS_JOURNAL) {
        return Ok(None);
    }
    let Some(inode) = InodeNr::new(session.raw.s_journal_inum.get()) else { return Ok(None) };
    let Ok(Special { runs, nodes, .. }) = special::read(session, inode)? else { return Ok(None) };
    Ok(Some(OwnJournal { inode, log: Log::internal(runs), nodes }))
}

/// Before descriptors are looked at: replays the journal if it can be found, for it may hold newer
/// ones. All that hinders is left to [`check`].
pub(super) fn recover(session: &mut Session<'_, '_>) -> Result<()> {
    let features = session.sb.features;
    let must_recover = features.has_incompat(Incompat::RECOVER) || session.gate.todo.has_used_copy;
    if !must_recover || !features.has_compat(Compat::HAS_JOURNAL) {
        return Ok(());
    }
    if journal_device::is_elsewhere(session) {
        return check(session);
    }
    let Some(ino) = InodeNr::new(session.raw.s_journal_inum.get()) else { return Ok(()) };
    let Ok(file) = special::read(session, ino)? else { return Ok(()) };
    let log = Log::internal(file.runs);
    let device = Arc::clone(session.image.device());
    match log.read_superblock(&*device, session.geo.block_size) {
        Ok(superblock) => contents(session, &log, &superblock),
        Err(_) => Ok(()),
    }
}

/// What speaks of a journal where there is none.
fn without_feature(session: &mut Session<'_, '_>) -> Result<()> {
    let raw = &session.raw;
    let (ino, device) = (raw.s_journal_inum.get(), raw.s_journal_dev.get());
    let has_fields = ino != 0 || device != 0 || raw.s_journal_uuid != [0; 16];
    let must_recover = session.sb.features.has_incompat(Incompat::RECOVER);
    let place = || Place::what("superblock");
    let mut is_changed = false;
    if has_fields
        && session.fix(&JOURNAL_WITHOUT_FEATURE, place(), format!("s_journal_inum {ino}"), "")?
    {
        session.raw.s_journal_inum.set(0);
        session.raw.s_journal_dev.set(0);
        session.raw.s_journal_uuid = [0; 16];
        is_changed = true;
    }
    if must_recover && session.fix(&RECOVERY_WITHOUT_JOURNAL, place(), "", "")? {
        clear_recover(session);
        is_changed = true;
    }
    if is_changed { session.put_superblock() } else { Ok(()) }
}

pub(super) fn clear_recover(session: &mut Session<'_, '_>) {
    session.raw.change_features(|it| it.incompat -= Incompat::RECOVER);
}

/// The journal's superblock; `None` when it stays as damaged as it is.
fn superblock(
    session: &mut Session<'_, '_>,
    log: &Log,
    place: &Place,
) -> Result<Option<JournalSuperblock>> {
    let size = session.geo.block_size;
    let device = Arc::clone(session.image.device());
    let at = log.superblock_at(size);
    let Some(blk) = log.block(at) else { return Ok(None) };
    let place = || place.clone().at_block(blk);
    let mut raw = RawJournalSuperblock::new_zeroed();
    log.read(&*device, size, at, raw.as_mut_bytes())?;
    let kind = raw.s_header.h_blocktype.get();
    let has_magic = raw.s_header.h_magic.get() == MAGIC;
    let is_v1 = kind == BlockKind::SuperblockV1.raw();
    let is_v2 = kind == BlockKind::SuperblockV2.raw();
    let (ro, incompat) = (raw.s_feature_ro_compat.get(), raw.s_feature_incompat.get());
    let users = raw.s_nr_users.get();
    if has_magic && is_v1 && (raw.s_feature_compat.get() | ro | incompat != 0 || users > 1) {
        if !session.fix(&JOURNAL_V2_FIELDS, place(), "", "")? {
            return Ok(None);
        }
        raw.as_mut_bytes()[V1_LEN..].fill(0);
        log.write(&*device, size, at, raw.as_bytes())?;
    } else if has_magic && is_v2 {
        if users > 1 && log.is_external() {
            return Err(journal_device::refuse(session, &JOURNAL_SHARED, &users, &1)?);
        }
        // The kernel takes no other number, whatever the journal is for.
        if users > 1 || users == 0 && log.is_external() {
            let found = format!("{users} users");
            if !session.fix(&JOURNAL_USERS, place(), found, 1)? {
                return Ok(None);
            }
            raw.s_nr_users.set(1);
            if raw.s_checksum_type != 0 {
                raw.s_checksum.set(raw.checksum());
            }
            log.write(&*device, size, at, raw.as_bytes())?;
        }
    }
    let unknown = incompat & !JournalIncompat::KNOWN.bits();
    let newer = match () {
        () if !has_magic => None,
        () if !(1..=5).contains(&kind) => Some((&JOURNAL_VERSION, format!("type {kind}"))),
        () if !is_v2 => None,
        () if unknown != 0 => Some((&JOURNAL_UNKNOWN_INCOMPAT, format!("{unknown:#x}"))),
        () if ro != 0 => Some((&JOURNAL_UNKNOWN_RO, format!("{ro:#x}"))),
        () => None,
    };
    let holds_something =
        raw.s_start.get() != 0 || session.sb.features.has_incompat(Incompat::RECOVER);
    if let Some((_, found)) = newer.as_ref().filter(|_| !holds_something) {
        if session.fix(&JOURNAL_NEWER_EMPTY, place(), found, "")? {
            begin_anew(session, log)?;
        }
        return Ok(None);
    }
    if let Some((problem, found)) = newer {
        session.gate.stop(problem, place(), &found)?;
        return give_up(session, log, place(), found);
    }
    let decoded = JournalSuperblock::decode(raw.as_bytes(), size, log.len());
    let fault = match decoded.and_then(|it| it.checked_start().map(|_start| it)) {
        Ok(superblock) => return Ok(Some(superblock)),
        Err(damage) => damage.what.fault.into_owned(),
    };
    give_up(session, log, place(), fault)
}

/// A journal of which what is there is of no use.
fn give_up(
    session: &mut Session<'_, '_>,
    log: &Log,
    place: Place,
    fault: String,
) -> Result<Option<JournalSuperblock>> {
    if session.fix(&JOURNAL_SUPERBLOCK, place, fault, "")? {
        begin_anew(session, log)?;
    }
    Ok(None)
}

/// Begins an empty journal, on a filesystem that is to be checked for it.
fn begin_anew(session: &mut Session<'_, '_>, log: &Log) -> Result<()> {
    write_empty(session, log)?;
    clear_recover(session);
    session.raw.s_state.set(session.raw.s_state.get() & !State::VALID.bits());
    session.put_superblock()
}

/// Begins an empty journal in the blocks of the old one. Its first transaction has a number that
/// none of those left in the log follows on.
pub(crate) fn write_empty(session: &Session<'_, '_>, log: &Log) -> Result<()> {
    let len = u32::try_from(log.len()).unwrap_or(u32::MAX);
    let none = (JournalCompat::empty(), JournalIncompat::empty());
    let size = session.geo.block_size;
    let at = log.superblock_at(size);
    // A journal of its own keeps the uuid that it is known by, and names its user.
    let is_external = log.is_external();
    let uuid = if is_external { session.raw.s_journal_uuid } else { session.sb.uuid };
    let new = JournalSuperblock::new(size, len, at + 1, none, uuid, 0);
    let mut new = new.map_err(|it| Error::Damaged(it.what.to_string()))?;
    new.sequence = Tid(Csum::of_uuid(&session.sb.uuid).over(&session.now.to_le_bytes()).0.max(1));
    let mut block = vec![0; size.len()];
    let bytes = new.encode();
    block[..bytes.len()].copy_from_slice(&bytes);
    if let (true, Some(user)) = (is_external, block.get_mut(FIRST_USER)) {
        user.copy_from_slice(&session.sb.uuid);
    }
    Ok(log.write(&**session.image.device(), size, at, &block)?)
}

/// What the journal holds. After a replay all begins again.
fn contents(
    session: &mut Session<'_, '_>,
    log: &Log,
    superblock: &JournalSuperblock,
) -> Result<()> {
    let must_recover = session.sb.features.has_incompat(Incompat::RECOVER);
    let place = || Place::what("journal");
    if superblock.errno != 0 {
        let found = format!("error {}", superblock.errno);
        if session.fix(&JOURNAL_ERRNO, place(), found, "")? {
            let mut superblock = superblock.clone();
            superblock.errno = 0;
            let device = session.image.device();
            log.write_superblock(&**device, &superblock)?;
        }
    }
    if superblock.start == 0 {
        if must_recover && session.fix(&JOURNAL_REPLAY, place(), "an empty journal", "")? {
            clear_recover(session);
            session.put_superblock()?;
        }
        return Ok(());
    }
    if !must_recover {
        if session.gate.todo.has_used_copy {
            session.fix(&JOURNAL_RUN_DEFAULT, place(), "", "")?;
        } else {
            if session.fix(&JOURNAL_NOT_EMPTY, place(), "", "")? {
                write_empty(session, log)?;
            }
            return Ok(());
        }
    }
    let options = recovery::Options {
        block_size: session.geo.block_size,
        home: session.geo.all_blocks(),
        inode_size: session.sb.inode_size,
        metadata_csum: session.sb.metadata_csum().is_some(),
    };
    let device = Arc::clone(session.image.device());
    let scan = match recovery::scan(&*device, log, &options) {
        Ok(scan) => scan,
        Err(ext4_jbd2::Error::Damaged(damage)) => {
            if session.fix(&JOURNAL_SUPERBLOCK, place(), damage.what, "")? {
                write_empty(session, log)?;
                clear_recover(session);
                session.put_superblock()?;
            }
            return Ok(());
        }
        Err(err) => return Err(err.into()),
    };
    let (problem, found) = match scan.findings.first() {
        None => (&JOURNAL_REPLAY, format!("{} transactions", scan.transactions.len())),
        Some(first) => (&JOURNAL_TRANSACTION, first.damage.what.to_string()),
    };
    if !session.fix(problem, place(), found, "")? {
        return Ok(());
    }
    replay(session, log, &scan)?;
    write_empty(session, log)?;
    let mut raw = RawSuperblock::new_zeroed();
    let (blk, offset) = session.geo.superblock_place();
    let block = session.image.read(blk)?;
    if let Some(bytes) = block.get(offset..offset + RawSuperblock::SIZE) {
        raw.as_mut_bytes().copy_from_slice(bytes);
    }
    session.raw = raw;
    clear_recover(session);
    session.put_superblock()?;
    Err(Error::Restart)
}

/// Writes home what the transactions hold. A copy that is damaged is left out, as by
/// `jbd2_journal_recover`; with any other damage nothing from that transaction on is written.
fn replay(session: &Session<'_, '_>, log: &Log, scan: &Scan) -> Result<()> {
    let size = session.geo.block_size;
    let (superblock, offset) = session.geo.superblock_place();
    let copies: HashSet<(u32, u32)> = scan
        .transactions
        .iter()
        .flat_map(|tx| tx.logged.iter().map(|logged| (tx.tid.0, logged.at)))
        .collect();
    let (bad, other): (Vec<_>, Vec<_>) =
        scan.findings.iter().partition(|it| copies.contains(&(it.tid.0, it.at)));
    // Of so many that not all are told, none can be left out by itself.
    let are_all_told = scan.finding_count == scan.findings.len() as u64;
    let bad: HashSet<u32> = bad.into_iter().map(|it| it.at).collect();
    let limits: Vec<Tid> = if are_all_told {
        other.into_iter().map(|it| it.tid).collect()
    } else {
        scan.findings.iter().map(|it| it.tid).collect()
    };
    let is_whole = |tid: Tid| limits.iter().all(|it| !tid.is_at_or_after(*it));
    let device = session.image.device();
    for tx in scan.transactions.iter().take_while(|it| is_whole(it.tid)) {
        for logged in &tx.logged {
            let is_outside = logged.home.0 >= session.image.n_blocks();
            if scan.is_revoked(logged.home, tx.tid) || is_outside || bad.contains(&logged.at) {
                continue;
            }
            let mut block = vec![0; size.len()];
            log.read(&**device, size, logged.at, &mut block)?;
            if logged.flags.contains(TagFlags::ESCAPE) {
                unescape(&mut block);
            }
            if logged.home == superblock
                && let Some(new) = block.get_mut(offset..).and_then(RawSuperblock::of_mut)
            {
                keep_error_history(&session.raw, new);
            }
            session.image.write(logged.home, &block)?;
        }
    }
    Ok(())
}
