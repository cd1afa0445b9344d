//! A superblock to work with: the first one, that with a field or two made right, or a copy of it.

use super::{
    copies::{self, Copy},
    fields, foreign,
};
use crate::{
    Error, Options, Place, Result,
    gate::Gate,
    problem::pass0::{SUPERBLOCK_BIT, SUPERBLOCK_CHECKSUM, SUPERBLOCK_DAMAGED, TOO_MANY_INODES},
};
use ext4_blockdev::{BlockDevice, Overlay};
use ext4_ondisk::{
    features::{Compat, Features, Incompat, Operation, RoCompat, check},
    geometry::Geometry,
    group_desc::{DescFormat, GroupDesc},
    superblock::{RawSuperblock, Superblock},
};
use ext4_units::GroupNr;
use std::mem::offset_of;
use zerocopy::IntoBytes as _;

/// Most fields that are made right one by one; with more the whole is not worth it.
const MOST_FIELDS: usize = 8;

/// Why a superblock is not to be used as it is.
#[derive(Clone, Debug)]
pub(super) enum Fault {
    /// It is none, or a field is impossible.
    Unusable(String),
    /// Features that nobody knows.
    Features(String),
    /// It makes sense, but its checksum is wrong.
    Checksum(String),
    /// It makes sense, but for a larger device.
    TooLarge(String),
}

impl Fault {
    pub(super) fn text(&self) -> &str {
        match self {
            Self::Unusable(it) | Self::Features(it) | Self::Checksum(it) | Self::TooLarge(it) => it,
        }
    }
}

/// What a superblock says, if it can be used on a device of `len` bytes.
pub(super) fn judge(raw: &RawSuperblock, len: u64) -> std::result::Result<Superblock, Fault> {
    let unusable = |it: ext4_ondisk::Corrupt| Fault::Unusable(it.fault.into_owned());
    Superblock::check_magic(raw).map_err(unusable)?;
    let sb = Superblock::decode_unverified(raw).map_err(unusable)?;
    if raw.s_rev_level.get() > 1 {
        return Err(Fault::Unusable(format!("revision {}, expected 0 or 1", raw.s_rev_level)));
    }
    if let Some(names) = unknown_features(&sb) {
        return Err(Fault::Features(names));
    }
    if raw.has_checksum() {
        let (found, expected) = (raw.s_checksum.get(), raw.checksum());
        if raw.s_checksum_type != 1 || found != expected {
            let text = format!("checksum {found:#010x}, expected {expected:#010x}");
            return Err(Fault::Checksum(text));
        }
    }
    let blocks = len >> sb.block_size.bits();
    if sb.blocks_count > blocks {
        let text = format!("{} blocks on a device of {blocks}", sb.blocks_count);
        return Err(Fault::TooLarge(text));
    }
    Ok(sb)
}

/// Features that nobody knows, by name.
fn unknown_features(sb: &Superblock) -> Option<String> {
    if let Err(err) = check(Operation::Read, sb.features) {
        return Some(err.to_string());
    }
    let unknown = Features {
        compat: sb.features.compat - KNOWN_COMPAT,
        incompat: Incompat::empty(),
        ro_compat: sb.features.ro_compat - KNOWN_RO_COMPAT,
    };
    let names = unknown.names();
    (!names.is_empty()).then(|| format!("features that are not known: {}", names.join(", ")))
}

/// Those that somebody has made filesystems with (`EXT2_LIB_FEATURE_COMPAT_SUPP` and its like); the
/// others that have a name were never written by a program in use.
const KNOWN_COMPAT: Compat = Compat::DIR_PREALLOC
    .union(Compat::IMAGIC_INODES)
    .union(Compat::HAS_JOURNAL)
    .union(Compat::EXT_ATTR)
    .union(Compat::RESIZE_INODE)
    .union(Compat::DIR_INDEX)
    .union(Compat::LAZY_BG)
    .union(Compat::SPARSE_SUPER2)
    .union(Compat::FAST_COMMIT)
    .union(Compat::STABLE_INODES)
    .union(Compat::ORPHAN_FILE);
const KNOWN_RO_COMPAT: RoCompat = RoCompat::SPARSE_SUPER
    .union(RoCompat::LARGE_FILE)
    .union(RoCompat::HUGE_FILE)
    .union(RoCompat::GDT_CSUM)
    .union(RoCompat::DIR_NLINK)
    .union(RoCompat::EXTRA_ISIZE)
    .union(RoCompat::QUOTA)
    .union(RoCompat::BIGALLOC)
    .union(RoCompat::METADATA_CSUM)
    .union(RoCompat::READONLY)
    .union(RoCompat::PROJECT)
    .union(RoCompat::SHARED_BLOCKS)
    .union(RoCompat::VERITY)
    .union(RoCompat::ORPHAN_PRESENT);

