//! A handle: one atomic set of metadata changes, and the in-core effects that go with it.

use crate::{
    Error, Filesystem, InCore, Result, incore::SizeChange, inode::Inode, orphan::OrphanChange,
};
use ext4_jbd2::{Block, MetaRead};
use ext4_ondisk::{group_desc::GroupDesc, superblock::RawSuperblock, time::Timestamp};
use ext4_units::{BlockNr, BlockRange, BlockSize, GroupNr, InodeNr, LogicalBlock, Tid};

/// One atomic unit of change.
///
/// Nothing it does is visible to others before [`stop`](Self::stop); dropped without it, nothing
/// has happened. Only one handle is open at a time. No direct IO is done while it is; buffered data in
/// ordered mode is written inside the handle that maps it.
#[derive(Debug)]
pub struct Handle<'fs> {
    fs: &'fs Filesystem,
    blocks: ext4_jbd2::Handle<'fs>,
    now: Timestamp,
    free_clusters: i64,
    free_inodes: i64,
    orphans: Vec<OrphanChange>,
    /// Inodes whose map or size it changed.
    mapped: Vec<InodeNr>,
    sizes: Vec<(InodeNr, SizeChange)>,
    /// Runs of blocks of a file it gave blocks to.
    allocated: Vec<(InodeNr, LogicalBlock, u32)>,
    /// Clusters promised to delayed pages that it may take.
    promised: u64,
}

impl MetaRead for Handle<'_> {
    fn read(&self, blk: BlockNr) -> ext4_jbd2::Result<Block> {
        self.blocks.read(blk)
    }

    fn block_size(&self) -> BlockSize {
        self.blocks.block_size()
    }
}

impl<'fs> Handle<'fs> {
    pub(crate) fn new(fs: &'fs Filesystem, blocks: ext4_jbd2::Handle<'fs>, now: Timestamp) -> Self {
        Self {
            fs,
            blocks,
            now,
            free_clusters: 0,
            free_inodes: 0,
            orphans: Vec::new(),
            mapped: Vec::new(),
            sizes: Vec::new(),
            allocated: Vec::new(),
            promised: 0,
        }
    }

