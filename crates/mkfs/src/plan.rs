//! The plan: what the filesystem will be, to the last byte that is not a zero. Pure; `write.rs`
//! carries it out.

use crate::{
    builder::{Builder, SpecialFile},
    copy::{FileData, Place, segments_of},
    error::{Result, conflict},
    fit::with_least,
    groups::{self, GroupState},
    mapping::Segment,
    options::Options,
    populate::{Counts, Order, Population},
    runs::Runs,
    seal::Block,
    settings::{Files, settings},
    shape::{Shape, shape},
    tables::{self, GroupTables, Layout},
};
use ext4_ondisk::{
    features::Incompat,
    geometry::Geometry,
    inode::InodeFormat,
    superblock::{RawSuperblock, Superblock},
    time::Timestamp,
    uuid,
};
use ext4_tree::Tree;
use ext4_units::{BlockNr, BlockRange, GroupNr, InodeNr};
use std::{collections::BTreeMap, fmt, sync::Arc};

/// A filesystem that could be written.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Its superblock's bytes.
    pub raw: RawSuperblock,
    /// What they say.
    pub superblock: Superblock,
    /// Where things are.
    pub geometry: Geometry,
    /// Bitmaps and inode table of each group.
    pub tables: Vec<GroupTables>,
    /// Counts and flags of each group.
    pub groups: Vec<GroupState>,
    /// The special files.
    pub files: Vec<SpecialFile>,
    /// Whether the host is asked to take all space back first.
    pub discard: bool,
    /// Whether the device reads as zeros already.
    pub is_zeroed: bool,
    pub(crate) used: Runs,
    pub(crate) inodes: BTreeMap<InodeNr, Vec<u8>>,
    pub(crate) blocks: Vec<Block>,
    pub(crate) zeros: Vec<BlockRange>,
    pub(crate) tree: Option<Arc<Tree>>,
    /// The files with data, in order of their inodes.
    pub(crate) data: Vec<FileData>,
    /// Where the blocks of the tree's files are, each file's one behind the other.
    pub(crate) segments: Vec<Segment>,
    /// What the uuid is made of, with the checksums of all contents; the one in `raw` stands for it
    /// until they are known. `None` when the uuid does not depend on contents.
    pub(crate) uuid_from: Option<[u8; 32]>,
    pub(crate) population: Option<Population>,
}

/// Plans the filesystem that `options` ask for on a device of `device_len` bytes.
///
/// # Errors
/// [`Error::Options`](crate::Error::Options) when the options contradict each other or the format,
/// [`Error::TooSmall`](crate::Error::TooSmall) and [`Error::NoRoom`](crate::Error::NoRoom) when it
/// does not fit, [`Error::TooFewInodes`](crate::Error::TooFewInodes) and
/// [`Error::File`](crate::Error::File) when a file of the tree does not.
pub fn plan(options: &Options, device_len: u64) -> Result<Plan> {
    let order = options.tree.as_deref().map(Order::new).transpose()?;
    let files = order.as_ref().map_or(Files::Inodes(0), Files::Tree);
    let len = options.size.unwrap_or(device_len);
    match plan_for(options, files, device_len) {
        Err(error) if len <= device_len => Err(with_least(error, options, files, len)),
        planned => planned,
    }
}

/// As [`plan`], for these files, of which what is known does not go with the size.
pub(crate) fn plan_for(options: &Options, files: Files<'_>, device_len: u64) -> Result<Plan> {
    let mut settings = settings(options, files, device_len)?;
    let attributes = std::mem::take(&mut settings.attributes);
    let shape = shape(options, &settings)?;
    let mut used = reserved(&shape);
    check_bad_blocks(options, &shape)?;
    for &bad in &options.bad_blocks {
        used.insert(BlockRange::new(BlockNr(bad), 1));
    }
    let flex = shape.sb.features.has_incompat(Incompat::FLEX_BG);
    let layout = match (flex, options.packed_meta_blocks) {
        (true, true) => Layout::Packed,
        (true, false) => Layout::Flex,
        (false, _) => Layout::AtHome { stride: options.stride },
    };
    let tables = tables::place(&shape.geo, layout, &mut used)?;
    let ratio_bits = shape.geo.cluster_ratio_bits;
    let mut metadata = used.clone();
    for &bad in &options.bad_blocks {
        metadata.remove(BlockNr(bad));
    }
    let overhead = metadata.clusters(ratio_bits);
    // Whoever takes a block from here on takes its whole cluster.
    let used = if ratio_bits == 0 { used } else { used.in_clusters(ratio_bits) };
    let format = InodeFormat::new(&shape.sb);
    let mut builder = Builder {
        format,
        used,
        tables,
        time: Timestamp { sec: options.time, nsec: 0 },
        inodes: BTreeMap::new(),
        directories: Vec::new(),
        blocks: Vec::new(),
        zeros: Vec::new(),
        files: Vec::new(),
        data: Vec::new(),
        segments: Vec::new(),
        population: None,
        shape,
    };
    builder.special_files(options, files.order(), &attributes)?;
    let uuid_from = settings.uuid_from.filter(|_| !builder.data.is_empty());
    finish(builder, options, overhead, uuid_from)
}

