//! The orphan file: slots in any block, in no order.

use crate::{Error, Filesystem, Handle, Inode, Result};
use ext4_extent::State;
use ext4_jbd2::MetaRead;
use ext4_ondisk::{Corrupt, orphan_file};
use ext4_units::{BlockNr, InodeNr, LogicalBlock};

/// One slot of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Slot {
    /// The block of the file it is in, on the device.
    pub(crate) blk: BlockNr,
    /// Its index in that block.
    pub(crate) idx: usize,
}

/// Puts `ino` into the first free slot; `None` when there is none.
pub(super) fn take(h: &mut Handle<'_>, ino: InodeNr) -> Result<Option<Slot>> {
    let file = h.fs().orphan_file(h)?;
    for blk in h.fs().orphan_file_blocks(h, &file)? {
        let block = h.read(blk)?;
        let seed = file.seed(h.fs());
        orphan_file::verify(&block, blk, seed)?;
        if let Some(idx) = orphan_file::free_slot(&block) {
            h.modify(blk, |block| orphan_file::set(block, idx, Some(ino), blk, seed))?;
            return Ok(Some(Slot { blk, idx }));
        }
    }
    Ok(None)
}

/// Empties a slot.
pub(super) fn give_back(h: &mut Handle<'_>, slot: Slot) -> Result<()> {
    let seed = h.fs().orphan_file(h)?.seed(h.fs());
    h.modify(slot.blk, |block| orphan_file::set(block, slot.idx, None, slot.blk, seed))
}

impl Filesystem {
    /// The inode of the orphan file (`ext4_init_orphan_info`).
    pub(crate) fn orphan_file(&self, meta: &dyn MetaRead) -> Result<Inode> {
        let ino = self.superblock().orphan_file_inum.ok_or_else(|| {
            Error::corrupt("superblock", "s_orphan_file_inum 0, expected an inode")
        })?;
        let file = self.live_inode(meta, ino)?;
        let blocks = self.geometry().block_size.blocks_for(file.i_size);
        if !file.is_regular() || blocks == 0 || blocks > orphan_file::MAX_BLOCKS {
            let max = orphan_file::MAX_BLOCKS;
            let fault = format!("{blocks} blocks, expected a regular file of 1 to {max}");
            return Err(Corrupt::new(format!("orphan file (inode {ino})"), fault).into());
        }
        Ok(file)
    }

    /// The blocks of the orphan file, in order, none missing.
    pub(crate) fn orphan_file_blocks(
        &self,
        meta: &dyn MetaRead,
        file: &Inode,
    ) -> Result<Vec<BlockNr>> {
        let n_blocks = self.geometry().block_size.blocks_for(file.i_size);
        let to = LogicalBlock(u32::try_from(n_blocks).unwrap_or(u32::MAX));
        let mut blocks = Vec::new();
        self.mappings(meta, file, LogicalBlock(0), to, |mapping| {
            let State::Written(start) = mapping.state else {
                let place = format!("orphan file (inode {})", file.ino);
                let fault = format!("logical block {} is not written", mapping.lblk);
                return Err(Corrupt::new(place, fault).into());
            };
            blocks.extend((0..u64::from(mapping.len)).map(|n| start.plus(n)));
            Ok(())
        })?;
        Ok(blocks)
    }
}
