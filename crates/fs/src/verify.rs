//! Whether the size of an inode and its mapping agree: what a crash, or a writer without an orphan
//! record, can have left behind.
//!
//! Reads only. Damage is told as data; an `Err` is a device that cannot be read, or a group whose
//! descriptor cannot be believed.

mod fault;

pub use fault::{Fault, Finding};

use crate::{Error, Filesystem, Inode, MapState, Mapping, Result, alloc::inode_bitmap};
use ext4_jbd2::MetaRead;
use ext4_ondisk::{
    bitmap, inline_data,
    inode::{Inode as DiskInode, InodeFlags},
    xattr::{self, Value},
};
use ext4_units::{BlockRange, GroupNr, InodeNr, LogicalBlock};

/// Bytes of an inode table that are read at once.
const READ_BYTES: u32 = 256 << 10;

impl Filesystem {
    /// Checks inode `ino`, which must be in use.
    pub fn verify_inode(&self, meta: &dyn MetaRead, ino: InodeNr) -> Result<Vec<Finding>> {
        let (blk, offset) = self.inode_place(meta, ino)?;
        let block = meta.read(blk)?;
        let mut found = Vec::new();
        self.verify_bytes(meta, ino, block.get(offset..).unwrap_or_default(), &mut found)?;
        Ok(found)
    }

    /// Checks every inode in use of group `gi`, reading its table from front to back. What is found
    /// goes to `each`, inode by inode. Groups may be checked by several threads at once.
    pub fn verify_group(
        &self,
        meta: &dyn MetaRead,
        gi: GroupNr,
        each: &mut dyn FnMut(Finding),
    ) -> Result<GroupSummary> {
        let geo = self.geometry();
        let mut sum = GroupSummary::default();
        let desc = self.group(meta, gi)?;
        if desc.has_uninit_inode_bitmap(self.superblock()) {
            return Ok(sum);
        }
        let bits = inode_bitmap(self, meta, gi)?;
        let per_block = geo.inodes_per_block();
        let per_read = (READ_BYTES / geo.block_size.bytes()).max(1);
        let mut found = Vec::new();
        let mut at = 0;
        // Inodes in use are what the bitmap says, so parts of the table without any are not read.
        while let Some(bit) = bitmap::next_set(&bits, at, geo.inodes_per_group) {
            let first = bit / per_block;
            let n_blocks = per_read.min(geo.itable_blocks().saturating_sub(first));
            let Some(start) = desc.inode_table.checked_add(first.into()) else { break };
            let run = meta.read_run(BlockRange::new(start, n_blocks.into()))?;
            sum.table_blocks += u64::from(n_blocks);
            let end = (first + n_blocks).saturating_mul(per_block).min(geo.inodes_per_group);
            at = bit;
            while let Some(bit) = bitmap::next_set(&bits, at, end) {
                at = bit + 1;
                let Some(ino) = geo.inode_at(gi, bit).filter(|&ino| self.is_checked(ino)) else {
                    continue;
                };
                let block = run.get((bit / per_block - first) as usize);
                let offset = (bit % per_block) as usize * self.inode_format().inode_size();
                let bytes = block.and_then(|block| block.get(offset..)).unwrap_or_default();
                sum.inodes += 1;
                self.verify_bytes(meta, ino, bytes, &mut found)?;
                found.drain(..).for_each(&mut *each);
            }
            at = end.max(at);
        }
        Ok(sum)
    }

    /// Whether `ino` is an ordinary file: reserved inodes have mappings of their own kind, but for
    /// the root, the quota files and the journal.
    fn is_checked(&self, ino: InodeNr) -> bool {
        self.geometry().is_ordinary_inode(ino) || matches!(ino.get(), 2 | 3 | 4 | 8)
    }

    fn verify_bytes(
        &self,
        meta: &dyn MetaRead,
        ino: InodeNr,
        bytes: &[u8],
        found: &mut Vec<Finding>,
    ) -> Result<()> {
        let mut report = |fault| found.push(Finding { ino, fault });
        let disk = match DiskInode::decode(bytes, ino, self.inode_format()) {
            Ok(disk) => disk,
            Err(fault) => {
                report(Fault::Inode(fault));
                return Ok(());
            }
        };
        let inode = Inode { ino, i_size: disk.size, disk };
        if inode.mode == 0 && !self.geometry().is_ordinary_inode(ino) {
            // Reserved for the quota files, and there are none.
            return Ok(());
        }
        if inode.links_count == 0 && !self.is_orphan(ino) {
            report(Fault::NoLinks);
        }
        match self.verify_mapping(meta, &inode, &mut report) {
            Err(Error::Corrupt(fault)) => {
                report(Fault::Mapping(fault));
                Ok(())
            }
            res => res,
        }
    }

