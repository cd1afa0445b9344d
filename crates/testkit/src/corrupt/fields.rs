//! Which structures an image has, their fields, and how each is sealed again.

use super::Damage;
use crate::{
    image::Image,
    view::{Node, View, le16, le32},
};
use anyhow::{Context, Result};
use ext4_ondisk::{
    checksum::Csum,
    dir_entry, extent,
    group_desc::DescFormat,
    htree::{self, DxContext},
    inode::InodeFormat,
    orphan_file,
    superblock::{RawSuperblock, Superblock},
    xattr,
};
use ext4_units::{BlockNr, BlockSize, GroupNr, InodeNr};
use std::collections::BTreeSet;

/// A field: its name, its place in the structure, its length in bytes.
type Field = (&'static str, usize, usize);

const SUPERBLOCK: &[Field] = &[
    ("s_inodes_count", 0x0, 4),
    ("s_blocks_count_lo", 0x4, 4),
    ("s_free_blocks_count_lo", 0xC, 4),
    ("s_free_inodes_count", 0x10, 4),
    ("s_first_data_block", 0x14, 4),
    ("s_log_block_size", 0x18, 4),
    ("s_log_cluster_size", 0x1C, 4),
    ("s_blocks_per_group", 0x20, 4),
    ("s_clusters_per_group", 0x24, 4),
    ("s_inodes_per_group", 0x28, 4),
    ("s_state", 0x3A, 2),
    ("s_errors", 0x3C, 2),
    ("s_creator_os", 0x48, 4),
    ("s_rev_level", 0x4C, 4),
    ("s_first_ino", 0x54, 4),
    ("s_inode_size", 0x58, 2),
    ("s_feature_compat", 0x5C, 4),
    ("s_feature_incompat", 0x60, 4),
    ("s_feature_ro_compat", 0x64, 4),
    ("s_uuid", 0x68, 8),
    ("s_reserved_gdt_blocks", 0xCE, 2),
    ("s_journal_inum", 0xE0, 4),
    ("s_journal_dev", 0xE4, 4),
    ("s_last_orphan", 0xE8, 4),
    ("s_def_hash_version", 0xFC, 1),
    ("s_jnl_backup_type", 0xFD, 1),
    ("s_desc_size", 0xFE, 2),
    ("s_first_meta_bg", 0x104, 4),
    ("s_jnl_blocks", 0x10C, 4),
    ("s_blocks_count_hi", 0x150, 4),
    ("s_want_extra_isize", 0x15E, 2),
    ("s_flags", 0x160, 4),
    ("s_mmp_block", 0x168, 8),
    ("s_log_groups_per_flex", 0x174, 1),
    ("s_checksum_type", 0x175, 1),
    ("s_backup_bgs", 0x24C, 4),
    ("s_checksum_seed", 0x270, 4),
    ("s_orphan_file_inum", 0x280, 4),
    ("s_checksum", 0x3FC, 4),
];

const GROUP: &[Field] = &[
    ("bg_block_bitmap_lo", 0x0, 4),
    ("bg_inode_bitmap_lo", 0x4, 4),
    ("bg_inode_table_lo", 0x8, 4),
    ("bg_free_blocks_count_lo", 0xC, 2),
    ("bg_free_inodes_count_lo", 0xE, 2),
    ("bg_used_dirs_count_lo", 0x10, 2),
    ("bg_flags", 0x12, 2),
    ("bg_block_bitmap_csum_lo", 0x18, 2),
    ("bg_itable_unused_lo", 0x1C, 2),
    ("bg_checksum", 0x1E, 2),
];

const INODE: &[Field] = &[
    ("i_mode", 0x0, 2),
    ("i_size_lo", 0x4, 4),
    ("i_dtime", 0x14, 4),
    ("i_links_count", 0x1A, 2),
    ("i_blocks_lo", 0x1C, 4),
    ("i_flags", 0x20, 4),
    ("eh_magic", 0x28, 2),
    ("eh_entries", 0x2A, 2),
    ("eh_max", 0x2C, 2),
    ("eh_depth", 0x2E, 2),
    ("ee_block", 0x34, 4),
    ("ee_len", 0x38, 2),
    ("ee_start_hi", 0x3A, 2),
    ("ee_start_lo", 0x3C, 4),
    ("ee_block[1]", 0x40, 4),
    ("ee_start_lo[1]", 0x48, 4),
    ("i_block[13]", 0x5C, 4),
    ("i_generation", 0x64, 4),
    ("i_file_acl_lo", 0x68, 4),
    ("i_size_high", 0x6C, 4),
    ("l_i_blocks_high", 0x74, 2),
    ("l_i_checksum_lo", 0x7C, 2),
    ("i_extra_isize", 0x80, 2),
];

const EXTENT_NODE: &[Field] = &[
    ("eh_magic", 0x0, 2),
    ("eh_entries", 0x2, 2),
    ("eh_max", 0x4, 2),
    ("eh_depth", 0x6, 2),
    ("ee_block", 0xC, 4),
    ("ee_len", 0x10, 2),
    ("ee_start_hi", 0x12, 2),
    ("ee_start_lo", 0x14, 4),
    ("ee_block[1]", 0x18, 4),
    ("ee_start_lo[1]", 0x20, 4),
];

const INDIRECT: &[Field] = &[("slot 0", 0, 4), ("slot 1", 4, 4), ("slot 255", 1020, 4)];

const FOLDER: &[Field] = &[
    (". inode", 0x0, 4),
    (". rec_len", 0x4, 2),
    (". name_len", 0x6, 1),
    (".. inode", 0xC, 4),
    (".. rec_len", 0x10, 2),
    (".. name_len", 0x12, 1),
    ("third inode / dx root", 0x18, 4),
    ("third rec_len / dx hash", 0x1C, 2),
    ("third name_len / dx levels", 0x1E, 1),
    ("third file_type / dx flags", 0x1F, 1),
    ("dx limit", 0x20, 2),
    ("dx count", 0x22, 2),
    ("dx block", 0x24, 4),
    ("dx entry", 0x2C, 4),
];

const ATTRIBUTES: &[Field] = &[
    ("h_magic", 0x0, 4),
    ("h_refcount", 0x4, 4),
    ("h_blocks", 0x8, 4),
    ("h_hash", 0xC, 4),
    ("e_name_len", 0x20, 1),
    ("e_name_index", 0x21, 1),
    ("e_value_offs", 0x22, 2),
    ("e_value_inum", 0x24, 4),
    ("e_value_size", 0x28, 4),
    ("e_hash", 0x2C, 4),
];

const ORPHANS: &[Field] = &[("slot 0", 0, 4), ("slot 1", 4, 4), ("slot 9", 36, 4)];

/// Big endian, and written so.
const JOURNAL: &[Field] = &[
    ("h_magic", 0x0, 4),
    ("h_blocktype", 0x4, 4),
    ("s_blocksize", 0xC, 4),
    ("s_maxlen", 0x10, 4),
    ("s_first", 0x14, 4),
    ("s_sequence", 0x18, 4),
    ("s_start", 0x1C, 4),
    ("s_errno", 0x20, 4),
    ("s_feature_compat", 0x24, 4),
    ("s_feature_incompat", 0x28, 4),
    ("s_feature_ro_compat", 0x2C, 4),
    ("s_uuid", 0x30, 8),
    ("s_nr_users", 0x40, 4),
    ("s_checksum_type", 0x50, 1),
    ("s_num_fc_blks", 0x54, 4),
    ("s_head", 0x58, 4),
    ("s_checksum", 0xFC, 4),
];

/// What a structure is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    Bitmap,
    Superblock,
    Group,
    Inode,
    ExtentNode,
    Indirect,
    Folder,
    Attributes,
    Orphans,
    Journal,
    /// A block that is none of these.
    Other,
}

