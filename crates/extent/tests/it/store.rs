//! Blocks in memory, and a file mapped by them.

use ext4_extent::{
    Context, Cost, Format, Mapping, NodeRead, NodeStore, Removed, Root, State, Summary,
};
use ext4_ondisk::{
    Corrupt,
    checksum::Csum,
    extent::{Extent, empty_root},
};
use ext4_units::{BlockNr, BlockRange, BlockSize, InodeNr, LogicalBlock};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Error {
    Corrupt(Corrupt),
    NoSpace,
    /// Written or freed without being allocated.
    NotANode(BlockNr),
}

impl From<Corrupt> for Error {
    fn from(it: Corrupt) -> Self {
        Self::Corrupt(it)
    }
}

/// Nodes live in blocks 1000..; data is wherever a test says, elsewhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct MemStore {
    pub(crate) blocks: BTreeMap<u64, Arc<[u8]>>,
    pub(crate) used: BTreeSet<u64>,
    /// Allocations that still succeed.
    pub(crate) allocs_left: usize,
    pub(crate) n_writes: usize,
    pub(crate) n_allocs: usize,
    pub(crate) n_frees: usize,
}

impl Default for MemStore {
    fn default() -> Self {
        Self {
            blocks: BTreeMap::new(),
            used: BTreeSet::new(),
            allocs_left: usize::MAX,
            n_writes: 0,
            n_allocs: 0,
            n_frees: 0,
        }
    }
}

impl MemStore {
    pub(crate) fn read_bytes(&self, blk: u64) -> Vec<u8> {
        self.read(BlockNr(blk)).unwrap().to_vec()
    }
}

impl NodeRead for MemStore {
    type Error = Error;

    fn read(&self, blk: BlockNr) -> Result<Arc<[u8]>, Error> {
        // A block nobody wrote reads as zeros, as a device's would.
        Ok(self.blocks.get(&blk.0).cloned().unwrap_or_else(|| vec![0; 1024].into()))
    }
}

impl NodeStore for MemStore {
    fn write(&mut self, blk: BlockNr, data: Arc<[u8]>) -> Result<(), Error> {
        if !self.used.contains(&blk.0) {
            return Err(Error::NotANode(blk));
        }
        self.n_writes += 1;
        self.blocks.insert(blk.0, data);
        Ok(())
    }

    fn alloc(&mut self, _goal: BlockNr) -> Result<BlockNr, Error> {
        self.allocs_left = self.allocs_left.checked_sub(1).ok_or(Error::NoSpace)?;
        let blk = (1000..9000).find(|it| !self.used.contains(it)).unwrap();
        self.used.insert(blk);
        self.n_allocs += 1;
        Ok(BlockNr(blk))
    }

    fn free(&mut self, blk: BlockNr) -> Result<(), Error> {
        if !self.used.remove(&blk.0) {
            return Err(Error::NotANode(blk));
        }
        self.blocks.remove(&blk.0);
        self.n_frees += 1;
        Ok(())
    }
}

/// A mapped file.
#[derive(Debug, Clone)]
pub(crate) struct File {
    pub(crate) ctx: Context,
    pub(crate) root: Root,
    pub(crate) store: MemStore,
    pub(crate) format: Format,
}

pub(crate) fn written(lblk: u32, len: u32, start: u64) -> Extent {
    Extent { lblk: LogicalBlock(lblk), len, start: BlockNr(start), unwritten: false }
}

pub(crate) fn unwritten(lblk: u32, len: u32, start: u64) -> Extent {
    Extent { unwritten: true, ..written(lblk, len, start) }
}

impl File {
    pub(crate) fn new(format: Format) -> Self {
        let ctx = Context {
            ino: InodeNr::new(12).unwrap(),
            block_size: BlockSize::MIN,
            csum: Some(Csum(0x1234_5678)),
            blocks: BlockRange::new(BlockNr(2), 1 << 40),
            zones: Arc::new([]),
            checked: None,
        };
        let root = match format {
            Format::Extents => empty_root(),
            Format::Indirect => [0; 60],
        };
        Self { ctx, root, store: MemStore::default(), format }
    }

    pub(crate) fn extents() -> Self {
        Self::new(Format::Extents)
    }

    /// Inserts each extent in turn.
    pub(crate) fn with(extents: impl IntoIterator<Item = Extent>) -> Self {
        let mut file = Self::extents();
        for it in extents {
            file.insert(it).unwrap();
        }
        file
    }

    /// `n` extents of one block each, none mergeable, at even logical blocks.
    pub(crate) fn alternating(n: u32) -> Self {
        Self::with((0..n).map(|it| written(it * 2, 1, 100_000 + u64::from(it) * 2)))
    }

    /// Does `change`, and holds what it touched against the cost foretold.
    fn within<R>(
        &mut self,
        cost: Result<Cost, Corrupt>,
        change: impl FnOnce(&mut Self) -> Result<R, Error>,
    ) -> Result<R, Error> {
        let MemStore { n_writes, n_allocs, n_frees, .. } = self.store;
        let res = change(self)?;
        let cost = cost.unwrap();
        assert!(self.store.n_writes - n_writes <= cost.written, "{cost:?}");
        assert!(self.store.n_allocs - n_allocs <= cost.allocated, "{cost:?}");
        assert!(self.store.n_frees - n_frees <= cost.freed, "{cost:?}");
        Ok(res)
    }

