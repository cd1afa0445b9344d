//! Pass 5: bitmaps and counts of the groups against what the passes before found in use.

use crate::{
    Error, Pass, Place, Problem, Result,
    bits::Bits,
    part::Part,
    problem::pass5::{
        BLOCK_BITMAP_CHECKSUM, BLOCK_MARKED_FREE, BLOCK_MARKED_USED, BLOCK_PADDING, BLOCK_UNINIT,
        BLOCKS_MARKED_FREE, BLOCKS_MARKED_USED, FREE_BLOCKS, FREE_INODES, GROUP_DIRECTORIES,
        GROUP_FREE_BLOCKS, GROUP_FREE_INODES, INODE_BITMAP_CHECKSUM, INODE_MARKED_FREE,
        INODE_MARKED_USED, INODE_PADDING, INODE_UNINIT, INODES_MARKED_FREE, INODES_MARKED_USED,
        TABLE_UNUSED,
    },
    session::Session,
};
use ext4_ondisk::{bitmap, features::Incompat, group_desc::GroupFlags};
use ext4_units::{BlockNr, BlockRange, GroupNr};

/// What one kind of bitmap is compared by.
struct Kind {
    /// Marked as used by mistake: one, and a run.
    used: [&'static Problem; 2],
    /// Marked as free by mistake: one, and a run.
    free: [&'static Problem; 2],
    padding: &'static Problem,
    uninit: &'static Problem,
    checksum: &'static Problem,
    flag: GroupFlags,
}

static BLOCKS: Kind = Kind {
    used: [&BLOCK_MARKED_USED, &BLOCKS_MARKED_USED],
    free: [&BLOCK_MARKED_FREE, &BLOCKS_MARKED_FREE],
    padding: &BLOCK_PADDING,
    uninit: &BLOCK_UNINIT,
    checksum: &BLOCK_BITMAP_CHECKSUM,
    flag: GroupFlags::BLOCK_UNINIT,
};

static INODES: Kind = Kind {
    used: [&INODE_MARKED_USED, &INODES_MARKED_USED],
    free: [&INODE_MARKED_FREE, &INODES_MARKED_FREE],
    padding: &INODE_PADDING,
    uninit: &INODE_UNINIT,
    checksum: &INODE_BITMAP_CHECKSUM,
    flag: GroupFlags::INODE_UNINIT,
};

/// One bitmap of one group.
struct Map {
    group: GroupNr,
    at: BlockNr,
    /// Bits that stand for something, and bits of a full group.
    n_bits: u32,
    n_full: u32,
    /// The number of what bit 0 stands for, and how many of them a bit is.
    first: u64,
    per_bit: u64,
    /// What should be set.
    expected: Vec<u8>,
}

/// Compares all groups, then the totals.
pub(crate) fn run(session: &mut Session<'_, '_>) -> Result<()> {
    // Nothing is added to them from here on.
    let facts = &mut session.facts;
    let taken = [&mut facts.used, &mut facts.inodes].map(std::mem::take);
    let result = groups(session, &taken);
    [session.facts.used, session.facts.inodes] = taken;
    result
}

fn groups(session: &mut Session<'_, '_>, [used, inodes]: &[Bits; 2]) -> Result<()> {
    let geo = session.geo;
    let inodes = &{
        // The first inodes are in use whether they are or not.
        let mut all = inodes.clone();
        all.insert_run(1, u64::from((geo.first_ino - 1).min(geo.inodes_per_group)));
        all
    };
    let mut directories = session.facts.directories.keys().collect::<Vec<_>>();
    directories.reverse();
    let (mut free_clusters, mut free_inodes) = (0_u64, 0_u32);
    for group in geo.groups() {
        session.gate.progress(Pass::Five, group.0.into(), geo.groups_count.into())?;
        let index = group.0 as usize;
        let blocks = geo.group_blocks(group);
        let size = geo.block_size.len();
        let first = blocks.start.0 >> geo.cluster_ratio_bits;
        let n_bits = u32::try_from(blocks.len.div_ceil(geo.cluster_ratio().into())).unwrap_or(0);
        let map = Map {
            group,
            at: session.descs[index].block_bitmap,
            n_bits,
            n_full: geo.clusters_per_group,
            first: blocks.start.0,
            per_bit: geo.cluster_ratio().into(),
            expected: bits_of(used, first, n_bits, size),
        };
        let n_free = n_absent(used, first, n_bits);
        let own = own_bits(session, &map);
        compare(session, &BLOCKS, &map, &own)?;
        free_clusters += u64::from(n_free);
        count(session, group, &GROUP_FREE_BLOCKS, n_free, |it| &mut it.free_clusters)?;

        let n_inodes = geo.inodes_per_group;
        let first = u64::from(group.0) * u64::from(n_inodes) + 1;
        let expected = bits_of(inodes, first, n_inodes, size);
        let n_free = n_absent(inodes, first, n_inodes);
        let unused = n_inodes - last_set(&expected, n_inodes).map_or(0, |it| it + 1);
        let map = Map {
            group,
            at: session.descs[index].inode_bitmap,
            n_bits: n_inodes,
            n_full: n_inodes,
            first,
            per_bit: 1,
            expected,
        };
        compare(session, &INODES, &map, &vec![0; size])?;
        free_inodes = free_inodes.saturating_add(n_free);
        count(session, group, &GROUP_FREE_INODES, n_free, |it| &mut it.free_inodes)?;
        let last = first + u64::from(n_inodes);
        let mut n_dirs = 0;
        while directories.last().is_some_and(|it| u64::from(it.get()) < last) {
            directories.pop();
            n_dirs += 1;
        }
        count(session, group, &GROUP_DIRECTORIES, n_dirs, |it| &mut it.used_dirs)?;
        let desc = session.descs[index];
        if session.sb.features.has_group_desc_csum()
            && !desc.flags.contains(GroupFlags::INODE_UNINIT)
            && desc.itable_unused > unused
            && session.fix(&TABLE_UNUSED, Place::group(group), desc.itable_unused, unused)?
        {
            session.descs[index].itable_unused = unused;
            session.put_descriptor(group)?;
        }
    }
    totals(session, free_clusters << geo.cluster_ratio_bits, free_inodes)
}

/// The `n_bits` numbers from `first` on as a bitmap with its padding set.
fn bits_of(numbers: &Bits, first: u64, n_bits: u32, size: usize) -> Vec<u8> {
    let mut bits = vec![0; size];
    numbers.copy_to(first, n_bits, &mut bits);
    let all = u32::try_from(size * 8).unwrap_or(u32::MAX);
    bitmap::set_range(&mut bits, n_bits, all);
    bits
}

/// How many of `n` numbers from `first` on are not there.
fn n_absent(numbers: &Bits, first: u64, n: u32) -> u32 {
    n - u32::try_from(numbers.count(first, n.into())).unwrap_or(n)
}

fn last_set(bits: &[u8], n_bits: u32) -> Option<u32> {
    let bytes = bits.get(..n_bits.div_ceil(8) as usize).unwrap_or(bits);
    // Most of a bitmap that has room is zeros at its end: that is passed over fast.
    let used = bytes.iter().rposition(|it| *it != 0).map_or(0, |at| (at + 1) * 8);
    let end = n_bits.min(u32::try_from(used).unwrap_or(u32::MAX));
    (0..end).rev().find(|&bit| bitmap::is_set(bits, bit))
}

/// What a group with an unused bitmap has in use all the same (`ext4_init_block_bitmap`): superblock,
/// descriptors, and its own bitmaps and table as far as they are in it. Those of other groups are not
/// among them: who makes the bitmap does not look for them.
fn own_bits(session: &Session<'_, '_>, map: &Map) -> Vec<u8> {
    let mut bits = vec![0; map.expected.len()];
    let geo = &session.geo;
    let desc = &session.descs[map.group.0 as usize];
    if desc.flags.contains(GroupFlags::BLOCK_UNINIT) {
        let blocks = geo.group_blocks(map.group);
        let base = geo.base_metadata(map.group);
        for BlockRange { start, len } in
            Part::ALL.map(|it| it.run(desc, geo)).into_iter().chain([base])
        {
            let end = start.0.saturating_add(len).min(blocks.end().0);
            for n in start.0.max(blocks.start.0)..end {
                let bit = u32::try_from((n - map.first) / map.per_bit).unwrap_or(u32::MAX);
                bitmap::set_range(&mut bits, bit, bit.saturating_add(1));
            }
        }
    }
    bits
}

/// Compares a bitmap with what it should be, run by run; `own` is what it stands for while the
/// group's flag says that it is unused.
fn compare(session: &mut Session<'_, '_>, kind: &Kind, map: &Map, own: &[u8]) -> Result<()> {
    let index = map.group.0 as usize;
    let place = Place::group(map.group).at_block(map.at);
    let has_flags = session.sb.features.has_group_desc_csum();
    let is_uninit = has_flags && session.descs[index].flags.contains(kind.flag);
    let mut bits = if is_uninit {
        let mut bits = own.to_vec();
        let all = u32::try_from(bits.len() * 8).unwrap_or(u32::MAX);
        bitmap::set_range(&mut bits, map.n_bits, all);
        if bits == map.expected {
            return Ok(());
        }
        if !session.fix(kind.uninit, place.clone(), "", "")? {
            return Ok(());
        }
        session.descs[index].flags.remove(kind.flag);
        bits
    } else {
        match session.image.read(map.at) {
            // It has no place.
            Err(Error::Outside(_)) => return Ok(()),
            other => other?,
        }
    };
    let mut is_changed = is_uninit;
    is_changed |= check_sum(session, kind, map, &bits, is_uninit)?;
    let mut at = if bits == map.expected { map.n_bits } else { 0 };
    while let Some((from, to, is_set)) = next_difference(&bits, &map.expected, at, map.n_bits) {
        at = to;
        let [one, run] = if is_set { kind.used } else { kind.free };
        let problem = if to - from == 1 { one } else { run };
        let first = map.first + u64::from(from) * map.per_bit;
        let last = map.first + u64::from(to) * map.per_bit - 1;
        let found = if first == last { first.to_string() } else { format!("{first}-{last}") };
        if session.fix(problem, place.clone(), found, "")? {
            is_changed = true;
            if is_set {
                bitmap::clear_range(&mut bits, from, to);
            } else {
                bitmap::set_range(&mut bits, from, to);
            }
        }
    }
    let all = u32::try_from(bits.len() * 8).unwrap_or(u32::MAX);
    if !bitmap::all_are(&bits, map.n_bits, all, true) && session.fix(kind.padding, place, "", "")? {
        is_changed = true;
        bitmap::set_range(&mut bits, map.n_bits, all);
    }
    if is_changed {
        session.image.write(map.at, &bits)?;
        if let Some(seed) = session.sb.metadata_csum() {
            let csum = bitmap::checksum(seed, &bits, map.n_full);
            let desc = &mut session.descs[index];
            if kind.flag == GroupFlags::BLOCK_UNINIT {
                desc.block_bitmap_csum = csum;
            } else {
                desc.inode_bitmap_csum = csum;
            }
        }
        session.put_descriptor(map.group)?;
    }
    Ok(())
}

/// Whether the checksum in the descriptor is to be renewed.
fn check_sum(
    session: &mut Session<'_, '_>,
    kind: &Kind,
    map: &Map,
    bits: &[u8],
    is_uninit: bool,
) -> Result<bool> {
    let Some(seed) = session.sb.metadata_csum().filter(|_| !is_uninit) else { return Ok(false) };
    let desc = &session.descs[map.group.0 as usize];
    let (found, mask) = if kind.flag == GroupFlags::BLOCK_UNINIT {
        (desc.block_bitmap_csum, session.desc_format.block_bitmap_csum_mask())
    } else {
        (desc.inode_bitmap_csum, session.desc_format.inode_bitmap_csum_mask())
    };
    let expected = bitmap::checksum(seed, bits, map.n_full) & mask;
    if found & mask == expected {
        return Ok(false);
    }
    let place = Place::group(map.group).at_block(map.at);
    let (found, expected) = (format!("{:#010x}", found & mask), format!("{expected:#010x}"));
    session.fix(kind.checksum, place, found, expected)
}

/// The next run of bits from `at` on that differ in the same way: first, end, whether they are set.
fn next_difference(bits: &[u8], expected: &[u8], at: u32, end: u32) -> Option<(u32, u32, bool)> {
    let differs = |bit: u32| bitmap::is_set(bits, bit) != bitmap::is_set(expected, bit);
    let mut from = at;
    while from < end && !differs(from) {
        // Whole bytes that are equal are passed over.
        let byte = (from / 8) as usize;
        from = if from.is_multiple_of(8) && bits.get(byte) == expected.get(byte) {
            from + 8
        } else {
            from + 1
        };
    }
    if from >= end {
        return None;
    }
    let is_set = bitmap::is_set(bits, from);
    let alike = |bit: &u32| differs(*bit) && bitmap::is_set(bits, *bit) == is_set;
    let to = (from..end).take_while(alike).last().map_or(from, |it| it + 1);
    Some((from, to, is_set))
}

/// Compares one count of a group's descriptor.
fn count(
    session: &mut Session<'_, '_>,
    group: GroupNr,
    problem: &'static Problem,
    expected: u32,
    field: impl Fn(&mut ext4_ondisk::group_desc::GroupDesc) -> &mut u32,
) -> Result<()> {
    let index = group.0 as usize;
    let found = *field(&mut session.descs[index]);
    if found != expected && session.fix(problem, Place::group(group), found, expected)? {
        *field(&mut session.descs[index]) = expected;
        session.put_descriptor(group)?;
    }
    Ok(())
}

/// Compares the superblock's counts.
fn totals(session: &mut Session<'_, '_>, free_blocks: u64, free_inodes: u32) -> Result<()> {
    let place = || Place::what("superblock");
    let mut found = session.raw.free_blocks_count();
    if !session.sb.features.has_incompat(Incompat::BIT64) {
        found &= u64::from(u32::MAX);
    }
    if found != free_blocks && session.fix(&FREE_BLOCKS, place(), found, free_blocks)? {
        session.raw.set_free_blocks_count(free_blocks);
        session.put_superblock()?;
    }
    let found = session.raw.s_free_inodes_count.get();
    if found != free_inodes && session.fix(&FREE_INODES, place(), found, free_inodes)? {
        session.raw.s_free_inodes_count.set(free_inodes);
        session.put_superblock()?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_come_as_runs_of_one_kind() {
        let bits = [0b0000_1111, 0xFF, 0x00];
        let expected = [0b0011_1100, 0xFF, 0x01];
        let runs: Vec<_> = std::iter::successors(next_difference(&bits, &expected, 0, 24), |it| {
            next_difference(&bits, &expected, it.1, 24)
        })
        .collect();
        assert_eq!(runs, [(0, 2, true), (4, 6, false), (16, 17, false)]);
    }

    #[test]
    fn numbers_become_bits_and_the_padding_is_set() {
        let mut numbers = Bits::default();
        for n in [3, 9, 10, 11, 15, 16] {
            numbers.insert(n);
        }
        assert_eq!(bits_of(&numbers, 8, 6, 2), [0b1100_1110, 0xFF]);
        assert_eq!(bits_of(&numbers, 14, 6, 1), [0b1100_0110]);
        assert_eq!(last_set(&[0b1100_1110, 0, 0], 24), Some(7));
        assert_eq!((last_set(&[0b1100_1110, 0x80], 15), last_set(&[0; 3], 24)), (Some(7), None));
    }
}