impl Kind {
    const fn fields(self) -> &'static [Field] {
        match self {
            Self::Superblock => SUPERBLOCK,
            Self::Group => GROUP,
            Self::Inode => INODE,
            Self::ExtentNode => EXTENT_NODE,
            Self::Indirect => INDIRECT,
            Self::Folder => FOLDER,
            Self::Attributes => ATTRIBUTES,
            Self::Orphans => ORPHANS,
            Self::Journal => JOURNAL,
            Self::Bitmap | Self::Other => &[],
        }
    }
}

/// How a structure's checksum is made right.
#[derive(Clone, Debug)]
enum Seal {
    /// It has none.
    None,
    Superblock,
    Group(GroupNr, DescFormat),
    Inode(InodeNr, InodeFormat),
    ExtentNode(Csum),
    Folder(Csum),
    /// Root and nodes of a folder's index.
    Index(DxContext),
    Attributes(BlockNr, Csum),
    Orphans(BlockNr, Csum),
    Journal,
}

/// A structure of an image.
#[derive(Clone, Debug)]
pub struct Structure {
    /// Its name and number.
    pub name: String,
    /// The byte of the image where it lies.
    pub at: u64,
    pub(super) kind: Kind,
    pub(super) bytes: Vec<u8>,
    seal: Seal,
    /// Numbers that mean something else on this image.
    others: Vec<u64>,
}

