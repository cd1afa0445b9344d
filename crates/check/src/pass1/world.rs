//! What the check of an inode may look at: the image, its frame, and the filesystem's own blocks.

use super::{budget::Budget, found::Attributes};
use crate::{
    Error, Place, Problem, Result, bits::Bits, gate::Gate, image::Image, inode_tables::InodeTables,
};
use ext4_ondisk::{
    geometry::Geometry,
    group_desc::GroupDesc,
    inode::InodeFormat,
    superblock::{RawSuperblock, Superblock},
};
use ext4_units::{BlockNr, InodeNr};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

/// Before this second, times behind the year 2310 are taken for times before 1970 that were
/// encoded badly.
const NEGATIVE_CUTOFF: u64 = 2 << 32;
/// The year 2016, since when kernels have encoded them well: on a filesystem that is younger they
/// are what they say, whatever e2fsck 1.47.0 makes of them.
const WELL_ENCODED: u32 = 1_451_606_400;

/// What the check of an inode may look at. The same for all threads.
#[derive(Clone, Copy, Debug)]
pub(super) struct World<'w> {
    pub(super) image: &'w Image,
    pub(super) raw: &'w RawSuperblock,
    pub(super) sb: &'w Superblock,
    pub(super) geo: Geometry,
    pub(super) format: InodeFormat,
    pub(super) descs: &'w [GroupDesc],
    /// The filesystem's own blocks.
    pub(super) metadata: &'w Bits,
    /// Seconds since 1970.
    pub(super) now: u64,
    /// Whether a small deletion time means an entry of the orphan list.
    pub(super) knows_low_dtime: bool,
    /// Blocks of inode tables that were garbage before anything in them was mended.
    pub(super) garbage: &'w BTreeSet<BlockNr>,
    /// What all maps together may name.
    pub(super) budget: &'w Budget,
    /// Whether space is counted by owner.
    pub(super) has_quota: bool,
}

impl World<'_> {
    /// Whether files may have this block: inside the filesystem and inside the device.
    pub(super) fn is_block(&self, blk: BlockNr) -> bool {
        blk.0 != 0 && self.geo.contains(blk) && blk.0 < self.image.n_blocks()
    }

    /// The block after the last one that files may have.
    pub(super) fn end(&self) -> u64 {
        self.geo.blocks_count.min(self.image.n_blocks())
    }

    /// The cluster of a block.
    pub(super) const fn cluster(&self, blk: u64) -> u64 {
        blk >> self.geo.cluster_ratio_bits
    }

    /// Whether inodes have fields of the Hurd where Linux has others.
    pub(super) fn is_hurd(&self) -> bool {
        self.raw.s_creator_os.get() == RawSuperblock::OS_HURD
    }

    /// Whether kernels that encoded times badly may have written to the filesystem.
    pub(super) fn has_old_times(&self) -> bool {
        self.now < NEGATIVE_CUTOFF && self.raw.s_mkfs_time.get() < WELL_ENCODED
    }

    /// Whether no directory names an inode though its number is an ordinary one's.
    pub(super) fn is_hidden(&self, ino: InodeNr) -> bool {
        ino.get() >= self.geo.first_ino
            && (self.sb.quota_inums[2] == Some(ino) || self.sb.orphan_file_inum == Some(ino))
    }

    fn inodes(&self) -> InodeTables<'_> {
        InodeTables { image: self.image, geo: &self.geo, descs: self.descs }
    }

    /// The block that an inode is in.
    pub(super) fn inode_block(&self, ino: InodeNr) -> Option<BlockNr> {
        self.inodes().place(ino).map(|it| it.0)
    }

    /// An inode's bytes; `None` where its table is not inside the device.
    pub(super) fn read_inode(&self, ino: InodeNr) -> Result<Option<Vec<u8>>> {
        self.inodes().read(ino)
    }

    /// Replaces an inode in the overlay, with its checksum renewed.
    pub(super) fn write_inode(&self, ino: InodeNr, bytes: &[u8]) -> Result<()> {
        self.inodes().write(ino, bytes, &self.format)
    }
}

/// Attribute blocks that were found good.
pub(super) type Known = BTreeMap<BlockNr, Attributes>;

/// Whom the check of an inode tells what it meets.
pub(super) trait Ask {
    /// As [`Gate::fix`].
    fn fix(
        &mut self,
        problem: &'static Problem,
        place: Place,
        found: &dyn fmt::Display,
        expected: &dyn fmt::Display,
    ) -> Result<bool>;

    /// Whether what is met may be mended here and now.
    fn may_mend(&self) -> bool;

    /// Ends a scan's look at an inode that there is something to say about.
    fn doubt(&self) -> Result<()> {
        if self.may_mend() { Ok(()) } else { Err(Error::Suspect) }
    }
}

impl Ask for Gate<'_> {
    fn fix(
        &mut self,
        problem: &'static Problem,
        place: Place,
        found: &dyn fmt::Display,
        expected: &dyn fmt::Display,
    ) -> Result<bool> {
        Gate::fix(self, problem, place, found, expected)
    }

    fn may_mend(&self) -> bool {
        true
    }
}

/// Asks nobody: whatever there is to say makes the inode a suspect.
#[derive(Debug)]
pub(super) struct Nobody;

impl Ask for Nobody {
    fn fix(
        &mut self,
        _problem: &'static Problem,
        _place: Place,
        _found: &dyn fmt::Display,
        _expected: &dyn fmt::Display,
    ) -> Result<bool> {
        Err(Error::Suspect)
    }

    fn may_mend(&self) -> bool {
        false
    }
}
