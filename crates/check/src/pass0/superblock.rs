//! Fields of a usable superblock that do not go together, or cannot be.

use super::primary;
use crate::{
    Error, Options, Place, Problem, Result,
    gate::Gate,
    problem::pass0::{
        BIT64_WITHOUT_EXTENTS, BOTH_CHECKSUMS, CSUM_SEED_ALONE, DEVICE_TOO_SHORT, DIR_HASH_HINT,
        FRAGMENT_SIZE, FUTURE_MOUNT, FUTURE_MOUNT_SLIGHTLY, FUTURE_WRITE, FUTURE_WRITE_SLIGHTLY,
        GROUP_SIZE, HURD_FILETYPE, MIN_EXTRA_ISIZE, NO_UUID, QUOTA_INODE_NUMBER, RESERVED_GDT,
        RESIZE_INODE_META_BG, REVISION, SUPERBLOCK_FIELD, TEST_FILESYSTEM, WANT_EXTRA_ISIZE,
    },
    session::Session,
};
use ext4_blockdev::{BlockDevice, Overlay};
use ext4_ondisk::{
    checksum::Csum,
    features::{Compat, Features, Incompat, RoCompat},
    group_desc::DescFormat,
    superblock::{RawSuperblock, Superblock},
};
use std::fmt;
use zerocopy::IntoBytes as _;

/// Clocks may be wrong by this much, seconds: the zone of the local time.
const FUDGE: u64 = 24 * 60 * 60;
/// A clock before this, the year 2000, was never set.
const CLOCK_IS_SET: u64 = 946_684_800;
/// The fields that ext4 has behind the first 128 bytes of an inode.
const EXTRA_ISIZE: u16 = 32;
/// Also where nothing reads it, without INCOMPAT 64bit (`EXT2_MAX_DESC_SIZE`).
const MAX_DESC_SIZE: u16 = 1024;
/// Inodes that no quota can be in: bad blocks, root, boot loader, undelete, resize, journal, exclude,
/// replica.
const NOT_QUOTA: [u32; 8] = [1, 2, 5, 6, 7, 8, 9, 10];
/// The only encoding of names that there is (`ext4_sb_encoding_map`).
const UTF8_12_1: u16 = 1;
/// `s_flags`: hashes take bytes as signed, as unsigned, and ext4 is under development.
const SIGNED_HASH: u32 = 1;
const UNSIGNED_HASH: u32 = 2;
const TEST_FILESYS: u32 = 4;

/// What the checks work on.
struct Check<'g, 'a> {
    raw: RawSuperblock,
    sb: Superblock,
    gate: &'g mut Gate<'a>,
    is_changed: bool,
}

/// Checks the fields and mends them, in the overlay too.
pub(super) fn check(
    raw: RawSuperblock,
    sb: Superblock,
    overlay: &Overlay,
    options: &Options,
    gate: &mut Gate<'_>,
) -> Result<RawSuperblock> {
    let mut it = Check { raw, sb, gate, is_changed: false };
    it.size(overlay)?;
    it.shape()?;
    it.features()?;
    it.extra_size()?;
    it.inode_numbers()?;
    it.times(options.now)?;
    if it.is_changed {
        primary::put(overlay, &mut it.raw)?;
    }
    Ok(it.raw)
}

impl Check<'_, '_> {
    fn mend(
        &mut self,
        problem: &'static Problem,
        found: impl fmt::Display,
        expected: impl fmt::Display,
        change: impl FnOnce(&mut RawSuperblock),
    ) -> Result<()> {
        if self.gate.fix(problem, Place::what("superblock"), found, expected)? {
            change(&mut self.raw);
            self.is_changed = true;
        }
        Ok(())
    }

    fn has_compat(&self, bit: Compat) -> bool {
        self.raw.features().has_compat(bit)
    }

    fn has_incompat(&self, bit: Incompat) -> bool {
        self.raw.features().has_incompat(bit)
    }

