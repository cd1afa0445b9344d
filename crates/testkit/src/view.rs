//! A second reader of ext4, to judge the first: small, slow, and written without looking at the
//! product's own. It reads an unmounted image as it stands, without replay, and never writes.

mod map;
mod tree;
mod xattr;

use crate::{in_memory, promise::Files};
use anyhow::{Context, Result, ensure};
use ext4_blockdev::BlockDevice;
use ext4_ondisk::{inode::RawInode, superblock::RawSuperblock};
pub use map::{Run, RunKind};
use std::{collections::BTreeMap, fmt};
use zerocopy::FromZeros;

/// COMPAT sparse_super2, RO_COMPAT sparse_super.
const COMPAT_SPARSE_SUPER2: u32 = 0x200;
const COMPAT_ORPHAN_FILE: u32 = 0x1000;
const INCOMPAT_RECOVER: u32 = 4;
const INCOMPAT_META_BG: u32 = 0x10;
const INCOMPAT_64BIT: u32 = 0x80;
const RO_SPARSE_SUPER: u32 = 1;
const RO_HUGE_FILE: u32 = 8;
const RO_BIGALLOC: u32 = 0x200;
const RO_METADATA_CSUM: u32 = 0x400;
const RO_ORPHAN_PRESENT: u32 = 0x1_0000;

/// The 16 bits at a place; zero beyond the end.
pub(crate) fn le16(bytes: &[u8], at: usize) -> u16 {
    bytes.get(at..).and_then(|it| it.first_chunk()).map_or(0, |it| u16::from_le_bytes(*it))
}

/// The 32 bits at a place; zero beyond the end.
pub(crate) fn le32(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..).and_then(|it| it.first_chunk()).map_or(0, |it| u32::from_le_bytes(*it))
}

/// A group's descriptor, with both halves of each number.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Group {
    /// Block of the block bitmap.
    pub block_bitmap: u64,
    /// Block of the inode bitmap.
    pub inode_bitmap: u64,
    /// First block of the inode table.
    pub inode_table: u64,
    /// Free clusters.
    pub free_clusters: u32,
    /// Free inodes.
    pub free_inodes: u32,
    /// Folders.
    pub used_dirs: u32,
    /// INODE_UNINIT 1, BLOCK_UNINIT 2, INODE_ZEROED 4; mean something only with
    /// `uninit_bg` or `metadata_csum`.
    pub flags: u16,
}

/// An inode as its bytes have it.
#[derive(Clone, Debug)]
pub struct Node {
    /// Its number.
    pub ino: u32,
    /// The known fields.
    pub raw: RawInode,
    /// All its bytes.
    pub bytes: Vec<u8>,
}

impl Node {
    /// The type bits of the mode, 0o100000 for a regular file.
    pub fn file_type(&self) -> u16 {
        self.raw.i_mode.get() & 0o170_000
    }

    /// Size in bytes.
    pub fn size(&self) -> u64 {
        let high = match self.file_type() {
            0o100_000 | 0o040_000 => self.raw.i_size_high.get(),
            _ => 0,
        };
        u64::from(high) << 32 | u64::from(self.raw.i_size_lo.get())
    }

    /// The block with its attributes, or 0.
    pub fn acl_block(&self) -> u64 {
        u64::from(self.raw.l_i_file_acl_high.get()) << 32 | u64::from(self.raw.i_file_acl_lo.get())
    }

    /// Whether a flag of `i_flags` is set.
    pub fn has(&self, flag: u32) -> bool {
        self.raw.i_flags.get() & flag != 0
    }
}

/// `i_flags`: huge file, extents, EA inode, inline data.
const HUGE_FILE_FL: u32 = 0x4_0000;
const EXTENTS_FL: u32 = 0x8_0000;
pub(crate) const EA_INODE_FL: u32 = 0x20_0000;
const INLINE_DATA_FL: u32 = 0x1000_0000;

/// An image seen by the second reader.
pub struct View<'a> {
    device: &'a dyn BlockDevice,
    /// The superblock's bytes.
    pub sb: RawSuperblock,
    /// Bytes in a block.
    pub block_size: usize,
    /// Blocks of the file system.
    pub n_blocks: u64,
    /// The group descriptors.
    pub groups: Vec<Group>,
}

impl fmt::Debug for View<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "View({} blocks of {} bytes)", self.n_blocks, self.block_size)
    }
}

