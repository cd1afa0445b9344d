//! The inode tables of all groups as one: where an inode is, and its bytes.

use crate::{Error, Result, image::Image};
use ext4_ondisk::{geometry::Geometry, group_desc::GroupDesc, inode::InodeFormat};
use ext4_units::{BlockNr, InodeNr};

/// `i_dtime` of an inode that is freed at this second since 1970: never 0, which says that it was not.
pub(crate) fn deletion_time(now: u64) -> u32 {
    u32::try_from(now).unwrap_or(u32::MAX).max(1)
}

/// The inode tables of all groups.
#[derive(Clone, Copy, Debug)]
pub(crate) struct InodeTables<'t> {
    pub(crate) image: &'t Image,
    pub(crate) geo: &'t Geometry,
    pub(crate) descs: &'t [GroupDesc],
}

impl InodeTables<'_> {
    /// Where an inode is: its block, and the byte in it. `None` for a number that is none, or one whose
    /// table is not inside the device.
    pub(crate) fn place(self, ino: InodeNr) -> Option<(BlockNr, usize)> {
        let place = self.geo.inode_place(ino)?;
        let table = self.descs.get(place.group.0 as usize)?.inode_table;
        let blk = table.checked_add(place.table_block.into())?;
        // A table at block 0 has no place yet.
        (table.0 != 0 && blk.0 < self.image.n_blocks()).then_some((blk, place.offset))
    }

    /// An inode's bytes, `s_inode_size` of them; `None` where it has no place.
    pub(crate) fn read(self, ino: InodeNr) -> Result<Option<Vec<u8>>> {
        let Some((blk, offset)) = self.place(ino) else { return Ok(None) };
        let block = self.image.read(blk)?;
        let bytes = block.get(offset..offset + usize::from(self.geo.inode_size));
        Ok(bytes.map(<[u8]>::to_vec))
    }

    /// Replaces an inode, with its checksum renewed.
    pub(crate) fn write(self, ino: InodeNr, bytes: &[u8], format: &InodeFormat) -> Result<()> {
        let (blk, offset) = self.place(ino).ok_or(Error::Outside(BlockNr(0)))?;
        let mut block = self.image.read(blk)?;
        let place = block.get_mut(offset..offset + bytes.len()).ok_or(Error::Outside(blk))?;
        place.copy_from_slice(bytes);
        format.update_checksum(ino, place);
        self.image.write(blk, &block)
    }
}
