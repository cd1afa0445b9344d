//! Adding a name to an indexed directory: splitting leaves and index blocks, adding a level.

use crate::{
    Context, DirRead, DirStore, Error,
    area::NewEntry,
    block::{Block, Kind},
    probe::{Frame, ProbeError},
};
use ext4_ondisk::{
    Corrupt,
    htree::{DxBlock, DxEntry, max_index_levels},
};
use ext4_units::LogicalBlock;

impl Context {
    /// `ext4_dx_add_entry`.
    pub(crate) fn insert_indexed<S: DirStore + ?Sized>(
        &self,
        store: &mut S,
        new: &NewEntry<'_>,
    ) -> Result<(), S::Error> {
        let path = self.probe(&*store, new.name).map_err(ProbeError::into_error)?;
        let leaf = self.read_leaf(store, path.leaf)?;
        if self.insert_in_leaf(store, &leaf, new)? {
            return Ok(());
        }
        // Everything that can be wrong comes before the first block is appended.
        let items = self.items(self.records(&leaf), Some(&path.hasher)).map_err(Error::from)?;
        let mut halves = self.halve(items).map_err(Error::from)?;
        halves.push(new.item(path.hash));
        let (lower, upper) = (self.build_leaf(&halves.lower)?, self.build_leaf(&halves.upper)?);
        let is_full = |frame: &&Frame| frame.index.entries.len() >= frame.index.limit;
        let n_full = path.frames.iter().rev().take_while(is_full).count();
        let levels = path.frames.len();
        if n_full == levels && levels >= max_index_levels(self.has_largedir) {
            return Err(Error::IndexFull { dir: self.ino, levels }.into());
        }
        // A new leaf, and a new half of every full index block (the root's goes below it).
        self.check_growth(store.n_blocks(), n_full + 1)?;
        let new_leaf = store.append()?;
        let mut fresh = Vec::with_capacity(n_full);
        for _ in 0..n_full {
            fresh.push(store.append()?);
        }
        let dx = self.dx(store.n_blocks());
        let entry = DxEntry { hash: halves.index_hash(), block: new_leaf };
        let mut changed = Vec::new();
        for index in self.insert_in_index(path.frames, entry, fresh)? {
            let mut bytes = index.bytes;
            dx.put(&mut bytes, &index.index).map_err(Error::from)?;
            changed.push((index.lblk, bytes));
        }
        store.write(leaf.lblk, lower)?;
        store.write(new_leaf, upper)?;
        for (lblk, bytes) in changed {
            store.write(lblk, bytes)?;
        }
        Ok(())
    }

    /// Reads the leaf which the index leads to; anything else there is damage.
    fn read_leaf<S: DirRead + ?Sized>(
        &self,
        store: &S,
        lblk: LogicalBlock,
    ) -> Result<Block, S::Error> {
        let mut block = self.read(store, lblk)?;
        if block.kind == Kind::Node {
            // Without a tail an empty leaf is dressed like a node, but has no limit in it.
            let is_really = self.csum.is_some()
                || self.dx(store.n_blocks()).parse_node(&block.bytes, lblk).is_ok();
            if is_really {
                let fault = "an index block, expected a leaf";
                return Err(Error::from(self.area(lblk).corrupt(fault)).into());
            }
            block.kind = Kind::Leaf;
        }
        Ok(block)
    }

    /// Puts `entry` after the entries taken on the way down, splitting full blocks into `fresh`
    /// ones from the bottom up, and gives back every index block that changed.
    fn insert_in_index(
        &self,
        mut frames: Vec<Frame>,
        mut entry: DxEntry,
        fresh: Vec<LogicalBlock>,
    ) -> Result<Vec<Changed>, Error> {
        let mut changed = Vec::new();
        let mut fresh = fresh.into_iter();
        let wrong = |fault: &'static str| {
            Error::from(Corrupt::new(format!("htree of inode {}", self.ino), fault))
        };
        while let Some(frame) = frames.pop() {
            let Frame { lblk, mut index, bytes, at } = frame;
            let old = |index| Changed { lblk, index, bytes: bytes.to_vec() };
            if index.entries.len() < index.limit {
                index.entries.insert(at + 1, entry);
                changed.push(old(index));
                return Ok(changed);
            }
            let new_lblk = fresh.next().ok_or_else(|| wrong("too few blocks for a split"))?;
            let dx = self.dx(0);
            let node = |entries| Changed {
                lblk: new_lblk,
                index: DxBlock { info: None, entries, limit: dx.node_limit() },
                bytes: dx.new_node(),
            };
            if let Some(info) = &mut index.info {
                // A new level: the root's entries move into a node, which holds 3 more.
                info.indirect_levels += 1;
                let below = DxEntry { hash: 0, block: new_lblk };
                let mut entries = std::mem::replace(&mut index.entries, vec![below]);
                entries.insert(at + 1, entry);
                changed.push(node(entries));
                changed.push(old(index));
                return Ok(changed);
            }
            let half = index.entries.len() / 2;
            let mut upper = index.entries.split_off(half);
            let upper_hash = upper.first().map_or(0, |first| first.hash);
            match at.checked_sub(half) {
                Some(at) => upper.insert(at + 1, entry),
                None => index.entries.insert(at + 1, entry),
            }
            changed.push(old(index));
            changed.push(node(upper));
            entry = DxEntry { hash: upper_hash, block: new_lblk };
        }
        Err(wrong("no room in the root"))
    }
}

/// An index block to be written.
struct Changed {
    lblk: LogicalBlock,
    index: DxBlock,
    /// The block it is written over, for its fake entries.
    bytes: Vec<u8>,
}