    fn has_ro_compat(&self, bit: RoCompat) -> bool {
        self.raw.features().has_ro_compat(bit)
    }

    fn size(&mut self, overlay: &Overlay) -> Result<()> {
        let device = overlay.len() >> self.sb.block_size.bits();
        let blocks = self.sb.blocks_count;
        if blocks <= device {
            return Ok(());
        }
        let too_short = Error::TooShort { blocks, device };
        let found = format!("{blocks} blocks");
        let place = Place::what("superblock");
        if self.gate.fix(&DEVICE_TOO_SHORT, place, found, format!("at most {device}"))? {
            return Err(too_short);
        }
        // All that is counted per group is bounded by the device, or nothing is.
        if u64::from(self.sb.groups_count) > device {
            return Err(too_short);
        }
        Ok(())
    }

    /// What only mkfs sets.
    fn shape(&mut self) -> Result<()> {
        let raw = &self.raw;
        if !self.has_ro_compat(RoCompat::BIGALLOC) {
            let (block, fragment) = (raw.s_log_block_size.get(), raw.s_log_cluster_size.get());
            let (blocks, clusters) = (raw.s_blocks_per_group.get(), raw.s_clusters_per_group.get());
            if block != fragment {
                self.mend(&FRAGMENT_SIZE, format!("s_log_cluster_size {fragment}"), block, |it| {
                    it.s_log_cluster_size.set(block);
                })?;
            }
            if blocks != clusters {
                let found = format!("{clusters} clusters per group");
                self.mend(&GROUP_SIZE, found, blocks, |it| it.s_clusters_per_group.set(blocks))?;
            }
        }
        let (reserved, blocks) = (self.sb.r_blocks_count, self.sb.blocks_count);
        if reserved > blocks / 2 {
            let right = blocks / 20;
            self.mend(&SUPERBLOCK_FIELD, format!("s_r_blocks_count {reserved}"), right, |it| {
                it.set_r_blocks_count(right);
            })?;
        }
        let (first, inodes) = (self.sb.first_ino, self.sb.inodes_count);
        if first > inodes && inodes >= 11 {
            self.mend(&SUPERBLOCK_FIELD, format!("s_first_ino {first}"), 11, |it| {
                it.s_first_ino.set(11);
            })?;
        }
        let desc_size = self.raw.s_desc_size.get();
        let is_legal = desc_size == 0 || desc_size.is_power_of_two() && desc_size <= MAX_DESC_SIZE;
        if !self.has_incompat(Incompat::BIT64) && !is_legal {
            self.mend(&SUPERBLOCK_FIELD, format!("s_desc_size {desc_size}"), 0, |it| {
                it.s_desc_size.set(0);
            })?;
        }
        let flex = self.raw.s_log_groups_per_flex;
        if self.has_incompat(Incompat::FLEX_BG) && flex > 31 {
            self.mend(&SUPERBLOCK_FIELD, format!("s_log_groups_per_flex {flex}"), 4, |it| {
                it.s_log_groups_per_flex = 4;
            })?;
        }
        Ok(())
    }