/// Finds the superblock that the round works with. What had to be done for it is in the overlay.
pub(super) fn find(
    overlay: &Overlay,
    options: &Options,
    gate: &mut Gate<'_>,
) -> Result<RawSuperblock> {
    if let Some((block, size)) = options.superblock
        && !gate.todo.has_used_copy
    {
        gate.todo.has_used_copy = true;
        let copy = copies::asked_for(overlay, block, size)?;
        if let Some(raw) = take(overlay, gate, &copy, "that copy was asked for")? {
            return Ok(raw);
        }
    }
    let Some(primary) = copies::read(overlay, RawSuperblock::OFFSET)? else {
        let len = overlay.len();
        return Err(Error::NoSuperblock(format!("the device has only {len} bytes")));
    };
    let judged = judge(&primary, overlay.len());
    if judged.is_err()
        && let Some(raw) = set_one_bit(overlay, gate, &primary)?
    {
        return Ok(raw);
    }
    if judged.is_ok()
        && let Some(copy) = usual_copy(overlay, &primary)?
        && let Some(raw) = take(overlay, gate, &copy, "a copy has the usual inodes")?
    {
        return Ok(raw);
    }
    if let Ok(_) | Err(Fault::Checksum(_)) = judged
        && let Some(copy) = copy_with_descriptors(overlay, &primary)?
        && let Some(raw) = take(overlay, gate, &copy, "the descriptors are those of a copy")?
    {
        return Ok(raw);
    }
    let Err(fault) = judged else { return Ok(primary) };
    if let Some(inodes) = fields::too_many_inodes(&primary) {
        gate.fix(&TOO_MANY_INODES, Place::what("superblock"), inodes, "")?;
    }
    let copy = copies::best(overlay, Some(&primary))?;
    let agrees = copy.as_ref().is_some_and(|it| copies::same_frame(&it.raw, &primary));
    match (&fault, &copy) {
        (Fault::TooLarge(_), None) => return Ok(primary),
        (Fault::TooLarge(_), Some(_)) if agrees => return Ok(primary),
        (Fault::Checksum(text), _) if agrees || copy.is_none() => {
            return renew_checksum(overlay, gate, primary, text);
        }
        (Fault::Features(text), None) => return Err(Error::Unsupported(text.clone())),
        (_, Some(copy)) => {
            if let Some(raw) = take(overlay, gate, copy, fault.text())? {
                return Ok(raw);
            }
        }
        (_, None) => {
            if let Some(raw) = by_fields(overlay, gate, &primary)? {
                return Ok(raw);
            }
        }
    }
    Err(no_superblock(overlay, &primary, &fault)?)
}

/// The superblock with the one bit the other way with which its checksum is right, if there is such a bit
/// and that is wanted: of 8,160 bits none does by chance what 32 bits of checksum ask for.
fn set_one_bit(
    overlay: &Overlay,
    gate: &mut Gate<'_>,
    primary: &RawSuperblock,
) -> Result<Option<RawSuperblock>> {
    let mut raw = primary.clone();
    for nr in 0..8 * offset_of!(RawSuperblock, s_checksum) {
        let (at, bit) = (nr / 8, 1 << (nr % 8));
        raw.as_mut_bytes()[at] ^= bit;
        if raw.has_checksum()
            && raw.s_checksum.get() == raw.checksum()
            && judge(&raw, overlay.len()).is_ok()
        {
            let place = Place::what("superblock").at_offset(at);
            let (found, expected) = (primary.as_bytes()[at], raw.as_bytes()[at]);
            let (found, expected) = (format!("{found:#04x}"), format!("{expected:#04x}"));
            if !gate.fix(&SUPERBLOCK_BIT, place, found, expected)? {
                return Ok(None);
            }
            put(overlay, &mut raw)?;
            return Ok(Some(raw));
        }
        raw.as_mut_bytes()[at] ^= bit;
    }
    Ok(None)
}

/// The copy of a superblock that makes sense by itself, but says what no program writes, if that copy
/// does not: another first inode than 11, or in revision 0 inodes of another size than 128 bytes.
fn usual_copy(overlay: &Overlay, primary: &RawSuperblock) -> Result<Option<Copy>> {
    let is_usual = |raw: &RawSuperblock| match raw.s_rev_level.get() {
        0 => matches!(raw.s_inode_size.get(), 0 | 128),
        _ => raw.s_first_ino.get() == 11,
    };
    if is_usual(primary) {
        return Ok(None);
    }
    Ok(copies::best(overlay, Some(primary))?.filter(|it| is_usual(&it.raw)))
}

