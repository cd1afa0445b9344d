//! The index of a directory: whether it leads to every leaf, once, and each leaf holds the hashes that
//! the index says.

use super::{
    fold,
    view::{Ask, View},
};
use crate::{
    Place, Problem, Result,
    facts::Directory,
    problem::pass2::{
        INDEX_BAD_BLOCK, INDEX_CLEAR, INDEX_COUNT, INDEX_DEPTH, INDEX_LIMIT, INDEX_MAX_HASH,
        INDEX_MIN_HASH, INDEX_NODE_CHECKSUM, INDEX_NOT_REFERRED, INDEX_ORDER, INDEX_ROOT,
        INDEX_ROOT_CHECKSUM, INDEX_TWICE,
    },
};
use ext4_ondisk::{
    dir_entry::{Records, TAIL_LEN},
    dir_hash::{HashAlgorithm, Hasher},
    features::Incompat,
    htree::{DxContext, RawDxEntry, RawDxNode, RawDxRoot},
};
use ext4_units::{InodeNr, LogicalBlock};
use std::collections::BTreeMap;
use zerocopy::FromBytes as _;

/// Bytes of the info of a root (`struct dx_root_info`).
const INFO_LEN: u8 = 8;

/// What was seen of one directory's blocks.
pub(crate) struct Index<'v> {
    view: View<'v>,
    dir: InodeNr,
    is_active: bool,
    /// Hashes are of folded names.
    is_casefolded: bool,
    n_blocks: u64,
    context: DxContext,
    hasher: Option<Hasher>,
    /// Root and nodes, with their bytes.
    nodes: BTreeMap<u64, Vec<u8>>,
    /// Leaves, with the least and the greatest hash in them.
    leaves: BTreeMap<u64, Option<(u32, u32)>>,
}

/// What an index block says, as far as it can be believed: the least hash below each entry, and the block
/// it leads to.
type Entries = Vec<(u32, u64)>;

impl<'v> Index<'v> {
    pub(crate) fn new(view: View<'v>, dir: InodeNr, known: &Directory) -> Self {
        let n_blocks = view.geo.block_size.blocks_for(known.size);
        Self {
            view,
            dir,
            is_active: known.is_indexed,
            is_casefolded: known.is_casefolded,
            n_blocks,
            context: DxContext {
                ino: dir,
                block_size: view.geo.block_size,
                csum: view.format.seed(dir, known.generation),
                has_largedir: view.sb.features.has_incompat(Incompat::LARGEDIR),
                n_blocks: u32::try_from(n_blocks).unwrap_or(u32::MAX),
            },
            hasher: None,
            nodes: BTreeMap::new(),
            leaves: BTreeMap::new(),
        }
    }

    /// A block of the index; the root comes first.
    pub(crate) fn add(&mut self, lblk: u64, bytes: Vec<u8>) {
        if lblk == 0 {
            let root = RawDxRoot::ref_from_prefix(&bytes).ok();
            let version = root.map_or(0, |(it, _)| it.hash_version);
            self.hasher = HashAlgorithm::from_raw(version).map(|algorithm| Hasher {
                algorithm,
                is_unsigned: self.view.sb.unsigned_hash,
                seed: self.view.sb.hash_seed,
            });
        }
        self.nodes.insert(lblk, bytes);
    }

    /// A block of entries.
    pub(crate) fn add_leaf(&mut self, lblk: u64, bytes: &[u8]) {
        if !self.is_active {
            return;
        }
        let range = self.hash_range(lblk, bytes);
        self.leaves.insert(lblk, range);
    }

    fn hash_range(&self, lblk: u64, bytes: &[u8]) -> Option<(u32, u32)> {
        let hasher = self.hasher.as_ref()?;
        let tail = if self.context.csum.is_some() { TAIL_LEN } else { 0 };
        let area = bytes.get(..bytes.len().checked_sub(tail)?)?;
        let place = ext4_ondisk::dir_entry::Area::Block {
            ino: self.dir,
            lblk: LogicalBlock(u32::try_from(lblk).unwrap_or(u32::MAX)),
        };
        let records = Records::new(area, place, self.context.block_size, u32::MAX);
        let names =
            records.filter_map(|it| it.ok().filter(|it| it.ino.is_some()).map(|it| it.name));
        let mut range = None;
        let mut add = |hash: u32| {
            let (min, max) = range.unwrap_or((hash, hash));
            range = Some((min.min(hash), max.max(hash)));
        };
        if self.is_casefolded {
            names.filter_map(fold::folded).for_each(|it| add(hasher.hash(&it).hash));
            return range;
        }
        let (mut several, mut n) = ([&[][..]; 8], 0);
        for name in names {
            several[n] = name;
            n += 1;
            if n == several.len() {
                hasher.hash_each(several).iter().for_each(|it| add(it.hash));
                n = 0;
            }
        }
        several[..n].iter().for_each(|it| add(hasher.hash(it).hash));
        range
    }

