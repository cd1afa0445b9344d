//! The inode that holds the journal, and the superblock's copy of its map.

use super::{
    journal::clear_recover,
    special::{self, Special},
    visible,
};
use crate::{
    Place, Result,
    problem::pass0::{
        JOURNAL_BACKUP, JOURNAL_INODE, JOURNAL_MAP_LOST, JOURNAL_VISIBLE, SUPERBLOCK_FIELD,
    },
    session::Session,
};
use ext4_ondisk::{
    extent,
    features::Compat,
    inode::{Inode, InodeFlags},
    jbd2::{MAGIC, MIN_LOG_BLOCKS},
};
use ext4_units::InodeNr;
use zerocopy::IntoBytes as _;

/// `s_jnl_backup_type` where `s_jnl_blocks` holds a copy.
const HAS_BACKUP: u8 = 1;

/// Whether an inode can hold the journal: the one that is for it, or one for files.
fn may_be_journal(session: &Session<'_, '_>, ino: InodeNr) -> bool {
    ino == InodeNr::JOURNAL || ino.get() >= session.geo.first_ino
}

/// The journal's inode, found again or restored from the superblock's copy of its map where it is
/// damaged; `None` when there is none any more.
pub(super) fn find(session: &mut Session<'_, '_>) -> Result<Option<(InodeNr, Special)>> {
    let number = session.raw.s_journal_inum.get();
    let named = InodeNr::new(number);
    let fault = match named {
        None => "the superblock names none".to_owned(),
        Some(ino) if !may_be_journal(session, ino) => {
            "an inode that is for something else".to_owned()
        }
        Some(ino) => match holder(session, ino)? {
            Ok(file) => return Ok(Some((ino, file))),
            Err(fault) => fault,
        },
    };
    let home = InodeNr::JOURNAL;
    if named != Some(home)
        && let Ok(file) = holder(session, home)?
        && begins_with_journal(session, &file)?
        && session.fix(
            &SUPERBLOCK_FIELD,
            Place::what("superblock"),
            format!("s_journal_inum {number}"),
            home,
        )?
    {
        session.raw.s_journal_inum.set(home.get());
        session.put_superblock()?;
        return Ok(Some((home, file)));
    }
    let place = match named {
        Some(ino) => Place { what: Some("journal"), ..Place::inode(ino) },
        None => Place::what("journal"),
    };
    // Restored into another special inode, it would be cleared for what it is there; into a file that
    // is none, that file would be lost.
    if let Some(ino) = named.filter(|it| may_be_journal(session, *it))
        && (ino == home || special::read(session, ino)?.is_err())
        && !session.gate.todo.has_restored_journal
        && let Some(file) = from_backup(session, ino)?
        && session.fix(&JOURNAL_MAP_LOST, place.clone(), &fault, "")?
    {
        session.gate.todo.has_restored_journal = true;
        let mut file = file;
        session.put_special(ino, &mut file.inode)?;
        return Ok(Some((ino, file)));
    }
    if session.fix(&JOURNAL_INODE, place, fault, "")? {
        session.raw.s_journal_inum.set(0);
        for word in &mut session.raw.s_jnl_blocks {
            word.set(0);
        }
        session.raw.s_jnl_backup_type = 0;
        clear_recover(session);
        session.raw.change_features(|it| it.compat -= Compat::HAS_JOURNAL);
        session.gate.todo.journal = true;
        session.put_superblock()?;
    }
    Ok(None)
}

/// Moves a journal that is an ordinary file to the inode that is kept for it
/// (`e2fsck_move_ext3_journal`).
pub(super) fn hidden(
    session: &mut Session<'_, '_>,
    ino: InodeNr,
    file: &Special,
) -> Result<InodeNr> {
    let home = InodeNr::JOURNAL;
    if !visible::can_hide(session, ino, home, file)?
        || !session.fix(&JOURNAL_VISIBLE, Place::inode(ino), "", format!("inode {home}"))?
    {
        return Ok(ino);
    }
    visible::hide(session, ino, home)?;
    session.raw.s_journal_inum.set(home.get());
    session.put_superblock()?;
    Ok(home)
}

