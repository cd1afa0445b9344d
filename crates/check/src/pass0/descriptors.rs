//! Group descriptors: checksums, flags, and whether bitmaps and tables are where they may be.
//!
//! What has no place after this is at block 0, where none of them can be, and gets one after pass 1
//! ([`super::relocate`]), when it is known what is free.

use super::table;
use crate::{
    Place, Result,
    part::Part,
    problem::{
        pass0::{
            BLOCK_BITMAP_PLACE, DESCRIPTOR_CHECKSUM, DESCRIPTOR_COPY, DESCRIPTOR_UNINIT,
            INODE_BITMAP_PLACE, INODE_TABLE_PLACE, ITABLE_UNUSED, LAST_GROUP_UNINIT,
        },
        pass5::INODE_UNINIT,
    },
    session::Session,
};
use ext4_ondisk::{
    features::Incompat,
    group_desc::{GroupDesc, GroupFlags},
};
use ext4_units::{BlockNr, BlockRange, GroupNr};
use std::collections::BTreeSet;

const UNINIT: GroupFlags = GroupFlags::INODE_UNINIT.union(GroupFlags::BLOCK_UNINIT);
const NOWHERE: BlockNr = BlockNr(0);

/// Why a descriptor is not believed at once.
#[derive(Clone, Copy)]
struct Doubt {
    /// Its checksum is wrong.
    is_bad: bool,
    /// What it names is in blocks that others have.
    is_overlapping: bool,
    /// A copy of it names other places.
    is_disputed: bool,
}

/// Checks all descriptors. Those in `bad` have a wrong checksum.
pub(super) fn check(session: &mut Session<'_, '_>, bad: &[GroupNr]) -> Result<()> {
    let mut bad = bad.iter().peekable();
    let (overlapping, disputed) = (overlapping(session), disputed(session)?);
    for group in session.geo.groups() {
        let doubt = Doubt {
            is_bad: bad.next_if_eq(&&group).is_some(),
            is_overlapping: overlapping.contains(&group),
            is_disputed: disputed.contains(&group),
        };
        check_group(session, group, doubt)?;
        if group.0.is_multiple_of(1 << 12) {
            let (done, all) = (group.0.into(), session.geo.groups_count.into());
            session.gate.progress(crate::Pass::Zero, done, all)?;
        }
    }
    Ok(())
}

/// Groups of whose descriptors the first copy that can be read names other places.
/// Each block of descriptors and of a copy is read once, if all is well.
fn disputed(session: &Session<'_, '_>) -> Result<BTreeSet<GroupNr>> {
    let geo = &session.geo;
    let mut found = BTreeSet::new();
    for nr in 0..geo.desc_blocks() {
        let first = nr * geo.descs_per_block();
        let end = first.saturating_add(geo.descs_per_block()).min(geo.groups_count);
        let mut asked: Vec<_> = (first..end).map(GroupNr).collect();
        for blk in copies_of(session, GroupNr(first)) {
            if asked.is_empty() || blk.0 >= session.image.n_blocks() {
                break;
            }
            let block = session.image.read(blk)?;
            asked.retain(|&group| {
                let Some(copy) = decode_copy(session, group, &block) else { return true };
                let own = session.descs.get(group.0 as usize);
                if own.is_some_and(|own| named(own) != named(&copy)) {
                    found.insert(group);
                }
                false
            });
        }
    }
    Ok(found)
}

/// Groups with a structure in blocks that another one, or a superblock with its descriptors, has too.
fn overlapping(session: &Session<'_, '_>) -> BTreeSet<GroupNr> {
    let mut runs = Vec::new();
    for group in session.geo.groups() {
        let base = session.geo.base_metadata(group);
        runs.push((base.start.0, base.len, None));
        let Some(desc) = session.descs.get(group.0 as usize) else { continue };
        for part in Part::ALL {
            let run = part.run(desc, &session.geo);
            runs.push((run.start.0, run.len, Some(group)));
        }
    }
    runs.sort_unstable();
    let mut found = BTreeSet::new();
    let mut last: (u64, Option<GroupNr>) = (0, None);
    for (start, len, group) in runs {
        if start < last.0 && len > 0 {
            found.extend(last.1);
            found.extend(group);
        }
        let end = start.saturating_add(len);
        if end > last.0 {
            last = (end, group);
        }
    }
    found
}

