//! The inodes every filesystem has, and those that features ask for: root, lost+found, the bad
//! blocks, the resize inode, the journal, MMP, quota, the orphan file.

use crate::{
    builder::{Builder, SpecialFile},
    error::{Error, Result, conflict},
    journal, mapping,
    options::Options,
    populate::{Attributes, Order},
    quota::{self, Usage},
    seal::{Block, Seal},
};
use ext4_ondisk::{
    dir_entry::{FileType, Record, TAIL_LEN, put_record},
    features::{Compat, Features, Incompat, RoCompat},
    indirect,
    inode::{Inode, InodeFlags},
    mmp::{self, RawMmp},
    orphan_file,
    quota::Kind,
};
use ext4_units::{BlockNr, BlockRange, InodeNr};
use std::collections::BTreeMap;
use zerocopy::FromZeros as _;

const BAD_BLOCKS: u32 = 1;
const USER_QUOTA: u32 = 3;
const GROUP_QUOTA: u32 = 4;
const RESIZE: u32 = 7;
/// The inode of lost+found.
pub(crate) const LOST_AND_FOUND_INO: InodeNr = InodeNr::new(11).expect("11 is not zero");
/// Bytes that lost+found has at the least, so that e2fsck needs no new block to put things there.
const LOST_AND_FOUND_LEN: usize = 16 << 10;

fn ino(nr: u32) -> InodeNr {
    InodeNr::new(nr).expect("the numbers of special inodes are not zero")
}

/// The kinds of quota that are kept.
fn kept_quotas(options: &Options, features: Features) -> Vec<Kind> {
    let types = options.quota;
    let has_projects = features.has_ro_compat(RoCompat::PROJECT);
    let kinds = [
        (types.user, Kind::User),
        (types.group, Kind::Group),
        (types.project || has_projects, Kind::Project),
    ];
    let is_kept = features.has_ro_compat(RoCompat::QUOTA);
    kinds.into_iter().filter(|(kept, _)| is_kept && *kept).map(|(_, kind)| kind).collect()
}

/// Ordinary inodes that features ask for.
pub(crate) fn inodes_of_features(options: &Options, features: Features) -> u32 {
    u32::from(kept_quotas(options, features).contains(&Kind::Project))
        + u32::from(features.has_compat(Compat::ORPHAN_FILE))
}

/// One record to be put into a directory block.
struct Name<'a>(&'a [u8], Option<InodeNr>);

impl Builder {
    /// Makes all of them, in the order in which mke2fs takes blocks for them; then the files of the
    /// tree, and then what depends on those.
    pub(crate) fn special_files(
        &mut self,
        options: &Options,
        order: Option<&Order>,
        attributes: &Attributes,
    ) -> Result<()> {
        for nr in 1..self.shape.geo.first_ino {
            self.put_empty_inode(ino(nr));
        }
        if order.is_none() {
            self.root(options)?;
        }
        if order.is_none_or(|it| it.lost_and_found.is_none()) {
            self.lost_and_found()?;
        }
        self.bad_blocks(&options.bad_blocks)?;
        let features = self.shape.sb.features;
        if features.has_compat(Compat::RESIZE_INODE) {
            self.resize_inode()?;
        }
        if features.has_compat(Compat::HAS_JOURNAL) && options.journal_device.is_none() {
            self.journal(options)?;
        }
        if let Some(journal) = options.journal_device {
            self.shape.raw.s_journal_uuid = journal.uuid;
            self.shape.raw.s_journal_dev.set(journal.device_number);
        }
        if features.has_incompat(Incompat::MMP) {
            self.mmp(options.mmp_interval)?;
        }
        let kept = kept_quotas(options, features);
        let mut next = LOST_AND_FOUND_INO.get() + 1;
        let project_quota = next;
        next += u32::from(kept.contains(&Kind::Project));
        let orphan_file = next;
        next += u32::from(features.has_compat(Compat::ORPHAN_FILE));
        if let (Some(tree), Some(order)) = (&options.tree, order) {
            self.populate(tree, (order, attributes), next)?;
        }
        self.quota(&kept, ino(project_quota))?;
        if features.has_compat(Compat::ORPHAN_FILE) {
            self.orphan_file(options, ino(orphan_file))?;
        }
        Ok(())
    }