impl Structure {
    /// A whole block, without fields and checksum.
    pub(super) fn block(name: String, view: &View<'_>, blk: u64, kind: Kind) -> Result<Self> {
        let (at, bytes) = (blk * view.block_size as u64, view.block(blk)?);
        Ok(Self { name, at, kind, bytes, seal: Seal::None, others: Vec::new() })
    }

    /// Each field with each nasty value, as it is and, where the structure has a checksum, sealed.
    pub fn damage(&self) -> Vec<Damage> {
        let mut all = Vec::new();
        for &(field, at, len) in self.kind.fields() {
            let Some(old) = self.bytes.get(at..at + len) else { continue };
            let old = self.number(old);
            let max = u64::MAX >> (64 - 8 * len);
            let mut values: BTreeSet<u64> = [0, 1, max, max - 1, max / 2 + 1].into();
            values.extend([old.wrapping_add(1) & max, old.wrapping_sub(1) & max]);
            values.extend(self.others.iter().map(|it| it & max));
            values.remove(&old);
            for value in values {
                let mut bytes = self.bytes.clone();
                self.put(&mut bytes[at..at + len], value);
                let name = format!("{}: {field} = {value:#x}, was {old:#x}", self.name);
                let mut sealed = bytes.clone();
                self.reseal(&mut sealed);
                if sealed != bytes && !field.contains("checksum") {
                    let name = format!("{name}, sealed");
                    all.push(Damage::of(name, vec![(self.at, sealed)]));
                }
                all.push(Damage::of(name, vec![(self.at, bytes)]));
            }
        }
        all
    }

    /// Whether sealing it as it stands changes nothing: then its checksum is right, and known here.
    pub fn is_sealed(&self) -> bool {
        let mut bytes = self.bytes.clone();
        self.reseal(&mut bytes);
        bytes == self.bytes
    }

    fn is_big_endian(&self) -> bool {
        self.kind == Kind::Journal
    }

    fn number(&self, bytes: &[u8]) -> u64 {
        let add = |all: u64, byte: &u8| all << 8 | u64::from(*byte);
        if self.is_big_endian() {
            bytes.iter().fold(0, add)
        } else {
            bytes.iter().rev().fold(0, add)
        }
    }

    fn put(&self, field: &mut [u8], value: u64) {
        let n = field.len();
        if self.is_big_endian() {
            field.copy_from_slice(&value.to_be_bytes()[8 - n..]);
        } else {
            field.copy_from_slice(&value.to_le_bytes()[..n]);
        }
    }

    /// Makes the checksum in `bytes`, which are this structure's, right.
    pub(super) fn reseal(&self, bytes: &mut [u8]) {
        match &self.seal {
            Seal::None => {}
            Seal::Superblock => {
                if let Some(raw) = RawSuperblock::of_mut(bytes) {
                    raw.update_checksum();
                }
            }
            Seal::Group(nr, format) => {
                if let Some(csum) = format.checksum(*nr, bytes) {
                    bytes[0x1E..0x20].copy_from_slice(&csum.to_le_bytes());
                }
            }
            Seal::Inode(ino, format) => format.update_checksum(*ino, bytes),
            Seal::ExtentNode(seed) => {
                // Where the kernel looks for it: behind the entries that eh_max promises.
                let max = le16(bytes, 4);
                extent::set_checksum(*seed, bytes, max);
            }
            Seal::Folder(seed) => dir_entry::seal_tail(bytes, *seed),
            // What is no index any more has no checksum either.
            Seal::Index(context) => drop(context.reseal(bytes)),
            Seal::Attributes(blk, seed) => xattr::update_checksum(bytes, *blk, Some(*seed)),
            Seal::Orphans(blk, seed) => orphan_file::seal(bytes, *blk, Some(*seed)),
            Seal::Journal => {
                // Journal checksums of version 2 or 3.
                if le32(bytes, 0x28).swap_bytes() & 0x18 != 0 {
                    bytes[0xFC..0x100].fill(0);
                    let csum = Csum(!0).over(&bytes[..1024]).0;
                    bytes[0xFC..0x100].copy_from_slice(&csum.to_be_bytes());
                }
            }
        }
    }
}

