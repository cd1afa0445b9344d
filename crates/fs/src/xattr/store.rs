//! Writing a changed set of attributes: the inode's body, its block with those who share it, and
//! the users of values in inodes of their own.

use super::placed::{BlockNow, Placed};
use crate::{
    Error, Handle, Inode, Result,
    alloc::{Use, allocate_clusters, goal_for_inode},
};
use ext4_ondisk::{features::Compat, xattr::update_checksum};
use ext4_units::InodeNr;
use std::collections::BTreeMap;

impl Handle<'_> {
    /// Credits of [`store_xattrs`](Self::store_xattrs): the old block and the new one, bitmaps and
    /// descriptors of both, the inode, and value inodes with their orphan records.
    pub(crate) const STORE_XATTRS_CREDITS: usize = 8 + Self::RELEASE_XATTRS_CREDITS;

    /// Makes `after` the attributes of `inode`, which were `before`. Returns the value inodes that
    /// nobody uses any more: they are on the orphan record, and are the caller's to evict once the
    /// handle has stopped. The caller writes the inode back.
    pub(crate) fn store_xattrs(
        &mut self,
        inode: &mut Inode,
        before: &Placed,
        now: Option<BlockNow>,
        after: &Placed,
    ) -> Result<Vec<InodeNr>> {
        let too_big = || Error::NoSpace { what: "room for attributes" };
        if before.body != after.body {
            inode.disk.ibody = after.encode_body().ok_or_else(too_big)?;
        }
        let mut users: BTreeMap<InodeNr, i64> = Placed::value_users(&after.body);
        for (ino, n) in Placed::value_users(&before.body) {
            *users.entry(ino).or_insert(0) -= n;
        }
        if before.block != after.block {
            for (ino, n) in Placed::value_users(&after.block) {
                *users.entry(ino).or_insert(0) += n;
            }
            // A block that others share keeps its values, and a copy uses them once more.
            if now.is_none_or(|now| now.refcount <= 1) {
                for (ino, n) in Placed::value_users(&before.block) {
                    *users.entry(ino).or_insert(0) -= n;
                }
            }
            self.store_xattr_block(inode, now, after)?;
        }
        let cluster = u64::from(self.fs().geometry().block_size.bytes())
            * u64::from(self.fs().geometry().cluster_ratio());
        let (old, new) = (before.value_sectors(cluster), after.value_sectors(cluster));
        inode.disk.sectors = (inode.sectors + new).checked_sub(old).ok_or_else(|| {
            let fault = format!("i_blocks {}, fewer than its attribute values have", inode.sectors);
            Error::corrupt(format!("inode {}", inode.ino), fault)
        })?;
        let mut unused = Vec::new();
        for (ino, change) in users {
            if self.change_value_users(ino, change)? {
                unused.push(ino);
            }
        }
        Ok(unused)
    }

    /// Writes the block: in place, as a copy when others share it (`ext4_xattr_block_set`), or not
    /// at all when it has become empty.
    fn store_xattr_block(
        &mut self,
        inode: &mut Inode,
        now: Option<BlockNow>,
        after: &Placed,
    ) -> Result<()> {
        let mine = now.filter(|now| now.refcount <= 1);
        let blk = match (now, mine) {
            (_, Some(mine)) if !after.block.is_empty() => mine.blk,
            (now, _) => {
                if let Some(now) = now {
                    self.drop_xattr_block(inode, now.blk)?;
                    inode.disk.file_acl = None;
                }
                if after.block.is_empty() {
                    return Ok(());
                }
                let goal = goal_for_inode(self, inode);
                let range = allocate_clusters(self, goal, 1, Use::Data)?;
                inode.disk.file_acl = Some(range.start);
                inode.disk.sectors += self.fs().cluster_sectors();
                self.note_attribute_blocks()?;
                range.start
            }
        };
        let mut bytes =
            after.encode_block(blk).ok_or(Error::NoSpace { what: "room for attributes" })?;
        update_checksum(&mut bytes, blk, self.fs().superblock().metadata_csum());
        self.write(blk, bytes)
    }

    /// A filesystem with an attribute block says so (`ext4_xattr_update_super_block`).
    fn note_attribute_blocks(&mut self) -> Result<()> {
        let bit = Compat::EXT_ATTR.bits();
        if self.fs().raw_superblock(self)?.s_feature_compat.get() & bit != 0 {
            return Ok(());
        }
        self.modify_superblock(|raw| raw.s_feature_compat.set(raw.s_feature_compat.get() | bit))
    }
}
