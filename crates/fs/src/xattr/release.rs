//! An inode gives up its attributes.

use crate::{Error, Filesystem, Handle, Inode, Result, alloc::free_clusters};
use ext4_ondisk::{
    inode::InodeFlags,
    time::Timestamp,
    xattr::{Entry, RawXattrHeader, Value, XattrBlock, parse_body, update_checksum},
};
use ext4_units::{BlockNr, BlockRange, InodeNr};
use zerocopy::FromBytes as _;

impl Filesystem {
    /// Credits of [`Handle::release_xattrs`]: the attribute block with its bitmap and descriptor, and
    /// for each value in an inode of its own that inode and its orphan record.
    pub(crate) fn release_xattrs_credits(&self, inode: &Inode) -> Result<usize> {
        let entries = self.xattr_entries(self.meta(), inode)?;
        let values = entries.iter().filter(|it| matches!(it.value, Value::Inode { .. })).count();
        Ok(8 + values.saturating_mul(1 + Handle::ORPHAN_CREDITS))
    }
}

impl Handle<'_> {
    /// Credits of [`release_xattrs`](Self::release_xattrs) with up to some dozen attribute values
    /// in inodes of their own.
    pub(crate) const RELEASE_XATTRS_CREDITS: usize = 48;

    /// Drops the references of `inode` to its attribute block and to the inodes that hold large
    /// values (`ext4_xattr_delete_inode`). Returns the value inodes that nobody uses any more: they
    /// have no links and are on the orphan record, and are the caller's to evict. The caller writes
    /// the inode back.
    pub(crate) fn release_xattrs(&mut self, inode: &mut Inode) -> Result<Vec<InodeNr>> {
        let mut entries = parse_body(&inode.ibody, inode.ino)?;
        if let Some(blk) = inode.file_acl {
            entries.extend(self.drop_xattr_block(inode, blk)?);
            inode.disk.file_acl = None;
        }
        let mut unused = Vec::new();
        for entry in entries {
            if let Value::Inode { ino, .. } = entry.value
                && self.change_value_users(ino, -1)?
            {
                unused.push(ino);
            }
        }
        Ok(unused)
    }

    /// One user less for the block of attributes at `blk`. Returns the entries whose values have
    /// one user less with it: all of them if the block is freed, none if others still share it
    /// (`ext4_xattr_release_block`).
    pub(crate) fn drop_xattr_block(
        &mut self,
        inode: &mut Inode,
        blk: BlockNr,
    ) -> Result<Vec<Entry>> {
        let fs = self.fs();
        let seed = fs.superblock().metadata_csum();
        let XattrBlock { refcount, entries } = fs.xattr_block(self, inode, blk)?;
        let sectors = fs.cluster_sectors();
        inode.disk.sectors = inode.sectors.checked_sub(sectors).ok_or_else(|| {
            let fault = format!("i_blocks {}, fewer than its attribute block has", inode.sectors);
            Error::corrupt(format!("inode {}", inode.ino), fault)
        })?;
        if refcount > 1 {
            self.modify(blk, |bytes| {
                if let Ok((raw, _)) = RawXattrHeader::mut_from_prefix(bytes) {
                    raw.h_refcount.set(refcount - 1);
                }
                update_checksum(bytes, blk, seed);
            })?;
            return Ok(Vec::new());
        }
        let ratio = u64::from(fs.geometry().cluster_ratio());
        free_clusters(self, BlockRange::new(blk, ratio))?;
        self.revoke(blk);
        Ok(entries)
    }

    /// `change` more users, or fewer, of the value in inode `ino`; whether that was the last
    /// (`ext4_xattr_inode_update_ref`). Then it has no links and is on the orphan record.
    pub(super) fn change_value_users(&mut self, ino: InodeNr, change: i64) -> Result<bool> {
        if change == 0 {
            return Ok(false);
        }
        let mut value = self.inode(ino)?;
        if !value.flags.contains(InodeFlags::EA_INODE) || value.links_count == 0 {
            let fault = "holds no attribute value, but an attribute says so";
            return Err(Error::corrupt(format!("inode {ino}"), fault));
        }
        // The count is in the fields nobody needs of such an inode: the high half in the change
        // time, the low one in the version.
        let low = value.version & 0xFFFF_FFFF;
        let high = value.ctime.sec.cast_unsigned() & 0xFFFF_FFFF;
        let count = (high << 32 | low).checked_add_signed(change).ok_or_else(|| {
            let fault = format!("attribute value with too small a reference count {low}");
            Error::corrupt(format!("inode {ino}"), fault)
        })?;
        value.disk.version = value.version & !0xFFFF_FFFF | count & 0xFFFF_FFFF;
        value.disk.ctime = Timestamp::decode((count >> 32 & 0xFFFF_FFFF) as u32, None);
        if count == 0 {
            value.disk.links_count = 0;
            self.orphan_add(&mut value)?;
        }
        self.put_inode(&value)?;
        Ok(count == 0)
    }
}
