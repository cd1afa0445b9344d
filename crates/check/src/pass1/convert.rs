//! Files mapped by blocks that get a tree of extents, once it is known where there is room for one.

use super::{map::OldMap, tree};
use crate::{Result, session::Session};
use ext4_ondisk::inode::{InodeFlags, RawInode};
use ext4_units::InodeNr;

/// Gives each of these inodes a tree of extents instead of its map (`rebuild_extents`).
pub(crate) fn run(session: &mut Session<'_, '_>, maps: Vec<(InodeNr, OldMap)>) -> Result<()> {
    for (ino, OldMap { extents, mut nodes }) in maps {
        let mut bytes = session.read_inode(ino)?;
        let mut raw = RawInode::read(&bytes);
        let needed = tree::tree_blocks(extents.len(), session.geo.block_size);
        let had = nodes.len();
        // Into other blocks, so that a cut while they are written leaves the old map; into those of the
        // old map when no others are free.
        let mut new = Vec::with_capacity(needed);
        while new.len() < needed {
            let goal = new.last().copied().unwrap_or(session.geo.first_data_block);
            new.push(session.take_cluster(goal).or_else(|err| nodes.pop().ok_or(err))?);
        }
        let seed = session.format.seed(ino, raw.i_generation.get());
        let (root, used) = tree::write_tree(&session.image, seed, &extents, &new)?;
        for blk in new.into_iter().skip(used).chain(nodes) {
            session.give_cluster(blk);
        }
        raw.i_block = root;
        raw.i_flags.set(raw.i_flags.get() | InodeFlags::EXTENTS.bits());
        // Whatever the unit of the count is, it is a whole number of it for each cluster.
        let is_huge = raw.i_flags.get() & InodeFlags::HUGE_FILE.bits() != 0;
        let unit = if is_huge { 1 } else { session.geo.block_size.bytes() / 512 };
        let each = u64::from(unit) << session.geo.cluster_ratio_bits;
        let count = u64::from(raw.l_i_blocks_high.get()) << 32 | u64::from(raw.i_blocks_lo.get());
        let count = count.saturating_add(each * used as u64).saturating_sub(each * had as u64);
        raw.i_blocks_lo.set((count & 0xFFFF_FFFF) as u32);
        raw.l_i_blocks_high.set((count >> 32 & 0xFFFF) as u16);
        raw.write_to(&mut bytes);
        session.write_inode(ino, &bytes)?;
    }
    Ok(())
}
