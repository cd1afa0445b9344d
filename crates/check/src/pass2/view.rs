//! What the check of one directory sees, and what it comes to.

use crate::{Error, Place, Problem, Result, facts::Facts, image::Image, inode_tables::InodeTables};
use ext4_ondisk::{
    features::Incompat,
    geometry::Geometry,
    group_desc::{GroupDesc, GroupFlags},
    inode::{FileType, InodeFormat, RawInode},
    superblock::Superblock,
};
use ext4_units::{BlockNr, InodeNr};
use std::collections::BTreeSet;

/// Tells of a problem and learns whether to mend it. A scan gets [`Error::Suspect`] instead.
pub(crate) type Ask<'a> = dyn FnMut(&'static Problem, Place, String, String) -> Result<bool> + 'a;

/// Answers as a scan has to: with what is to be asked it has nothing to do.
pub(crate) fn suspect(
    _problem: &'static Problem,
    _place: Place,
    _found: String,
    _expected: String,
) -> Result<bool> {
    Err(Error::Suspect)
}

/// The filesystem as the check of one directory sees it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct View<'v> {
    pub(crate) image: &'v Image,
    pub(crate) sb: &'v Superblock,
    pub(crate) geo: &'v Geometry,
    pub(crate) format: &'v InodeFormat,
    pub(crate) descs: &'v [GroupDesc],
    pub(crate) facts: &'v Facts,
}

/// What the check of one directory came to.
#[derive(Clone, Debug, Default)]
pub(crate) struct Report {
    /// Inodes that have a name in it, `.` and `..` included, in their order.
    pub(crate) names: Vec<InodeNr>,
    /// Directories among them, without `.` and `..`.
    pub(crate) children: BTreeSet<InodeNr>,
    /// Where `..` leads.
    pub(crate) dotdot: Option<InodeNr>,
    /// Blocks to write.
    pub(crate) blocks: Vec<(BlockNr, Vec<u8>)>,
    /// Inodes to be freed, whose names are cleared.
    pub(crate) to_clear: Vec<InodeNr>,
    /// Inodes with these fields to be written.
    pub(crate) inodes: Vec<(InodeNr, Vec<u8>)>,
    /// The index is to be dropped, and the directory made anew from its names.
    pub(crate) is_to_rebuild: bool,
    /// Groups whose flags hid inodes in use: to be looked at, from the beginning.
    pub(crate) hidden: Vec<(ext4_units::GroupNr, bool)>,
}

impl Report {
    /// Forgets everything but the room.
    pub(crate) fn clear(&mut self) {
        let mut names = std::mem::take(&mut self.names);
        names.clear();
        *self = Self { names, ..Self::default() };
    }
}

impl View<'_> {
    pub(crate) fn has_filetype(&self) -> bool {
        self.sb.features.has_incompat(Incompat::FILETYPE)
    }

    /// Whether files may have this block: inside the filesystem and inside the device.
    pub(crate) fn is_block(&self, blk: BlockNr) -> bool {
        blk.0 != 0 && self.geo.contains(blk) && blk.0 < self.image.n_blocks()
    }

    /// An inode's bytes.
    pub(crate) fn read_inode(&self, ino: InodeNr) -> Result<Vec<u8>> {
        let Self { image, geo, descs, .. } = *self;
        InodeTables { image, geo, descs }.read(ino)?.ok_or(Error::Outside(BlockNr(0)))
    }

    /// The kind of an inode in use.
    pub(crate) fn file_type(&self, ino: InodeNr) -> Result<FileType> {
        let nr = u64::from(ino.get());
        if self.facts.regular.contains(nr) {
            return Ok(FileType::Regular);
        }
        if self.facts.symlinks.contains(nr) {
            return Ok(FileType::Symlink);
        }
        if self.facts.directories.contains(ino) {
            return Ok(FileType::Directory);
        }
        let raw = RawInode::read(&self.read_inode(ino)?);
        Ok(FileType::of_mode(raw.i_mode.get()))
    }

    /// Whether flags of its group hide an inode: the whole group, or the unused end of its table.
    pub(crate) fn is_hidden(&self, ino: InodeNr) -> Option<(ext4_units::GroupNr, bool)> {
        if !self.sb.features.has_group_desc_csum() {
            return None;
        }
        let place = self.geo.inode_place(ino)?;
        let desc = self.descs.get(place.group.0 as usize)?;
        if desc.flags.contains(GroupFlags::INODE_UNINIT) {
            return Some((place.group, true));
        }
        let used = self.geo.inodes_per_group.saturating_sub(desc.itable_unused);
        (place.index >= used).then_some((place.group, false))
    }
}
