//! Buffered writes: pages, blocks promised to them (delayed allocation), and their way to the device.
//!
//! Only buffered writes make pages; reads see them. A page is one block. Locks are taken in this
//! order: the inode's, pages under writeback, a handle, the pages' mutex.

mod check;
mod read;
mod reserve;
mod sync;
mod through;
mod write;
mod writeback;

pub use writeback::{WbStep, Writeback};

use crate::{
    Filesystem, InCore, Inode,
    incore::{Counts, PageState, Pages, Shape},
};
use ext4_units::{BlockSize, InodeNr, LogicalBlock};
use std::{
    ops::{Range, RangeInclusive},
    sync::{
        Arc, MutexGuard,
        atomic::{AtomicU64, Ordering},
    },
};

/// How buffered writes are done: what the kernel has mount options for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delayed {
    /// Blocks are allocated when pages are written back (`delalloc`), else in the write.
    pub delalloc: bool,
    /// Written back pages get unwritten blocks that are converted when the data is there
    /// (`dioread_nolock`), else the data is written first (`data=ordered`). Block maps know no such
    /// blocks, and are always ordered.
    pub dioread_nolock: bool,
    /// So many bytes of pages are kept: with more, a writer writes back first, and clean ones go.
    pub dirty_bytes: u64,
}

impl Delayed {
    /// As a mount without options.
    pub const DEFAULT: Self = Self { delalloc: true, dioread_nolock: true, dirty_bytes: 64 << 20 };
}

impl Default for Delayed {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// What the pages of all files come to.
#[derive(Debug, Default)]
pub(crate) struct PageCache {
    pages: AtomicU64,
    dirty: AtomicU64,
    /// Clusters promised. Grows only under a handle.
    reserved: AtomicU64,
}

impl PageCache {
    /// Clusters promised to delayed pages.
    pub(crate) fn reserved(&self) -> u64 {
        self.reserved.load(Ordering::Acquire)
    }

    fn settle(&self, before: Counts, after: Counts) {
        for (sum, before, after) in [
            (&self.pages, before.pages, after.pages),
            (&self.dirty, before.dirty, after.dirty),
            (&self.reserved, before.reserved, after.reserved),
        ] {
            if after >= before {
                sum.fetch_add(after - before, Ordering::AcqRel);
            } else {
                sum.fetch_sub(before - after, Ordering::AcqRel);
            }
        }
    }
}

/// The blocks that `range` of bytes touches; `None` for no bytes.
fn blocks_of(size: BlockSize, range: &Range<u64>) -> Option<RangeInclusive<LogicalBlock>> {
    let last = range.end.checked_sub(1).filter(|&last| last >= range.start)?;
    let block = |byte: u64| LogicalBlock(u32::try_from(byte >> size.bits()).unwrap_or(u32::MAX));
    Some(block(range.start)..=block(last))
}

impl Filesystem {
    /// Changes the pages of an inode, and keeps count.
    fn change_pages<R>(&self, incore: &InCore, change: impl FnOnce(&mut Pages) -> R) -> R {
        self.change_locked(incore.pages(), change)
    }

    fn change_locked<R>(
        &self,
        mut pages: MutexGuard<'_, Pages>,
        change: impl FnOnce(&mut Pages) -> R,
    ) -> R {
        let before = pages.counts();
        let done = change(&mut pages);
        self.page_cache().settle(before, pages.counts());
        done
    }

    /// Bytes of a range in pages.
    fn blocks_in(&self, range: &Range<u64>) -> Option<RangeInclusive<LogicalBlock>> {
        blocks_of(self.geometry().block_size, range)
    }

    fn shape(&self, inode: &Inode) -> Shape {
        let bytes = self.geometry().block_size.bytes();
        if inode.has_extents() {
            Shape::Extents(bytes / 12 - 1)
        } else {
            Shape::Indirect(bytes / 4)
        }
    }

    /// Whether there are pages of `ino` in the range of bytes: `RWF_NOWAIT` does not wait for them.
    pub fn has_pages(&self, ino: InodeNr, range: Range<u64>) -> bool {
        self.any_page(ino, &range, |_| true)
    }

