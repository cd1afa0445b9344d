//! Allocating and freeing runs of clusters.

use super::{
    group::block_bitmap,
    search::{Run, find_run},
};
use crate::{Error, Filesystem, Handle, Inode, Result};
use ext4_jbd2::Block;
use ext4_ondisk::{
    bitmap,
    features::Incompat,
    group_desc::{GroupDesc, GroupFlags},
};
use ext4_units::{BlockNr, BlockRange, GroupNr};
use std::borrow::Cow;

/// How many groups are looked at in full before the longest run seen so far is taken.
const PATIENCE: u32 = 64;

/// What clusters are for: how far down the filesystem may be filled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Use {
    /// File data, which leaves a reserve.
    Data,
    /// Metadata, which may take the reserve: a conversion must not fail for want of a node
    /// (`EXT4_MB_USE_RESERVED`).
    Metadata,
}

/// Takes up to `want` clusters in one run, as close to `goal` as can be, and marks them used.
///
/// Returns blocks: the run starts on a cluster and its length is a whole number of clusters, at
/// least one. A run never crosses a group. Blocks freed by a transaction that is not committed are
/// not handed out ([`ext4_jbd2::Journal::is_pending_free`]), so with [`Error::NoSpace`] a commit
/// may help.
pub(crate) fn allocate_clusters(
    h: &mut Handle<'_>,
    goal: BlockNr,
    want: u32,
    purpose: Use,
) -> Result<BlockRange> {
    let geo = h.fs().geometry();
    let (goal_group, goal_bit) = geo.cluster_bit(goal).unwrap_or((GroupNr(0), 0));
    let left = available(h, purpose)?;
    if left == 0 {
        return Err(Error::NoSpace { what: "blocks" });
    }
    let want = want.clamp(1, geo.clusters_per_group).min(u32::try_from(left).unwrap_or(u32::MAX));
    let mut best: Option<(Group, Run)> = None;
    let mut looked_at = 0;
    for step in 0..geo.groups_count {
        let gi = GroupNr((goal_group.0 + step) % geo.groups_count);
        // A group that cannot beat what we have is not read at all.
        let enough = best.as_ref().map_or(1, |(_, run)| run.len + 1);
        if h.fs().hints().longest_run(gi) < enough {
            continue;
        }
        let desc = h.group(gi)?;
        if desc.free_clusters < enough {
            continue;
        }
        let bits = block_bitmap(h.fs(), h, gi, &desc)?;
        let (usable, waits) = usable_bitmap(h, gi, &bits);
        let from = if step == 0 { goal_bit } else { 0 };
        let offer = find_run(&usable, geo.group_clusters(gi), from, want);
        // What waits for a commit makes runs longer by the commit alone.
        if offer.is_complete && !waits {
            h.fs().hints().set_longest_run(gi, offer.longest);
        }
        // Going on where the file ends beats a longer run elsewhere, unless it is a mere crumb.
        drop(usable);
        let group = Group { gi, desc, bits };
        if let Some(run) = offer.at_goal
            && step == 0
            && (run.len == want || run.len >= 16)
        {
            best = Some((group, run));
            break;
        }
        if let Some(run) = offer.best
            && best.as_ref().is_none_or(|(_, old)| run.len > old.len)
        {
            best = Some((group, run));
        }
        looked_at += 1;
        if best.as_ref().is_some_and(|(_, run)| run.len == want || looked_at >= PATIENCE) {
            break;
        }
    }
    let (group, run) = best.ok_or(Error::NoSpace { what: "blocks" })?;
    let start = geo.cluster_block(group.gi, run.start);
    let range = BlockRange::new(start, u64::from(run.len) << geo.cluster_ratio_bits);
    mark(h, group, run, Mark::Used)?;
    Ok(range)
}

