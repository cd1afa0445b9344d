//! Blocks of a file in memory that were written there and not, or not yet, on the device.

use ext4_units::LogicalBlock;
use std::{collections::BTreeMap, ops::RangeInclusive, sync::Arc};

/// Where a page is on its way to the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PageState {
    /// The device has it.
    Clean,
    /// To be written.
    Dirty,
    /// A writeback has it in hand, the bytes it found; it may have changed since.
    Writeback { is_dirty_again: bool },
}

/// One block of a file. Bytes beyond `i_size` are zero.
#[derive(Clone, Debug)]
pub(crate) struct Page {
    data: Arc<[u8]>,
    state: PageState,
    /// It has no block yet, only the promise of one.
    is_delayed: bool,
    /// For tests: it cannot be dropped for a direct write.
    is_pinned: bool,
}

impl Page {
    /// Its bytes, as they are now.
    pub(crate) fn data(&self) -> &Arc<[u8]> {
        &self.data
    }

    pub(crate) fn state(&self) -> PageState {
        self.state
    }

    pub(crate) fn is_writeback(&self) -> bool {
        matches!(self.state, PageState::Writeback { .. })
    }
}

/// What decides how many blocks a map may need for its nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    /// Entries of a leaf.
    Extents(u32),
    /// Pointers of a block.
    Indirect(u32),
}

/// How often each number occurs.
#[derive(Debug, Default)]
struct Tally(BTreeMap<u32, u32>);

impl Tally {
    fn add(&mut self, nr: u32) {
        *self.0.entry(nr).or_default() += 1;
    }

    fn remove(&mut self, nr: u32) {
        if let Some(n) = self.0.get_mut(&nr) {
            *n -= 1;
            if *n == 0 {
                self.0.remove(&nr);
            }
        }
    }

    fn len(&self) -> u64 {
        self.0.len() as u64
    }
}

/// The pages of one file, and what is promised to them.
#[derive(Debug)]
pub(crate) struct Pages {
    map: BTreeMap<LogicalBlock, Page>,
    shape: Shape,
    cluster_bits: u32,
    n_dirty: u64,
    n_delayed: u64,
    /// Logical clusters with delayed pages; without bigalloc the pages say it.
    clusters: Tally,
    /// Blocks of pointers that delayed pages of a block map may need.
    windows: Tally,
}

impl Default for Pages {
    fn default() -> Self {
        Self {
            map: BTreeMap::new(),
            shape: Shape::Extents(1),
            cluster_bits: 0,
            n_dirty: 0,
            n_delayed: 0,
            clusters: Tally::default(),
            windows: Tally::default(),
        }
    }
}

/// What a file's pages count for in the whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) pages: u64,
    pub(crate) dirty: u64,
    /// Clusters promised.
    pub(crate) reserved: u64,
}