    pub(crate) fn insert(&mut self, it: Extent) -> Result<(), Error> {
        self.within(self.format.insert_cost(&self.ctx, &self.root, it.len), |file| {
            file.format.insert(&file.ctx, &mut file.root, &mut file.store, it)
        })
    }

    pub(crate) fn convert(&mut self, from: u32, len: u32) -> Result<u32, Error> {
        let from = LogicalBlock(from);
        self.within(self.format.convert_cost(&self.ctx, &self.root), |file| {
            file.format.convert(&file.ctx, &mut file.root, &mut file.store, from, len)
        })
    }

    pub(crate) fn initialize(&mut self, from: u32, len: u32) -> Result<u32, Error> {
        let from = LogicalBlock(from);
        self.within(self.format.convert_cost(&self.ctx, &self.root), |file| {
            file.format.initialize(&file.ctx, &mut file.root, &mut file.store, from, len)
        })
    }

    pub(crate) fn convert_whole(&mut self, lblk: u32) -> Result<(), Error> {
        let lblk = LogicalBlock(lblk);
        ext4_extent::convert_whole(&self.ctx, &mut self.root, &mut self.store, lblk)
    }

    pub(crate) fn mark_unwritten(&mut self, from: u32, len: u32) -> Result<u32, Error> {
        let from = LogicalBlock(from);
        ext4_extent::mark_unwritten(&self.ctx, &mut self.root, &mut self.store, from, len)
    }

    pub(crate) fn remove(&mut self, from: u32, to: u32, budget: usize) -> Result<Removed, Error> {
        let (from, to) = (LogicalBlock(from), LogicalBlock(to));
        self.within(self.format.remove_cost(&self.ctx, &self.root), |file| {
            file.format.remove(&file.ctx, &mut file.root, &mut file.store, from, to, budget)
        })
    }

    /// Removes all of a range, the tree checked after each step; gives the number of steps.
    pub(crate) fn remove_all(&mut self, from: u32, to: u32, budget: usize) -> usize {
        for n in 1.. {
            let removed = self.remove(from, to, budget).unwrap();
            assert!(removed.freed.len() <= budget);
            self.check();
            if removed.done {
                return n;
            }
            assert!(!removed.freed.is_empty(), "a step that is not the last one does something");
        }
        unreachable!()
    }

    /// The same for the older map, whose last step may do nothing; gives what was freed.
    pub(crate) fn remove_all_steps(
        &mut self,
        from: u32,
        to: u32,
        budget: usize,
    ) -> Vec<(LogicalBlock, BlockRange)> {
        let mut freed = Vec::new();
        loop {
            let removed = self.remove(from, to, budget).unwrap();
            assert!(removed.freed.len() <= budget);
            self.check();
            freed.extend(removed.freed);
            if removed.done {
                return freed;
            }
        }
    }

    pub(crate) fn lookup(&self, lblk: u32) -> Result<Mapping, Error> {
        self.format.lookup(&self.ctx, &self.root, &self.store, LogicalBlock(lblk))
    }

    pub(crate) fn validate(&self) -> Result<Summary, Error> {
        self.format.validate(&self.ctx, &self.root, &self.store)
    }

    /// The tree is valid and uses exactly the blocks that are allocated.
    #[track_caller]
    pub(crate) fn check(&self) -> Summary {
        let sum = self.validate().unwrap();
        assert_eq!(sum.n_tree_blocks, self.store.used.len() as u64, "blocks of nodes in use");
        sum
    }

    pub(crate) fn all_mappings(&self) -> Vec<Mapping> {
        let (from, to) = (LogicalBlock(0), LogicalBlock(u32::MAX));
        self.format.iter(&self.ctx, &self.root, &self.store, from, to).map(Result::unwrap).collect()
    }

    /// The first `n` mappings, with what may be wrong.
    pub(crate) fn iter_some(&self, n: usize) -> Result<Vec<Mapping>, Error> {
        let (from, to) = (LogicalBlock(0), LogicalBlock(u32::MAX));
        self.format.iter(&self.ctx, &self.root, &self.store, from, to).take(n).collect()
    }

    /// Without the holes.
    pub(crate) fn mappings(&self) -> Vec<Mapping> {
        self.all_mappings().into_iter().filter(|it| it.state != State::Hole).collect()
    }

    /// Like "W0-3 U4-255".
    pub(crate) fn shape(&self) -> String {
        let text = |it: &Mapping| {
            let state = if matches!(it.state, State::Written(_)) { 'W' } else { 'U' };
            format!("{state}{}-{}", it.lblk, it.end() - 1)
        };
        self.mappings().iter().map(text).collect::<Vec<_>>().join(" ")
    }

    /// All that is on the disk.
    pub(crate) fn image(&self) -> (Root, BTreeMap<u64, Arc<[u8]>>, BTreeSet<u64>) {
        (self.root, self.store.blocks.clone(), self.store.used.clone())
    }
}
