//! Which inodes may have lost something: those whose bytes differ, or a block of theirs does.

use super::{contents::Budget, is_in_use};
use crate::{Result, bits::Bits, changes::SECTOR, part::Part, pieces, snapshot::Snapshot};
use ext4_blockdev::BlockDevice as _;
use ext4_ondisk::group_desc::GroupFlags;
use ext4_units::{BlockNr, GroupNr, InodeNr};

/// The blocks that differ. The later one holds what the earlier one does, and more.
pub(super) fn changed(before: &Snapshot, after: &Snapshot) -> Result<Bits> {
    let (old, new) = (before.image.device(), after.image.device());
    let mut blocks = Bits::default();
    for at in new.written_sectors() {
        let len = usize::try_from(SECTOR.min(new.len().saturating_sub(at))).unwrap_or(0);
        let [mut a, mut b] = [vec![0; len], vec![0; len]];
        old.read_at(at, &mut a)?;
        new.read_at(at, &mut b)?;
        if a != b {
            blocks.insert(at >> before.geo.block_size.bits());
        }
    }
    Ok(blocks)
}

/// The inodes. Looks at all of them only when something besides the filesystem's own tables differs.
pub(super) fn find(
    before: &Snapshot,
    after: &Snapshot,
    changed: &Bits,
    budget: &mut Budget,
) -> Result<Bits> {
    let own = tables(before);
    let has_others = changed.iter().any(|blk| !own.contains(blk));
    let search = Search { before, after, changed, has_others };
    let mut found = Bits::default();
    for group in before.geo.groups() {
        search.group(group, budget, &mut found)?;
    }
    Ok(found)
}

/// Blocks that no file has: superblocks, descriptors, bitmaps, inode tables.
fn tables(snapshot: &Snapshot) -> Bits {
    let mut tables = Bits::default();
    let end = snapshot.image.n_blocks();
    for (group, desc) in snapshot.geo.groups().zip(&snapshot.descs) {
        let parts = Part::ALL.map(|it| it.run(desc, &snapshot.geo));
        for run in parts.into_iter().chain([snapshot.geo.base_metadata(group)]) {
            tables.insert_run(run.start.0, run.len.min(end.saturating_sub(run.start.0)));
        }
    }
    tables
}

struct Search<'s> {
    before: &'s Snapshot,
    after: &'s Snapshot,
    changed: &'s Bits,
    has_others: bool,
}

impl Search<'_> {
    /// Goes to the files' inodes of a group, by the blocks of its table.
    fn group(&self, group: GroupNr, budget: &mut Budget, found: &mut Bits) -> Result<()> {
        let Self { before, after, changed, has_others } = *self;
        let of = |it: &Snapshot| it.descs.get(group.0 as usize).copied();
        let Some(desc) = of(before).filter(|it| it.inode_table.0 != 0) else { return Ok(()) };
        let is_moved = of(after).map(|it| it.inode_table) != Some(desc.inode_table);
        let has_sums = before.sb.features.has_group_desc_csum();
        if has_sums && desc.flags.contains(GroupFlags::INODE_UNINIT) {
            return Ok(());
        }
        let unused = if has_sums { desc.itable_unused } else { 0 };
        let n = before.geo.inodes_per_group.saturating_sub(unused);
        let (size, per_block) = (before.format.inode_size(), before.geo.inodes_per_block());
        for nr in 0..n.div_ceil(per_block) {
            let Some(blk) = desc.inode_table.checked_add(nr.into()) else { break };
            let is_changed = is_moved || changed.contains(blk.0);
            if !is_changed && !has_others {
                continue;
            }
            let Some(block) = before.block(blk)? else { break };
            for (index, bytes) in (nr * per_block..n).zip(block.chunks_exact(size)) {
                let Some(ino) = before.geo.inode_at(group, index) else { continue };
                if before.geo.is_ordinary_inode(ino)
                    && self.is_one(ino, is_changed, bytes, budget)?
                {
                    found.insert(ino.get().into());
                }
            }
        }
        Ok(())
    }

    /// Whether an inode in use differs, or a block that it has.
    fn is_one(
        &self,
        ino: InodeNr,
        is_changed: bool,
        bytes: &[u8],
        budget: &mut Budget,
    ) -> Result<bool> {
        let Self { before, after, changed, has_others } = *self;
        let Some(inode) = before.decode(ino, bytes).filter(is_in_use) else { return Ok(false) };
        if is_changed && after.inode_bytes(ino)?.as_deref() != Some(bytes) {
            return Ok(true);
        }
        let mut is_one = false;
        if has_others {
            pieces::walk(&before.image, &before.geo, &inode, &mut budget.nodes, &mut |it| {
                is_one = is_one || any(changed, it.start, it.len);
            })?;
        }
        Ok(is_one)
    }
}

/// Whether any block of a run is among these.
pub(super) fn any(bits: &Bits, start: BlockNr, len: u64) -> bool {
    bits.range(start.0, start.0.saturating_add(len)).next().is_some()
}