fn check_group(session: &mut Session<'_, '_>, group: GroupNr, doubt: Doubt) -> Result<()> {
    let Some(&old) = session.descs.get(group.0 as usize) else { return Ok(()) };
    let Doubt { is_bad, is_overlapping, is_disputed } = doubt;
    let mut desc = old;
    let mut is_changed = false;
    if is_bad || is_overlapping || !is_possible(session, group, &desc) {
        is_changed |= take_copy(session, group, &mut desc, |_, _| Ok(true))?;
    } else if is_disputed {
        let is_better = |session: &Session<'_, '_>, copy: &GroupDesc| {
            table::is_better(session, group, &old, copy)
        };
        is_changed |= take_copy(session, group, &mut desc, is_better)?;
    }
    is_changed |= check_places(session, group, &mut desc)?;
    if is_bad && session.fix(&DESCRIPTOR_CHECKSUM, Place::group(group), "", "")? {
        forget_unused(&mut desc);
        is_changed = true;
    }
    is_changed |= check_unused(session, group, &mut desc)?;
    if is_changed {
        if let Some(place) = session.descs.get_mut(group.0 as usize) {
            *place = desc;
        }
        session.put_descriptor(group)?;
    }
    Ok(())
}

/// Whether all of a group's structures are where they may be.
fn is_possible(session: &Session<'_, '_>, group: GroupNr, desc: &GroupDesc) -> bool {
    Part::ALL.into_iter().all(|part| is_legal(session, group, part.run(desc, &session.geo)))
}

/// The blocks in which the structures of a group may be, as far as the features say.
fn home(session: &Session<'_, '_>, group: GroupNr) -> BlockRange {
    if session.sb.features.has_incompat(Incompat::FLEX_BG) {
        session.geo.all_blocks()
    } else {
        session.geo.group_blocks(group)
    }
}

/// Whether a structure of a group may be in these blocks: in the group itself unless the filesystem
/// has flex_bg, on the device, and not where the first superblock and its descriptors are.
pub(super) fn is_legal(session: &Session<'_, '_>, group: GroupNr, run: BlockRange) -> bool {
    let home = home(session, group);
    let Some(end) = run.start.checked_add(run.len) else { return false };
    let superblock = session.geo.superblock_place().0;
    run.start >= home.start
        && end <= home.end()
        && end.0 <= session.image.n_blocks()
        && !run.contains(superblock)
        && run.start != NOWHERE
}

/// The places that a descriptor names.
fn named(desc: &GroupDesc) -> [BlockNr; 3] {
    Part::ALL.map(|part| part.start(desc))
}

/// Takes the places from the first copy of the descriptor that names possible ones, if that is better.
fn take_copy(
    session: &mut Session<'_, '_>,
    group: GroupNr,
    desc: &mut GroupDesc,
    is_better: impl Fn(&Session<'_, '_>, &GroupDesc) -> Result<bool>,
) -> Result<bool> {
    for blk in copies_of(session, group) {
        let Some(copy) = read_copy(session, group, blk)? else { continue };
        if !is_possible(session, group, &copy) {
            continue;
        }
        if named(&copy) == named(desc) || !is_better(session, &copy)? {
            return Ok(false);
        }
        let text = |it: &GroupDesc| {
            format!(
                "bitmaps at {} and {}, table at {}",
                it.block_bitmap, it.inode_bitmap, it.inode_table
            )
        };
        let place = Place::group(group);
        if !session.fix(&DESCRIPTOR_COPY, place, text(desc), text(&copy))? {
            return Ok(false);
        }
        for part in Part::ALL {
            *part.start_mut(desc) = part.start(&copy);
        }
        forget_unused(desc);
        return Ok(true);
    }
    Ok(false)
}

/// The blocks that hold copies of the block that holds a group's descriptor.
fn copies_of(session: &Session<'_, '_>, group: GroupNr) -> Vec<BlockNr> {
    /// More copies do not know better than the first few.
    const MOST: usize = 12;
    let geo = &session.geo;
    let nr = group.0 / geo.descs_per_block();
    let has_meta_bg = session.sb.features.has_incompat(Incompat::META_BG);
    let behind = |it: GroupNr| geo.group_blocks(it).start.plus(u64::from(geo.has_super(it)));
    if has_meta_bg && nr >= session.sb.first_meta_bg {
        let first = nr * geo.descs_per_block();
        let last = first.saturating_add(geo.descs_per_block() - 1);
        let holders = [first.saturating_add(1), last];
        return holders
            .into_iter()
            .filter(|&it| it < geo.groups_count)
            .map(GroupNr)
            .map(behind)
            .collect();
    }
    let holders = geo.groups().skip(1).filter(|&it| geo.has_super(it)).take(MOST);
    holders.map(|it| behind(it).plus(nr.into())).collect()
}