    /// A directory block with these records; the last one takes what is left, but for the tail of
    /// checksums.
    fn dir_block(&self, names: &[Name<'_>]) -> Vec<u8> {
        let size = self.shape.geo.block_size;
        let mut block = vec![0; size.len()];
        let area = size.len() - if self.format.has_csum() { TAIL_LEN } else { 0 };
        let has_filetype = self.shape.sb.features.has_incompat(Incompat::FILETYPE);
        let mut offset = 0;
        for (i, Name(name, ino)) in names.iter().enumerate() {
            let is_last = i + 1 == names.len();
            let needed = ext4_ondisk::dir_entry::rec_len_for(name.len());
            let rec_len = if is_last { area - offset } else { needed };
            let file_type = match ino {
                Some(_) if has_filetype => FileType::Directory.raw(),
                _ => 0,
            };
            let record = Record { offset, rec_len, ino: *ino, file_type, name };
            put_record(&mut block, size, &record).expect("three short names fit into any block");
            offset += rec_len;
        }
        block
    }

    /// A directory block without any name.
    pub(crate) fn free_dir_block(&self) -> Vec<u8> {
        self.dir_block(&[Name(b"", None)])
    }

    fn root(&mut self, options: &Options) -> Result<()> {
        let root = InodeNr::ROOT;
        let mut inode = self.new_inode(FileType::Directory, options.root_perms & 0o7777, 3);
        (inode.uid, inode.gid) = options.root_owner;
        let names = [
            Name(b".", Some(root)),
            Name(b"..", Some(root)),
            Name(b"lost+found", Some(LOST_AND_FOUND_INO)),
        ];
        let block = self.dir_block(&names);
        self.put_file(("root directory", root), inode, (&block, Seal::Directory(root)))
    }

    fn lost_and_found(&mut self) -> Result<()> {
        let this = LOST_AND_FOUND_INO;
        let inode = self.new_inode(FileType::Directory, 0o700, 2);
        let blocks = self.lost_and_found_blocks();
        let mut contents =
            self.dir_block(&[Name(b".", Some(this)), Name(b"..", Some(InodeNr::ROOT))]);
        for _ in 1..blocks {
            contents.extend(self.free_dir_block());
        }
        self.put_file(("lost+found", this), inode, (&contents, Seal::Directory(this)))
    }

    /// Blocks that lost+found has at the least.
    pub(crate) fn lost_and_found_blocks(&self) -> usize {
        let blocks = LOST_AND_FOUND_LEN.div_ceil(self.shape.geo.block_size.len()).clamp(2, 12);
        // mke2fs makes it inside the inode then, where the first step of its growth adds no block.
        let is_inline = self.shape.sb.features.has_incompat(Incompat::INLINE_DATA);
        blocks - usize::from(is_inline)
    }

    /// Inode 1: a list of blocks, in a map of the older kind on every filesystem.
    fn bad_blocks(&mut self, bad: &[u64]) -> Result<()> {
        if bad.is_empty() {
            return Ok(());
        }
        let mut bad = bad.to_vec();
        bad.sort_unstable();
        bad.dedup();
        let segments: Vec<_> = bad
            .iter()
            .zip(0..)
            .map(|(&blk, lblk)| mapping::Segment { lblk, blocks: BlockRange::new(BlockNr(blk), 1) })
            .collect();
        let size = self.shape.geo.block_size;
        let n_nodes = mapping::indirect_nodes(&segments, size);
        let runs = self.allocate(BlockNr(0), n_nodes as u64, "the map of the bad blocks")?;
        let nodes: Vec<_> = runs.iter().flat_map(|it| it.iter()).collect();
        let map = mapping::block_map(&segments, &nodes, size);
        let mut inode = Inode::new(0, 0, &self.format);
        inode.i_block = map.i_block;
        inode.size = bad.len() as u64 * self.block_len();
        inode.sectors = (bad.len() + n_nodes) as u64 * (self.block_len() / 512);
        (inode.atime, inode.mtime, inode.ctime) = (self.time, self.time, self.time);
        let nodes = map.nodes.into_iter().map(|(at, bytes)| Block::new(at, bytes, Seal::None));
        self.blocks.extend(nodes);
        self.put_inode(ino(BAD_BLOCKS), &inode)?;
        let blocks = segments.iter().map(|it| it.blocks).collect();
        self.files.push(SpecialFile { name: "bad blocks", ino: ino(BAD_BLOCKS), blocks });
        Ok(())
    }

    /// Inode 7: a double-indirect block that lists the reserved descriptor blocks of group 0, each
    /// of which lists its copies in the groups that have copies (`ext2fs_create_resize_inode`).
    fn resize_inode(&mut self) -> Result<()> {
        let geo = self.shape.geo;
        let size = geo.block_size;
        let per_block = u64::from(indirect::per_block(size));
        let reserved = u64::from(self.shape.sb.reserved_gdt_blocks);
        let mut inode = self.new_inode(FileType::Regular, 0o600, 1);
        inode.size = (per_block * per_block + per_block + 12) * self.block_len();
        let root = self.allocate(BlockNr(0), 1, "the resize inode")?[0].start;
        let mut list = vec![0; size.len()];
        let copies: Vec<_> = geo.groups().skip(1).filter(|&it| geo.has_super(it)).collect();
        let first = geo.superblock_place().0.plus(1 + u64::from(geo.desc_blocks()));
        for nr in 0..reserved {
            let blk = first.plus(nr);
            let slot = (u64::from(geo.desc_blocks()) + nr) % per_block;
            put_pointer(&mut list, slot, blk)?;
            let mut node = vec![0; 4 * copies.len()];
            for (slot, group) in (0..).zip(&copies) {
                let copy = blk.plus(u64::from(group.0) * u64::from(geo.blocks_per_group));
                put_pointer(&mut node, slot, copy)?;
            }
            self.blocks.push(Block::new(blk, node, Seal::None));
        }
        self.blocks.push(Block::new(root, list, Seal::None));
        put_pointer(&mut inode.i_block, 13, root)?;
        let blocks = 1 + reserved * (1 + copies.len() as u64);
        inode.sectors = blocks * u64::from(geo.cluster_ratio()) * (self.block_len() / 512);
        let blocks = vec![BlockRange::new(first, reserved)];
        self.files.push(SpecialFile { name: "resize inode", ino: ino(RESIZE), blocks });
        self.put_inode(ino(RESIZE), &inode)
    }

    fn journal(&mut self, options: &Options) -> Result<()> {
        let size = journal::size(&self.shape, &options.journal)?;
        if size.blocks == 0 {
            return self.do_without_journal();
        }
        let goal = match options.journal.location {
            Some(blk) => BlockNr(blk),
            None if options.packed_meta_blocks => BlockNr(0),
            None => self.middle(),
        };
        let runs = self.allocate(goal, size.total(), "the journal")?;
        let mut inode = self.new_inode(FileType::Regular, 0o600, 1);
        inode.size = size.total() * self.block_len();
        self.map(InodeNr::JOURNAL, &mut inode, &mapping::dense(&runs))?;
        self.put_inode(InodeNr::JOURNAL, &inode)?;
        let superblock = journal::superblock(&self.shape, size)?;
        self.put_contents(&runs[..1], &superblock, Seal::JournalSuperblock);
        if !options.journal.lazy {
            self.zeros.extend(rest_of(&runs));
        }
        let raw = &mut self.shape.raw;
        raw.s_journal_inum.set(InodeNr::JOURNAL.get());
        raw.s_jnl_backup_type = 1;
        for (word, bytes) in raw.s_jnl_blocks.iter_mut().zip(inode.i_block.chunks_exact(4)) {
            word.set(u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]));
        }
        raw.s_jnl_blocks[15].set((inode.size >> 32) as u32);
        raw.s_jnl_blocks[16].set((inode.size & 0xFFFF_FFFF) as u32);
        let file = SpecialFile { name: "journal", ino: InodeNr::JOURNAL, blocks: runs };
        self.files.push(file);
        Ok(())
    }

    /// Too small a filesystem for a log has none, as with mke2fs.
    fn do_without_journal(&mut self) -> Result<()> {
        let compat = self.shape.sb.features.compat;
        if compat.contains(Compat::ORPHAN_FILE) {
            return conflict("too small for a journal, which the feature orphan_file needs");
        }
        let without = compat - Compat::HAS_JOURNAL - Compat::FAST_COMMIT;
        self.shape.raw.s_feature_compat.set(without.bits());
        Ok(())
    }

    /// The start of the group in the middle, or of the neighbour that has more free blocks: a log
    /// there is near everything (`get_midpoint_journal_block`).
    fn middle(&self) -> BlockNr {
        let geo = &self.shape.geo;
        let middle = (geo.blocks_count - geo.first_data_block.0) / 2;
        let Some(mut group) = geo.group_of_block(BlockNr(middle.max(geo.first_data_block.0)))
        else {
            return geo.first_data_block;
        };
        let flex = 1u32.checked_shl(u32::from(geo.log_groups_per_flex)).unwrap_or(u32::MAX);
        let free = |group: ext4_units::GroupNr| {
            let blocks = geo.group_blocks(group);
            blocks.len - self.used.in_range(blocks).map(|it| it.len).sum::<u64>()
        };
        let start = if flex > 1 && group.0 > flex {
            group.0 = group.0 / flex * flex;
            while group.0 + 1 < geo.groups_count && free(group) == 0 {
                group.0 += 1;
            }
            group.0
        } else {
            group.0.saturating_sub(1)
        };
        let end = (group.0 + 1).min(geo.groups_count - 1);
        let candidates = (start..=end).map(ext4_units::GroupNr);
        // Of equals the first.
        let best = candidates.reduce(|a, b| if free(b) > free(a) { b } else { a });
        geo.group_blocks(best.unwrap_or(group)).start
    }

    fn mmp(&mut self, interval: u16) -> Result<()> {
        let blk = self.allocate(BlockNr(0), 1, "the MMP block")?[0].start;
        let interval = if interval == 0 { mmp::MIN_CHECK_INTERVAL } else { interval };
        let mut raw = RawMmp::new_zeroed();
        raw.mmp_magic.set(mmp::MAGIC);
        raw.mmp_seq.set(mmp::SEQ_CLEAN);
        raw.mmp_check_interval.set(interval);
        let mut block = vec![0; self.shape.geo.block_size.len()];
        raw.encode(&mut block, None);
        self.blocks.push(Block::new(blk, block, Seal::Mmp));
        self.shape.raw.s_mmp_block.set(blk.0);
        self.shape.raw.s_mmp_update_interval.set(interval);
        Ok(())
    }

    /// The quota files of these kinds; that of projects takes an ordinary inode number.
    fn quota(&mut self, kept: &[Kind], project_quota: InodeNr) -> Result<()> {
        if kept.is_empty() {
            return Ok(());
        }
        let [mut users, mut groups, mut projects] = [const { BTreeMap::new() }; 3];
        let mut add = |ids: [u32; 3], held: Usage| {
            for (to, id) in [&mut users, &mut groups, &mut projects].into_iter().zip(ids) {
                let usage: &mut Usage = to.entry(id).or_default();
                usage.inodes += held.inodes;
                usage.bytes += held.bytes;
            }
        };
        let first_ino = self.shape.geo.first_ino;
        for (&ino, bytes) in &self.inodes {
            if ino != InodeNr::ROOT && ino.get() < first_ino {
                continue;
            }
            let inode = Inode::decode_unverified(bytes, ino, &self.format)?;
            // A value of attributes is charged to those who have it.
            if inode.flags.contains(InodeFlags::EA_INODE) {
                continue;
            }
            let ids = [inode.uid, inode.gid, inode.projid.unwrap_or(0)];
            let values = self.population.as_ref().map_or(0, |it| it.values_of(ino));
            add(ids, Usage { inodes: 1 + values, bytes: inode.sectors * 512 });
        }
        let usage = self.population.iter().flat_map(|it| it.usage(&self.segments));
        for (uid, gid, held) in usage {
            add([uid, gid, 0], held);
        }
        for &kind in kept {
            let raw = &mut self.shape.raw;
            let (name, this, usage) = match kind {
                Kind::User => {
                    raw.s_usr_quota_inum.set(USER_QUOTA);
                    ("user quota", ino(USER_QUOTA), &users)
                }
                Kind::Group => {
                    raw.s_grp_quota_inum.set(GROUP_QUOTA);
                    ("group quota", ino(GROUP_QUOTA), &groups)
                }
                Kind::Project => {
                    raw.s_prj_quota_inum.set(project_quota.get());
                    ("project quota", project_quota, &projects)
                }
            };
            let mut inode = self.new_inode(FileType::Regular, 0o600, 1);
            inode.flags |= InodeFlags::IMMUTABLE;
            let contents = quota::file(kind, usage);
            self.put_file((name, this), inode, (&contents, Seal::None))?;
        }
        Ok(())
    }

    fn orphan_file(&mut self, options: &Options, this: InodeNr) -> Result<()> {
        let block = self.block_len();
        let ratio = u64::from(self.shape.geo.cluster_ratio());
        let blocks = match options.orphan_file_size {
            Some(bytes) => bytes.div_ceil(block),
            // `ext2fs_default_orphan_file_blocks`
            None => match self.shape.geo.blocks_count {
                0..131_072 => 32,
                it if it < 2 << 20 => it / 4096,
                _ => orphan_file::MAX_BLOCKS,
            },
        };
        let blocks = blocks.next_multiple_of(ratio);
        if blocks == 0 || blocks > orphan_file::MAX_BLOCKS.max(ratio) {
            return conflict(format!(
                "an orphan file of {blocks} blocks, expected 1 to {}",
                orphan_file::MAX_BLOCKS
            ));
        }
        let mut inode = self.new_inode(FileType::Regular, 0o600, 1);
        inode.size = blocks * block;
        let runs = self.allocate(BlockNr(0), blocks, "the orphan file")?;
        self.map(this, &mut inode, &mapping::dense(&runs))?;
        for blk in runs.iter().flat_map(|it| it.iter()) {
            self.blocks.push(Block::new(blk, Vec::new(), Seal::OrphanFile(this)));
        }
        self.put_inode(this, &inode)?;
        self.shape.raw.s_orphan_file_inum.set(this.get());
        self.files.push(SpecialFile { name: "orphan file", ino: this, blocks: runs });
        Ok(())
    }
}

/// The runs without their first block.
fn rest_of(runs: &[BlockRange]) -> Vec<BlockRange> {
    let mut rest = runs.to_vec();
    if let Some(first) = rest.first_mut() {
        *first = BlockRange::new(first.start.plus(1), first.len - 1);
    }
    rest
}

/// Writes a 32-bit block number into a slot.
fn put_pointer(block: &mut [u8], slot: u64, to: BlockNr) -> Result<()> {
    let at = usize::try_from(slot).unwrap_or(usize::MAX).saturating_mul(4);
    let pointer = u32::try_from(to.0);
    match (block.get_mut(at..at.saturating_add(4)), pointer) {
        (Some(room), Ok(pointer)) => {
            room.copy_from_slice(&pointer.to_le_bytes());
            Ok(())
        }
        _ => {
            Err(Error::NoRoom { what: "the list of reserved descriptor blocks".into(), blocks: 1 })
        }
    }
}
