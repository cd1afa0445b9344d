//! The in-core inode: what the disk says, and the size its user sees.

use crate::{Error, Filesystem, Result};
use ext4_jbd2::MetaRead;
use ext4_ondisk::{
    Corrupt,
    checksum::Csum,
    inode::{FileType, Inode as DiskInode, InodeFlags},
    time::Timestamp,
};
use ext4_units::{BlockNr, InodeNr};
use std::ops::{Deref, DerefMut};

/// An inode in memory. Dereferences to its on-disk fields.
///
/// `size` of the on-disk fields is what the kernel calls `i_disksize`: the size that is, or with
/// the running transaction will be, on disk. `i_size` is what the user sees. On a quiet inode they
/// are equal; `i_disksize <= i_size` always (moved by [`crate::size`] only).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inode {
    /// Its number.
    pub ino: InodeNr,
    /// The size its user sees, in bytes.
    pub i_size: u64,
    /// The fields on disk.
    pub disk: DiskInode,
}

impl Inode {
    /// The size that is, or will be, on disk.
    pub fn i_disksize(&self) -> u64 {
        self.disk.size
    }

    /// Whether it is a regular file.
    pub fn is_regular(&self) -> bool {
        self.file_type() == FileType::Regular
    }

    /// Whether it is a directory.
    pub fn is_dir(&self) -> bool {
        self.file_type() == FileType::Directory
    }

    /// Whether its blocks are mapped by extents.
    pub fn has_extents(&self) -> bool {
        self.flags.contains(InodeFlags::EXTENTS)
    }

    /// Whether its contents lie in the inode itself.
    pub fn has_inline_data(&self) -> bool {
        self.flags.contains(InodeFlags::INLINE_DATA)
    }

    /// Whether its blocks hold metadata, which is journaled, and revoked when freed: directories,
    /// symlinks and attribute values.
    pub(crate) fn holds_metadata(&self) -> bool {
        !self.is_regular() || self.flags.contains(InodeFlags::EA_INODE)
    }

    /// Whether `i_block` maps blocks at all: not so for devices, fast symlinks and inline data.
    pub fn has_blocks(&self, fs: &Filesystem) -> bool {
        match self.file_type() {
            FileType::Regular | FileType::Directory => !self.has_inline_data(),
            FileType::Symlink => !self.has_inline_data() && !self.is_fast_symlink(fs),
            _ => false,
        }
    }

    /// Whether it is a symlink whose target lies in `i_block` (`ext4_inode_is_fast_symlink`).
    pub fn is_fast_symlink(&self, fs: &Filesystem) -> bool {
        if self.file_type() != FileType::Symlink || self.has_inline_data() {
            return false;
        }
        if self.flags.contains(InodeFlags::EA_INODE) {
            return self.i_size > 0 && self.i_size < 60;
        }
        // A block of attributes counts in i_blocks but holds no target.
        let acl = self.file_acl.map_or(0, |_| fs.cluster_sectors());
        self.sectors == acl
    }

    /// Notes that the inode itself changed: its change time and its version
    /// (`inode_set_ctime_current`, `inode_inc_iversion`).
    pub(crate) fn changed(&mut self, now: Timestamp) {
        self.disk.ctime = now;
        self.disk.version = self.version.wrapping_add(1);
    }

    /// Notes that its contents changed, and so itself.
    pub fn modified(&mut self, now: Timestamp) {
        self.disk.mtime = now;
        self.changed(now);
    }

    /// The seed of everything that belongs to this inode; `None` without metadata_csum.
    pub fn seed(&self, fs: &Filesystem) -> Option<Csum> {
        fs.inode_format().seed(self.ino, self.generation)
    }
}

impl Deref for Inode {
    type Target = DiskInode;
    fn deref(&self) -> &DiskInode {
        &self.disk
    }
}

impl DerefMut for Inode {
    fn deref_mut(&mut self) -> &mut DiskInode {
        &mut self.disk
    }
}