    fn features(&mut self) -> Result<()> {
        let has_any = self.raw.features() != Features::default();
        if self.raw.s_rev_level.get() == 0 && has_any {
            self.mend(&REVISION, 0, 1, RawSuperblock::raise_revision)?;
        }
        let is_of_hurd = self.raw.s_creator_os.get() == RawSuperblock::OS_HURD;
        if is_of_hurd && self.has_linux_features() {
            self.mend(
                &SUPERBLOCK_FIELD,
                format!("s_creator_os {}", RawSuperblock::OS_HURD),
                0,
                |it| {
                    it.s_creator_os.set(0);
                },
            )?;
        } else if is_of_hurd && self.has_incompat(Incompat::FILETYPE) {
            self.mend(&HURD_FILETYPE, "", "", |it| {
                it.change_features(|it| it.incompat -= Incompat::FILETYPE);
            })?;
        }
        if self.has_ro_compat(RoCompat::METADATA_CSUM) && self.has_ro_compat(RoCompat::GDT_CSUM) {
            self.mend(&BOTH_CHECKSUMS, "", "", |it| {
                it.change_features(|it| it.ro_compat -= RoCompat::GDT_CSUM);
            })?;
        }
        if self.has_incompat(Incompat::CSUM_SEED) && !self.has_ro_compat(RoCompat::METADATA_CSUM) {
            self.mend(&CSUM_SEED_ALONE, "", "", |it| {
                it.change_features(|it| it.incompat -= Incompat::CSUM_SEED);
                it.s_checksum_seed.set(0);
            })?;
        }
        if self.has_incompat(Incompat::BIT64) && !self.has_incompat(Incompat::EXTENTS) {
            self.mend(&BIT64_WITHOUT_EXTENTS, "", "", |it| {
                it.change_features(|it| it.incompat |= Incompat::EXTENTS);
            })?;
        }
        let is_single = self.raw.s_log_cluster_size.get() == self.raw.s_log_block_size.get();
        if self.has_ro_compat(RoCompat::BIGALLOC)
            && !self.has_incompat(Incompat::EXTENTS)
            && is_single
        {
            // Clusters of one block are none, and without extents there cannot be larger ones.
            self.mend(&SUPERBLOCK_FIELD, "bigalloc without extents", "", |it| {
                it.change_features(|it| it.ro_compat -= RoCompat::BIGALLOC);
            })?;
        }
        if self.has_compat(Compat::RESIZE_INODE) && self.has_incompat(Incompat::META_BG) {
            self.mend(&RESIZE_INODE_META_BG, "", "", |it| {
                it.change_features(|it| it.compat -= Compat::RESIZE_INODE);
            })?;
        }
        let encoding = self.raw.s_encoding.get();
        if self.has_incompat(Incompat::CASEFOLD) && encoding != UTF8_12_1 {
            let found = format!("s_encoding {encoding}");
            self.mend(&SUPERBLOCK_FIELD, found, UTF8_12_1, |it| it.s_encoding.set(UTF8_12_1))?;
        }
        let reserved = self.raw.s_reserved_gdt_blocks.get();
        if !self.has_compat(Compat::RESIZE_INODE) && reserved != 0 {
            self.mend(&RESERVED_GDT, reserved, 0, |it| it.s_reserved_gdt_blocks.set(0))?;
        }
        let flags = self.raw.s_flags.get();
        if flags & TEST_FILESYS != 0 {
            self.mend(&TEST_FILESYSTEM, "", "", |it| {
                it.s_flags.set(it.s_flags.get() & !TEST_FILESYS);
            })?;
        }
        let has_hint = flags & (SIGNED_HASH | UNSIGNED_HASH) != 0;
        if self.has_compat(Compat::DIR_INDEX) && !has_hint {
            self.mend(&DIR_HASH_HINT, "", "signed", |it| {
                it.s_flags.set(it.s_flags.get() | SIGNED_HASH);
            })?;
        }
        Ok(())
    }

    /// Whether there is more than the Hurd ever knew: the field of the creator is what is wrong.
    fn has_linux_features(&self) -> bool {
        let Features { incompat, ro_compat, .. } = self.raw.features();
        let old = RoCompat::SPARSE_SUPER | RoCompat::LARGE_FILE;
        !(incompat - Incompat::FILETYPE).is_empty() || !(ro_compat - old).is_empty()
    }

    fn extra_size(&mut self) -> Result<()> {
        let room = self.sb.inode_size - 128;
        let is_bad =
            |size: u16| size != 0 && (!(4..=room).contains(&size) || !size.is_multiple_of(4));
        if room == 0 {
            return Ok(());
        }
        let (least, want) = (self.raw.s_min_extra_isize.get(), self.raw.s_want_extra_isize.get());
        if is_bad(least) {
            self.mend(&MIN_EXTRA_ISIZE, least, EXTRA_ISIZE, |it| {
                it.s_min_extra_isize.set(EXTRA_ISIZE);
            })?;
        }
        if is_bad(want) {
            self.mend(&WANT_EXTRA_ISIZE, want, EXTRA_ISIZE, |it| {
                it.s_want_extra_isize.set(EXTRA_ISIZE);
            })?;
        }
        Ok(())
    }

