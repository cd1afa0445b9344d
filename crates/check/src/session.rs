//! One round of a check: the image, its frame, and what is known so far.

use crate::{
    Error, JournalDevice, Place, Problem, Result, facts::Facts, gate::Gate, image::Image,
    inode_tables::InodeTables, problem::pass3::REPAIR_FAILED,
};
use ext4_extent::Context;
use ext4_ondisk::{
    geometry::Geometry,
    group_desc::{DescFormat, GroupDesc},
    inode::{Inode, InodeFormat},
    superblock::{RawSuperblock, Superblock},
    time::Timestamp,
};
use ext4_units::{BlockNr, GroupNr, InodeNr};
use std::{fmt, sync::Arc};
use zerocopy::IntoBytes as _;

/// A round under way. Made by pass 0, which finds a usable superblock and descriptors.
#[derive(Debug)]
pub(crate) struct Session<'r, 'a> {
    pub(crate) gate: &'r mut Gate<'a>,
    pub(crate) image: Image,
    /// The superblock's bytes, as mended so far; [`Session::put_superblock`] takes them to the
    /// overlay.
    pub(crate) raw: RawSuperblock,
    /// What they say.
    pub(crate) sb: Superblock,
    pub(crate) geo: Geometry,
    pub(crate) format: InodeFormat,
    pub(crate) desc_format: DescFormat,
    /// All descriptors, as mended so far; [`Session::put_descriptor`] takes them to the overlay.
    pub(crate) descs: Vec<GroupDesc>,
    pub(crate) facts: Facts,
    /// The device of a journal that is not in the filesystem.
    pub(crate) journal: Option<JournalDevice>,
    /// Threads that may scan.
    pub(crate) threads: usize,
    /// Seconds since 1970, for times that are set and those that are judged.
    pub(crate) now: u64,
}

impl Session<'_, '_> {
    /// Tells of a problem and asks whether to mend it; see [`Gate::fix`].
    pub(crate) fn fix(
        &mut self,
        problem: &'static Problem,
        place: Place,
        found: impl fmt::Display,
        expected: impl fmt::Display,
    ) -> Result<bool> {
        self.gate.fix(problem, place, found, expected)
    }

    /// Goes on after a repair that could not be made: that is told and left.
    pub(crate) fn tolerate(&mut self, place: Place, result: Result<()>) -> Result<()> {
        match result {
            Err(why @ (Error::Damaged(_) | Error::NoSpace(_) | Error::Outside(_))) => {
                self.gate.leave(&REPAIR_FAILED, place, why)
            }
            other => other,
        }
    }

    fn inodes(&self) -> InodeTables<'_> {
        InodeTables { image: &self.image, geo: &self.geo, descs: &self.descs }
    }

    /// Whether an inode has a place: its number is one, and its table inside the device.
    pub(crate) fn has_place(&self, ino: InodeNr) -> bool {
        self.inodes().place(ino).is_some()
    }

    /// An inode's bytes, `s_inode_size` of them.
    pub(crate) fn read_inode(&self, ino: InodeNr) -> Result<Vec<u8>> {
        self.inodes().read(ino)?.ok_or(Error::Outside(BlockNr(0)))
    }

    /// Replaces an inode, with its checksum renewed.
    pub(crate) fn write_inode(&self, ino: InodeNr, bytes: &[u8]) -> Result<()> {
        self.inodes().write(ino, bytes, &self.format)
    }

    /// What must be known to walk the map of an inode.
    pub(crate) fn map_context(&self, ino: InodeNr, inode: &Inode) -> Context {
        Context {
            ino,
            block_size: self.geo.block_size,
            csum: self.format.seed(ino, inode.generation),
            blocks: self.geo.all_blocks(),
            zones: Arc::from([]),
            checked: None,
        }
    }

    /// Replaces an inode of the filesystem's own, with all its times set to now.
    pub(crate) fn put_special(&self, ino: InodeNr, inode: &mut Inode) -> Result<()> {
        self.set_times(inode);
        let mut bytes = vec![0; self.format.inode_size()];
        let encoded = inode.encode(&mut bytes, ino, &self.format);
        encoded.map_err(|it| Error::Damaged(format!("inode {ino}: {it}")))?;
        self.write_inode(ino, &bytes)
    }

    /// Sets all times of an inode to now.
    pub(crate) fn set_times(&self, inode: &mut Inode) {
        let now = Timestamp { sec: self.now.cast_signed(), nsec: 0 };
        (inode.atime, inode.ctime, inode.mtime) = (now, now, now);
        inode.crtime = inode.crtime.map(|_old| now);
    }

    /// Takes the superblock to the overlay, with its checksum renewed, and reads its meaning anew.
    pub(crate) fn put_superblock(&mut self) -> Result<()> {
        self.raw.update_checksum();
        let (blk, offset) = self.geo.superblock_place();
        let mut block = self.image.read(blk)?;
        let bytes = self.raw.as_bytes();
        let place = block.get_mut(offset..offset + bytes.len()).ok_or(Error::Outside(blk))?;
        place.copy_from_slice(bytes);
        self.image.write(blk, &block)?;
        self.sb = Superblock::decode_unverified(&self.raw)
            .map_err(|it| Error::NoSuperblock(it.to_string()))?;
        Ok(())
    }

    /// Takes a group's descriptor to the overlay, with its checksum renewed.
    pub(crate) fn put_descriptor(&self, group: GroupNr) -> Result<()> {
        let (blk, offset) = self.geo.desc_place(group);
        let mut block = self.image.read(blk)?;
        let place = block.get_mut(offset..offset + self.desc_format.desc_size());
        let desc = self.descs.get(group.0 as usize).ok_or(Error::Outside(blk))?;
        desc.encode(place.ok_or(Error::Outside(blk))?, group, &self.desc_format);
        self.image.write(blk, &block)
    }
}
