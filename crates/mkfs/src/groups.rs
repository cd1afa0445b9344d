//! Each group's counts, flags and bitmaps, from the blocks and inodes in use.

use crate::{builder::Builder, plan::Plan, populate::Population, runs::Runs, tables::GroupTables};
use ext4_ondisk::{
    bitmap,
    geometry::Geometry,
    group_desc::{DescFormat, GroupDesc, GroupFlags},
    superblock::Superblock,
};
use ext4_units::{BlockNr, BlockRange, GroupNr, InodeNr};

/// What a group's descriptor says besides places.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GroupState {
    /// Free clusters.
    pub free_clusters: u32,
    /// Free inodes.
    pub free_inodes: u32,
    /// Directories.
    pub used_dirs: u32,
    /// Inodes at the table's end that were never used.
    pub itable_unused: u32,
    /// Flags.
    pub flags: GroupFlags,
}

impl GroupState {
    /// Whether the block bitmap is to be written: without a flag, the kernel reads it.
    pub(crate) fn has_block_bitmap(&self) -> bool {
        !self.flags.contains(GroupFlags::BLOCK_UNINIT)
    }

    /// Whether the inode bitmap is to be written.
    pub(crate) fn has_inode_bitmap(&self) -> bool {
        !self.flags.contains(GroupFlags::INODE_UNINIT)
    }
}

/// The state of every group.
pub(crate) fn states(builder: &Builder, is_lazy: bool) -> Vec<GroupState> {
    let geo = &builder.shape.geo;
    // Flags mean something only where descriptors have a checksum.
    let has_flags = builder.shape.sb.features.has_group_desc_csum();
    let all_used = clusters_used(geo, &builder.used);
    let mut states: Vec<GroupState> = geo
        .groups()
        .zip(all_used)
        .map(|(group, used)| {
            let mut flags = GroupFlags::empty();
            if has_flags {
                flags |= GroupFlags::INODE_UNINIT;
                flags.set(GroupFlags::INODE_ZEROED, !is_lazy);
                let tables = &builder.tables[group.0 as usize];
                let is_frame = is_frame_only(geo, used, group, tables);
                flags.set(GroupFlags::BLOCK_UNINIT, is_frame);
            }
            GroupState {
                free_clusters: geo.group_clusters(group) - used,
                free_inodes: geo.inodes_per_group,
                used_dirs: 0,
                itable_unused: if has_flags { geo.inodes_per_group } else { 0 },
                flags,
            }
        })
        .collect();
    let of_tree = builder.population.iter().flat_map(Population::numbers).filter_map(InodeNr::new);
    for ino in builder.inodes.keys().copied().chain(of_tree) {
        let Some((state, index)) = state_of(geo, &mut states, ino) else { continue };
        state.flags -= GroupFlags::INODE_UNINIT;
        state.free_inodes -= 1;
        state.itable_unused = state.itable_unused.min(geo.inodes_per_group - index - 1);
    }
    for &ino in &builder.directories {
        let Some((state, _)) = state_of(geo, &mut states, ino) else { continue };
        state.used_dirs += 1;
    }
    states
}

fn state_of<'a>(
    geo: &Geometry,
    states: &'a mut [GroupState],
    ino: InodeNr,
) -> Option<(&'a mut GroupState, u32)> {
    let place = geo.inode_place(ino)?;
    Some((states.get_mut(place.group.0 as usize)?, place.index))
}

/// The first and last cluster, one past it, that each run in the group touches.
fn cluster_runs<'a>(
    geo: &'a Geometry,
    used: &'a Runs,
    group: GroupNr,
) -> impl Iterator<Item = (u32, u32)> + 'a {
    let blocks = geo.group_blocks(group);
    let bits = geo.cluster_ratio_bits;
    used.in_range(blocks).map(move |run| {
        let from = (run.start.0 - blocks.start.0) >> bits;
        let to = (run.end().0 - blocks.start.0).div_ceil(1 << bits);
        let number = |n: u64| u32::try_from(n).unwrap_or(u32::MAX);
        (number(from), number(to))
    })
}

/// How many clusters of each group are in use.
fn clusters_used(geo: &Geometry, used: &Runs) -> Vec<u32> {
    let mut counts = vec![0; geo.groups_count as usize];
    for run in used.iter() {
        let mut at = run.start.0.max(geo.first_data_block.0);
        while at < run.end().0 {
            let Some(group) = geo.group_of_block(BlockNr(at)) else { break };
            let home = geo.group_blocks(group);
            let end = run.end().0.min(home.end().0);
            // With clusters the runs are whole clusters, so none is counted twice.
            let n = (end - home.start.0).div_ceil(1 << geo.cluster_ratio_bits)
                - ((at - home.start.0) >> geo.cluster_ratio_bits);
            if let Some(count) = counts.get_mut(group.0 as usize) {
                *count += u32::try_from(n).unwrap_or(u32::MAX);
            }
            at = end;
        }
    }
    counts
}