    /// Whether pages of `ino` in the range of bytes are under writeback: whoever cuts them off
    /// would wait.
    pub fn is_writing_back(&self, ino: InodeNr, range: Range<u64>) -> bool {
        self.any_page(ino, &range, |state| matches!(state, PageState::Writeback { .. }))
    }

    /// Whether pages of `ino` in the range of bytes are not on the device yet.
    pub fn has_dirty_pages(&self, ino: InodeNr, range: Range<u64>) -> bool {
        self.any_page(ino, &range, |state| state != PageState::Clean)
    }

    fn any_page(&self, ino: InodeNr, range: &Range<u64>, is: impl Fn(PageState) -> bool) -> bool {
        let (Some(incore), Some(blocks)) = (self.incores().find(ino), self.blocks_in(range)) else {
            return false;
        };
        incore.pages().range(blocks).any(|(_, page)| is(page.state()))
    }

    /// Drops the clean pages of a range of bytes (`invalidate_inode_pages2_range`). `false` when
    /// one is left: it is dirty again, under writeback, or pinned.
    pub fn invalidate_pages(&self, ino: InodeNr, range: Range<u64>) -> bool {
        let (Some(incore), Some(blocks)) = (self.incores().find(ino), self.blocks_in(&range))
        else {
            return true;
        };
        self.change_pages(&incore, |pages| pages.drop_clean(blocks))
    }

    /// For tests of what happens when a page cannot be dropped for a direct write: holds on to the
    /// page at block `lblk`, or lets go of it. `false` if there is none.
    pub fn pin_page(&self, ino: InodeNr, lblk: LogicalBlock, is_pinned: bool) -> bool {
        self.incores().find(ino).is_some_and(|it| it.pages().set_pinned(lblk, is_pinned))
    }

    /// Bytes in pages that are not on the device, of all files.
    pub fn dirty_bytes(&self) -> u64 {
        self.page_cache().dirty.load(Ordering::Acquire) << self.geometry().block_size.bits()
    }

    /// Clusters promised to pages that have no blocks yet.
    pub fn reserved_clusters(&self) -> u64 {
        self.page_cache().reserved()
    }

    /// Drops the pages of these blocks, whatever they hold: the file has been cut there, or is
    /// about to have a hole. Waits for those under writeback; who holds the inode's lock alone
    /// knows that no more come.
    pub(crate) fn drop_pages(&self, incore: &InCore, blocks: RangeInclusive<LogicalBlock>) {
        let pages = incore.wait_writeback(&blocks);
        self.change_locked(pages, |pages| {
            let gone: Vec<_> = pages.range(blocks).map(|(lblk, _)| lblk).collect();
            for lblk in gone {
                pages.remove(lblk);
            }
        });
    }

    /// Makes bytes of one block zero where a page holds them, when nobody is writing it back.
    pub(crate) fn zero_in_page(&self, incore: &InCore, from: u64, to: u64) {
        let size = self.geometry().block_size;
        let Some(lblk) = LogicalBlock::of_byte(from, size) else { return };
        let mut pages = incore.wait_writeback(&(lblk..=lblk));
        let at = size.within(from) as usize;
        let len = usize::try_from(to - from).unwrap_or(usize::MAX);
        pages.zero(lblk, at, at.saturating_add(len).min(size.len()));
    }

    /// Drops clean pages of all files when there are more than `dirty_bytes` of pages in all.
    fn drop_surplus(&self) {
        let max = self.delayed().dirty_bytes >> self.geometry().block_size.bits();
        if self.page_cache().pages.load(Ordering::Acquire) <= max {
            return;
        }
        for incore in self.incores().all() {
            let all = LogicalBlock(0)..=LogicalBlock(u32::MAX);
            self.change_pages(&incore, |pages| pages.drop_clean(all));
        }
    }

    /// Files with dirty pages.
    fn dirty_inodes(&self) -> Vec<Arc<InCore>> {
        if self.page_cache().dirty.load(Ordering::Acquire) == 0 {
            return Vec::new();
        }
        let mut all = self.incores().all();
        all.retain(|it| it.pages().counts().dirty > 0);
        all
    }
}