    fn inode_numbers(&mut self) -> Result<()> {
        let raw = &self.raw;
        let numbers = [raw.s_usr_quota_inum, raw.s_grp_quota_inum, raw.s_prj_quota_inum];
        for (kind, number) in numbers.into_iter().enumerate() {
            let ino = number.get();
            if !NOT_QUOTA.contains(&ino) && ino <= self.sb.inodes_count {
                continue;
            }
            let name = ["user", "group", "project"].get(kind).copied().unwrap_or_default();
            self.mend(&QUOTA_INODE_NUMBER, format!("{name} quota in inode {ino}"), "", |it| {
                match kind {
                    0 => it.s_usr_quota_inum.set(0),
                    1 => it.s_grp_quota_inum.set(0),
                    _ => it.s_prj_quota_inum.set(0),
                }
            })?;
        }
        Ok(())
    }

    fn times(&mut self, now: u64) -> Result<()> {
        if now < CLOCK_IS_SET {
            return Ok(());
        }
        let raw = &self.raw;
        let mount = u64::from(raw.s_mtime_hi) << 32 | u64::from(raw.s_mtime.get());
        let write = u64::from(raw.s_wtime_hi) << 32 | u64::from(raw.s_wtime.get());
        let (low, high) = ((now & 0xFFFF_FFFF) as u32, (now >> 32 & 0xFF) as u8);
        if mount > now {
            let is_slight = mount <= now + FUDGE;
            let problem = if is_slight { &FUTURE_MOUNT_SLIGHTLY } else { &FUTURE_MOUNT };
            self.mend(problem, mount, now, |it| {
                it.s_mtime.set(low);
                it.s_mtime_hi = high;
            })?;
        }
        if write > now {
            let is_slight = write <= now + FUDGE;
            let problem = if is_slight { &FUTURE_WRITE_SLIGHTLY } else { &FUTURE_WRITE };
            self.mend(problem, write, now, |it| {
                it.s_wtime.set(low);
                it.s_wtime_hi = high;
            })?;
        }
        Ok(())
    }
}

/// Gives a filesystem a uuid that has none. Checksums that began with the old one stay right: those
/// of crc32c through a seed of their own, those of descriptors are renewed.
pub(super) fn name(session: &mut Session<'_, '_>) -> Result<()> {
    if session.raw.s_uuid != [0; 16] || !session.fix(&NO_UUID, Place::what("superblock"), "", "")? {
        return Ok(());
    }
    let has_csum = session.sb.features.has_ro_compat(RoCompat::METADATA_CSUM);
    let has_seed = session.sb.features.has_incompat(Incompat::CSUM_SEED);
    if has_csum && !has_seed {
        session.raw.s_checksum_seed.set(session.sb.csum_seed.0);
        session.raw.change_features(|it| it.incompat |= Incompat::CSUM_SEED);
    }
    session.raw.s_uuid = uuid(&session.raw, session.now);
    session.put_superblock()?;
    session.desc_format = DescFormat::new(&session.sb);
    for group in session.geo.groups() {
        session.put_descriptor(group)?;
    }
    Ok(())
}

/// A uuid of the random kind, in which the superblock's contents and the time stand for chance: the
/// same run comes to the same one.
fn uuid(raw: &RawSuperblock, now: u64) -> [u8; 16] {
    let mut uuid = [0; 16];
    let mut csum = Csum::START.over(&now.to_le_bytes());
    for word in uuid.chunks_exact_mut(4) {
        csum = csum.over(raw.as_bytes());
        word.copy_from_slice(&csum.0.to_le_bytes());
    }
    uuid[6] = uuid[6] & 0x0F | 0x40;
    uuid[8] = uuid[8] & 0x3F | 0x80;
    uuid
}