/// How many there are to be of each.
#[derive(Clone, Copy)]
struct Most {
    groups: usize,
    inodes_of_a_type: usize,
    /// Inodes that no folder names.
    unnamed: usize,
    nodes_of_a_map: usize,
    blocks_of_a_folder: usize,
}

/// All structures of an image that [`structures`] knows.
pub(super) fn all_structures(image: &Image) -> Result<Vec<Structure>> {
    let all = usize::MAX;
    let most = Most {
        groups: all,
        inodes_of_a_type: all,
        unnamed: all,
        nodes_of_a_map: all,
        blocks_of_a_folder: all,
    };
    list(image, most)
}

/// The structures of an image: superblock, first two descriptors, the first few inodes of each kind
/// and what belongs to them, orphan file, journal superblock.
pub fn structures(image: &Image) -> Result<Vec<Structure>> {
    let most = Most {
        groups: 2,
        inodes_of_a_type: 3,
        unnamed: 0,
        nodes_of_a_map: 3,
        blocks_of_a_folder: 1,
    };
    list(image, most)
}

fn list(image: &Image, most: Most) -> Result<Vec<Structure>> {
    let view = View::new(image)?;
    let sb = Superblock::decode(&view.sb)?;
    let root = view.inode(2)?;
    let root_block = view.runs(&root)?.first().map_or(0, |it| it.start);
    let first = view.groups.first().context("no groups")?;
    let mut list = List {
        others: vec![root_block, first.inode_table, view.n_blocks, view.n_blocks - 1],
        format: InodeFormat::new(&sb),
        seed: view.has_checksums().then_some(sb.csum_seed),
        view: &view,
        most,
        all: Vec::new(),
    };
    list.push(
        "superblock".into(),
        1024,
        &image.bytes()[1024..2048],
        Kind::Superblock,
        Seal::Superblock,
    );
    list.groups(&DescFormat::new(&sb))?;
    list.inodes()?;
    list.journal()?;
    Ok(list.all)
}

struct List<'a> {
    view: &'a View<'a>,
    most: Most,
    format: InodeFormat,
    seed: Option<Csum>,
    others: Vec<u64>,
    all: Vec<Structure>,
}