    /// The filesystem it changes.
    pub fn fs(&self) -> &'fs Filesystem {
        self.fs
    }

    /// The time that this handle stamps on what it changes.
    pub fn now(&self) -> Timestamp {
        self.now
    }

    /// How many more blocks it may change.
    pub(crate) fn credits_left(&self) -> usize {
        self.blocks.credits_left()
    }

    /// New contents of a metadata block.
    pub(crate) fn write(&mut self, blk: BlockNr, data: impl Into<Block>) -> Result<()> {
        Ok(self.blocks.write(blk, data)?)
    }

    /// New contents of a data block that goes through the log ([`Filesystem::logs_data`]).
    pub fn write_data(&mut self, blk: BlockNr, data: Vec<u8>) -> Result<()> {
        self.write(blk, data)
    }

    /// Changes a metadata block in place.
    pub(crate) fn modify<R>(
        &mut self,
        blk: BlockNr,
        change: impl FnOnce(&mut [u8]) -> R,
    ) -> Result<R> {
        Ok(self.blocks.modify(blk, change)?)
    }

    /// A freed metadata block: forgotten, and revoked so that replay does not bring it back.
    pub(crate) fn revoke(&mut self, blk: BlockNr) {
        self.blocks.revoke(blk);
    }

    /// Freed blocks: nobody gets them before this transaction commits.
    pub(crate) fn free(&mut self, run: BlockRange) {
        self.blocks.free(run);
    }

    /// The parts of `run` freed and not committed, by this handle and those before it.
    pub(crate) fn pending_free(&self, run: BlockRange) -> Vec<BlockRange> {
        self.blocks.pending_free(run)
    }

    /// The descriptor of `gi`.
    pub(crate) fn group(&self, gi: GroupNr) -> Result<GroupDesc> {
        self.fs.group(self, gi)
    }

    /// Writes the descriptor of `gi`, with its checksum.
    pub(crate) fn put_group(&mut self, gi: GroupNr, desc: &GroupDesc) -> Result<()> {
        let fs = self.fs;
        let (blk, offset) = fs.geometry().desc_place(gi);
        self.modify(blk, |bytes| fs.encode_group(gi, desc, bytes, offset))?
    }

    /// The inode `ino`, as this handle sees it.
    pub fn inode(&self, ino: InodeNr) -> Result<Inode> {
        let mut inode = self.fs.inode(self, ino)?;
        if let Some(i_size) = self.noted_size(ino) {
            inode.i_size = i_size;
        }
        Ok(inode)
    }

    /// Writes an inode back, with its checksum (`ext4_mark_inode_dirty`).
    pub fn put_inode(&mut self, inode: &Inode) -> Result<()> {
        let fs = self.fs;
        let (blk, offset) = fs.inode_place(self, inode.ino)?;
        self.modify(blk, |bytes| fs.encode_inode(inode, bytes, offset))?
    }

    /// Changes the superblock; the checksum is renewed.
    pub(crate) fn modify_superblock(
        &mut self,
        change: impl FnOnce(&mut RawSuperblock),
    ) -> Result<()> {
        let (blk, offset) = self.fs.geometry().superblock_place();
        self.modify(blk, |bytes| {
            let raw = bytes.get_mut(offset..).and_then(RawSuperblock::of_mut);
            let raw = raw.ok_or_else(|| Error::corrupt("superblock", "does not fit its block"))?;
            change(raw);
            raw.update_checksum();
            Ok(())
        })?
    }

    /// Free clusters of the filesystem, with what this handle did.
    pub(crate) fn free_clusters(&self) -> Result<u64> {
        let blocks = self.fs.raw_superblock(self)?.free_blocks_count();
        let clusters = blocks >> self.fs.geometry().cluster_ratio_bits;
        Ok(clusters.saturating_add_signed(self.free_clusters))
    }

    /// Remembers that clusters were freed (positive) or taken (negative).
    pub(crate) fn count_free_clusters(&mut self, n: i64) {
        self.free_clusters += n;
    }

    /// Remembers that inodes were freed (positive) or taken (negative).
    pub(crate) fn count_free_inodes(&mut self, n: i64) {
        self.free_inodes += n;
    }

    /// Remembers a change of the orphan set, to take effect when the handle stops.
    pub(crate) fn note_orphan(&mut self, change: OrphanChange) {
        self.orphans.push(change);
    }

    /// Remembers that the map or the size of `ino` changed, without which its data cannot be read
    /// (`ext4_update_inode_fsync_trans`).
    pub(crate) fn note_mapped(&mut self, ino: InodeNr) {
        if self.mapped.last() != Some(&ino) {
            self.mapped.push(ino);
        }
    }

    /// Remembers sizes set by [`crate::size`], for the inode in core.
    pub(crate) fn note_sizes(&mut self, inode: &Inode) {
        self.sizes.push((inode.ino, SizeChange::Both(inode.i_size, inode.i_disksize())));
    }

    /// Remembers a size on disk set by [`crate::size`]; that of the user may move meanwhile.
    pub(crate) fn note_disksize(&mut self, inode: &Inode) {
        let change = match self.noted_size(inode.ino) {
            Some(i_size) => SizeChange::Both(i_size, inode.i_disksize()),
            None => SizeChange::Disk(inode.i_disksize()),
        };
        self.sizes.push((inode.ino, change));
    }

    /// The `i_size` that this handle has set, if it has.
    pub(crate) fn noted_size(&self, ino: InodeNr) -> Option<u64> {
        self.sizes.iter().rev().find_map(|it| match it {
            (nr, SizeChange::Both(i_size, _)) if *nr == ino => Some(*i_size),
            _ => None,
        })
    }

    /// Remembers that a hole of `ino` got blocks: what was promised to its pages has been given.
    pub(crate) fn note_allocated(&mut self, ino: InodeNr, lblk: LogicalBlock, len: u32) {
        self.allocated.push((ino, lblk, len));
    }

    /// Lets this handle take what was promised to the pages of an inode.
    pub(crate) fn spend_promise(&mut self, incore: &InCore) {
        self.promised = incore.pages().counts().reserved;
    }

    /// Clusters promised to others, and those promised to whom this handle works for that it has
    /// not taken.
    pub(crate) fn promises(&self) -> (u64, u64) {
        let others = self.fs.page_cache().reserved().saturating_sub(self.promised);
        let taken = u64::try_from(-self.free_clusters).unwrap_or(0);
        (others, self.promised.saturating_sub(taken))
    }

    /// The orphan changes of this handle so far.
    pub(crate) fn orphan_changes(&self) -> &[OrphanChange] {
        &self.orphans
    }

    /// Makes the changes part of the running transaction, all at once. They are durable when that
    /// commits: [`Filesystem::commit`].
    pub fn stop(mut self) -> Result<Tid> {
        if self.free_clusters != 0 || self.free_inodes != 0 {
            let (clusters, inodes) = (self.free_clusters, self.free_inodes);
            let bits = self.fs.geometry().cluster_ratio_bits;
            self.modify_superblock(|raw| {
                let blocks = clusters << bits;
                raw.set_free_blocks_count(raw.free_blocks_count().saturating_add_signed(blocks));
                let free = i64::from(raw.s_free_inodes_count.get()).saturating_add(inodes);
                raw.s_free_inodes_count.set(u32::try_from(free.max(0)).unwrap_or(u32::MAX));
            })?;
        }
        let fs = self.fs;
        // Before the next handle can start, which goes by it.
        self.mapped.sort_unstable();
        self.mapped.dedup();
        let changing: Vec<_> = self.mapped.iter().map(|&ino| fs.incore(ino)).collect();
        for incore in &changing {
            incore.count_map_change();
        }
        let tid = self.blocks.stop_then(|tid| {
            fs.orphans().apply(&self.orphans);
            fs.incores().apply_sizes(&self.sizes);
            fs.unsynced().note(fs.journal(), tid, &self.mapped);
            if fs.page_cache().reserved() > 0 {
                for &(ino, lblk, len) in &self.allocated {
                    if let Some(incore) = fs.incores().find(ino) {
                        fs.forget_promise(&incore, lblk, len);
                    }
                }
            }
        });
        for incore in &changing {
            incore.count_map_change();
        }
        Ok(tid?)
    }
}
