//! The check of one inode, from its first field to its last block.
//!
//! One code for both ways an inode is met: by the scan, where whatever there is to say makes it a
//! suspect, and alone, where it is mended. The order is that of `e2fsck_pass1`.

use super::{
    budget::Budget,
    found::Found,
    map::Map,
    world::{Ask, Known, World},
};
use crate::{
    Error, Place, Problem, Result,
    facts::Usage,
    inode_tables::deletion_time,
    problem::pass1::{
        CASEFOLD_FEATURE, CASEFOLD_NO_DIR, EA_INODE_KIND, EMPTY_DIRECTORY, EXTENTS_FEATURE,
        EXTENTS_FLAG, FAST_SYMLINK_EXTENTS, IMAGIC_FLAG, INODE_CHECKSUM, INODE_GARBAGE, LOW_DTIME,
        MAP_OF_OTHERS, NO_EXTENTS_FLAG, SET_DTIME, ZERO_DTIME,
    },
};
use ext4_ondisk::{
    features::{Features, Incompat, RoCompat},
    inode::{FileType, InodeFlags, RawInode},
};
use ext4_units::InodeNr;
use std::{borrow::Cow, fmt};
use zerocopy::IntoBytes as _;

/// What became of an inode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is what it is; what it brings counts.
    Kept,
    /// It was cleared.
    Cleared,
}

/// An inode under check.
pub(super) struct Check<'c> {
    pub(super) world: &'c World<'c>,
    pub(super) gate: &'c mut dyn Ask,
    pub(super) known: &'c Known,
    pub(super) ino: InodeNr,
    /// The first fields, as mended so far.
    pub(super) raw: RawInode,
    /// All bytes; the fields in them as they were, what is behind as mended so far.
    pub(super) bytes: Cow<'c, [u8]>,
    pub(super) is_dirty: bool,
    /// Features as mended so far: `world` has them as they were.
    pub(super) features: Features,
    pub(super) has_bad_checksum: bool,
    /// Clusters of values of its own attributes, and the inodes they are in.
    pub(super) body_values: (u64, u64),
    /// The encryption context among its own attributes.
    pub(super) context: Option<Vec<u8>>,
    pub(super) found: &'c mut Found,
}

