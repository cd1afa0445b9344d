//! Group descriptors, read and written through their table.

use crate::{Error, Filesystem, Result, alloc};
use ext4_jbd2::{Block, MetaRead};
use ext4_ondisk::group_desc::GroupDesc;
use ext4_units::{BlockNr, BlockRange, GroupNr};

impl Filesystem {
    /// The descriptor of `gi`: its checksum verified, its bitmaps and table inside the filesystem.
    pub fn group(&self, meta: &dyn MetaRead, gi: GroupNr) -> Result<GroupDesc> {
        if gi.0 >= self.geometry().groups_count {
            let fault = format!("expected below {}", self.geometry().groups_count);
            return Err(Error::corrupt(format!("group {gi}"), fault));
        }
        let (blk, offset) = self.geometry().desc_place(gi);
        let block = meta.read(blk)?;
        let bytes = block.get(offset..).unwrap_or_default();
        let desc = GroupDesc::decode(bytes, gi, self.desc_format())?;
        self.geometry().check_group_desc(gi, &desc)?;
        Ok(desc)
    }

    /// Where the inode table of `gi` begins. Nothing moves it while the filesystem is open, so its
    /// descriptor is asked once.
    pub(crate) fn inode_table(&self, meta: &dyn MetaRead, gi: GroupNr) -> Result<BlockNr> {
        if let Some(table) = self.hints().inode_table(gi) {
            return Ok(table);
        }
        let table = self.group(meta, gi)?.inode_table;
        self.hints().set_inode_table(gi, table);
        Ok(table)
    }

    /// The block bitmap of `gi`, a bit for each cluster: verified, or made up where the group says
    /// that it was never written.
    pub fn block_bitmap(&self, meta: &dyn MetaRead, gi: GroupNr) -> Result<Block> {
        alloc::block_bitmap(self, meta, gi, &self.group(meta, gi)?)
    }

    /// The inode bitmap of `gi`: verified, or empty where the group says that it was never written.
    pub fn inode_bitmap(&self, meta: &dyn MetaRead, gi: GroupNr) -> Result<Block> {
        alloc::inode_bitmap(self, meta, gi)
    }

    /// Writes a descriptor over its old bytes at `offset` of a block of the table.
    pub(crate) fn encode_group(
        &self,
        gi: GroupNr,
        desc: &GroupDesc,
        block: &mut [u8],
        offset: usize,
    ) -> Result<()> {
        let size = self.desc_format().desc_size();
        let Some(bytes) = block.get_mut(offset..).filter(|bytes| bytes.len() >= size) else {
            return Err(Error::corrupt(format!("group {gi} descriptor"), "does not fit its block"));
        };
        desc.encode(bytes, gi, self.desc_format());
        Ok(())
    }

    /// The blocks that a group's own metadata takes: superblock copy, descriptors and their
    /// reserve, bitmaps and inode table.
    pub(crate) fn group_metadata(&self, gi: GroupNr, desc: &GroupDesc) -> [BlockRange; 4] {
        [
            self.geometry().base_metadata(gi),
            BlockRange::new(desc.block_bitmap, 1),
            BlockRange::new(desc.inode_bitmap, 1),
            BlockRange::new(desc.inode_table, u64::from(self.geometry().itable_blocks())),
        ]
    }
}
