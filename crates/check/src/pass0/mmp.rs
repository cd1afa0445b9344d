//! The MMP block, which says who has the filesystem mounted.

use crate::{
    Place, Result,
    problem::pass0::{MMP_BLOCK, MMP_CHECKSUM, MMP_MAGIC},
    session::Session,
};
use ext4_ondisk::{
    features::Incompat,
    mmp::{MAGIC, MIN_CHECK_INTERVAL, RawMmp, SEQ_CLEAN},
};
use ext4_units::BlockNr;
use zerocopy::FromZeros as _;

/// Checks where the block is, and that it is one. Who has the filesystem is not asked here.
pub(super) fn check(session: &mut Session<'_, '_>) -> Result<()> {
    if !session.sb.features.has_incompat(Incompat::MMP) || session.gate.todo.mmp {
        return Ok(());
    }
    let blk = BlockNr(session.raw.s_mmp_block.get());
    let is_there = session.geo.contains(blk) && blk.0 < session.image.n_blocks() && blk.0 != 0;
    if !is_there {
        let place = Place::what("superblock");
        if session.fix(&MMP_BLOCK, place, blk, format!("inside {}", session.geo.all_blocks()))? {
            session.raw.s_mmp_block.set(0);
            session.put_superblock()?;
            session.gate.todo.mmp = true;
        }
        return Ok(());
    }
    let block = session.image.read(blk)?;
    let Err(fault) = RawMmp::decode(&block, blk, session.sb.metadata_csum()) else {
        return Ok(());
    };
    let problem = if fault.is_checksum { &MMP_CHECKSUM } else { &MMP_MAGIC };
    if session.fix(problem, Place::block(blk), fault.fault, "")? {
        write(session, blk)?;
    }
    Ok(())
}

/// Gives the block a place, after pass 1.
pub(super) fn settle(session: &mut Session<'_, '_>) -> Result<()> {
    if !session.gate.todo.mmp {
        return Ok(());
    }
    let blk = session.take_cluster(BlockNr(0))?;
    write(session, blk)?;
    session.raw.s_mmp_block.set(blk.0);
    session.gate.todo.mmp = false;
    session.put_superblock()
}

/// Writes a block that says that nobody has the filesystem.
fn write(session: &Session<'_, '_>, blk: BlockNr) -> Result<()> {
    let mut raw = RawMmp::new_zeroed();
    raw.mmp_magic.set(MAGIC);
    raw.mmp_seq.set(SEQ_CLEAN);
    raw.mmp_time.set(session.now);
    let interval = session.raw.s_mmp_update_interval.get().max(MIN_CHECK_INTERVAL);
    raw.mmp_check_interval.set(interval);
    let mut block = vec![0; session.image.size.len()];
    raw.encode(&mut block, session.sb.metadata_csum());
    session.image.write(blk, &block)
}
