//! Copies of the superblock: where they may be, and which of them to believe.
//!
//! A copy is believed when it makes sense by itself, has a right checksum where it has one, and lies
//! at the start of the very group that it says it is in. An image of another filesystem inside a
//! file has copies too, but not at such places.

use super::primary::judge;
use crate::{Error, Place, Result, problem::pass0::COPIES_STALE, session::Session};
use ext4_blockdev::{BlockDevice, Overlay};
use ext4_ondisk::{
    features::{Compat, Incompat, RoCompat},
    superblock::RawSuperblock,
};
use ext4_units::{BlockSize, GroupNr};
use zerocopy::{FromZeros as _, IntoBytes as _};

/// Groups that have copies, in the order they are looked at.
const USUAL_GROUPS: [u64; 11] = [1, 3, 5, 7, 9, 25, 27, 49, 81, 125, 243];
/// How far a device is searched when no copy is at a usual place: group 1 begins before this with
/// blocks of up to 8 KiB, whatever the size of groups.
const SEARCHED: u64 = 512 << 20;
/// Bytes of the device that are looked through at once.
const PIECE: usize = 1 << 20;
/// Most copies that are compared.
const MOST: usize = 64;

/// A copy that can be believed.
#[derive(Clone, Debug)]
pub(super) struct Copy {
    /// Its block, in blocks of the filesystem.
    pub(super) block: u64,
    pub(super) raw: RawSuperblock,
}

/// The superblock's bytes at `offset`; `None` behind the end.
pub(super) fn read(overlay: &Overlay, offset: u64) -> Result<Option<RawSuperblock>> {
    let mut raw = RawSuperblock::new_zeroed();
    let end = offset.checked_add(RawSuperblock::SIZE as u64);
    if end.is_none_or(|end| end > overlay.len()) {
        return Ok(None);
    }
    overlay.read_at(offset, raw.as_mut_bytes())?;
    Ok(Some(raw))
}

/// The copy at `block`, counted in blocks of `size` or, without, of whatever size it says itself.
///
/// # Errors
/// [`Error::NoSuperblock`] when there is none.
pub(super) fn asked_for(overlay: &Overlay, block: u64, size: Option<u32>) -> Result<Copy> {
    let sizes: Vec<_> = match size {
        Some(bytes) => BlockSize::from_bytes(bytes).into_iter().collect(),
        None => (10..=16).filter_map(BlockSize::from_bits).collect(),
    };
    for size in sizes {
        let Some(offset) = block.checked_mul(size.bytes().into()) else { continue };
        // Block 0 holds the first one behind the boot sectors, whatever its size.
        let offset = offset.max(RawSuperblock::OFFSET);
        let Some(raw) = read(overlay, offset)? else { continue };
        if let Ok(sb) = judge(&raw, overlay.len())
            && sb.block_size == size
        {
            return Ok(Copy { block, raw });
        }
    }
    Err(Error::NoSuperblock(format!("block {block} holds no usable copy of one")))
}

/// The copy that most others agree with, the first of them.
pub(super) fn best(overlay: &Overlay, primary: Option<&RawSuperblock>) -> Result<Option<Copy>> {
    let mut found = Vec::new();
    for offset in usual_places(overlay.len(), primary) {
        if found.len() < MOST {
            found.extend(believed(overlay, offset)?);
        }
    }
    if found.is_empty() {
        found = search(overlay)?;
    }
    let votes = |it: &Copy| found.iter().filter(|other| same_frame(&it.raw, &other.raw)).count();
    let most = found.iter().map(votes).max();
    Ok(found.iter().find(|it| Some(votes(it)) == most).cloned())
}

/// Whether two superblocks describe the same filesystem in the same places: the fields that never
/// change while it is in use.
pub(super) fn same_frame(a: &RawSuperblock, b: &RawSuperblock) -> bool {
    frame(a) == frame(b)
}

/// The fields that never change while a filesystem is in use, where they mean something. The kernel
/// may raise revision 0 to 1 when it sets a feature.
fn frame(raw: &RawSuperblock) -> impl PartialEq + use<> {
    let has = |word: u32, bit: u32, value: u32| if word & bit == 0 { 0 } else { value };
    let incompat = raw.s_feature_incompat.get();
    let ro_compat = raw.s_feature_ro_compat.get();
    let is_old = raw.s_rev_level.get() == 0;
    (
        [
            raw.s_inodes_count.get(),
            raw.s_blocks_count_lo.get(),
            has(incompat, Incompat::BIT64.bits(), raw.s_blocks_count_hi.get()),
            raw.s_first_data_block.get(),
            raw.s_log_block_size.get(),
            raw.s_blocks_per_group.get(),
            has(ro_compat, RoCompat::BIGALLOC.bits(), raw.s_clusters_per_group.get()),
            raw.s_inodes_per_group.get(),
            has(incompat, Incompat::META_BG.bits(), raw.s_first_meta_bg.get()),
            if is_old { 128 } else { raw.s_inode_size.get().into() },
            if is_old { 11 } else { raw.s_first_ino.get() },
            has(incompat, Incompat::BIT64.bits(), raw.s_desc_size.get().into()),
        ],
        raw.s_uuid,
    )
}