/// Superblocks, descriptors and their reserve in all groups, and the boot block.
fn reserved(shape: &Shape) -> Runs {
    let mut used = Runs::default();
    for group in shape.geo.groups() {
        used.insert(shape.geo.base_metadata(group));
    }
    used
}

fn check_bad_blocks(options: &Options, shape: &Shape) -> Result<()> {
    let geo = &shape.geo;
    let last = geo.desc_block(geo.desc_blocks() - 1);
    for &bad in &options.bad_blocks {
        if !geo.contains(BlockNr(bad)) {
            return conflict(format!("bad block {bad} lies outside of the filesystem"));
        }
        if bad <= geo.superblock_place().0.0.max(last.0)
            && geo.group_blocks(GroupNr(0)).contains(BlockNr(bad))
        {
            return conflict(format!(
                "bad block {bad} is one of the superblock's or the descriptors', which must be good"
            ));
        }
        let copy = geo.group_of_block(BlockNr(bad)).map(|group| geo.base_metadata(group));
        if copy.is_some_and(|it| it.contains(BlockNr(bad))) {
            return conflict(format!(
                "bad block {bad} is one of a copy of the superblock or the descriptors"
            ));
        }
    }
    if geo.cluster_ratio_bits > 0 && !options.bad_blocks.is_empty() {
        return conflict("a list of bad blocks does not go with clusters (bigalloc)");
    }
    Ok(())
}

/// Counts what is left and seals the superblock.
fn finish(
    builder: Builder,
    options: &Options,
    overhead: u64,
    uuid_from: Option<[u8; 32]>,
) -> Result<Plan> {
    let groups = groups::states(&builder, options.lazy_itable_init);
    let ratio_bits = builder.shape.geo.cluster_ratio_bits;
    let journal = builder.files.iter().find(|it| it.name == "journal");
    let log: u64 = journal.map_or(0, |it| it.blocks.iter().map(|run| run.len).sum());
    let overhead = overhead + log.div_ceil(1 << ratio_bits) + builder.shape.geo.first_data_block.0;
    let mut raw = builder.shape.raw;
    let free: u64 = groups.iter().map(|it| u64::from(it.free_clusters)).sum();
    raw.set_free_blocks_count(free << ratio_bits);
    raw.s_free_inodes_count.set(groups.iter().map(|it| it.free_inodes).sum());
    raw.s_overhead_clusters.set(u32::try_from(overhead).unwrap_or(0));
    raw.update_checksum();
    let superblock = Superblock::decode(&raw)?;
    let geometry = Geometry::new(&superblock);
    Ok(Plan {
        raw,
        superblock,
        geometry,
        tables: builder.tables,
        groups,
        files: builder.files,
        discard: options.discard,
        is_zeroed: options.is_zeroed,
        used: builder.used,
        inodes: builder.inodes,
        blocks: builder.blocks,
        zeros: builder.zeros,
        tree: options.tree.clone(),
        data: builder.data,
        segments: builder.segments,
        uuid_from,
        population: builder.population,
    })
}

/// What one group holds of the filesystem's frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupLayout {
    /// All its blocks.
    pub blocks: BlockRange,
    /// The superblock or its copy.
    pub superblock: Option<BlockNr>,
    /// Descriptors, without their reserve. Empty where there are none.
    pub descriptors: BlockRange,
    /// Blocks behind them, kept for growth.
    pub reserved: BlockRange,
}

