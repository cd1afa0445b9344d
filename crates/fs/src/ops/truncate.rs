//! Cutting files, or making them longer.

use crate::{Error, Filesystem, Handle, Inode, InodeGuard, Result};
use ext4_extent::State;
use ext4_ondisk::inode::InodeFlags;
use ext4_units::{InodeNr, LogicalBlock};

impl Filesystem {
    /// Sets the size of a regular file (`ext4_setattr` with `ATTR_SIZE`, `ext4_truncate`).
    ///
    /// Growing is one handle. Shrinking takes several transactions: the first has the new size and
    /// an orphan record, recovery finishes the rest. Also frees what was preallocated beyond the
    /// end, when the size stays the same.
    ///
    /// Waits for the inode's lock, direct IO in flight and pages under writeback. Pages behind the
    /// new end go.
    pub fn truncate(&self, ino: InodeNr, size: u64) -> Result<()> {
        let guard = self.lock_alone(ino);
        self.truncate_locked(&guard, size)
    }

    /// As [`truncate`](Self::truncate), for who holds the lock alone, with no direct IO in flight.
    /// Waits for [pages under writeback](Self::is_writing_back).
    pub fn truncate_locked(&self, guard: &InodeGuard, size: u64) -> Result<()> {
        self.noting(self.truncate_alone(guard, size))
    }

    fn truncate_alone(&self, guard: &InodeGuard, size: u64) -> Result<()> {
        let incore = guard.alone();
        let ino = incore.ino();
        let inode = self.open_inode(self.meta(), ino)?;
        check_may_truncate(&inode)?;
        if inode.has_inline_data() {
            return self.truncate_in_inode(ino, size);
        }
        if size > inode.i_size {
            self.zero_tail(ino)?;
        }
        let mut h = self.start(Handle::ORPHAN_CREDITS + 2)?;
        let mut inode = h.inode(ino)?;
        let grows = size > inode.i_size;
        if !grows {
            h.orphan_add(&mut inode)?;
        }
        h.set_size(&mut inode, size)?;
        inode.modified(h.now());
        h.put_inode(&inode)?;
        h.stop()?;
        if grows {
            return Ok(());
        }
        // Only now: had the handle failed, the pages would still be the file's. From here on nobody
        // writes back what lies behind the end, and so nothing lands in blocks that are freed.
        let bytes = self.geometry().block_size;
        self.zero_in_page(incore, size, bytes.round_up(size));
        let behind = u32::try_from(bytes.blocks_for(size)).unwrap_or(u32::MAX);
        self.drop_pages(incore, LogicalBlock(behind)..=LogicalBlock(u32::MAX));
        // Crash here: the old size with all its data, or the new one on the orphan list.
        self.cut_to_size(ino)
    }

    /// Sets the size of a file inside its inode, in one handle; it moves to a block if it has to.
    fn truncate_in_inode(&self, ino: InodeNr, size: u64) -> Result<()> {
        self.retrying(|| {
            let mut h = self.start(10)?;
            let mut inode = h.inode(ino)?;
            h.truncate_inline(&mut inode, size)?;
            inode.modified(h.now());
            h.put_inode(&inode)?;
            h.stop()?;
            Ok(())
        })
    }

    /// Frees everything beyond `i_size`, zeroes the rest of the last block, and removes the orphan
    /// record (`ext4_truncate`). The inode must be on record, so that recovery can finish.
    pub fn cut_to_size(&self, ino: InodeNr) -> Result<()> {
        if self.logs_data(&self.inode(self.meta(), ino)?) {
            // No copy of its data may be left in the log when the blocks get other owners. Emptying
            // the log once is cheaper than revoking each block.
            self.journal().checkpoint()?;
        }
        self.zero_tail(ino)?;
        loop {
            let budget = self.unmap_budget();
            let mut h = self.start(self.unmap_credits(budget))?;
            let mut inode = h.inode(ino)?;
            let done = !inode.has_blocks(self) || {
                let first = self.geometry().block_size.blocks_for(inode.i_size);
                let first = LogicalBlock(u32::try_from(first).unwrap_or(u32::MAX));
                h.unmap(&mut inode, first, LogicalBlock(u32::MAX), budget)?
            };
            if done {
                if inode.links_count > 0 {
                    h.orphan_del(&mut inode)?;
                }
                inode.modified(h.now());
            }
            h.put_inode(&inode)?;
            h.stop()?;
            // Crash here: still on record with its final size; recovery cuts on.
            if done {
                return Ok(());
            }
        }
    }