impl Filesystem {
    /// The block and byte where `ino` lies.
    pub fn inode_place(&self, meta: &dyn MetaRead, ino: InodeNr) -> Result<(BlockNr, usize)> {
        let place = self.geometry().inode_place(ino).ok_or_else(|| {
            let fault = format!("expected at most {}", self.geometry().inodes_count);
            Error::corrupt(format!("inode {ino}"), fault)
        })?;
        let table = self.inode_table(meta, place.group)?;
        let blk = table.checked_add(place.table_block.into());
        let blk = blk.filter(|&blk| self.geometry().contains(blk)).ok_or_else(|| {
            Error::corrupt(format!("inode {ino}"), "its table lies outside the filesystem")
        })?;
        Ok((blk, place.offset))
    }

    /// Reads inode `ino`: checksum, extra size, and a size its format can have (`__ext4_iget`).
    /// Does not ask whether it is in use.
    pub fn inode(&self, meta: &dyn MetaRead, ino: InodeNr) -> Result<Inode> {
        // Asked before the disk: when a writeback moves the size there meanwhile, the older one in
        // core is right all the same.
        let i_size = self.incores().i_size(ino);
        let (blk, offset) = self.inode_place(meta, ino)?;
        let block = meta.read(blk)?;
        let bytes = block.get(offset..).unwrap_or_default();
        let disk = self.decoded().decode(bytes, ino, self.inode_format())?;
        let i_size = i_size.unwrap_or(disk.size);
        let inode = Inode { ino, i_size, disk };
        let max = self.geometry().max_size(inode.has_extents() || inode.has_inline_data());
        if inode.is_regular() && inode.i_size > max {
            let fault = format!("i_size {}, expected at most {max}", inode.i_size);
            return Err(Corrupt::new(format!("inode {ino}"), fault).into());
        }
        Ok(inode)
    }

    /// Whether the inode bitmap has `ino` as used.
    pub fn is_in_use(&self, meta: &dyn MetaRead, ino: InodeNr) -> Result<bool> {
        crate::alloc::is_inode_in_use(self, meta, ino)
    }

    /// Reads inode `ino`, which must be in use: it has a type, and links or an orphan record keep
    /// it (`ESTALE` otherwise).
    pub fn live_inode(&self, meta: &dyn MetaRead, ino: InodeNr) -> Result<Inode> {
        let inode = self.inode(meta, ino)?;
        if inode.mode == 0 || inode.links_count == 0 {
            return Err(Error::NotInUse { ino });
        }
        if inode.file_type() == FileType::Unknown {
            let fault = format!("i_mode {:#o}, expected a file type", inode.mode);
            return Err(Corrupt::new(format!("inode {ino}"), fault).into());
        }
        Ok(inode)
    }

    /// As [`live_inode`](Self::live_inode), but also an inode that lost its last name while it was
    /// open ([`Filesystem::unlink_open`]).
    pub fn open_inode(&self, meta: &dyn MetaRead, ino: InodeNr) -> Result<Inode> {
        let inode = self.inode(meta, ino)?;
        let is_kept = self.is_orphan(ino) || !self.journal().has_log() && inode.dtime == 0;
        if inode.mode != 0 && inode.links_count == 0 && is_kept {
            return Ok(inode);
        }
        self.live_inode(meta, ino)
    }

    /// Writes an inode over its old bytes at `offset` of a block of the table.
    pub(crate) fn encode_inode(
        &self,
        inode: &Inode,
        block: &mut [u8],
        offset: usize,
    ) -> Result<()> {
        let bytes = block.get_mut(offset..).unwrap_or_default();
        let fit = inode.disk.encode(bytes, inode.ino, self.inode_format());
        fit.map_err(|source| Error::DoesNotFit { ino: inode.ino, source })?;
        self.decoded().note_encoded(bytes, inode.ino, self.inode_format());
        Ok(())
    }
}