impl Plan {
    /// What the group holds besides its tables.
    pub fn group_layout(&self, group: GroupNr) -> GroupLayout {
        let geo = &self.geometry;
        let base = geo.base_metadata(group);
        let first = if group.0 == 0 { geo.superblock_place().0 } else { base.start };
        let superblock = geo.has_super(group).then_some(first);
        let after = first.plus(u64::from(superblock.is_some()));
        let rest = base.end().0.saturating_sub(after.0);
        let reserved = match superblock {
            Some(_) if rest > u64::from(self.superblock.reserved_gdt_blocks) => {
                u64::from(self.superblock.reserved_gdt_blocks)
            }
            _ => 0,
        };
        let descriptors = BlockRange::new(after, rest - reserved);
        GroupLayout {
            blocks: geo.group_blocks(group),
            superblock,
            descriptors,
            reserved: BlockRange::new(descriptors.end(), reserved),
        }
    }

    /// Bytes of the filesystem.
    pub fn len(&self) -> u64 {
        self.geometry.blocks_count * u64::from(self.geometry.block_size.bytes())
    }

    /// Never: there is a superblock.
    pub const fn is_empty(&self) -> bool {
        false
    }

    /// Blocks of the log and of the fast-commit area; 0 without an internal journal.
    pub fn journal_blocks(&self) -> u64 {
        let journal = self.files.iter().find(|it| it.name == "journal");
        journal.map_or(0, |it| it.blocks.iter().map(|run| run.len).sum())
    }

    /// Whether the uuid is known; otherwise it follows from the contents of files, and
    /// [`Written`](crate::Written) tells it.
    pub const fn is_uuid_known(&self) -> bool {
        self.uuid_from.is_none()
    }

    /// The first block with contents of a file; `None` when no block has any.
    pub fn contents_start(&self) -> Option<BlockNr> {
        let of_file = |it: &FileData| match &it.place {
            Place::Blocks(range) => {
                segments_of(&self.segments, range).iter().map(|it| it.blocks.start).min()
            }
            Place::Inline { .. } => None,
        };
        self.data.iter().filter_map(of_file).min()
    }

    /// What the filesystem has of files from the start; `None` without a tree.
    pub fn counts(&self) -> Option<Counts> {
        self.population.as_ref().map(|it| it.counts)
    }
}

/// The geometry in a few lines, then every group with what lies where.
impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (geo, sb) = (&self.geometry, &self.superblock);
        writeln!(f, "{} blocks of {} bytes", geo.blocks_count, geo.block_size)?;
        writeln!(f, "{} free, {} reserved", sb.free_blocks_count, sb.r_blocks_count)?;
        if geo.cluster_ratio_bits > 0 {
            writeln!(f, "clusters of {} bytes", sb.cluster_bytes())?;
        }
        writeln!(f, "{} inodes of {} bytes", geo.inodes_count, geo.inode_size)?;
        writeln!(
            f,
            "{} groups of {} blocks and {} inodes",
            geo.groups_count, geo.blocks_per_group, geo.inodes_per_group
        )?;
        writeln!(f, "features: {}", sb.features.names().join(" "))?;
        if self.is_uuid_known() {
            writeln!(f, "uuid: {}", uuid::text(&sb.uuid))?;
        } else {
            writeln!(f, "uuid: follows from the contents of files")?;
        }
        for file in &self.files {
            write!(f, "{}: inode {}", file.name, file.ino)?;
            for (i, run) in file.blocks.iter().enumerate() {
                write!(f, "{}{run}", if i == 0 { ", blocks " } else { " " })?;
            }
            writeln!(f)?;
        }
        if let Some(counts) = self.counts() {
            writeln!(f, "files: {counts}")?;
            if let Some(blk) = self.contents_start() {
                writeln!(f, "contents: from block {blk} on")?;
            }
        }
        for (group, (tables, state)) in geo.groups().zip(self.tables.iter().zip(&self.groups)) {
            let layout = self.group_layout(group);
            write!(f, "group {group}: blocks {}", layout.blocks)?;
            if let Some(blk) = layout.superblock {
                write!(f, ", superblock {blk}")?;
            }
            for (what, range) in
                [("descriptors", layout.descriptors), ("reserved", layout.reserved)]
            {
                if range.len > 0 {
                    write!(f, ", {what} {range}")?;
                }
            }
            let table = BlockRange::new(tables.inode_table, u64::from(geo.itable_blocks()));
            writeln!(
                f,
                ", block bitmap {}, inode bitmap {}, inode table {table}, {} free",
                tables.block_bitmap, tables.inode_bitmap, state.free_clusters
            )?;
        }
        Ok(())
    }
}