impl<'a> View<'a> {
    /// Reads the superblock and the group descriptors.
    ///
    /// # Errors
    /// When they make no sense, or a checksum of the superblock is wrong.
    pub fn new(device: &'a dyn BlockDevice) -> Result<Self> {
        let mut bytes = [0; 1024];
        device.read_at(1024, &mut bytes).context("read the superblock")?;
        let sb = RawSuperblock::of(&bytes).context("1024 bytes")?.clone();
        ensure!(sb.s_magic.get() == 0xEF53, "superblock: magic {:#x}", sb.s_magic.get());
        let bits = sb.s_log_block_size.get();
        ensure!(bits <= 6, "superblock: block size 2^{}", u64::from(bits) + 10);
        let mut view =
            Self { device, sb, block_size: 1024 << bits, n_blocks: 0, groups: Vec::new() };
        if view.has_ro(RO_METADATA_CSUM) {
            let (found, expected) = (view.sb.s_checksum.get(), view.sb.checksum());
            ensure!(found == expected, "superblock: checksum {found:#x}, expected {expected:#x}");
        }
        let high =
            if view.has_incompat(INCOMPAT_64BIT) { view.sb.s_blocks_count_hi.get() } else { 0 };
        view.n_blocks = u64::from(high) << 32 | u64::from(view.sb.s_blocks_count_lo.get());
        let (bs, len) = (view.block_size as u64, device.len());
        ensure!(view.n_blocks.checked_mul(bs).is_some_and(|it| it <= len), "passes the device");
        ensure!(view.sb.s_blocks_per_group.get() > 0, "superblock: no blocks in a group");
        ensure!(view.sb.s_inodes_per_group.get() > 0, "superblock: no inodes in a group");
        let desc_size = view.desc_size();
        ensure!((32..=view.block_size).contains(&desc_size), "descriptors of {desc_size} bytes");
        view.groups = (0..view.n_groups()).map(|it| view.read_group(it)).collect::<Result<_>>()?;
        Ok(view)
    }

    /// Whether COMPAT has these bits.
    pub fn has_compat(&self, bits: u32) -> bool {
        self.sb.s_feature_compat.get() & bits != 0
    }

    /// Whether INCOMPAT has these bits.
    pub fn has_incompat(&self, bits: u32) -> bool {
        self.sb.s_feature_incompat.get() & bits != 0
    }

    /// Whether RO_COMPAT has these bits.
    pub fn has_ro(&self, bits: u32) -> bool {
        self.sb.s_feature_ro_compat.get() & bits != 0
    }

    /// Whether allocation is by clusters.
    pub fn has_bigalloc(&self) -> bool {
        self.has_ro(RO_BIGALLOC)
    }

    /// Whether metadata has checksums.
    pub fn has_checksums(&self) -> bool {
        self.has_ro(RO_METADATA_CSUM)
    }

    /// Whether the journal is said to need replay.
    pub fn needs_recovery(&self) -> bool {
        self.has_incompat(INCOMPAT_RECOVER)
    }

    /// Whether the orphan file is said to have entries.
    pub fn orphan_present(&self) -> bool {
        self.has_ro(RO_ORPHAN_PRESENT)
    }

    /// The inode of the orphan file.
    pub fn orphan_file(&self) -> Option<u32> {
        self.has_compat(COMPAT_ORPHAN_FILE).then(|| self.sb.s_orphan_file_inum.get())
    }

    /// log2 of the blocks in a cluster.
    pub fn cluster_bits(&self) -> u32 {
        let bits =
            || self.sb.s_log_cluster_size.get().saturating_sub(self.sb.s_log_block_size.get());
        if self.has_bigalloc() { bits().min(20) } else { 0 }
    }

    /// The first block of a group.
    pub fn group_start(&self, group: usize) -> u64 {
        let per = u64::from(self.sb.s_blocks_per_group.get());
        u64::from(self.sb.s_first_data_block.get()) + group as u64 * per
    }

    /// How many blocks a group has.
    pub fn group_len(&self, group: usize) -> u64 {
        let rest = self.n_blocks.saturating_sub(self.group_start(group));
        rest.min(self.sb.s_blocks_per_group.get().into())
    }

    fn n_groups(&self) -> usize {
        let data = self.n_blocks.saturating_sub(self.sb.s_first_data_block.get().into());
        in_memory(data.div_ceil(self.sb.s_blocks_per_group.get().into()))
    }

    fn desc_size(&self) -> usize {
        match self.sb.s_desc_size.get() {
            size if self.has_incompat(INCOMPAT_64BIT) && size >= 64 => size.into(),
            _ => 32,
        }
    }