    /// Frees the blocks between the end of the file and `end`, which a write had mapped and not
    /// used, and removes the orphan record. Blocks behind `end` stay.
    pub fn trim_mapped(&self, ino: InodeNr, end: u32) -> Result<()> {
        loop {
            let budget = self.unmap_budget();
            let mut h = self.start(self.unmap_credits(budget))?;
            let mut inode = h.inode(ino)?;
            let first = self.geometry().block_size.blocks_for(inode.i_size);
            let first = u32::try_from(first).unwrap_or(u32::MAX);
            let done = first >= end
                || h.unmap(&mut inode, LogicalBlock(first), LogicalBlock(end), budget)?;
            if done && inode.links_count > 0 {
                h.orphan_del(&mut inode)?;
            }
            h.put_inode(&inode)?;
            h.stop()?;
            // Crash here: still on record; recovery frees all behind the size.
            if done {
                return Ok(());
            }
        }
    }

    /// Zeroes the bytes of the last block behind `i_size` (`ext4_block_truncate_page`), which a
    /// later extension would show.
    ///
    /// The size must be durable before: with the old size, these bytes are the file's. Where a file
    /// is about to grow they are zero already, but on a disk that others have written to.
    pub(crate) fn zero_tail(&self, ino: InodeNr) -> Result<()> {
        let inode = self.inode(self.meta(), ino)?;
        let size = self.geometry().block_size;
        let within = size.within(inode.i_size);
        if within == 0 || !inode.has_blocks(self) {
            return Ok(());
        }
        let Some(lblk) = LogicalBlock::of_byte(inode.i_size, size) else { return Ok(()) };
        let State::Written(blk) = self.steady_lookup(ino, lblk)?.1.state else {
            return Ok(());
        };
        let at = within as usize;
        let byte = blk.byte(size) + u64::from(within);
        if self.logs_data(&inode) {
            let mut h = self.start(1)?;
            h.modify(blk, |block| block[at..].fill(0))?;
            h.stop()?;
            return Ok(());
        }
        let mut tail = vec![0; size.len() - at];
        self.device().read_at(byte, &mut tail)?;
        if tail.iter().any(|&byte| byte != 0) {
            self.commit()?;
            tail.fill(0);
            self.device().write_at(byte, &tail)?;
        }
        Ok(())
    }

    /// How many runs of blocks one handle may free: each may touch the bitmaps and descriptors of
    /// all groups that a longest extent crosses.
    pub(super) fn unmap_budget(&self) -> usize {
        (128 / self.credits_per_run()).clamp(1, 32)
    }

    /// Credits of one step: nodes of the map (each run may empty one, and its parent changes),
    /// bitmaps and descriptors, the inode and its orphan record.
    pub(super) fn unmap_credits(&self, budget: usize) -> usize {
        2 * budget + 12 + budget * self.credits_per_run() + Handle::ORPHAN_CREDITS + 2
    }

    /// A bitmap and a descriptor block for each group that one run can touch.
    fn credits_per_run(&self) -> usize {
        let groups = (32768 / self.geometry().blocks_per_group).saturating_add(2);
        2 * groups.min(self.geometry().groups_count) as usize
    }

    /// Whether the data of `inode` goes through the log: by its flag, or by the filesystem's
    /// default mount options (`ext4_inode_journal_mode`).
    pub fn logs_data(&self, inode: &Inode) -> bool {
        const DEFM_JMODE: u32 = 0x60;
        const DEFM_JMODE_DATA: u32 = 0x20;
        self.journal().has_log()
            && (inode.flags.contains(InodeFlags::JOURNAL_DATA)
                || self.superblock().default_mount_opts & DEFM_JMODE == DEFM_JMODE_DATA)
    }
}

/// The flags and types that forbid it (`inode_newsize_ok`, `may_setattr`).
fn check_may_truncate(inode: &Inode) -> Result<()> {
    let ino = inode.ino;
    if inode.is_dir() {
        return Err(Error::IsADirectory { ino });
    }
    if !inode.is_regular() {
        return Err(Error::WrongType { ino, found: "no regular file", expected: "a regular file" });
    }
    for (flag, name) in [(InodeFlags::IMMUTABLE, "immutable"), (InodeFlags::APPEND, "append-only")]
    {
        if inode.flags.contains(flag) {
            return Err(Error::NotPermitted { ino, flag: name });
        }
    }
    Ok(())
}
