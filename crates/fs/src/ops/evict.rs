//! The end of an inode without links.

use crate::{Error, Filesystem, Handle, Inode, InodeGuard, Result, alloc::free_inode};
use ext4_units::{InodeNr, LogicalBlock};

/// Logical blocks of metadata that one handle frees.
const WINDOW: u32 = 64;

impl Filesystem {
    /// Deletes an inode that has no links and is on the orphan record: its blocks, a bounded step at
    /// a time, then its attributes and itself in one handle (`ext4_evict_inode`).
    pub(crate) fn evict(&self, ino: InodeNr) -> Result<()> {
        let guard = self.lock_alone(ino);
        self.evict_locked(&guard)
    }

    /// As [`evict`](Self::evict), for who holds the lock alone.
    pub(super) fn evict_locked(&self, guard: &InodeGuard) -> Result<()> {
        let incore = guard.alone();
        let ino = incore.ino();
        // Nothing may land in its blocks once they are freed.
        self.drop_pages(incore, LogicalBlock(0)..=LogicalBlock(u32::MAX));
        incore.forget();
        // A list, not recursion: on a damaged disk values may have values, as deep as it likes. It
        // ends, because each round frees an inode.
        let mut due = vec![ino];
        while let Some(ino) = due.pop() {
            due.extend(self.evict_one(ino)?);
            // Crash here: the attribute values without users are on the orphan record themselves.
        }
        Ok(())
    }

    /// Deletes one inode; returns those that held its large attribute values and have no user left.
    fn evict_one(&self, ino: InodeNr) -> Result<Vec<InodeNr>> {
        let inode = self.inode(self.meta(), ino)?;
        if inode.links_count != 0 {
            let fault = format!("{} links, expected none", inode.links_count);
            return Err(Error::corrupt(format!("inode {ino}"), fault));
        }
        if inode.has_blocks(self) {
            self.free_all_blocks(&inode)?;
        }
        let mut h =
            self.start(Handle::ORPHAN_CREDITS + self.release_xattrs_credits(&inode)? + 4)?;
        let mut inode = h.inode(ino)?;
        let values = h.release_xattrs(&mut inode)?;
        h.orphan_del(&mut inode)?;
        h.set_size(&mut inode, 0)?;
        inode.disk.dtime = h.now().encode_base().max(1);
        h.put_inode(&inode)?;
        free_inode(&mut h, ino, inode.is_dir())?;
        h.stop()?;
        Ok(values)
    }

    fn free_all_blocks(&self, inode: &Inode) -> Result<()> {
        // Freed metadata blocks are revoked one by one, so they go in windows, the last first. The
        // size says nothing: the kernel makes it 0 when a directory goes.
        let is_metadata = inode.holds_metadata();
        let mut windows = vec![0];
        if is_metadata {
            let all = LogicalBlock(u32::MAX);
            self.mappings(self.meta(), inode, LogicalBlock(0), all, |mapping| {
                if mapping.blocks().is_some() {
                    // Only windows that hold blocks: a damaged map may have one at its far end.
                    let first = mapping.lblk.0 / WINDOW;
                    let last = mapping.end().saturating_sub(1) / WINDOW;
                    windows.extend((first..=last).map(|nr| nr * WINDOW));
                    windows.dedup();
                }
                Ok(())
            })?;
        }
        let extra = if is_metadata { WINDOW as usize } else { 0 };
        while let Some(&from) = windows.last() {
            let budget = self.unmap_budget();
            let mut h = self.start(self.unmap_credits(budget) + extra)?;
            let mut inode = h.inode(inode.ino)?;
            let done = h.unmap(&mut inode, LogicalBlock(from), LogicalBlock(u32::MAX), budget)?;
            h.put_inode(&inode)?;
            h.stop()?;
            // Crash here: still on record without links; recovery goes on.
            if done {
                windows.pop();
            }
        }
        Ok(())
    }
}
