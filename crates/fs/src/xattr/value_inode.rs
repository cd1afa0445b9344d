//! Values in inodes of their own (ea_inode).

use crate::{Filesystem, Handle, Inode, Result};
use ext4_ondisk::{
    inode::{FileType, InodeFlags},
    time::Timestamp,
    xattr::{Entry, Value, entry_hash},
};

impl Filesystem {
    /// Credits of [`Handle::new_value_inode`] for a value of `len` bytes: its blocks, each perhaps
    /// in a group of its own, its map, and the inode.
    pub(super) fn value_inode_credits(&self, len: usize) -> usize {
        let blocks = len.div_ceil(self.geometry().block_size.len());
        let groups = blocks.min(self.geometry().groups_count as usize);
        blocks + 2 * groups + 16
    }
}

impl Handle<'_> {
    /// Writes a value into a new inode, which has no users yet, and returns the entry that names it
    /// (`ext4_xattr_inode_create`, `ext4_xattr_inode_write`).
    pub(super) fn new_value_inode(
        &mut self,
        owner: &Inode,
        index: u8,
        name: &[u8],
        value: &[u8],
    ) -> Result<Entry> {
        let hash = self.fs().superblock().csum_seed.over(value).0;
        let mut inode = self.blank_inode(owner, FileType::Regular, InodeFlags::EA_INODE)?;
        inode.disk.flags &= InodeFlags::EA_INODE | InodeFlags::EXTENTS;
        inode.disk.mode |= 0o600;
        (inode.disk.uid, inode.disk.gid) = (owner.uid, owner.gid);
        self.write_meta_contents(&mut inode, value)?;
        self.set_size(&mut inode, value.len() as u64)?;
        // Fields that nobody needs of such an inode keep the value's hash and the count of users.
        inode.disk.atime = Timestamp::decode(hash, None);
        inode.disk.ctime = Timestamp::default();
        inode.disk.version = 0;
        self.put_inode(&inode)?;
        let len = u32::try_from(value.len()).unwrap_or(u32::MAX);
        Ok(Entry {
            index,
            name: name.to_vec(),
            value: Value::Inode { ino: inode.ino, len },
            hash: entry_hash(name, &hash.to_le_bytes()),
        })
    }
}