    /// Whether a group has a copy of the superblock.
    pub fn has_super(&self, group: usize) -> bool {
        let is_power = |mut n: usize, base: usize| {
            while n.is_multiple_of(base) && n > 1 {
                n /= base;
            }
            n == 1
        };
        if group == 0 {
            return true;
        }
        if self.has_compat(COMPAT_SPARSE_SUPER2) {
            return self.sb.s_backup_bgs.iter().any(|it| it.get() as usize == group);
        }
        !self.has_ro(RO_SPARSE_SUPER)
            || group == 1
            || [3, 5, 7].iter().any(|&it| is_power(group, it))
    }

    /// The blocks of superblock, descriptors and reserved descriptors at the start of a group.
    pub fn base_blocks(&self, group: usize) -> Vec<u64> {
        let per = self.block_size / self.desc_size();
        let n_desc = self.groups.len().max(self.n_groups()).div_ceil(per);
        let first_meta = self.sb.s_first_meta_bg.get() as usize;
        let has_super = self.has_super(group);
        // With 1 KiB blocks and bigalloc, block 0 is the boot block of group 0, not outside it.
        let boot = u64::from(group == 0 && self.block_size == 1024 && self.has_bigalloc());
        let mut n = boot + u64::from(has_super);
        let is_meta = self.has_incompat(INCOMPAT_META_BG) && group / per >= first_meta;
        if is_meta {
            n += u64::from([0, 1, per - 1].contains(&(group % per)));
        } else if has_super {
            let n_desc = if self.has_incompat(INCOMPAT_META_BG) { first_meta } else { n_desc };
            n += n_desc as u64 + u64::from(self.sb.s_reserved_gdt_blocks.get());
        }
        let start = self.group_start(group);
        (start..start + n).collect()
    }

    /// The block and the byte in it of a group's descriptor.
    pub(crate) fn desc_place(&self, group: usize) -> (u64, usize) {
        let size = self.desc_size();
        let per = self.block_size / size;
        let first_meta = self.sb.s_first_meta_bg.get() as usize;
        let blk = if self.has_incompat(INCOMPAT_META_BG) && group / per >= first_meta {
            let first = group / per * per;
            let boot = first == 0 && self.block_size == 1024 && self.has_bigalloc();
            self.group_start(first) + u64::from(self.has_super(first)) + u64::from(boot)
        } else {
            // After the block that holds the superblock: block 1 with blocks of 1 KiB, else 0.
            (1024 / self.block_size + 1 + group / per) as u64
        };
        (blk, group % per * size)
    }

    fn read_group(&self, group: usize) -> Result<Group> {
        let size = self.desc_size();
        let (blk, at) = self.desc_place(group);
        let block = self.block(blk).with_context(|| format!("descriptor of group {group}"))?;
        let bytes = block.get(at..at + size).context("a descriptor passes its block")?;
        let high16 = |at| if size >= 64 { u32::from(le16(bytes, at)) << 16 } else { 0 };
        let high32 = |at| if size >= 64 { u64::from(le32(bytes, at)) << 32 } else { 0 };
        Ok(Group {
            block_bitmap: high32(0x20) | u64::from(le32(bytes, 0)),
            inode_bitmap: high32(0x24) | u64::from(le32(bytes, 4)),
            inode_table: high32(0x28) | u64::from(le32(bytes, 8)),
            free_clusters: high16(0x2C) | u32::from(le16(bytes, 0xC)),
            free_inodes: high16(0x2E) | u32::from(le16(bytes, 0xE)),
            used_dirs: high16(0x30) | u32::from(le16(bytes, 0x10)),
            flags: le16(bytes, 0x12),
        })
    }

    /// A block's bytes.
    pub fn block(&self, blk: u64) -> Result<Vec<u8>> {
        ensure!(blk < self.n_blocks, "block {blk} passes the end at {}", self.n_blocks);
        let mut bytes = vec![0; self.block_size];
        let at = blk * self.block_size as u64;
        self.device.read_at(at, &mut bytes).with_context(|| format!("read block {blk}"))?;
        Ok(bytes)
    }

    /// Bytes in an inode.
    pub fn inode_size(&self) -> usize {
        let size = usize::from(self.sb.s_inode_size.get());
        if self.sb.s_rev_level.get() == 0 { 128 } else { size.max(128) }
    }

    /// Blocks of an inode table.
    pub fn table_len(&self) -> u64 {
        let bytes = u64::from(self.sb.s_inodes_per_group.get()) * self.inode_size() as u64;
        bytes.div_ceil(self.block_size as u64)
    }

    /// The first inode that is not reserved.
    pub fn first_ino(&self) -> u32 {
        if self.sb.s_rev_level.get() == 0 { 11 } else { self.sb.s_first_ino.get() }
    }