/// The copy with which more of the descriptors make sense than with the first superblock:
/// that one makes sense by itself, but is another filesystem's, or has another's UUID, sizes or features.
fn copy_with_descriptors(overlay: &Overlay, primary: &RawSuperblock) -> Result<Option<Copy>> {
    let Ok(sb) = Superblock::decode_unverified(primary) else { return Ok(None) };
    let (good, all) = good_descriptors(overlay, &sb)?;
    if good == all {
        return Ok(None);
    }
    let Some(copy) = copies::best(overlay, Some(primary))? else { return Ok(None) };
    let Ok(other) = judge(&copy.raw, overlay.len()) else { return Ok(None) };
    let is_better = good_descriptors(overlay, &other)?.0 > good;
    Ok(is_better.then_some(copy))
}

/// How many descriptors in the first block of them have a right checksum and stay in the filesystem,
/// and how many there are.
fn good_descriptors(overlay: &Overlay, sb: &Superblock) -> Result<(usize, usize)> {
    let (geo, format) = (Geometry::new(sb), DescFormat::new(sb));
    let mut block = vec![0; sb.block_size.len()];
    let at = geo.desc_block(0).byte(sb.block_size);
    if at.checked_add(block.len() as u64).is_none_or(|end| end > overlay.len()) {
        return Ok((0, 0));
    }
    overlay.read_at(at, &mut block)?;
    let is_good = |(group, bytes): (GroupNr, &[u8])| {
        let desc = GroupDesc::decode(bytes, group, &format);
        desc.and_then(|it| geo.check_group_desc(group, &it)).is_ok()
    };
    let descs: Vec<_> = geo.groups().zip(block.chunks_exact(format.desc_size())).collect();
    Ok((descs.iter().filter(|it| is_good(**it)).count(), descs.len()))
}

/// Puts a copy into the place of the first superblock; `None` when that is not wanted.
fn take(
    overlay: &Overlay,
    gate: &mut Gate<'_>,
    copy: &Copy,
    why: &str,
) -> Result<Option<RawSuperblock>> {
    let place = Place::what("superblock");
    let found = format!("{why}; the copy in block {} can be used", copy.block);
    if !gate.fix(&SUPERBLOCK_DAMAGED, place, found, "")? {
        return Ok(None);
    }
    gate.todo.has_used_copy = true;
    let mut raw = copy.raw.clone();
    raw.s_block_group_nr.set(0);
    // Copies are not told what is in use.
    raw.s_state.set(0);
    put(overlay, &mut raw)?;
    Ok(Some(raw))
}

/// Writes the first superblock, with its checksum renewed.
pub(super) fn put(overlay: &Overlay, raw: &mut RawSuperblock) -> Result<()> {
    raw.update_checksum();
    overlay.write_at(RawSuperblock::OFFSET, raw.as_bytes())?;
    Ok(())
}

/// A superblock that makes sense, and agrees with a copy if there is one: the checksum is wrong.
fn renew_checksum(
    overlay: &Overlay,
    gate: &mut Gate<'_>,
    mut raw: RawSuperblock,
    text: &str,
) -> Result<RawSuperblock> {
    if gate.fix(&SUPERBLOCK_CHECKSUM, Place::what("superblock"), text, "")? {
        raw.s_checksum_type = 1;
        put(overlay, &mut raw)?;
    }
    Ok(raw)
}

/// Without a copy: makes those fields right that follow from others. `None` when that does not lead
/// to a superblock that can be used, or is not wanted.
fn by_fields(
    overlay: &Overlay,
    gate: &mut Gate<'_>,
    primary: &RawSuperblock,
) -> Result<Option<RawSuperblock>> {
    let mut raw = primary.clone();
    let mut mends = Vec::new();
    // The checksum of what comes out is made anew: what is asked is whether it would be usable.
    let is_usable = |raw: &RawSuperblock| match judge(raw, overlay.len()) {
        Ok(_) | Err(Fault::TooLarge(_) | Fault::Checksum(_)) => true,
        Err(_) => false,
    };
    while !is_usable(&raw) {
        let mend = fields::next(&raw, overlay)?;
        match mend {
            Some(mend) if mends.len() < MOST_FIELDS => {
                raw = mend.raw.clone();
                mends.push(mend);
            }
            _ => return Ok(None),
        }
    }
    for mend in mends {
        let place = Place::what("superblock");
        if !gate.fix(mend.problem, place, mend.found, mend.expected)? {
            return Ok(None);
        }
    }
    put(overlay, &mut raw)?;
    Ok(Some(raw))
}

/// What to tell where nothing helps.
fn no_superblock(overlay: &Overlay, primary: &RawSuperblock, fault: &Fault) -> Result<Error> {
    if let Fault::Features(text) = fault {
        return Ok(Error::Unsupported(text.clone()));
    }
    let other =
        if primary.s_magic.get() == RawSuperblock::MAGIC { None } else { foreign::name(overlay)? };
    Ok(Error::NoSuperblock(match other {
        Some(what) => format!("the device holds {what}"),
        None => format!("{}, and no copy that could be used", fault.text()),
    }))
}