/// The journal that an inode holds; else why it can hold none. One with a name must begin as a
/// journal does: what looks otherwise is somebody's file.
fn holder(session: &Session<'_, '_>, ino: InodeNr) -> Result<std::result::Result<Special, String>> {
    let file = match usable(session, special::read(session, ino)?) {
        Ok(file) => file,
        Err(fault) => return Ok(Err(fault)),
    };
    if ino != InodeNr::JOURNAL && !begins_with_journal(session, &file)? {
        return Ok(Err("no journal, but a file".into()));
    }
    Ok(Ok(file))
}

fn begins_with_journal(session: &Session<'_, '_>, file: &Special) -> Result<bool> {
    let Some(first) = file.runs.first() else { return Ok(false) };
    let block = session.image.read(first.start)?;
    Ok(block.starts_with(&MAGIC.to_be_bytes()))
}

/// A journal has at least so many blocks.
fn usable(
    session: &Session<'_, '_>,
    file: std::result::Result<Special, String>,
) -> std::result::Result<Special, String> {
    let file = file?;
    let blocks = file.inode.size >> session.geo.block_size.bits();
    if blocks < MIN_LOG_BLOCKS.into() {
        return Err(format!("{blocks} blocks, expected at least {MIN_LOG_BLOCKS}"));
    }
    if file.inode.flags.contains(InodeFlags::ENCRYPT) {
        return Err("an encrypted file, expected a plain one".into());
    }
    Ok(file)
}

/// The inode that the superblock's copy of the map describes, if it leads to a journal.
fn from_backup(session: &Session<'_, '_>, ino: InodeNr) -> Result<Option<Special>> {
    if session.raw.s_jnl_backup_type != HAS_BACKUP || !session.has_place(ino) {
        return Ok(None);
    }
    let words = session.raw.s_jnl_blocks;
    let mut inode = Inode::new(0o100_600, session.sb.want_extra_isize, &session.format);
    inode.i_block.copy_from_slice(words[..15].as_bytes());
    inode.size = u64::from(words[15].get()) << 32 | u64::from(words[16].get());
    inode.links_count = 1;
    let is_tree = inode.i_block.starts_with(&extent::MAGIC.to_le_bytes());
    inode.flags.set(InodeFlags::EXTENTS, is_tree);
    let blocks = session.geo.block_size.blocks_for(inode.size);
    inode.sectors = blocks.saturating_mul(u64::from(session.geo.block_size.bytes()) / 512);
    let Ok(file) = usable(session, special::runs(session, ino, inode)?) else { return Ok(None) };
    Ok(begins_with_journal(session, &file)?.then_some(file))
}

/// The superblock's copy of the map, with which the inode could be restored.
pub(super) fn backup(session: &mut Session<'_, '_>, file: &Special) -> Result<()> {
    let mut words = session.raw.s_jnl_blocks;
    words[..15].as_mut_bytes().copy_from_slice(&file.inode.i_block);
    words[15].set((file.inode.size >> 32) as u32);
    words[16].set((file.inode.size & 0xFFFF_FFFF) as u32);
    let has_backup = session.raw.s_jnl_backup_type == HAS_BACKUP;
    let is_other = session.raw.s_jnl_backup_type > HAS_BACKUP;
    if is_other || (has_backup && words.as_bytes() == session.raw.s_jnl_blocks.as_bytes()) {
        return Ok(());
    }
    if session.fix(&JOURNAL_BACKUP, Place::what("superblock"), "", "")? {
        session.raw.s_jnl_blocks = words;
        session.raw.s_jnl_backup_type = HAS_BACKUP;
        session.put_superblock()?;
    }
    Ok(())
}
