//! Making files durable: pages to the device, then a commit (`ext4_sync_file`).

use crate::{Filesystem, InCore, Result, WbStep, Writeback};
use ext4_units::InodeNr;
use std::sync::{Arc, atomic::Ordering};

impl Filesystem {
    /// Makes a file durable: data and size, and with `datasync` no more than what reading them
    /// takes. Takes no inode lock; waits for other writebacks of its pages.
    ///
    /// After an error what was not written is still in its pages, and another call tries again.
    pub fn fsync(&self, ino: InodeNr, datasync: bool) -> Result<()> {
        Writeback::new(self, ino, 0..u64::MAX).run()?;
        self.sync_inode(ino, datasync)
    }

    /// The second half of [`fsync`](Self::fsync), for who has stepped through the [`Writeback`]: a
    /// commit, or only a flush where the map and the size are durable.
    pub fn sync_inode(&self, ino: InodeNr, datasync: bool) -> Result<()> {
        if datasync && self.is_map_durable(ino) {
            return Ok(self.journal().sync_data()?);
        }
        Ok(self.journal().sync()?)
    }

    /// Makes everything durable (`sync`): the pages of all files, then a commit.
    pub fn sync(&self) -> Result<()> {
        self.write_all_back()?;
        Ok(self.journal().sync()?)
    }

    /// Writes the pages of all files back. All are tried; the first error is told.
    pub(crate) fn write_all_back(&self) -> Result<()> {
        let mut result = Ok(());
        for incore in self.dirty_inodes() {
            result = result.and(Writeback::new(self, incore.ino(), 0..u64::MAX).run());
        }
        result
    }

    /// Keeps the pages of all files within `dirty_bytes`, before `bytes` more come to those of
    /// `incore` (`balance_dirty_pages`).
    ///
    /// A writeback that fails leaves its pages dirty, and who syncs is told; one that would have to
    /// wait is left to its owner.
    pub(super) fn make_room_for(&self, incore: &Arc<InCore>, bytes: usize) {
        let max = self.delayed().dirty_bytes >> self.geometry().block_size.bits();
        let more = self.geometry().block_size.blocks_for(bytes as u64) + 1;
        let is_full = || self.page_cache().dirty.load(Ordering::Acquire) + more > max;
        let others = || {
            let mut others = self.dirty_inodes();
            others.retain(|it| it.ino() != incore.ino());
            others
        };
        if is_full() {
            self.write_some(incore);
        }
        if is_full() {
            for other in others() {
                self.write_some(&other);
            }
        }
        self.drop_surplus();
    }

    fn write_some(&self, incore: &InCore) {
        let mut writeback = Writeback::new(self, incore.ino(), 0..u64::MAX);
        while !matches!(writeback.step(), Ok(WbStep::Done | WbStep::Blocked) | Err(_)) {}
    }
}
