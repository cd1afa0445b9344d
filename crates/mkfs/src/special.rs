//! The inodes every filesystem has, and those that features ask for: root, lost+found, the bad
//! blocks, the resize inode, the journal, MMP, quota, the orphan file.

use crate::{
    builder::{Builder, SpecialFile},
    error::{Error, Result, conflict},
    journal, mapping,
    options::Options,
    quota::{self, Usage},
    seal::{Block, Seal},
};
use ext4_ondisk::{
    dir_entry::{FileType, Record, TAIL_LEN, put_record},
    features::{Compat, Incompat, RoCompat},
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
const LOST_AND_FOUND: u32 = 11;
/// Bytes that lost+found has at the least, so that e2fsck needs no new block to put things there.
const LOST_AND_FOUND_LEN: u64 = 16 << 10;

fn ino(nr: u32) -> InodeNr {
    InodeNr::new(nr).expect("the numbers of special inodes are not zero")
}

/// One record to be put into a directory block.
struct Name<'a>(&'a [u8], Option<InodeNr>);

impl Builder {
    /// Makes all of them, in the order in which mke2fs takes blocks for them.
    pub(crate) fn special_files(&mut self, options: &Options) -> Result<()> {
        for nr in 1..self.shape.geo.first_ino {
            self.put_empty_inode(ino(nr));
        }
        self.root(options)?;
        self.lost_and_found()?;
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
        let mut next = LOST_AND_FOUND + 1;
        if features.has_ro_compat(RoCompat::QUOTA) {
            self.quota(options, &mut next)?;
        }
        if features.has_compat(Compat::ORPHAN_FILE) {
            self.orphan_file(options, ino(next))?;
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

    fn root(&mut self, options: &Options) -> Result<()> {
        let root = InodeNr::ROOT;
        let mut inode = self.new_inode(FileType::Directory, options.root_perms & 0o7777, 3);
        (inode.uid, inode.gid) = options.root_owner;
        let names = [
            Name(b".", Some(root)),
            Name(b"..", Some(root)),
            Name(b"lost+found", Some(ino(LOST_AND_FOUND))),
        ];
        let block = self.dir_block(&names);
        self.put_file(("root directory", root), inode, (&block, Seal::Directory(root)))
    }

    fn lost_and_found(&mut self) -> Result<()> {
        let this = ino(LOST_AND_FOUND);
        let inode = self.new_inode(FileType::Directory, 0o700, 2);
        let blocks = LOST_AND_FOUND_LEN.div_ceil(self.block_len()).clamp(2, 12);
        // mke2fs makes it inside the inode then, where the first step of its growth adds no block.
        let is_inline = self.shape.sb.features.has_incompat(Incompat::INLINE_DATA);
        let blocks = blocks - u64::from(is_inline);
        let mut contents =
            self.dir_block(&[Name(b".", Some(this)), Name(b"..", Some(InodeNr::ROOT))]);
        for _ in 1..blocks {
            contents.extend(self.dir_block(&[Name(b"", None)]));
        }
        self.put_file(("lost+found", this), inode, (&contents, Seal::Directory(this)))
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
            let mut node = vec![0; size.len()];
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

    /// The quota files; that of projects takes an ordinary inode number.
    fn quota(&mut self, options: &Options, next: &mut u32) -> Result<()> {
        let has_projects = self.shape.sb.features.has_ro_compat(RoCompat::PROJECT);
        let types = options.quota;
        let [mut users, mut groups, mut projects] = [const { BTreeMap::new() }; 3];
        let first_ino = self.shape.geo.first_ino;
        for (&ino, bytes) in &self.inodes {
            if ino != InodeNr::ROOT && ino.get() < first_ino {
                continue;
            }
            let inode = Inode::decode(bytes, ino, &self.format)?;
            let add = |to: &mut BTreeMap<u32, Usage>, id: u32| {
                let usage = to.entry(id).or_default();
                usage.inodes += 1;
                usage.bytes += inode.sectors * 512;
            };
            add(&mut users, inode.uid);
            add(&mut groups, inode.gid);
            add(&mut projects, inode.projid.unwrap_or(0));
        }
        for (is_kept, name, kind, usage) in [
            (types.user, "user quota", Kind::User, &users),
            (types.group, "group quota", Kind::Group, &groups),
            (types.project || has_projects, "project quota", Kind::Project, &projects),
        ] {
            if !is_kept {
                continue;
            }
            let raw = &mut self.shape.raw;
            let nr = match kind {
                Kind::User => USER_QUOTA,
                Kind::Group => GROUP_QUOTA,
                Kind::Project => *next,
            };
            match kind {
                Kind::User => raw.s_usr_quota_inum.set(nr),
                Kind::Group => raw.s_grp_quota_inum.set(nr),
                Kind::Project => {
                    raw.s_prj_quota_inum.set(nr);
                    *next += 1;
                }
            }
            let mut inode = self.new_inode(FileType::Regular, 0o600, 1);
            inode.flags |= InodeFlags::IMMUTABLE;
            let contents = quota::file(kind, usage);
            self.put_file((name, ino(nr)), inode, (&contents, Seal::None))?;
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
            let block = vec![0; self.shape.geo.block_size.len()];
            self.blocks.push(Block::new(blk, block, Seal::OrphanFile(this)));
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