impl Pages {
    /// Tells what kind of map the file has; before its first page.
    pub(crate) fn set_shape(&mut self, shape: Shape, cluster_bits: u32) {
        if self.map.is_empty() {
            (self.shape, self.cluster_bits) = (shape, cluster_bits);
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.map.is_empty()
    }

    pub(crate) fn get(&self, lblk: LogicalBlock) -> Option<&Page> {
        self.map.get(&lblk)
    }

    /// The pages of these blocks, in order.
    pub(crate) fn range(
        &self,
        blocks: RangeInclusive<LogicalBlock>,
    ) -> impl DoubleEndedIterator<Item = (LogicalBlock, &Page)> {
        let blocks = if blocks.is_empty() { None } else { Some(blocks) };
        blocks.into_iter().flat_map(|it| self.map.range(it)).map(|(&lblk, page)| (lblk, page))
    }

    pub(crate) fn counts(&self) -> Counts {
        Counts { pages: self.map.len() as u64, dirty: self.n_dirty, reserved: self.reserved() }
    }

    /// Clusters that delayed pages may need at worst: their own, and nodes of the map
    /// (`ext4_da_reserve_space`, `ext4_ind_calc_metadata_amount`).
    fn reserved(&self) -> u64 {
        let clusters = if self.cluster_bits == 0 { self.n_delayed } else { self.clusters.len() };
        clusters + self.nodes(self.n_delayed, self.windows.len())
    }

    fn nodes(&self, n_delayed: u64, n_windows: u64) -> u64 {
        match self.shape {
            // Leaves half full, each entry one block.
            Shape::Extents(per_leaf) => n_delayed.div_ceil(u64::from(per_leaf / 2).max(1)),
            // A block of pointers each, and at worst those above it.
            Shape::Indirect(_) => 3 * n_windows,
        }
    }

    /// How many clusters more are to be promised for pages at these blocks, which have none.
    pub(crate) fn cost(&self, new: &[LogicalBlock]) -> u64 {
        let distinct = |of: &dyn Fn(LogicalBlock) -> Option<u32>, known: &Tally| {
            let mut found: Vec<u32> = new.iter().filter_map(|&lblk| of(lblk)).collect();
            found.dedup();
            found.retain(|nr| !known.0.contains_key(nr));
            found.len() as u64
        };
        let clusters = match self.cluster_bits {
            0 => new.len() as u64,
            bits => distinct(&|lblk| Some(lblk.0 >> bits), &self.clusters),
        };
        let windows = distinct(&|lblk| self.window(lblk), &self.windows);
        let n_delayed = self.n_delayed + new.len() as u64;
        let nodes = self.nodes(n_delayed, self.windows.len() + windows);
        clusters + nodes - self.nodes(self.n_delayed, self.windows.len())
    }

    fn window(&self, lblk: LogicalBlock) -> Option<u32> {
        match self.shape {
            Shape::Extents(_) => None,
            Shape::Indirect(per_block) => lblk.0.checked_sub(12).map(|nr| nr / per_block.max(1)),
        }
    }

    /// Puts a dirty page where there is none.
    pub(crate) fn insert(&mut self, lblk: LogicalBlock, data: Arc<[u8]>, is_delayed: bool) {
        self.remove(lblk);
        let page = Page { data, state: PageState::Dirty, is_delayed: false, is_pinned: false };
        self.map.insert(lblk, page);
        self.n_dirty += 1;
        if is_delayed {
            self.set_delayed(lblk, true);
        }
    }

    /// Drops a page, whatever it holds, and what was promised to it.
    pub(crate) fn remove(&mut self, lblk: LogicalBlock) {
        self.set_delayed(lblk, false);
        if let Some(page) = self.map.remove(&lblk)
            && page.state != PageState::Clean
        {
            self.n_dirty -= 1;
        }
    }

    /// Changes the bytes of a page that is there; `true` if it was.
    pub(crate) fn write(&mut self, lblk: LogicalBlock, at: usize, bytes: &[u8]) -> bool {
        let Some(page) = self.map.get_mut(&lblk) else { return false };
        let data = Arc::make_mut(&mut page.data);
        if let Some(part) = data.get_mut(at..).and_then(|rest| rest.get_mut(..bytes.len())) {
            part.copy_from_slice(bytes);
        }
        page.state = match page.state {
            PageState::Clean => {
                self.n_dirty += 1;
                PageState::Dirty
            }
            PageState::Dirty => PageState::Dirty,
            PageState::Writeback { .. } => PageState::Writeback { is_dirty_again: true },
        };
        true
    }

    /// Makes bytes of a page zero without making it dirty: the caller does so on the device.
    pub(crate) fn zero(&mut self, lblk: LogicalBlock, from: usize, to: usize) {
        if let Some(page) = self.map.get_mut(&lblk) {
            let data = Arc::make_mut(&mut page.data);
            if let Some(part) = data.get_mut(from..to.min(data.len())) {
                part.fill(0);
            }
        }
    }

    /// A writeback takes a dirty page in hand.
    pub(crate) fn begin_writeback(&mut self, lblk: LogicalBlock) -> Option<Arc<[u8]>> {
        let page = self.map.get_mut(&lblk).filter(|page| page.state == PageState::Dirty)?;
        page.state = PageState::Writeback { is_dirty_again: false };
        Some(Arc::clone(&page.data))
    }

    /// A writeback is through with a page: the device has it, or not.
    pub(crate) fn end_writeback(&mut self, lblk: LogicalBlock, is_written: bool) {
        if let Some(page) = self.map.get_mut(&lblk)
            && let PageState::Writeback { is_dirty_again } = page.state
        {
            page.state = if is_written && !is_dirty_again {
                self.n_dirty -= 1;
                PageState::Clean
            } else {
                PageState::Dirty
            };
        }
    }

    /// These blocks are mapped now: what was promised has been given.
    pub(crate) fn set_mapped(&mut self, first: LogicalBlock, len: u32) {
        let last = LogicalBlock(first.0.saturating_add(len.max(1) - 1));
        let mapped: Vec<_> =
            self.range(first..=last).filter(|(_, page)| page.is_delayed).map(|it| it.0).collect();
        for lblk in mapped {
            self.set_delayed(lblk, false);
        }
    }

    fn set_delayed(&mut self, lblk: LogicalBlock, is_delayed: bool) {
        let window = self.window(lblk);
        let Some(page) = self.map.get_mut(&lblk) else { return };
        if page.is_delayed == is_delayed {
            return;
        }
        page.is_delayed = is_delayed;
        let cluster = lblk.0 >> self.cluster_bits;
        if is_delayed {
            self.n_delayed += 1;
            self.clusters.add(cluster);
            if let Some(nr) = window {
                self.windows.add(nr);
            }
        } else {
            self.n_delayed -= 1;
            self.clusters.remove(cluster);
            if let Some(nr) = window {
                self.windows.remove(nr);
            }
        }
    }

    /// Lets a page, if there is one, not be dropped for a direct write, or lets it again.
    pub(crate) fn set_pinned(&mut self, lblk: LogicalBlock, is_pinned: bool) -> bool {
        match self.map.get_mut(&lblk) {
            Some(page) => page.is_pinned = is_pinned,
            None => return false,
        }
        true
    }

    /// Drops the clean pages of a range; whether none is left there.
    pub(crate) fn drop_clean(&mut self, blocks: RangeInclusive<LogicalBlock>) -> bool {
        let mut is_empty = true;
        let mut clean = Vec::new();
        for (lblk, page) in self.range(blocks) {
            if page.state == PageState::Clean && !page.is_pinned {
                clean.push(lblk);
            } else {
                is_empty = false;
            }
        }
        for lblk in clean {
            self.remove(lblk);
        }
        is_empty
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn data() -> Arc<[u8]> {
        vec![0; 16].into()
    }

    fn pages(shape: Shape, cluster_bits: u32) -> Pages {
        let mut it = Pages::default();
        it.set_shape(shape, cluster_bits);
        it
    }

    #[test]
    fn what_is_promised_is_what_was_asked_for_and_goes_with_the_pages() {
        for (shape, bits) in
            [(Shape::Extents(340), 0), (Shape::Extents(84), 4), (Shape::Indirect(256), 0)]
        {
            let mut it = pages(shape, bits);
            let mut promised = 0;
            for run in [0..1u32, 5..40, 300..301, 1000..1600, 40..41] {
                let new: Vec<_> = run.clone().map(LogicalBlock).collect();
                promised += it.cost(&new);
                for &lblk in &new {
                    it.insert(lblk, data(), true);
                }
                assert_eq!(it.counts().reserved, promised, "{shape:?} {run:?}");
            }
            it.set_mapped(LogicalBlock(5), 30);
            it.remove(LogicalBlock(0));
            assert!(it.counts().reserved < promised);
            it.set_mapped(LogicalBlock(0), u32::MAX);
            assert_eq!(it.counts().reserved, 0);
            assert_eq!(it.counts().dirty, it.counts().pages);
        }
    }

    #[test]
    fn a_page_changed_while_it_is_written_is_dirty_after() {
        let mut it = pages(Shape::Extents(4), 0);
        it.insert(LogicalBlock(3), data(), false);
        let old = it.begin_writeback(LogicalBlock(3)).unwrap();
        assert!(it.begin_writeback(LogicalBlock(3)).is_none());
        assert!(it.write(LogicalBlock(3), 1, &[7]));
        assert_eq!(old[1], 0, "what is being written does not change");
        it.end_writeback(LogicalBlock(3), true);
        assert_eq!(it.get(LogicalBlock(3)).unwrap().state(), PageState::Dirty);
        assert!(!it.drop_clean(LogicalBlock(0)..=LogicalBlock(9)));
        it.begin_writeback(LogicalBlock(3)).unwrap();
        it.end_writeback(LogicalBlock(3), true);
        assert_eq!(it.counts().dirty, 0);
        it.set_pinned(LogicalBlock(3), true);
        assert!(!it.drop_clean(LogicalBlock(0)..=LogicalBlock(9)));
        it.set_pinned(LogicalBlock(3), false);
        assert!(it.drop_clean(LogicalBlock(0)..=LogicalBlock(9)));
        assert!(it.is_empty());
    }

    #[test]
    fn a_page_whose_writeback_failed_is_still_dirty() {
        let mut it = pages(Shape::Extents(4), 0);
        it.insert(LogicalBlock(3), data(), true);
        it.begin_writeback(LogicalBlock(3)).unwrap();
        it.end_writeback(LogicalBlock(3), false);
        assert_eq!(it.get(LogicalBlock(3)).unwrap().state(), PageState::Dirty);
        assert_eq!(it.counts(), Counts { pages: 1, dirty: 1, reserved: 2 });
    }
}