    /// The byte of the device where an inode lies.
    pub fn inode_byte(&self, ino: u32) -> Result<u64> {
        ensure!((1..=self.sb.s_inodes_count.get()).contains(&ino), "inode {ino}: no such number");
        let per = self.sb.s_inodes_per_group.get();
        let (group, index) = ((ino - 1) / per, (ino - 1) % per);
        let group = self.groups.get(group as usize).context("an inode's group")?;
        let table = group.inode_table.checked_mul(self.block_size as u64);
        let byte = u64::from(index) * self.inode_size() as u64;
        table.and_then(|it| it.checked_add(byte)).context("an inode table is far outside")
    }

    /// The block an inode lies in.
    pub fn inode_block(&self, ino: u32) -> Result<u64> {
        Ok(self.inode_byte(ino)? / self.block_size as u64)
    }

    /// An inode.
    pub fn inode(&self, ino: u32) -> Result<Node> {
        let block = self.block(self.inode_block(ino)?)?;
        let at = in_memory(self.inode_byte(ino)? % self.block_size as u64);
        let bytes = block.get(at..at + self.inode_size()).context("an inode passes its block")?;
        let mut raw = RawInode::new_zeroed();
        if let Some(extra) = bytes.get(128..).filter(|it| !it.is_empty()) {
            // What lies behind i_extra_isize are attributes, not fields.
            let known = 128 + usize::from(le16(extra, 0)).min(extra.len());
            raw = RawInode::read(&bytes[..known]);
        } else {
            raw.clone_from(&RawInode::read(bytes));
        }
        Ok(Node { ino, raw, bytes: bytes.to_vec() })
    }

    /// `st_blocks`: the 512-byte units that an inode says it uses.
    pub fn sectors(&self, node: &Node) -> u64 {
        let low = u64::from(node.raw.i_blocks_lo.get());
        if !self.has_ro(RO_HUGE_FILE) {
            return low;
        }
        let all = u64::from(node.raw.l_i_blocks_high.get()) << 32 | low;
        if node.has(HUGE_FILE_FL) { all * (self.block_size as u64 / 512) } else { all }
    }

    /// At most `len` bytes of a file, symlink or folder at `offset`. Holes and unwritten blocks
    /// read as zero.
    pub fn read(&self, node: &Node, offset: u64, len: usize) -> Result<Vec<u8>> {
        let end = node.size().min(offset.saturating_add(len as u64));
        let mut out = vec![0; in_memory(end.saturating_sub(offset))];
        if node.has(INLINE_DATA_FL) {
            let all = self.inline(node)?;
            let from = all.get(in_memory(offset).min(all.len())..).unwrap_or_default();
            let n = from.len().min(out.len());
            out[..n].copy_from_slice(&from[..n]);
            return Ok(out);
        }
        let bs = self.block_size as u64;
        for run in self.runs(node)?.iter().filter(|it| it.kind == RunKind::Written) {
            let (first, last) = (run.lblk * bs, (run.lblk + run.len) * bs);
            let (mut at, to) = (first.max(offset), last.min(end));
            while at < to {
                let block = self.block(run.start + (at - first) / bs)?;
                let within = in_memory(at % bs);
                let n = (self.block_size - within).min(in_memory(to - at));
                let dst = in_memory(at - offset);
                out[dst..dst + n].copy_from_slice(&block[within..within + n]);
                at += n as u64;
            }
        }
        Ok(out)
    }

    /// Inode numbers by path, hard links and all.
    pub fn paths(&self) -> Result<BTreeMap<String, u32>> {
        let mut paths = BTreeMap::new();
        self.walk(&mut |path, ino| {
            paths.insert(path.to_owned(), ino);
            Ok(())
        })?;
        Ok(paths)
    }
}

/// The files of an image by path, for promises.
#[derive(Debug)]
pub struct ViewFiles<'a> {
    view: View<'a>,
    paths: BTreeMap<String, u32>,
}

impl<'a> ViewFiles<'a> {
    /// Walks the tree once.
    pub fn new(device: &'a dyn BlockDevice) -> Result<Self> {
        let view = View::new(device)?;
        let paths = view.paths()?;
        Ok(Self { view, paths })
    }
}

impl Files for ViewFiles<'_> {
    fn read(&self, path: &str, offset: u64, len: usize) -> Result<Vec<u8>, String> {
        let ino = *self.paths.get(path).ok_or("no such file")?;
        let node = self.view.inode(ino).map_err(|it| format!("{it:#}"))?;
        self.view.read(&node, offset, len).map_err(|it| format!("{it:#}"))
    }

    fn exists(&self, path: &str) -> bool {
        self.paths.contains_key(path)
    }
}