/// How many clusters may be taken now: not what is promised to pages of others. Data leaves a
/// reserve to metadata, unless it was promised.
fn available(h: &Handle<'_>, purpose: Use) -> Result<u64> {
    let free = h.free_clusters()?;
    let (others, own) = h.promises();
    let rest = free.saturating_sub(others);
    Ok(match purpose {
        Use::Data => {
            rest.saturating_sub(data_reserve(h.fs()).saturating_add(own)).saturating_add(own)
        }
        Use::Metadata => rest,
    }
    .min(free))
}

/// Clusters that data leaves to metadata: 2 % of the filesystem, at most 4096
/// (`ext4_set_resv_clusters`). The blocks reserved for root are not held back.
pub(crate) fn data_reserve(fs: &Filesystem) -> u64 {
    let geo = fs.geometry();
    if fs.superblock().features.has_incompat(Incompat::EXTENTS) {
        ((geo.blocks_count >> geo.cluster_ratio_bits) / 50).min(4096)
    } else {
        0
    }
}

/// Marks the clusters that hold `range` used, where they are not: fast commits say which blocks a
/// file got, the bitmaps do not know yet (`ext4_mb_mark_bb`). Returns how many were taken.
pub(crate) fn claim_clusters(h: &mut Handle<'_>, range: BlockRange) -> Result<u32> {
    let mut taken = 0;
    for (gi, run) in per_group(h, range)? {
        let bits = Group::read(h, gi)?.bits;
        let end = run.start + run.len;
        let mut at = run.start;
        while let Some(start) = bitmap::next_clear(&bits, at, end) {
            at = bitmap::next_set(&bits, start, end).unwrap_or(end);
            mark(h, Group::read(h, gi)?, Run { start, len: at - start }, Mark::Used)?;
            taken += at - start;
        }
    }
    Ok(taken)
}

/// Gives back the clusters of `range`, which starts and ends on clusters. They are not reused
/// before the transaction commits.
///
/// A cluster that is free already, or that belongs to the filesystem itself, is damage: the call
/// fails and the handle must be dropped (`ext4_free_blocks` with `ext4_sb_block_valid`).
pub(crate) fn free_clusters(h: &mut Handle<'_>, range: BlockRange) -> Result<()> {
    if let Some(blk) = h.fs().zones().hit(range) {
        return Err(Error::corrupt(format!("block {blk}"), "freed by a file, but holds metadata"));
    }
    for (gi, run) in per_group(h, range)? {
        let group = Group::read(h, gi)?;
        if let Some(bit) = bitmap::next_clear(&group.bits, run.start, run.start + run.len) {
            let blk = h.fs().geometry().cluster_block(gi, bit);
            let fault = format!("block {blk} is free already, expected in use");
            return Err(Error::corrupt(format!("block bitmap of group {gi}"), fault));
        }
        mark(h, group, run, Mark::Free)?;
    }
    h.free(range);
    Ok(())
}

/// Where the first block of a file would best lie: the start of its inode's group, or of the flex
/// group after its directories (`ext4_inode_to_goal_block`).
pub(crate) fn goal_for_inode(h: &Handle<'_>, inode: &Inode) -> BlockNr {
    let geo = h.fs().geometry();
    let Some(place) = geo.inode_place(inode.ino) else { return geo.first_data_block };
    let mut gi = place.group;
    let flex = 1u32 << geo.log_groups_per_flex.min(31);
    if flex >= 4 {
        gi = GroupNr(gi.0 & !(flex - 1));
        if inode.is_regular() && gi.0 + 1 < geo.groups_count {
            gi = GroupNr(gi.0 + 1);
        }
    }
    geo.group_blocks(gi).start
}

#[derive(Clone, Copy)]
enum Mark {
    Used,
    Free,
}

/// A group as it is now.
struct Group {
    gi: GroupNr,
    desc: GroupDesc,
    bits: Block,
}

