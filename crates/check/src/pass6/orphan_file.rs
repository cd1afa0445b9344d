//! The orphan file: whole, empty, and of use.

use crate::{
    Place, Result,
    pass0::{orphans::file_fault, special},
    problem::{
        pass0::{ORPHAN_FILE_HOLE, ORPHAN_FILE_SIZE},
        pass6::{
            ORPHAN_FILE_DAMAGED, ORPHAN_FILE_DIRTY, ORPHAN_FILE_GAP, ORPHAN_FILE_LENGTH,
            ORPHAN_FILE_WITHOUT_JOURNAL, ORPHAN_PRESENT_ALONE, ORPHAN_PRESENT_CLEAN,
        },
    },
    repair::File,
    session::Session,
};
use ext4_ondisk::{
    features::{Compat, RoCompat},
    inode::Inode,
    orphan_file,
};
use ext4_units::{BlockNr, InodeNr, LogicalBlock};

/// Blocks of a new file: what small filesystems get.
const BLOCKS: u32 = 32;

/// Checks the file, and whether the marks about it are right.
pub(super) fn check(session: &mut Session<'_, '_>) -> Result<()> {
    let has_file = session.sb.features.has_compat(Compat::ORPHAN_FILE);
    let has_journal = session.sb.features.has_compat(Compat::HAS_JOURNAL);
    if has_file && !has_journal && !session.gate.todo.journal {
        without_journal(session)?;
    } else if has_file {
        file(session)?;
    }
    let features = session.sb.features;
    if !features.has_ro_compat(RoCompat::ORPHAN_PRESENT) {
        return Ok(());
    }
    let problem = if features.has_compat(Compat::ORPHAN_FILE) {
        &ORPHAN_PRESENT_CLEAN
    } else {
        &ORPHAN_PRESENT_ALONE
    };
    if session.fix(problem, Place::what("superblock"), "", "")? {
        session.raw.change_features(|it| it.ro_compat -= RoCompat::ORPHAN_PRESENT);
        session.put_superblock()?;
    }
    Ok(())
}

fn place(ino: Option<InodeNr>) -> Place {
    ino.map_or_else(|| Place::what("superblock"), Place::inode)
}

/// Removes the file and the feature.
fn without_journal(session: &mut Session<'_, '_>) -> Result<()> {
    let ino = session.sb.orphan_file_inum;
    if !session.fix(&ORPHAN_FILE_WITHOUT_JOURNAL, place(ino), "", "")? {
        return Ok(());
    }
    if let Some(ino) = ino
        && let Ok(file) = special::read(session, ino)?
    {
        for blk in file.blocks() {
            session.give_cluster(blk);
        }
        session.write_inode(ino, &vec![0; session.format.inode_size()])?;
        session.facts.inodes.remove(ino.get().into());
    }
    session.raw.change_features(|it| it.compat -= Compat::ORPHAN_FILE);
    session.raw.s_orphan_file_inum.set(0);
    session.put_superblock()
}

fn file(session: &mut Session<'_, '_>) -> Result<()> {
    let ino = session.sb.orphan_file_inum;
    if let Some((problem, ino, fault)) = file_fault(session)? {
        // Said already in pass 0 when the file was to be worked off.
        if !session.gate.todo.orphan_file && *problem == ORPHAN_FILE_HOLE {
            session.fix(&ORPHAN_FILE_GAP, place(ino), &fault, "")?;
        } else if !session.gate.todo.orphan_file && *problem == ORPHAN_FILE_SIZE {
            session.fix(&ORPHAN_FILE_LENGTH, place(ino), &fault, "")?;
        }
        if session.fix(&ORPHAN_FILE_DAMAGED, place(ino), fault, "")? {
            anew(session, ino)?;
            session.gate.todo.orphan_file = false;
        }
        return Ok(());
    }
    let Some(ino) = ino else { return Ok(()) };
    let Ok(file) = special::read(session, ino)? else { return Ok(()) };
    let mut n = 0;
    for blk in file.blocks() {
        n += orphan_file::entries(&session.image.read(blk)?).count();
    }
    if n > 0 && session.fix(&ORPHAN_FILE_DIRTY, Place::inode(ino), format!("{n} inodes"), "")? {
        let blocks: Vec<_> = file.blocks().collect();
        seal(session, ino, file.inode.generation, &blocks)?;
    }
    Ok(())
}

/// Writes empty blocks.
fn seal(
    session: &Session<'_, '_>,
    ino: InodeNr,
    generation: u32,
    blocks: &[BlockNr],
) -> Result<()> {
    for &blk in blocks {
        let mut block = vec![0; session.image.size.len()];
        orphan_file::seal(&mut block, blk, session.format.seed(ino, generation));
        session.image.write(blk, &block)?;
    }
    Ok(())
}

/// Empties the file where all its blocks are known; else gives it new ones.
fn anew(session: &mut Session<'_, '_>, ino: Option<InodeNr>) -> Result<()> {
    let size = u64::from(session.geo.block_size.bytes());
    if let Some(ino) = ino
        && let Ok(file) = special::read(session, ino)?
        && file.inode.size > 0
        && file.inode.size.is_multiple_of(size)
    {
        let blocks: Vec<_> = file.blocks().collect();
        return seal(session, ino, file.inode.generation, &blocks);
    }
    if let Some(ino) = ino.filter(|&it| session.has_place(it))
        && let bytes = session.read_inode(ino)?
        && let Ok(runs) =
            special::mapped(session, ino, &bytes, &mut special::Allowance::of(session))?
    {
        for run in runs {
            session.give_run(run.start, run.len);
        }
    }
    let is_legal = |it: &InodeNr| it.get() >= session.geo.first_ino;
    let ino = match ino.filter(is_legal).filter(|&it| session.has_place(it)) {
        Some(ino) => ino,
        None => session.take_inode()?,
    };
    let inode = Inode::new(0o100_600, session.sb.want_extra_isize, &session.format);
    let mut file = File::of(session, ino, inode);
    file.begin_map();
    file.inode.links_count = 1;
    file.inode.size = u64::from(BLOCKS) * size;
    let mut blocks = Vec::new();
    for lblk in 0..BLOCKS {
        blocks.push(file.add_block(LogicalBlock(lblk))?);
    }
    let mut inode = file.inode;
    session.put_special(ino, &mut inode)?;
    seal(session, ino, inode.generation, &blocks)?;
    session.raw.s_orphan_file_inum.set(ino.get());
    session.put_superblock()
}