    fn verify_mapping(
        &self,
        meta: &dyn MetaRead,
        inode: &Inode,
        report: &mut impl FnMut(Fault),
    ) -> Result<()> {
        let mut end = End::default();
        if inode.has_inline_data() {
            let attributes = xattr::parse_body(&inode.ibody, inode.ino)?;
            let attribute = inline_data::attribute(&attributes).unwrap_or_default();
            let max = (inode.i_block.len() + attribute.len()) as u64;
            if inode.i_size > max {
                report(Fault::TooBig { size: inode.i_size, max });
            }
        } else if inode.has_blocks(self) {
            let max = self.geometry().max_size(inode.has_extents());
            if inode.i_size > max {
                report(Fault::TooBig { size: inode.i_size, max });
            }
        }
        let blocks = self.geometry().block_size.blocks_for(inode.i_size);
        let expected =
            self.count_sectors_with(meta, inode, &mut |it| end.add(it, inode, blocks))?;
        if let Some((first, blocks)) = end.beyond {
            report(Fault::BeyondEnd { first, blocks, size: inode.i_size });
        }
        if let Some((first, blocks)) = end.hole {
            report(Fault::Hole { first, blocks });
        }
        let size = self.geometry().block_size;
        let is_ragged = inode.i_size == 0 || size.within(inode.i_size) != 0;
        if inode.is_dir() && !inode.has_inline_data() && is_ragged {
            report(Fault::DirectorySize { size: inode.i_size, block_size: size });
        }
        if inode.sectors != expected {
            report(Fault::Sectors { found: inode.sectors, expected });
        }
        Ok(())
    }

    /// What `i_blocks` of `inode` should be, in units of 512 bytes: data, map and attributes.
    pub(crate) fn count_sectors(&self, meta: &dyn MetaRead, inode: &Inode) -> Result<u64> {
        self.count_sectors_with(meta, inode, &mut |_| ())
    }

    /// The same, and shows each mapping and hole on the way, after the whole map was checked.
    fn count_sectors_with(
        &self,
        meta: &dyn MetaRead,
        inode: &Inode,
        each: &mut dyn FnMut(&Mapping),
    ) -> Result<u64> {
        let mut sectors = self.attribute_sectors(meta, inode)?;
        if !inode.has_blocks(self) {
            return Ok(sectors);
        }
        let ctx = self.map_context(inode);
        let sum = inode.map_format().validate(&ctx, &inode.i_block, &crate::map::Nodes(meta))?;
        let ratio = self.geometry().cluster_ratio();
        let (mut clusters, mut counted_to) = (sum.n_tree_blocks, 0);
        let (from, to) = (LogicalBlock(0), LogicalBlock(u32::MAX));
        self.mappings(meta, inode, from, to, |mapping| {
            if mapping.blocks().is_some() {
                // Mappings of one cluster follow each other.
                let last = mapping.end().div_ceil(ratio);
                clusters += u64::from(last.saturating_sub(counted_to.max(mapping.lblk.0 / ratio)));
                counted_to = counted_to.max(last);
            }
            each(&mapping);
            Ok(())
        })?;
        sectors += clusters.saturating_mul(self.cluster_sectors());
        Ok(sectors)
    }

    /// What attributes count in `i_blocks`: their block, and each value that lies in an inode of its
    /// own as if nobody shared it (`ext4_xattr_inode_alloc_quota`).
    fn attribute_sectors(&self, meta: &dyn MetaRead, inode: &Inode) -> Result<u64> {
        let cluster = self.cluster_sectors();
        let mut entries = xattr::parse_body(&inode.ibody, inode.ino)?;
        let mut sectors = 0u64;
        if let Some(blk) = inode.file_acl {
            sectors += cluster;
            entries.extend(self.xattr_block(meta, inode, blk)?.entries);
        }
        for entry in entries {
            if let Value::Inode { len, .. } = entry.value {
                sectors += u64::from(len).div_ceil(cluster * 512) * cluster;
            }
        }
        Ok(sectors)
    }
}

/// How the mapping ends, against the size. Runs of blocks: the first, and how many.
#[derive(Default)]
struct End {
    /// Written behind the size.
    beyond: Option<(u64, u64)>,
    /// Without contents before it, where there must be some.
    hole: Option<(u64, u64)>,
}

impl End {
    /// `blocks` is how many blocks the size reaches into.
    fn add(&mut self, mapping: &Mapping, inode: &Inode, blocks: u64) {
        let (from, to) = (u64::from(mapping.lblk.0), u64::from(mapping.end()));
        // The hashes of a file under fs-verity lie behind its end.
        let may_pass_end = inode.flags.contains(InodeFlags::VERITY);
        match mapping.state {
            MapState::Written(_) if to > blocks && !may_pass_end => {
                let (first, n) = self.beyond.unwrap_or((from.max(blocks), 0));
                self.beyond = Some((first, n + to - from.max(blocks)));
            }
            // Holes are legal in files; a directory, and a symlink's target, have none.
            MapState::Hole | MapState::Unwritten(_) if from < blocks && !inode.is_regular() => {
                self.hole.get_or_insert((from, to.min(blocks) - from));
            }
            _ => {}
        }
    }
}

/// How much of a group was looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GroupSummary {
    /// Inodes in use that were checked.
    pub inodes: u64,
    /// Blocks of the inode table that were read.
    pub table_blocks: u64,
}