impl List<'_> {
    fn push(&mut self, name: String, at: u64, bytes: &[u8], kind: Kind, seal: Seal) {
        let mut others = self.others.clone();
        others.push(at / self.view.block_size as u64);
        self.all.push(Structure { name, at, kind, bytes: bytes.to_vec(), seal, others });
    }

    fn push_block(&mut self, name: String, blk: u64, kind: Kind, seal: Seal) -> Result<()> {
        let block = self.view.block(blk)?;
        self.push(name, blk * self.view.block_size as u64, &block, kind, seal);
        Ok(())
    }

    fn groups(&mut self, format: &DescFormat) -> Result<()> {
        for i in 0..self.view.groups.len().min(self.most.groups) {
            let nr = GroupNr(u32::try_from(i)?);
            let (blk, at) = self.view.desc_place(i);
            let block = self.view.block(blk)?;
            let bytes = block.get(at..at + format.desc_size()).context("a descriptor")?;
            let byte = blk * self.view.block_size as u64 + at as u64;
            let seal = Seal::Group(nr, format.clone());
            self.push(format!("group {i} descriptor"), byte, bytes, Kind::Group, seal);
        }
        Ok(())
    }

    fn inodes(&mut self) -> Result<()> {
        let most = self.most.inodes_of_a_type;
        let mut by_kind: std::collections::BTreeMap<u16, usize> = std::collections::BTreeMap::new();
        let mut inodes: BTreeSet<u32> = [2, 7, self.view.sb.s_journal_inum.get()].into();
        inodes.extend(self.view.orphan_file());
        let view = self.view;
        view.walk(&mut |_, ino| {
            let kind = view.inode(ino)?.file_type();
            let n = by_kind.entry(kind).or_default();
            if *n < most && inodes.insert(ino) {
                *n += 1;
            }
            Ok(())
        })?;
        let is_used = |ino: &u32| view.inode(*ino).is_ok_and(|it| it.bytes[..28] != [0; 28]);
        let all = 1..=view.sb.s_inodes_count.get();
        let unnamed: Vec<u32> =
            all.filter(|it| !inodes.contains(it)).filter(is_used).take(self.most.unnamed).collect();
        inodes.extend(unnamed);
        for ino in inodes.into_iter().filter(|it| *it != 0) {
            let node = self.view.inode(ino)?;
            let nr = InodeNr::new(ino).context("inode 0")?;
            let at = self.view.inode_byte(ino)?;
            let seal = Seal::Inode(nr, self.format);
            self.push(format!("inode {ino}"), at, &node.bytes, Kind::Inode, seal);
            self.belongings(nr, &node)?;
        }
        Ok(())
    }

    fn belongings(&mut self, ino: InodeNr, node: &Node) -> Result<()> {
        let seed = self.seed.map(|it| it.inode_seed(ino, node.raw.i_generation.get()));
        let sealed = |seal: fn(Csum) -> Seal| seed.map_or(Seal::None, seal);
        let has_extents = node.has(0x8_0000);
        for blk in self.view.map_blocks(node)?.into_iter().take(self.most.nodes_of_a_map) {
            let name = format!("inode {ino}, map block {blk}");
            if has_extents {
                self.push_block(name, blk, Kind::ExtentNode, sealed(Seal::ExtentNode))?;
            } else {
                self.push_block(name, blk, Kind::Indirect, Seal::None)?;
            }
        }
        let runs = self.view.runs(node)?;
        let first = runs.first().map(|it| it.start);
        if node.file_type() == 0o040_000 {
            let blocks = runs.iter().flat_map(|it| it.start..it.start + it.len);
            for (nr, blk) in blocks.take(self.most.blocks_of_a_folder).enumerate() {
                let seal = self.folder_seal(ino, node, seed, blk, nr == 0)?;
                let name = format!("inode {ino}, folder block {blk}");
                self.push_block(name, blk, Kind::Folder, seal)?;
            }
        }
        if let (Some(blk), true) = (first, self.view.orphan_file() == Some(ino.get())) {
            let seal = seed.map_or(Seal::None, |it| Seal::Orphans(BlockNr(blk), it));
            self.push_block(format!("orphan file block {blk}"), blk, Kind::Orphans, seal)?;
        }
        let acl = node.acl_block();
        if acl != 0 {
            let seal = self.seed.map_or(Seal::None, |it| Seal::Attributes(BlockNr(acl), it));
            self.push_block(format!("attribute block {acl}"), acl, Kind::Attributes, seal)?;
        }
        Ok(())
    }

    fn folder_seal(
        &self,
        ino: InodeNr,
        node: &Node,
        csum: Option<Csum>,
        blk: u64,
        is_first: bool,
    ) -> Result<Seal> {
        let Some(seed) = csum else { return Ok(Seal::None) };
        let block_size = BlockSize::from_bytes(u32::try_from(self.view.block_size)?);
        let block_size = block_size.context("a block size")?;
        let has_index = node.has(0x1000);
        if has_index && (is_first || htree::is_node(&self.view.block(blk)?, block_size)) {
            let has_largedir = self.view.has_incompat(0x4000);
            let n_blocks = u32::MAX;
            return Ok(Seal::Index(DxContext { ino, block_size, csum, has_largedir, n_blocks }));
        }
        Ok(Seal::Folder(seed))
    }

    fn journal(&mut self) -> Result<()> {
        if let Some(&blk) = super::journal_blocks(self.view)?.first() {
            self.push_block("journal superblock".into(), blk, Kind::Journal, Seal::Journal)?;
        }
        Ok(())
    }
}
