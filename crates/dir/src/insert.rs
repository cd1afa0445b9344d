//! Adding a name: into a block with room, a new block, or a directory that becomes indexed by it.

use crate::{
    Context, DirStore, Error,
    area::NewEntry,
    block::{Block, Kind},
    find,
};
use ext4_ondisk::{
    dir_entry::FileType,
    htree::{DxBlock, DxEntry, DxInfo, MAX_BLOCK, max_index_levels},
};
use ext4_units::{InodeNr, LogicalBlock};

/// What an insertion did to the directory as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// What the inode's `EXT4_INDEX_FL` must be from now on; the caller stores it in the same
    /// transaction.
    pub now_indexed: bool,
    /// Without an index: where the entry is. No block before it that was looked at has more room.
    pub lblk: LogicalBlock,
}

/// The most blocks an insertion writes, new ones included: journal credits besides those for
/// allocating [`insert_appends`] blocks and the inode.
pub fn insert_blocks(context: &Context) -> usize {
    if !context.has_dir_index {
        return 1;
    }
    // The leaf and its new half; every index block on the way, and a new half of each but one.
    2 * max_index_levels(context.has_largedir) + 1
}

/// The most blocks an insertion appends.
pub fn insert_appends(context: &Context) -> usize {
    if context.has_dir_index { max_index_levels(context.has_largedir) } else { 1 }
}

/// Adds the entry `name` for `ino` (`ext4_add_entry`).
///
/// All blocks it needs are appended before the first is written, so running out of space changes
/// no entry; still, the caller abandons the appended blocks with the transaction after any error.
/// A damaged index is an error here, never cleared.
pub fn insert<S: DirStore + ?Sized>(
    context: &Context,
    store: &mut S,
    name: &[u8],
    ino: InodeNr,
    file_type: FileType,
) -> Result<Outcome, S::Error> {
    context.check_insertable()?;
    context.check_name(name)?;
    if find(context, store, name)?.is_some() {
        return Err(context.exists(name).into());
    }
    insert_new(context, store, LogicalBlock(0), name, ino, file_type)
}

/// The same for a name that the caller knows is not there, in the first block with room from `from` on:
/// for many names in a row, of which each begins at [`Outcome::lblk`] of the one before, so that together
/// they read a directory without an index once.
pub fn insert_new<S: DirStore + ?Sized>(
    context: &Context,
    store: &mut S,
    from: LogicalBlock,
    name: &[u8],
    ino: InodeNr,
    file_type: FileType,
) -> Result<Outcome, S::Error> {
    context.check_insertable()?;
    context.check_name(name)?;
    let new = NewEntry { name, ino, raw_type: context.raw_type(file_type) };
    let indexed = Outcome { now_indexed: true, lblk: LogicalBlock(0) };
    if context.is_dx() {
        context.insert_indexed(store, &new)?;
        return Ok(indexed);
    }
    let n_blocks = store.n_blocks();
    for lblk in (from.0..n_blocks).map(LogicalBlock) {
        let block = context.read(store, lblk)?;
        if context.insert_in_leaf(store, &block, &new)? {
            return Ok(Outcome { now_indexed: false, lblk });
        }
    }
    if n_blocks == 1 && context.has_dir_index {
        context.make_indexed(store, &new)?;
        return Ok(indexed);
    }
    let leaf = context.build_leaf(&[new.item(0)])?;
    let [lblk] = context.append(store)?;
    store.write(lblk, leaf)?;
    Ok(Outcome { now_indexed: false, lblk })
}

impl Context {
    /// Puts an entry into a leaf if it has room.
    pub(crate) fn insert_in_leaf<S: DirStore + ?Sized>(
        &self,
        store: &mut S,
        block: &Block,
        new: &NewEntry<'_>,
    ) -> Result<bool, S::Error> {
        let mut bytes = block.bytes.to_vec();
        let area = bytes.get_mut(..self.leaf_len()).unwrap_or_default();
        if !self.insert_into(area, self.area(block.lblk), new).map_err(Error::from)? {
            return Ok(false);
        }
        self.seal(Kind::Leaf, &mut bytes, store.n_blocks())?;
        store.write(block.lblk, bytes)?;
        Ok(true)
    }

