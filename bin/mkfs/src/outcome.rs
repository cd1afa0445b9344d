//! What was made, or would be: as text and as JSON.

use ext4_cli::size::Bytes;
use ext4_mkfs::{Plan, Written, journal_device::JournalPlan};
use ext4_ondisk::uuid;
use ext4_units::{BlockRange, GroupNr};
use serde::Serialize;
use std::fmt;

/// The result of a run.
#[derive(Clone, Debug, Serialize)]
pub struct Outcome {
    image: String,
    dry_run: bool,
    /// None before it is known: when it follows from the contents of files, and they were not read.
    uuid: Option<String>,
    label: String,
    block_size: u32,
    blocks: u64,
    free_blocks: u64,
    reserved_blocks: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    cluster_size: Option<u64>,
    inodes: u32,
    free_inodes: u32,
    inode_size: u16,
    groups: u32,
    blocks_per_group: u32,
    inodes_per_group: u32,
    reserved_gdt_blocks: u16,
    journal_blocks: u64,
    features: Vec<String>,
    /// Superblock copies, by block.
    backups: Vec<u64>,
    files: Vec<File>,
    #[serde(skip_serializing_if = "Option::is_none")]
    populated: Option<Populated>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    layout: Vec<GroupRow>,
    #[serde(skip_serializing_if = "Option::is_none")]
    written_bytes: Option<u64>,
    #[serde(skip)]
    plan_text: String,
}

/// What came from a source or a manifest.
#[derive(Clone, Copy, Debug, Serialize)]
struct Populated {
    directories: u64,
    indexed_directories: u64,
    regular_files: u64,
    symbolic_links: u64,
    other_files: u64,
    data_bytes: u64,
    hole_bytes: u64,
    /// The first block with contents.
    #[serde(skip_serializing_if = "Option::is_none")]
    contents_start: Option<u64>,
}

impl Populated {
    fn new(plan: &Plan) -> Option<Self> {
        let counts = plan.counts()?;
        Some(Self {
            directories: counts.directories,
            indexed_directories: counts.indexed,
            regular_files: counts.regular,
            symbolic_links: counts.symlinks,
            other_files: counts.others,
            data_bytes: counts.bytes,
            hole_bytes: counts.holes,
            contents_start: plan.contents_start().map(|it| it.0),
        })
    }
}

#[derive(Clone, Debug, Serialize)]
struct File {
    name: &'static str,
    inode: u32,
    blocks: Vec<Run>,
}

/// First block and number of blocks.
#[derive(Clone, Copy, Debug, Serialize)]
struct Run {
    start: u64,
    len: u64,
}

#[derive(Clone, Debug, Serialize)]
struct GroupRow {
    group: u32,
    blocks: Run,
    #[serde(skip_serializing_if = "Option::is_none")]
    superblock: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    descriptors: Option<Run>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reserved_descriptors: Option<Run>,
    block_bitmap: u64,
    inode_bitmap: u64,
    inode_table: Run,
    free_clusters: u32,
    free_inodes: u32,
    flags: u16,
}

fn run(range: BlockRange) -> Run {
    Run { start: range.start.0, len: range.len }
}

impl Outcome {
    /// Of a plan, which was carried out if `written` is there.
    pub fn new(image: String, plan: &Plan, written: Option<Written>) -> Self {
        let (geo, sb) = (&plan.geometry, &plan.superblock);
        let dry_run = written.is_none();
        let backups = geo.groups().skip(1).filter(|&it| geo.has_super(it));
        Self {
            image,
            dry_run,
            uuid: match written {
                Some(written) => Some(uuid::text(&written.uuid)),
                None => plan.is_uuid_known().then(|| uuid::text(&sb.uuid)),
            },
            label: String::from_utf8_lossy(&sb.volume_name).into_owned(),
            block_size: geo.block_size.bytes(),
            blocks: geo.blocks_count,
            free_blocks: sb.free_blocks_count,
            reserved_blocks: sb.r_blocks_count,
            cluster_size: (geo.cluster_ratio_bits > 0).then(|| sb.cluster_bytes()),
            inodes: geo.inodes_count,
            free_inodes: sb.free_inodes_count,
            inode_size: geo.inode_size,
            groups: geo.groups_count,
            blocks_per_group: geo.blocks_per_group,
            inodes_per_group: geo.inodes_per_group,
            reserved_gdt_blocks: sb.reserved_gdt_blocks,
            journal_blocks: plan.journal_blocks(),
            features: sb.features.names(),
            backups: backups.map(|it| geo.group_blocks(it).start.0).collect(),
            files: plan
                .files
                .iter()
                .map(|it| File {
                    name: it.name,
                    inode: it.ino.get(),
                    blocks: it.blocks.iter().copied().map(run).collect(),
                })
                .collect(),
            populated: Populated::new(plan),
            layout: if dry_run { layout(plan) } else { Vec::new() },
            written_bytes: written.map(|it| it.bytes),
            plan_text: if dry_run { plan.to_string() } else { String::new() },
        }
    }
}

