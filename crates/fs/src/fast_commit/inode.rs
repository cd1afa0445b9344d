//! An inode as a fast commit has it: all but where its blocks are.

use super::{Replay, bias};
use crate::{
    Error, Inode, Result,
    alloc::{claim_inode, free_inode},
};
use ext4_ondisk::{
    dir_entry::FileType,
    inode::{Inode as DiskInode, InodeFlags},
};
use ext4_units::InodeNr;

impl Replay<'_> {
    /// Overwrites an inode except its map (`ext4_fc_replay_inode`).
    pub(super) fn inode(&mut self, ino: InodeNr, raw: &[u8]) -> Result<()> {
        let fs = self.h.fs();
        let place = || format!("fast commit, record of inode {ino}");
        let old = self.take(ino)?;
        let was_dir = old.as_ref().map(Inode::is_dir);
        let mut bytes = raw.to_vec();
        bytes.resize(fs.inode_format().inode_size(), 0);
        let mut disk = DiskInode::decode_unverified(&bytes, ino, fs.inode_format())
            .map_err(|err| err.at(place()))?;
        if FileType::of_mode(disk.mode) == FileType::Unknown {
            return Err(Error::corrupt(place(), format!("i_mode {:#o}", disk.mode)));
        }
        let is_same =
            |old: &Inode| old.generation == disk.generation && old.file_type() == disk.file_type();
        let old = match old {
            Some(old) if is_same(&old) => Some(old),
            Some(old) => {
                // The number has a new owner; nothing of the old one may be left.
                self.release(old)?;
                None
            }
            None => None,
        };
        if old.is_none() {
            let (blk, offset) = fs.inode_place(&self.h, ino)?;
            let len = fs.inode_format().inode_size();
            self.h.modify(blk, |block| {
                if let Some(bytes) = block.get_mut(offset..).and_then(|it| it.get_mut(..len)) {
                    bytes.fill(0);
                }
            })?;
        }
        disk.i_block = root(&disk, old.as_ref());
        if let Some(old) = &old
            && raw.len() < bytes.len()
            && old.extra_isize == disk.extra_isize
        {
            disk.ibody.clone_from(&old.ibody);
        }
        // Fast commits say nothing of orphans: a place in the list stays what it is.
        let is_listed = self.orphans.contains(&ino);
        disk.dtime = old.as_ref().filter(|_| is_listed).map_or(0, |old| old.dtime);
        let mut inode = Inode { ino, i_size: disk.size, disk };
        bias(&mut inode);
        if was_dir.is_some_and(|was_dir| was_dir != inode.is_dir()) {
            free_inode(&mut self.h, ino, !inode.is_dir())?;
        }
        claim_inode(&mut self.h, ino, inode.is_dir())?;
        self.put(inode);
        Ok(())
    }
}

/// The map stays that of the inode so far; what is no map comes with the record.
fn root(new: &DiskInode, old: Option<&Inode>) -> [u8; 60] {
    let has_extents = |flags: InodeFlags| flags.contains(InodeFlags::EXTENTS);
    let is_inline = |flags: InodeFlags| flags.contains(InodeFlags::INLINE_DATA);
    let may_have_map = matches!(new.file_type(), FileType::Regular | FileType::Directory);
    if is_inline(new.flags) || (!has_extents(new.flags) && !may_have_map) {
        return new.i_block;
    }
    match old {
        Some(old) if has_extents(old.flags) == has_extents(new.flags) && !is_inline(old.flags) => {
            old.i_block
        }
        _ if has_extents(new.flags) => ext4_extent::Format::Extents.empty_root(),
        _ => ext4_extent::Format::Indirect.empty_root(),
    }
}
