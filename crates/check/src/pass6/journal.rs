//! A new journal in the place of one that was removed.

use crate::{
    Place, Result,
    pass0::write_empty_journal,
    problem::pass6::{JOURNAL_ANEW, JOURNAL_NO_ROOM},
    repair::File,
    session::Session,
};
use ext4_jbd2::Log;
use ext4_ondisk::{
    extent::Extent,
    features::Compat,
    inode::{Inode, RawInode},
    jbd2::MIN_LOG_BLOCKS,
};
use ext4_units::{BlockNr, BlockRange, InodeNr, LogicalBlock};
use zerocopy::IntoBytes as _;

/// Blocks in one extent.
const LONGEST: u64 = 1 << 15;
/// Free runs that are looked at.
const MOST_RUNS: usize = 1 << 16;

/// Makes the journal, if one was removed.
pub(super) fn renew(session: &mut Session<'_, '_>) -> Result<()> {
    let ino = InodeNr::JOURNAL;
    if !session.gate.todo.journal || session.sb.features.has_compat(Compat::HAS_JOURNAL) {
        return Ok(());
    }
    if !session.has_place(ino) {
        return Ok(());
    }
    let is_empty = RawInode::read(&session.read_inode(ino)?).i_mode.get() == 0;
    if !is_empty {
        // Pass 1 empties it, and the next round comes here again.
        return Ok(());
    }
    session.gate.todo.journal = false;
    let place = || Place { what: Some("journal"), ..Place::inode(ino) };
    let Some((blocks, runs)) = room(session) else {
        session.fix(&JOURNAL_NO_ROOM, place(), "", "")?;
        return Ok(());
    };
    if !session.fix(&JOURNAL_ANEW, place(), "", format!("{blocks} blocks"))? {
        return Ok(());
    }
    let inode = Inode::new(0o100_600, session.sb.want_extra_isize, &session.format);
    let bits = session.geo.cluster_ratio_bits;
    for run in &runs {
        session.facts.used.insert_run(run.start.0 >> bits, run.len.div_ceil(1 << bits));
    }
    let sectors = u64::from(session.geo.block_size.bytes() / 512);
    let mut file = File::of(session, ino, inode);
    file.begin_map();
    file.inode.links_count = 1;
    file.inode.size = blocks << file.session.geo.block_size.bits();
    let mut lblk = 0;
    let mut taken = Vec::new();
    for run in runs {
        let mut start = run.start;
        while start < run.end() && u64::from(lblk) < blocks {
            let len = (run.end().0 - start.0).min(LONGEST).min(blocks - u64::from(lblk));
            let part = BlockRange::new(start, len);
            let len32 = u32::try_from(len).unwrap_or(u32::MAX);
            let lblk_here = LogicalBlock(lblk);
            file.put_run(Extent { lblk: lblk_here, len: len32, start, unwritten: false })?;
            file.inode.sectors += len.next_multiple_of(1 << bits) * sectors;
            taken.push(part);
            start = part.end();
            lblk = lblk.saturating_add(len32);
        }
    }
    let mut inode = file.inode;
    session.put_special(ino, &mut inode)?;
    write_empty_journal(session, &Log::internal(taken))?;
    let raw = &mut session.raw;
    raw.s_journal_inum.set(ino.get());
    raw.change_features(|it| it.compat |= Compat::HAS_JOURNAL);
    raw.s_jnl_backup_type = 1;
    raw.s_jnl_blocks[..15].as_mut_bytes().copy_from_slice(&inode.i_block);
    raw.s_jnl_blocks[15].set((inode.size >> 32) as u32);
    raw.s_jnl_blocks[16].set((inode.size & 0xFFFF_FFFF) as u32);
    session.put_superblock()
}

/// How large the journal can be, and where: the size that goes with the filesystem's
/// (`ext2fs_default_journal_size`), halved until there is room.
fn room(session: &Session<'_, '_>) -> Option<(u64, Vec<BlockRange>)> {
    const KI: u64 = 1024;
    let mut blocks = match session.geo.blocks_count {
        it if it < 32 * KI => KI,
        it if it < 256 * KI => 4 * KI,
        it if it < 512 * KI => 8 * KI,
        it if it < 4096 * KI => 16 * KI,
        it if it < 8192 * KI => 32 * KI,
        it if it < 16384 * KI => 64 * KI,
        it if it < 32768 * KI => 128 * KI,
        _ => 256 * KI,
    };
    let mut free = free_runs(session);
    free.sort_unstable_by_key(|it| std::cmp::Reverse(it.len));
    let all: u64 = free.iter().map(|it| it.len).sum();
    // Nodes of the map and the files of the time after need something too.
    while blocks >= MIN_LOG_BLOCKS.into() {
        if blocks + blocks / 64 + 16 <= all {
            let mut left = blocks;
            let mut runs = Vec::new();
            for run in free {
                if left > 0 {
                    runs.push(BlockRange::new(run.start, run.len.min(left)));
                    left = left.saturating_sub(run.len);
                }
            }
            runs.sort_unstable();
            return Some((blocks, runs));
        }
        blocks /= 2;
    }
    None
}

/// Runs of free clusters.
fn free_runs(session: &Session<'_, '_>) -> Vec<BlockRange> {
    let (bits, all) = (session.geo.cluster_ratio_bits, session.clusters());
    let runs = session.facts.used.absent_runs(all.start, all.end).take(MOST_RUNS);
    runs.map(|(start, len)| BlockRange::new(BlockNr(start << bits), len << bits)).collect()
}