fn layout(plan: &Plan) -> Vec<GroupRow> {
    let geo = &plan.geometry;
    let some = |range: BlockRange| (range.len > 0).then(|| run(range));
    let each = (0..).map(GroupNr).zip(plan.tables.iter().zip(&plan.groups));
    each.map(|(group, (tables, state))| {
        let at = plan.group_layout(group);
        let table = BlockRange::new(tables.inode_table, u64::from(geo.itable_blocks()));
        GroupRow {
            group: group.0,
            blocks: run(at.blocks),
            superblock: at.superblock.map(|it| it.0),
            descriptors: some(at.descriptors),
            reserved_descriptors: some(at.reserved),
            block_bitmap: tables.block_bitmap.0,
            inode_bitmap: tables.inode_bitmap.0,
            inode_table: run(table),
            free_clusters: state.free_clusters,
            free_inodes: state.free_inodes,
            flags: state.flags.bits(),
        }
    })
    .collect()
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.dry_run {
            write!(f, "{}", self.plan_text)?;
            return write!(f, "{}: nothing was written", self.image);
        }
        let image = &self.image;
        let size = Bytes(self.blocks.saturating_mul(u64::from(self.block_size)));
        writeln!(
            f,
            "{image}: {size}: {} blocks of {} bytes, {} inodes of {} bytes, {} groups",
            self.blocks, self.block_size, self.inodes, self.inode_size, self.groups
        )?;
        match self.journal_blocks {
            0 => writeln!(f, "{image}: no journal inside")?,
            n => writeln!(f, "{image}: journal of {n} blocks")?,
        }
        if let Some(it) = self.populated {
            writeln!(
                f,
                "{image}: {} directories, {} regular files with {}, {} symbolic links, {} others",
                it.directories,
                it.regular_files,
                Bytes(it.data_bytes),
                it.symbolic_links,
                it.other_files
            )?;
        }
        writeln!(f, "{image}: uuid {}", self.uuid.as_deref().unwrap_or_default())?;
        if !self.backups.is_empty() {
            let blocks: Vec<_> = self.backups.iter().map(u64::to_string).collect();
            writeln!(f, "{image}: superblock copies at blocks {}", blocks.join(", "))?;
        }
        write!(f, "{image}: {} written", Bytes(self.written_bytes.unwrap_or(0)))
    }
}

/// The result of making a journal device.
#[derive(Clone, Debug, Serialize)]
pub struct JournalOutcome {
    image: String,
    dry_run: bool,
    uuid: String,
    block_size: u32,
    blocks: u32,
    fast_commit_blocks: u32,
    #[serde(skip)]
    text: String,
}

impl JournalOutcome {
    /// Of a plan, carried out or not.
    pub fn new(image: String, plan: &JournalPlan, dry_run: bool) -> Self {
        Self {
            image,
            dry_run,
            uuid: uuid::text(&plan.uuid),
            block_size: plan.block_size.bytes(),
            blocks: plan.blocks,
            fast_commit_blocks: plan.fast_commit,
            text: plan.to_string(),
        }
    }
}

impl fmt::Display for JournalOutcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.text)?;
        if self.dry_run {
            write!(f, "{}: nothing was written", self.image)?;
        }
        Ok(())
    }
}

/// The presets and what each leaves out.
#[derive(Clone, Debug, Serialize)]
pub struct PresetList(Vec<PresetRow>);

#[derive(Clone, Debug, Serialize)]
struct PresetRow {
    name: &'static str,
    reader: String,
    leaves_out: Vec<&'static str>,
    #[serde(skip_serializing_if = "str::is_empty")]
    remark: &'static str,
}

impl PresetList {
    /// All presets of the library.
    pub fn all() -> Self {
        let row = |it: &ext4_mkfs::presets::Preset| PresetRow {
            name: it.name,
            reader: it.reader(),
            leaves_out: it.lacks(),
            remark: it.remark(),
        };
        Self(ext4_mkfs::presets::PRESETS.iter().map(row).collect())
    }
}

impl fmt::Display for PresetList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = self.0.iter().map(|it| it.reader.len()).max().unwrap_or(0);
        writeln!(f, "{:<16}{:<width$}  LEAVES OUT", "NAME", "FOR")?;
        for row in &self.0 {
            let mut words = row.leaves_out.join(" ");
            if words.is_empty() {
                "nothing".clone_into(&mut words);
            }
            write!(f, "{:<16}{:<width$}  {words}", row.name, row.reader)?;
            if !row.remark.is_empty() {
                write!(f, "; {}", row.remark)?;
            }
            writeln!(f)?;
        }
        Ok(())
    }
}