/// Whether the group's used clusters are just those the kernel marks by itself where the bitmap is
/// said to be uninitialised (`ext4_init_block_bitmap`): its superblock and descriptors, and its own
/// tables as far as they lie in it. Never the last group, whose bitmap has padding.
fn is_frame_only(geo: &Geometry, used: u32, group: GroupNr, tables: &GroupTables) -> bool {
    if group.0 + 1 == geo.groups_count {
        return false;
    }
    if used == 0 {
        return true;
    }
    let home = geo.group_blocks(group);
    let itable = BlockRange::new(tables.inode_table, u64::from(geo.itable_blocks()));
    let one = |blk: BlockNr| BlockRange::new(blk, 1);
    let mut frame = Runs::default();
    frame.insert(geo.base_metadata(group));
    for range in [one(tables.block_bitmap), one(tables.inode_bitmap), itable] {
        let start = range.start.0.clamp(home.start.0, home.end().0);
        let end = range.end().0.clamp(home.start.0, home.end().0);
        frame.insert(BlockRange::new(BlockNr(start), end - start));
    }
    // All of the frame is in use, so nothing else is when the counts agree.
    u64::from(used) == frame.clusters(geo.cluster_ratio_bits)
}

impl Plan {
    /// The block bitmap of a group, padding included.
    pub(crate) fn block_bitmap(&self, group: GroupNr) -> Vec<u8> {
        let geo = &self.geometry;
        let mut bytes = vec![0; geo.block_size.len()];
        for (from, to) in cluster_runs(geo, &self.used, group) {
            bitmap::set_range(&mut bytes, from, to);
        }
        bitmap::set_range(&mut bytes, geo.group_clusters(group), geo.block_size.bytes() * 8);
        bytes
    }

    /// The inode bitmap of a group, padding included.
    pub(crate) fn inode_bitmap(&self, group: GroupNr) -> Vec<u8> {
        let geo = &self.geometry;
        let mut bytes = vec![0; geo.block_size.len()];
        for ino in self.inodes_of(group) {
            if let Some(place) = geo.inode_place(ino) {
                bitmap::set_range(&mut bytes, place.index, place.index + 1);
            }
        }
        bitmap::set_range(&mut bytes, geo.inodes_per_group, geo.block_size.bytes() * 8);
        bytes
    }

    /// The inodes in use in a group, in order. Those of the tree lie between special ones and values
    /// of extended attributes.
    pub(crate) fn inodes_of(&self, group: GroupNr) -> impl Iterator<Item = InodeNr> + '_ {
        let geo = &self.geometry;
        let first = geo.inode_at(group, 0);
        let last = geo.inode_at(group, geo.inodes_per_group - 1);
        let numbers = self.population.as_ref().map_or(0..0, Population::numbers);
        first.zip(last).into_iter().flat_map(move |(first, last)| {
            let of_tree = numbers.start.max(first.get())..numbers.end.min(last.get() + 1);
            let others = |from: u32, to: u32| {
                let range = InodeNr::new(from).zip(InodeNr::new(to)).filter(|(from, to)| from < to);
                let range = range.map(|(from, to)| self.inodes.range(from..to));
                range.into_iter().flatten().map(|(&ino, _)| ino)
            };
            let end = last.get().saturating_add(1);
            let middle = numbers.end.clamp(first.get(), end);
            others(first.get(), middle)
                .chain(of_tree.filter_map(InodeNr::new))
                .chain(others(middle, end))
        })
    }

    /// All descriptors one behind the other, each in `desc_size` bytes, in whole blocks, with the
    /// checksums of this superblock's filesystem.
    pub(crate) fn descriptors(&self, superblock: &Superblock) -> Vec<u8> {
        let geo = &self.geometry;
        let format = DescFormat::new(superblock);
        let size = format.desc_size();
        let csum = superblock.metadata_csum();
        let mut bytes = vec![0; geo.desc_blocks() as usize * geo.block_size.len()];
        let per_block = geo.descs_per_block() as usize;
        for (group, (tables, state)) in geo.groups().zip(self.tables.iter().zip(&self.groups)) {
            let sum = |is_there: bool, bitmap: &dyn Fn() -> Vec<u8>, n_bits: u32| match csum {
                Some(seed) if is_there => bitmap::checksum(seed, &bitmap(), n_bits),
                _ => 0,
            };
            let desc = GroupDesc {
                block_bitmap: tables.block_bitmap,
                inode_bitmap: tables.inode_bitmap,
                inode_table: tables.inode_table,
                free_clusters: state.free_clusters,
                free_inodes: state.free_inodes,
                used_dirs: state.used_dirs,
                flags: state.flags,
                itable_unused: state.itable_unused,
                block_bitmap_csum: sum(
                    state.has_block_bitmap(),
                    &|| self.block_bitmap(group),
                    geo.clusters_per_group,
                ),
                inode_bitmap_csum: sum(
                    state.has_inode_bitmap(),
                    &|| self.inode_bitmap(group),
                    geo.inodes_per_group,
                ),
            };
            let nr = group.0 as usize;
            let at = nr / per_block * geo.block_size.len() + nr % per_block * size;
            desc.encode(&mut bytes[at..at + size], group, &format);
        }
        bytes
    }
}