/// Where copies are as a rule, in bytes: groups of the size the first superblock says, then groups of
/// the usual size for each size of blocks.
fn usual_places(len: u64, primary: Option<&RawSuperblock>) -> Vec<u64> {
    let mut places = Vec::new();
    let mut add = |bits: u32, per_group: u64, first: u64, groups: &[u64]| {
        for &group in groups {
            let blk = per_group.checked_mul(group).and_then(|it| it.checked_add(first));
            let offset = blk.and_then(|it| it.checked_mul(1 << bits));
            if let Some(offset) = offset.filter(|it| *it < len && !places.contains(it)) {
                places.push(offset);
            }
        }
    };
    if let Some(raw) = primary {
        let (log, per_group) = (raw.s_log_block_size.get(), raw.s_blocks_per_group.get());
        let said = raw.s_backup_bgs.map(|it| u64::from(it.get()));
        if log <= 6 && per_group > 0 {
            for first in [raw.s_first_data_block.get().into(), u64::from(log == 0)] {
                add(log + 10, per_group.into(), first, &said);
                add(log + 10, per_group.into(), first, &USUAL_GROUPS);
            }
        }
    }
    for bits in 10..=16u32 {
        add(bits, 8 << bits, u64::from(bits == 10), &USUAL_GROUPS);
    }
    places
}

/// The copy at this byte, if it can be believed.
fn believed(overlay: &Overlay, offset: u64) -> Result<Option<Copy>> {
    let Some(raw) = read(overlay, offset)? else { return Ok(None) };
    if raw.s_magic.get() != RawSuperblock::MAGIC {
        return Ok(None);
    }
    let Ok(sb) = judge(&raw, overlay.len()) else { return Ok(None) };
    let block = offset >> sb.block_size.bits();
    let is_whole = sb.block_size.within(offset) == 0;
    let Some(before) = block.checked_sub(sb.first_data_block.0) else { return Ok(None) };
    let per_group = u64::from(sb.blocks_per_group);
    let (group, said) = (before / per_group, u64::from(raw.s_block_group_nr.get()));
    // Programs of old did not number them.
    let is_home = is_whole && before % per_group == 0 && group > 0 && (said == group || said == 0);
    Ok(is_home.then_some(Copy { block, raw }))
}

/// Looks for copies at every KiB of the device's beginning.
fn search(overlay: &Overlay) -> Result<Vec<Copy>> {
    let mut found = Vec::new();
    let end = overlay.len().min(SEARCHED);
    let mut at = 0;
    let mut piece = vec![0; PIECE];
    while at < end && found.len() < MOST {
        let len = usize::try_from(end - at).unwrap_or(PIECE).min(PIECE);
        let Some(bytes) = piece.get_mut(..len) else { break };
        overlay.read_at(at, bytes)?;
        for (block, nr) in bytes.chunks_exact(1024).zip(0u64..) {
            if block.get(0x38..0x3A) == Some(&RawSuperblock::MAGIC.to_le_bytes()) {
                found.extend(believed(overlay, at + nr * 1024)?);
            }
        }
        at += len as u64;
    }
    Ok(found)
}

/// Copies that are not up to date are written anew, with those of the descriptors.
pub(super) fn refresh(session: &mut Session<'_, '_>) -> Result<()> {
    let mut stale = Vec::new();
    let holders: Vec<_> =
        session.geo.groups().skip(1).filter(|&it| session.geo.has_super(it)).collect();
    for &group in &holders {
        let blk = session.geo.group_blocks(group).start;
        if blk.0 >= session.image.n_blocks() {
            continue;
        }
        let block = session.image.read(blk)?;
        let is_fresh = RawSuperblock::of(&block).is_some_and(|it| {
            it.s_magic.get() == RawSuperblock::MAGIC
                && same_frame(it, &session.raw)
                && same_features(it, &session.raw)
        });
        if !is_fresh {
            stale.push(group);
        }
    }
    let [first, ..] = stale.as_slice() else { return Ok(()) };
    let found = match stale.len() {
        1 => format!("the one in group {first}"),
        n => format!("{n}, first the one in group {first}"),
    };
    if !session.fix(&COPIES_STALE, Place::what("superblock"), found, "")? {
        return Ok(());
    }
    for group in stale {
        write(session, group)?;
    }
    Ok(())
}

/// Whether two superblocks have the same features, but for those that come and go with use.
fn same_features(a: &RawSuperblock, b: &RawSuperblock) -> bool {
    let compat = Compat::EXT_ATTR.bits();
    let incompat = (Incompat::EXTENTS | Incompat::RECOVER).bits();
    let ro_compat = (RoCompat::LARGE_FILE | RoCompat::DIR_NLINK | RoCompat::ORPHAN_PRESENT).bits();
    let words = |it: &RawSuperblock| {
        [
            it.s_feature_compat.get() | compat,
            it.s_feature_incompat.get() | incompat,
            it.s_feature_ro_compat.get() | ro_compat,
        ]
    };
    words(a) == words(b)
}

/// Writes a group's copies of the superblock and of the descriptors.
fn write(session: &Session<'_, '_>, group: GroupNr) -> Result<()> {
    let geo = session.geo;
    let start = geo.group_blocks(group).start;
    let mut raw = session.raw.clone();
    raw.s_block_group_nr.set(u16::try_from(group.0).unwrap_or(0));
    raw.update_checksum();
    let mut block = vec![0; session.image.size.len()];
    if let Some(place) = block.get_mut(..RawSuperblock::SIZE) {
        place.copy_from_slice(raw.as_bytes());
    }
    session.image.write(start, &block)?;
    let has_meta_bg = session.sb.features.has_incompat(Incompat::META_BG);
    let whole = if has_meta_bg { session.sb.first_meta_bg } else { geo.desc_blocks() };
    for nr in 0..whole {
        let (from, to) = (geo.desc_block(nr), start.plus(1 + u64::from(nr)));
        if from.0 < session.image.n_blocks() && geo.group_blocks(group).contains(to) {
            session.image.write(to, &session.image.read(from)?)?;
        }
    }
    Ok(())
}