impl Check<'_> {
    /// Tells of a problem of this inode.
    pub(super) fn fix(
        &mut self,
        problem: &'static Problem,
        found: impl fmt::Display,
        expected: impl fmt::Display,
    ) -> Result<bool> {
        self.fix_at(problem, Place::inode(self.ino), found, expected)
    }

    /// Tells of a problem of this inode, at a place in it.
    pub(super) fn fix_at(
        &mut self,
        problem: &'static Problem,
        place: Place,
        found: impl fmt::Display,
        expected: impl fmt::Display,
    ) -> Result<bool> {
        self.gate.fix(problem, place, &found, &expected)
    }

    pub(super) fn flags(&self) -> InodeFlags {
        InodeFlags::from_bits_retain(self.raw.i_flags.get())
    }

    pub(super) fn has_flag(&self, flag: InodeFlags) -> bool {
        self.flags().contains(flag)
    }

    pub(super) fn clear_flags(&mut self, flags: InodeFlags) {
        self.raw.i_flags.set(self.raw.i_flags.get() & !flags.bits());
        self.is_dirty = true;
    }

    pub(super) fn kind(&self) -> FileType {
        FileType::of_mode(self.raw.i_mode.get())
    }

    /// `i_size`; of a directory that may not be large the low half, as pass 2 clears the other.
    pub(super) fn size(&self) -> u64 {
        let is_low =
            self.kind() == FileType::Directory && !self.features.has_incompat(Incompat::LARGEDIR);
        let high = if is_low { 0 } else { self.raw.i_size_high.get() };
        u64::from(high) << 32 | u64::from(self.raw.i_size_lo.get())
    }

    pub(super) fn set_size(&mut self, size: u64) {
        self.raw.i_size_lo.set((size & 0xFFFF_FFFF) as u32);
        self.raw.i_size_high.set((size >> 32) as u32);
        self.is_dirty = true;
    }

    /// `i_blocks` in its own unit (`ext2fs_inode_i_blocks`).
    pub(super) fn i_blocks(&self) -> u64 {
        let low = u64::from(self.raw.i_blocks_lo.get());
        if self.features.has_ro_compat(RoCompat::HUGE_FILE) {
            low | u64::from(self.raw.l_i_blocks_high.get()) << 32
        } else {
            low
        }
    }

    /// The attribute block, as far as the filesystem's numbers are wide.
    pub(super) fn file_acl(&self) -> u64 {
        let low = u64::from(self.raw.i_file_acl_lo.get());
        if self.features.has_incompat(Incompat::BIT64) {
            low | u64::from(self.raw.l_i_file_acl_high.get()) << 32
        } else {
            low
        }
    }

    /// A word of `i_block`.
    pub(super) fn word(&self, nr: usize) -> u32 {
        let at = nr * 4;
        let word = self.raw.i_block.get(at..at + 4).and_then(|it| it.try_into().ok());
        word.map_or(0, u32::from_le_bytes)
    }

    pub(super) fn is_special(&self) -> bool {
        self.ino != InodeNr::ROOT && self.ino.get() < self.world.geo.first_ino
    }

    /// Bytes behind the first 128 that are fields.
    pub(super) fn extra_isize(&self) -> usize {
        if self.bytes.len() > 128 { usize::from(self.raw.i_extra_isize.get()) } else { 0 }
    }

    /// The bytes behind the fields: attributes.
    pub(super) fn body(&self) -> &[u8] {
        let from = 128 + self.extra_isize();
        if self.bytes.len() > 128 { self.bytes.get(from..).unwrap_or_default() } else { &[] }
    }

    /// Frees the inode, as `e2fsck_clear_inode`.
    pub(super) fn clear(&mut self) -> Verdict {
        let now = deletion_time(self.world.now);
        if self.ino == InodeNr::BAD_BLOCKS {
            self.raw.as_mut_bytes()[..128].fill(0);
        }
        self.raw.i_flags.set(0);
        self.raw.i_links_count.set(0);
        self.raw.i_dtime.set(now);
        if self.ino.get() < self.world.geo.first_ino {
            self.raw.i_block = [0; 60];
            if self.ino != InodeNr::ROOT {
                self.raw.i_dtime.set(0);
            }
        }
        self.is_dirty = true;
        self.found.clear();
        Verdict::Cleared
    }

    /// Makes all bytes zero, where an inode has no business to be anything else.
    pub(super) fn wipe(&mut self) {
        self.raw.as_mut_bytes().fill(0);
        self.bytes.to_mut().fill(0);
        self.is_dirty = true;
    }

    /// Checks the inode and writes it where it was mended.
    pub(super) fn run(&mut self) -> Result<Verdict> {
        let verdict = self.look()?;
        if verdict == Verdict::Kept
            && self.has_bad_checksum
            && !self.is_dirty
            && self.fix(&INODE_CHECKSUM, "", "")?
        {
            self.is_dirty = true;
        }
        if self.is_dirty {
            self.write()?;
        }
        if verdict == Verdict::Cleared {
            self.found.clear();
        }
        Ok(verdict)
    }

    /// Writes the inode as mended so far.
    fn write(&mut self) -> Result<()> {
        self.raw.write_to(self.bytes.to_mut());
        self.world.write_inode(self.ino, &self.bytes)
    }

    fn look(&mut self) -> Result<Verdict> {
        if self.has_bad_checksum {
            self.gate.doubt()?;
            let links = self.raw.i_links_count.get();
            if links > 0 && self.is_garbage() && self.fix(&INODE_GARBAGE, "", "")? {
                return Ok(self.clear());
            }
        }
        self.deletion_time()?;
        let nr = self.ino.get();
        if self.raw.i_links_count.get() == 0 && nr >= self.world.geo.first_ino {
            if self.raw.i_dtime.get() == 0
                && self.raw.i_mode.get() != 0
                && !self.is_hidden()
                && self.fix(&ZERO_DTIME, 0, "")?
            {
                self.raw.i_dtime.set(deletion_time(self.world.now));
                self.is_dirty = true;
            }
            if !self.is_hidden() {
                return Ok(Verdict::Kept);
            }
        }
        self.found.links = self.raw.i_links_count.get();
        self.flags_of_kind()?;
        if self.contradicting_flags()? == Verdict::Cleared
            || self.inline_data_flag()? == Verdict::Cleared
            || self.extents_flag()? == Verdict::Cleared
        {
            return Ok(Verdict::Cleared);
        }
        if let Some(verdict) = self.special()? {
            return Ok(verdict);
        }
        if self.raw.i_links_count.get() == 0 {
            return Ok(Verdict::Kept);
        }
        if self.raw.i_dtime.get() != 0 && self.fix(&SET_DTIME, self.raw.i_dtime.get(), 0)? {
            self.raw.i_dtime.set(0);
            self.is_dirty = true;
        }
        self.found.is_used = true;
        self.odd_fields();
        if self.has_flag(InodeFlags::IMAGIC)
            && !self.features.has_compat(ext4_ondisk::features::Compat::IMAGIC_INODES)
            && self.fix(&IMAGIC_FLAG, "", "")?
        {
            self.clear_flags(InodeFlags::IMAGIC);
        }
        self.extra_space()?;
        self.maybe_directory()?;
        if self.features.has_incompat(Incompat::EXTENTS)
            && self.has_flag(InodeFlags::EXTENTS)
            && self.kind() == FileType::Symlink
            && !self.has_blocks()
            && self.fix(&FAST_SYMLINK_EXTENTS, "", "")?
        {
            self.clear_flags(InodeFlags::EXTENTS);
        }
        if self.has_flag(InodeFlags::ENCRYPT) && self.encryption()? == Verdict::Cleared {
            return Ok(Verdict::Cleared);
        }
        if self.by_kind()? {
            return Ok(Verdict::Kept);
        }
        let verdict = self.blocks()?;
        self.is_its_kind_after_all()?;
        Ok(verdict)
    }

    /// A deletion time of an inode in use, or one that is a link of the orphan list.
    fn deletion_time(&mut self) -> Result<()> {
        let dtime = self.raw.i_dtime.get();
        if dtime != 0 && self.world.knows_low_dtime && dtime < self.world.geo.inodes_count {
            let is_used = self.raw.i_links_count.get() != 0;
            if self.fix(&LOW_DTIME, dtime, "")? {
                let now = deletion_time(self.world.now);
                self.raw.i_dtime.set(if is_used { 0 } else { now });
                self.is_dirty = true;
            }
        }
        Ok(())
    }

    /// Flags that only some kinds may have.
    fn flags_of_kind(&mut self) -> Result<()> {
        let kind = self.kind();
        if self.has_flag(InodeFlags::CASEFOLD) {
            let is_wrong = kind != FileType::Directory && self.fix(&CASEFOLD_NO_DIR, "", "")?
                || !self.features.has_incompat(Incompat::CASEFOLD)
                    && self.fix(&CASEFOLD_FEATURE, "", "")?;
            if is_wrong {
                self.clear_flags(InodeFlags::CASEFOLD);
            }
        }
        if self.has_flag(InodeFlags::EA_INODE) {
            if kind != FileType::Regular && self.fix(&EA_INODE_KIND, "", "")? {
                self.clear_flags(InodeFlags::EA_INODE);
            }
            self.found.is_ea_inode = self.has_flag(InodeFlags::EA_INODE);
        }
        Ok(())
    }

    /// Whether `i_block` begins as a tree of extents does.
    pub(super) fn looks_like_extents(&self) -> bool {
        super::tree::header(&self.raw.i_block).is_ok()
    }

    /// The extents flag against the feature and against what `i_block` looks like.
    fn extents_flag(&mut self) -> Result<Verdict> {
        let own = [InodeNr::BAD_BLOCKS, InodeNr::ROOT, InodeNr::JOURNAL];
        if self.raw.i_links_count.get() == 0 && !own.contains(&self.ino) {
            return Ok(Verdict::Kept);
        }
        let has_feature = self.features.has_incompat(Incompat::EXTENTS);
        if self.has_flag(InodeFlags::EXTENTS) {
            if has_feature {
                return Ok(Verdict::Kept);
            }
            if self.looks_like_extents() && self.fix(&EXTENTS_FEATURE, "", "")? {
                self.features.incompat |= Incompat::EXTENTS;
            } else if self.fix(&EXTENTS_FLAG, "", "")? {
                return Ok(self.clear());
            }
        } else if has_feature
            && matches!(self.kind(), FileType::Regular | FileType::Directory)
            && self.looks_like_extents()
            && self.fix(&NO_EXTENTS_FLAG, "", "")?
        {
            self.raw.i_flags.set(self.raw.i_flags.get() | InodeFlags::EXTENTS.bits());
            self.is_dirty = true;
        }
        Ok(Verdict::Kept)
    }

    /// Fields that no inode in use should have, which pass 2 mends where it meets a name.
    fn odd_fields(&mut self) {
        let features = self.features;
        let is_large_dir = self.kind() == FileType::Directory
            && self.raw.i_size_high.get() != 0
            && !features.has_incompat(Incompat::LARGEDIR);
        let is_linux = !self.world.is_hurd();
        let has_high_acl = is_linux
            && !features.has_incompat(Incompat::BIT64)
            && self.raw.l_i_file_acl_high.get() != 0;
        // The Hurd has numbers of fragments there.
        let has_high_blocks = (!is_linux || !features.has_ro_compat(RoCompat::HUGE_FILE))
            && self.raw.l_i_blocks_high.get() != 0;
        self.found.is_odd |=
            self.raw.i_obso_faddr.get() != 0 || is_large_dir || has_high_acl || has_high_blocks;
    }

    /// Whether `i_block` maps blocks (`ext2fs_inode_has_valid_blocks2`).
    pub(super) fn has_blocks(&self) -> bool {
        match self.kind() {
            FileType::Regular | FileType::Directory => {}
            FileType::Symlink if self.file_acl() == 0 => {
                // The high half does not make blocks of a target.
                let holds_nothing_else = self.body_values.0 == 0 && self.holds_target();
                if self.raw.i_blocks_lo.get() == 0 || holds_nothing_else {
                    return false;
                }
            }
            FileType::Symlink => {
                let size = self.raw.i_size_lo.get();
                let is_long = size >= 60 || size > 4 && self.word(1) == 0;
                if !is_long {
                    return false;
                }
            }
            _ => return false,
        }
        !self.has_flag(InodeFlags::INLINE_DATA)
    }

    /// Blocks, sizes and counts: `check_blocks`.
    pub(super) fn blocks(&mut self) -> Result<Verdict> {
        let mut map = Map::default();
        let mut clusters = self.body_values.0;
        let mut inodes = self.body_values.1;
        if let Some(attributes) = self.attribute_block()? {
            clusters += attributes.0;
            inodes += attributes.1;
        }
        let is_inline = self.has_flag(InodeFlags::INLINE_DATA)
            && self.features.has_incompat(Incompat::INLINE_DATA);
        if !is_inline && self.has_blocks() {
            let has_extents =
                self.features.has_incompat(Incompat::EXTENTS) && self.has_flag(InodeFlags::EXTENTS);
            let walked =
                if has_extents { self.extents(&mut map) } else { self.block_map(&mut map) };
            if let Some(verdict) = self.judge_walk(&map, walked)? {
                return Ok(verdict);
            }
        }
        map.clusters += clusters;
        if self.has_flag(InodeFlags::INDEX) && self.is_bad_index(&map)? {
            self.clear_flags(InodeFlags::INDEX);
        }
        let is_dir = self.kind() == FileType::Directory;
        if is_dir
            && map.clusters == 0
            && !self.has_flag(InodeFlags::INLINE_DATA)
            && self.fix(&EMPTY_DIRECTORY, "", "")?
        {
            return Ok(self.clear());
        }
        self.count_usage(&map, inodes);
        self.check_size(&map)?;
        self.check_count(&map)?;
        self.old_map_with_clusters(&mut map)?;
        let (size, is_indexed) = (self.size(), self.has_flag(InodeFlags::INDEX));
        if let Some(directory) = &mut self.found.directory {
            directory.size = size;
            directory.is_indexed = is_indexed;
            directory.is_inline = is_inline;
            directory.runs = std::mem::take(&mut map.runs);
        }
        Ok(Verdict::Kept)
    }

    /// What a walk over the map came to, where that is the end: a tree that is none, or one that was not
    /// worth going on with. Sizes and counts are then nobody's business.
    pub(super) fn judge_walk(
        &mut self,
        map: &Map,
        walked: Result<Verdict>,
    ) -> Result<Option<Verdict>> {
        match walked {
            Ok(Verdict::Kept) => Ok(None),
            Ok(Verdict::Cleared) => Ok(Some(self.clear())),
            Err(Error::NotWorthIt) if self.fix(&MAP_OF_OTHERS, map.again, Budget::AGAIN)? => {
                Ok(Some(self.clear()))
            }
            Err(Error::NotWorthIt) => {
                self.found.is_unread = true;
                Ok(Some(Verdict::Kept))
            }
            Err(other) => Err(other),
        }
    }

    /// Space and inodes of the owner.
    fn count_usage(&mut self, map: &Map, inodes: u64) {
        if !self.world.has_quota || self.is_special() || self.is_hidden() || self.found.is_ea_inode
        {
            return;
        }
        let wide = |low: u16, high: u16| u32::from(high) << 16 | u32::from(low);
        let raw = &self.raw;
        let has_project = 128 + self.extra_isize() >= 160;
        let owners = [
            wide(raw.i_uid.get(), raw.l_i_uid_high.get()),
            wide(raw.i_gid.get(), raw.l_i_gid_high.get()),
            if has_project { raw.i_projid.get() } else { 0 },
        ];
        let bytes = map.clusters.saturating_mul(self.world.sb.cluster_bytes());
        self.found.usage = Some((owners, Usage { inodes: inodes + 1, bytes }));
    }

    /// Whether no directory names the inode though its number is an ordinary one's.
    pub(super) fn is_hidden(&self) -> bool {
        self.world.is_hidden(self.ino)
    }

    /// Whether most of the inodes around it make no sense either.
    fn is_garbage(&self) -> bool {
        let block = self.world.inode_block(self.ino);
        block.is_some_and(|blk| self.world.garbage.contains(&blk))
    }
}