/// A group's descriptor in a copy; `None` outside of the device, and with a wrong checksum.
fn read_copy(session: &Session<'_, '_>, group: GroupNr, blk: BlockNr) -> Result<Option<GroupDesc>> {
    if blk.0 >= session.image.n_blocks() {
        return Ok(None);
    }
    Ok(decode_copy(session, group, &session.image.read(blk)?))
}

fn decode_copy(session: &Session<'_, '_>, group: GroupNr, block: &[u8]) -> Option<GroupDesc> {
    let at = session.geo.desc_place(group).1;
    GroupDesc::decode(block.get(at..)?, group, &session.desc_format).ok()
}

/// What cannot be where it is said to be loses its place.
fn check_places(
    session: &mut Session<'_, '_>,
    group: GroupNr,
    desc: &mut GroupDesc,
) -> Result<bool> {
    let is_lost = is_possible(session, group, desc) && table::is_lost(session, group, desc)?;
    let mut is_changed = false;
    for part in Part::ALL {
        let is_there = is_legal(session, group, part.run(desc, &session.geo))
            && !(is_lost && part == Part::InodeTable);
        // One that lost its place in an earlier round is not told again.
        if !is_there && !session.gate.todo.homeless.contains(&(group, part)) {
            is_changed |= displace(session, group, desc, part, is_lost)?;
        }
    }
    Ok(is_changed)
}

/// Takes its place from a structure; the table has another one if it is found.
fn displace(
    session: &mut Session<'_, '_>,
    group: GroupNr,
    desc: &mut GroupDesc,
    part: Part,
    is_lost: bool,
) -> Result<bool> {
    let (problem, likely) = match part {
        Part::InodeTable => (&INODE_TABLE_PLACE, table::find(session, group, desc)?),
        Part::BlockBitmap => (&BLOCK_BITMAP_PLACE, None),
        Part::InodeBitmap => (&INODE_BITMAP_PLACE, None),
    };
    let expected = match likely {
        Some(blk) => format!("{blk}, where one lies"),
        // Where it can be it stays: what is there may be all that is left of it.
        None if is_lost => return Ok(false),
        None => format!("inside {}", home(session, group)),
    };
    if !session.fix(problem, Place::group(group), part.start(desc), expected)? {
        return Ok(false);
    }
    *part.start_mut(desc) = likely.unwrap_or(NOWHERE);
    if likely.is_none() {
        session.gate.todo.homeless.insert((group, part));
    }
    if part == Part::InodeTable {
        forget_unused(desc);
    }
    Ok(true)
}

/// Marks that say that something was never used, which must not be believed.
fn forget_unused(desc: &mut GroupDesc) {
    desc.flags.remove(UNINIT);
    desc.itable_unused = 0;
}

/// What the descriptor says of what was never used.
fn check_unused(
    session: &mut Session<'_, '_>,
    group: GroupNr,
    desc: &mut GroupDesc,
) -> Result<bool> {
    let mut is_changed = false;
    let has_marks = session.sb.features.has_group_desc_csum();
    let place = || Place::group(group);
    if !has_marks
        && (desc.flags.intersects(UNINIT) || desc.itable_unused != 0)
        && session.fix(&DESCRIPTOR_UNINIT, place(), "", "")?
    {
        forget_unused(desc);
        is_changed = true;
    }
    let is_last = group.0 + 1 == session.geo.groups_count;
    if is_last
        && desc.flags.contains(GroupFlags::BLOCK_UNINIT)
        && session.fix(&LAST_GROUP_UNINIT, place(), "", "")?
    {
        desc.flags.remove(GroupFlags::BLOCK_UNINIT);
        is_changed = true;
    }
    // The filesystem's own inodes are in the first group, the root among them: not to look there would
    // be the end of everything.
    let own = if group.0 == 0 { session.geo.first_ino - 1 } else { 0 };
    if has_marks
        && own > 0
        && desc.flags.contains(GroupFlags::INODE_UNINIT)
        && session.fix(&INODE_UNINIT, place(), "", "")?
    {
        desc.flags.remove(GroupFlags::INODE_UNINIT);
        desc.itable_unused = 0;
        is_changed = true;
    }
    let most = desc.free_inodes.min(session.geo.inodes_per_group.saturating_sub(own));
    if has_marks
        && desc.itable_unused > most
        && session.fix(&ITABLE_UNUSED, place(), desc.itable_unused, format!("at most {most}"))?
    {
        desc.itable_unused = 0;
        is_changed = true;
    }
    Ok(is_changed)
}