impl Group {
    fn read(h: &Handle<'_>, gi: GroupNr) -> Result<Self> {
        let desc = h.group(gi)?;
        let bits = block_bitmap(h.fs(), h, gi, &desc)?;
        Ok(Self { gi, desc, bits })
    }
}

/// Changes one run of bits and everything that counts them.
fn mark(h: &mut Handle<'_>, group: Group, run: Run, to: Mark) -> Result<()> {
    let Group { gi, mut desc, bits: old } = group;
    let mut new = Block::from(&*old);
    drop(old);
    let bits = Block::make_mut(&mut new);
    let end = run.start + run.len;
    let overflow =
        || Error::corrupt(format!("group {gi} descriptor"), "free blocks count is wrong");
    match to {
        Mark::Used => {
            bitmap::set_range(bits, run.start, end);
            desc.free_clusters = desc.free_clusters.checked_sub(run.len).ok_or_else(overflow)?;
            h.count_free_clusters(-i64::from(run.len));
        }
        Mark::Free => {
            bitmap::clear_range(bits, run.start, end);
            desc.free_clusters = desc.free_clusters.checked_add(run.len).ok_or_else(overflow)?;
            if desc.free_clusters > h.fs().geometry().group_clusters(gi) {
                return Err(overflow());
            }
            h.fs().hints().set_longest_run(gi, u32::MAX);
            h.count_free_clusters(i64::from(run.len));
        }
    }
    desc.flags.remove(GroupFlags::BLOCK_UNINIT);
    if let Some(seed) = h.fs().superblock().metadata_csum() {
        desc.block_bitmap_csum = bitmap::checksum(seed, bits, h.fs().geometry().clusters_per_group);
    }
    h.fs().hints().set_verified(gi, Block::clone(&new), desc.block_bitmap_csum);
    h.write(desc.block_bitmap, new)?;
    h.put_group(gi, &desc)
}

/// The group's bitmap with everything set that may not be handed out now, and whether some of that
/// only waits for a commit.
fn usable_bitmap<'b>(h: &Handle<'_>, gi: GroupNr, bits: &'b [u8]) -> (Cow<'b, [u8]>, bool) {
    let geo = h.fs().geometry();
    let mut bits = Cow::Borrowed(bits);
    let group = geo.group_blocks(gi);
    let pending = h.pending_free(group);
    let waits = !pending.is_empty();
    for blocked in pending.into_iter().chain(h.fs().zones().within(group)) {
        let (from, to) = cluster_span(h, gi, group, blocked);
        if !bitmap::all_are(&bits, from, to, true) {
            bitmap::set_range(bits.to_mut(), from, to);
        }
    }
    (bits, waits)
}

/// The bits of `gi` that `run` touches, `run` cut to the group.
fn cluster_span(h: &Handle<'_>, gi: GroupNr, group: BlockRange, run: BlockRange) -> (u32, u32) {
    let geo = h.fs().geometry();
    let start = run.start.max(group.start).0 - group.start.0;
    let end = run.end().min(group.end()).0 - group.start.0;
    let clamp = |bit: u64| u32::try_from(bit).unwrap_or(u32::MAX).min(geo.group_clusters(gi));
    (clamp(start >> geo.cluster_ratio_bits), clamp(end.div_ceil(1 << geo.cluster_ratio_bits)))
}

/// `range` cut at group borders, in clusters.
fn per_group(h: &Handle<'_>, range: BlockRange) -> Result<Vec<(GroupNr, Run)>> {
    let geo = h.fs().geometry();
    let mut parts = Vec::new();
    let mut at = range.start;
    while at < range.end() {
        let gi = geo
            .group_of_block(at)
            .ok_or_else(|| Error::corrupt(format!("blocks {range}"), "outside the filesystem"))?;
        let group = geo.group_blocks(gi);
        let (from, to) = cluster_span(h, gi, group, range);
        parts.push((gi, Run { start: from, len: to - from }));
        at = group.end();
    }
    Ok(parts)
}