    /// Looks at the whole; whether it is to be made anew.
    pub(crate) fn check(&self, ask: &mut Ask<'_>) -> Result<bool> {
        let root = self.nodes.get(&0).and_then(|it| RawDxRoot::ref_from_prefix(it).ok());
        let Some((root, _)) = root else { return self.clear(&INDEX_ROOT, 0, ask) };
        let levels = u64::from(root.indirect_levels);
        if root.reserved_zero.get() != 0 || root.info_length != INFO_LEN {
            return self.clear(&INDEX_ROOT, 0, ask);
        }
        let mut referred: BTreeMap<u64, u32> = BTreeMap::new();
        let mut faults: Vec<(&'static Problem, u64)> = Vec::new();
        // Nodes to be read: block, level below it (0: leaves), bounds of the hashes in it.
        let mut pending = vec![(0_u64, levels, 0_u32, u32::MAX)];
        while let Some((lblk, level, min, max)) = pending.pop() {
            let entries = match self.node(lblk) {
                Ok(entries) => entries,
                Err(problem) => return self.clear(problem, lblk, ask),
            };
            for (nr, &(hash, child)) in entries.iter().enumerate() {
                let from = if nr == 0 { min } else { hash };
                let to = entries.get(nr + 1).map_or(max, |next| next.0 & !1);
                let times = referred.entry(child).or_insert(0);
                *times += 1;
                if *times > 1 {
                    faults.push((&INDEX_TWICE, child));
                    continue;
                }
                let is_leaf = self.leaves.contains_key(&child);
                // An empty leaf without a checksum looks like a node.
                let is_either = !is_leaf && level == 0 && self.context.csum.is_none();
                if is_leaf != (level == 0) && !is_either {
                    faults.push((&INDEX_DEPTH, child));
                } else if level > 0 {
                    pending.push((child, level - 1, from, to));
                } else if let Some(Some((least, greatest))) = self.leaves.get(&child) {
                    if *least < from & !1 {
                        faults.push((&INDEX_MIN_HASH, child));
                    }
                    if *greatest > to {
                        faults.push((&INDEX_MAX_HASH, child));
                    }
                }
            }
        }
        let all = self.nodes.keys().chain(self.leaves.keys()).filter(|it| **it != 0);
        faults.extend(
            all.filter(|it| !referred.contains_key(it)).map(|it| (&INDEX_NOT_REFERRED, *it)),
        );
        faults.sort_by_key(|it| (it.1, it.0.code));
        if faults.is_empty() {
            return Ok(false);
        }
        for (problem, lblk) in faults {
            ask(problem, Place::inode(self.dir).at_lblk(lblk), String::new(), String::new())?;
        }
        self.clear(&INDEX_CLEAR, 0, ask)
    }

    fn clear(&self, problem: &'static Problem, lblk: u64, ask: &mut Ask<'_>) -> Result<bool> {
        ask(problem, Place::inode(self.dir).at_lblk(lblk), String::new(), String::new())
    }

    /// The entries of an index block, or what is wrong with it.
    fn node(&self, lblk: u64) -> std::result::Result<Entries, &'static Problem> {
        let (offset, limit, other_fault, sum_fault) = match lblk {
            0 => (
                size_of::<RawDxRoot>(),
                self.context.root_limit(),
                &INDEX_ROOT,
                &INDEX_ROOT_CHECKSUM,
            ),
            _ => (
                size_of::<RawDxNode>(),
                self.context.node_limit(),
                &INDEX_CLEAR,
                &INDEX_NODE_CHECKSUM,
            ),
        };
        let bytes = self.nodes.get(&lblk).ok_or(&INDEX_CLEAR)?;
        let entry = |nr: usize| {
            let bytes = bytes.get(offset + nr * size_of::<RawDxEntry>()..)?;
            RawDxEntry::ref_from_prefix(bytes).ok().map(|(raw, _)| raw)
        };
        // Limit and count are where the others have their hashes.
        let first = entry(0).map_or(0, |it| it.hash.get());
        let (found_limit, count) = ((first & 0xFFFF) as usize, (first >> 16) as usize);
        if found_limit != limit {
            return Err(&INDEX_LIMIT);
        }
        if count == 0 || count > found_limit {
            return Err(&INDEX_COUNT);
        }
        let mut entries = Entries::with_capacity(count);
        for nr in 0..count {
            let raw = entry(nr).ok_or(&INDEX_BAD_BLOCK)?;
            let hash = if nr == 0 { 0 } else { raw.hash.get() };
            let block = u64::from(raw.block.get() & 0x0FFF_FFFF);
            if entries.last().is_some_and(|before| hash < before.0) {
                return Err(&INDEX_ORDER);
            }
            if block == 0 || block >= self.n_blocks {
                return Err(&INDEX_BAD_BLOCK);
            }
            entries.push((hash, block));
        }
        let parsed = if lblk == 0 {
            self.context.parse_root(bytes)
        } else {
            let lblk = LogicalBlock(u32::try_from(lblk).unwrap_or(u32::MAX));
            self.context.parse_node(bytes, lblk)
        };
        match parsed {
            Err(corrupt) if corrupt.is_checksum => Err(sum_fault),
            Err(_) => Err(other_fault),
            Ok(_) => Ok(entries),
        }
    }
}