    /// Refuses to grow by `count` blocks beyond what sizes and index entries can say.
    pub(crate) fn check_growth(&self, n_blocks: u32, count: usize) -> Result<(), Error> {
        let after = u64::from(n_blocks).saturating_add(count as u64);
        let by_size = u64::from(u32::MAX) >> self.block_size.bits();
        let max = match (self.has_largedir, self.has_dir_index) {
            (false, _) => by_size.min(u64::from(MAX_BLOCK.0)),
            (true, true) => u64::from(MAX_BLOCK.0),
            (true, false) => u64::from(LogicalBlock::MAX.0),
        };
        if after > max {
            return Err(Error::TooBig { dir: self.ino, n_blocks });
        }
        Ok(())
    }

    /// Appends `N` blocks.
    fn append<S: DirStore + ?Sized, const N: usize>(
        &self,
        store: &mut S,
    ) -> Result<[LogicalBlock; N], S::Error> {
        self.check_growth(store.n_blocks(), N)?;
        let mut blocks = [LogicalBlock(0); N];
        for lblk in &mut blocks {
            *lblk = store.append()?;
        }
        Ok(blocks)
    }

    /// Turns a directory of one full block into a root and two leaves, with the new entry in one of
    /// them (`make_indexed_dir`).
    fn make_indexed<S: DirStore + ?Sized>(
        &self,
        store: &mut S,
        new: &NewEntry<'_>,
    ) -> Result<(), S::Error> {
        let hasher = self.hasher(self.default_hash_version)?;
        let block = self.read(store, LogicalBlock(0))?;
        let mut items = self.items(self.records(&block), Some(&hasher)).map_err(Error::from)?;
        let dots = match items.as_slice() {
            [dot, dotdot, ..] if dot.name == b"." && dotdot.name == b".." => {
                [dot.clone(), dotdot.clone()]
            }
            _ => {
                let fault = "does not start with . and .., expected both";
                return Err(Error::from(self.area(block.lblk).corrupt(fault)).into());
            }
        };
        let mut items = items.split_off(2);
        if let Some(last) = items.last_mut() {
            // The entries move to the start of a leaf, and the last one reaches to its end.
            last.rec_len += dots.iter().map(|dot| dot.rec_len).sum::<usize>();
        }
        let mut halves = self.halve(items).map_err(Error::from)?;
        halves.push(new.item(hasher.hash(new.name).hash));
        let lower = self.build_leaf(&halves.lower)?;
        let upper = self.build_leaf(&halves.upper)?;
        let [lower_lblk, upper_lblk] = self.append(store)?;

        let dx = self.dx(store.n_blocks());
        let mut root = self.root(&dots)?;
        let index = DxBlock {
            info: Some(DxInfo { hash_version: self.default_hash_version, indirect_levels: 0 }),
            entries: vec![
                DxEntry { hash: 0, block: lower_lblk },
                DxEntry { hash: halves.index_hash(), block: upper_lblk },
            ],
            limit: dx.root_limit(),
        };
        dx.put(&mut root, &index).map_err(Error::from)?;
        store.write(lower_lblk, lower)?;
        store.write(upper_lblk, upper)?;
        store.write(LogicalBlock(0), root)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ext4_units::BlockSize;

    #[test]
    fn a_directory_grows_to_4_gib_and_beyond_only_with_largedir() {
        let small = Context {
            ino: InodeNr::ROOT,
            block_size: BlockSize::MAX,
            inodes_count: 100,
            csum: None,
            has_filetype: true,
            has_dir_index: false,
            has_largedir: false,
            is_indexed: false,
            is_casefolded: false,
            is_encrypted: false,
            default_hash_version: 1,
            has_unsigned_hash: false,
            hash_seed: [0; 4],
        };
        assert_eq!(small.check_growth(65534, 1), Ok(()));
        let error = small.check_growth(65535, 1).unwrap_err();
        assert_eq!(error.to_string(), "directory inode 2: directory full, 65535 blocks");
        let large = Context { has_largedir: true, ..small };
        assert_eq!(large.check_growth(65535, 1), Ok(()));
        let indexed = Context { has_dir_index: true, ..large };
        assert!(indexed.check_growth(0x0FFF_FFFF, 1).is_err());
    }
}
