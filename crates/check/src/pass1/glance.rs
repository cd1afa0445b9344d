//! What most inodes are, seen at a glance: a file whose few extents are in the inode, of which there is
//! nothing to say.
//!
//! It lets pass less than the whole check does ([`super::inode`]), never more: where assertions are on,
//! as in all tests, what passes here is checked whole as well, and has to bring the same.

use super::{
    budget::{Budget, Step},
    checksum_is_bad,
    found::Found,
    scan,
    size::{LARGE, largest_with_extents},
    tree::{header, leaf_entry},
    world::{Known, Nobody, World},
};
use crate::{Error, Result};
use ext4_ondisk::{
    features::{Incompat, RoCompat},
    inode::{FileType, InodeFlags, RawInode},
    xattr,
};
use ext4_units::InodeNr;
use std::borrow::Cow;
use zerocopy::FromBytes as _;

/// Whether inodes of this filesystem may be looked at this way at all.
pub(super) fn is_possible(world: &World<'_>) -> bool {
    let features = world.sb.features;
    features.has_incompat(Incompat::EXTENTS)
        && !features.has_ro_compat(RoCompat::BIGALLOC)
        && !world.has_quota
        && !world.has_old_times()
        && !world.is_hurd()
        && !world.budget.is_in_order()
}

/// Whether the inode is such a file; what it brings is then in `found`, which is empty before.
pub(super) fn is_plain(
    world: &World<'_>,
    ino: InodeNr,
    bytes: &[u8],
    found: &mut Found,
) -> Result<bool> {
    let Ok((raw, _)) = RawInode::ref_from_prefix(bytes) else { return Ok(false) };
    let is_ordinary = ino.get() >= world.geo.first_ino && !world.is_hidden(ino);
    let is_file = FileType::of_mode(raw.i_mode.get()) == FileType::Regular
        && raw.i_flags.get() == InodeFlags::EXTENTS.bits()
        && raw.i_links_count.get() != 0
        && raw.i_dtime.get() == 0;
    let has_more = raw.file_acl() != 0
        || raw.l_i_blocks_high.get() != 0
        || raw.i_obso_faddr.get() != 0
        || has_attributes(raw, bytes);
    let is_plain = is_ordinary && is_file && !has_more && maps_well(world, raw, found);
    if !is_plain || checksum_is_bad(world, ino, bytes) {
        found.clear();
        return Ok(false);
    }
    for (start, len) in &found.claims {
        if world.budget.spend(&mut found.owed, *start, *len) == Step::Over {
            return Err(Error::TooMuch);
        }
    }
    found.is_used = true;
    found.is_regular = true;
    found.links = raw.i_links_count.get();
    Ok(true)
}

/// Whether the whole check has nothing to say of the inode, and finds the same.
pub(super) fn brings_the_same(
    world: &World<'_>,
    ino: InodeNr,
    bytes: &[u8],
    found: &Found,
) -> bool {
    let budget = Budget::of_scan(u64::MAX);
    let world = World { budget: &budget, ..*world };
    let mut whole = Found::default();
    let checked =
        scan::check(&world, &mut Nobody, &Known::default(), ino, Cow::Borrowed(bytes), &mut whole);
    checked.is_ok() && Found { owed: found.owed, ..whole } == *found
}

/// Whether there is anything behind the fields but free space, or may be.
fn has_attributes(raw: &RawInode, bytes: &[u8]) -> bool {
    let extra = usize::from(raw.i_extra_isize.get());
    let magic = bytes.get(128 + extra..128 + extra + 4);
    extra < 4 || !extra.is_multiple_of(4) || magic.is_none_or(|it| it == xattr::MAGIC.to_le_bytes())
}

/// Whether the extents are in order, and sizes and counts are theirs.
fn maps_well(world: &World<'_>, raw: &RawInode, found: &mut Found) -> bool {
    let Ok(header) = header(&raw.i_block) else { return false };
    if header.eh_depth.get() != 0 {
        return false;
    }
    let bits = world.geo.block_size.bits();
    let (mut next, mut end_of_written, mut clusters) = (0, 0, 0);
    for nr in 0..header.eh_entries.get() {
        let Some(it) = leaf_entry(&raw.i_block, nr.into()) else { return false };
        let (lblk, len, start) = (u64::from(it.ee_block.get()), u64::from(it.len()), it.start());
        let is_good = lblk >= next
            && len > 0
            && u32::try_from(lblk + len).is_ok()
            && world.is_block(start)
            && start.0 + len <= world.end();
        if !is_good {
            return false;
        }
        next = lblk + len;
        if !it.is_unwritten() {
            end_of_written = next;
        }
        clusters += len;
        found.claim(start.0, len);
    }
    let size = raw.size();
    found.is_large = size >= LARGE;
    (end_of_written == 0 || size >= (end_of_written - 1) << bits)
        && size <= largest_with_extents(world.geo.block_size)
        && u64::from(raw.i_blocks_lo.get()) == clusters << (bits - 9)
}
