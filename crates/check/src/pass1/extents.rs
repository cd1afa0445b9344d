//! Trees of extents, read without any belief: each entry judged, and the tree made anew from the good
//! ones when something had to go.
//!
//! `scan_extent_node` of e2fsck. What bounds the walk: a child is one level lower than its parent, and
//! no block is a node of the same tree twice.

use super::{
    inode::{Check, Verdict},
    map::Map,
    tree::{child, header, index_entry, leaf_entry, max_depth, write_tree},
};
use crate::{
    Place, Problem, Result,
    problem::pass1::{
        DIRECTORY_HOLE, DIRECTORY_TOO_BIG, EXTENT_BOUNDS, EXTENT_CHECKSUM, EXTENT_DEPTH,
        EXTENT_EMPTY, EXTENT_END, EXTENT_INDEX, EXTENT_LENGTH, EXTENT_NODE, EXTENT_ORDER,
        EXTENT_OVERLAP, EXTENT_START, EXTENTS_TOO_DEEP, MAP_ON_METADATA, NO_EXTENT_HEADER,
        UNWRITTEN_DIRECTORY,
    },
};
use ext4_ondisk::{
    extent::{self, Extent, RawExtent, RawExtentHeader, RawExtentIdx},
    features::Incompat,
    inode::{FileType, InodeFlags},
};
use ext4_units::{BlockNr, LogicalBlock};
use std::collections::{BTreeSet, HashSet};

/// No tree that fits on a device is deeper; one that says so is no tree.
const DEEPEST: u16 = 16;

/// A walk over a tree.
#[derive(Debug, Default)]
struct Walk {
    /// Good extents, kept only where the tree may be made anew.
    extents: Vec<Extent>,
    /// Blocks of nodes, in the order they were met.
    nodes: Vec<BlockNr>,
    seen: HashSet<BlockNr>,
    /// The next logical block that is free.
    next: u64,
    /// Something was taken out or changed.
    is_changed: bool,
    /// Something was left as it is that a tree made anew would lose.
    has_left: bool,
}

/// What a node has to keep to.
#[derive(Clone, Copy, Debug)]
struct Bounds {
    /// No entry before this logical block.
    start: u64,
    /// None at or behind this one, where something else follows.
    end: Option<u64>,
    /// Not the root.
    is_below: bool,
    depth: u16,
    may_mend: bool,
}

impl Check<'_> {
    /// Walks the tree of extents.
    pub(super) fn extents(&mut self, map: &mut Map) -> Result<Verdict> {
        let root = self.raw.i_block;
        let header = match header(&root) {
            Ok(header) => header,
            Err(why) => {
                let is_cleared = self.fix(&NO_EXTENT_HEADER, why, "")?;
                return Ok(if is_cleared { Verdict::Cleared } else { Verdict::Kept });
            }
        };
        let mut walk = Walk::default();
        let mut depth = header.eh_depth.get();
        let deepest = if depth > 1 { max_depth(self.world.geo.block_size) } else { depth };
        let is_empty = depth > 0 && header.eh_entries.get() == 0;
        if depth > deepest || is_empty {
            let deepest = if is_empty { 0 } else { deepest };
            let is_mended = self.fix(&EXTENTS_TOO_DEEP, depth, deepest)?;
            walk.is_changed |= is_mended;
            walk.has_left |= !is_mended;
            depth = self.depth_below(&root)?;
        }
        let bounds = Bounds { start: 0, end: None, is_below: false, depth, may_mend: true };
        self.node(map, &mut walk, &root, bounds)?;
        if walk.is_changed && !walk.has_left {
            self.rebuild(map, walk)?;
        }
        Ok(Verdict::Kept)
    }

    /// How deep the tree is by the node that its first entry leads to; 0 where that is none.
    fn depth_below(&self, root: &[u8]) -> Result<u16> {
        let child = child(root, 0).filter(|blk| self.world.is_block(*blk));
        let Some(blk) = child else { return Ok(0) };
        let node = self.world.image.read(blk)?;
        let depth = header(&node).map_or(0, |it| it.eh_depth.get().saturating_add(1));
        Ok(if depth <= DEEPEST { depth } else { 0 })
    }

    fn node(&mut self, map: &mut Map, walk: &mut Walk, node: &[u8], bounds: Bounds) -> Result<()> {
        let Ok(header) = header(node) else { return Ok(()) };
        let n = usize::from(header.eh_entries.get());
        if bounds.depth > 0 {
            return self.index_node(map, walk, node, n, bounds);
        }
        let is_dir = self.kind() == FileType::Directory;
        let eof = self.world.geo.block_size.blocks_for(self.size());
        let lblk = |raw: &RawExtent| u64::from(raw.ee_block.get());
        let mut start = bounds.start;
        for nr in 0..n {
            let Some(mut raw) = leaf_entry(node, nr) else { break };
            if bounds.may_mend
                && let Some(room) = room_before_next(node, nr, n, is_dir)
                && self.fix_at(&EXTENT_LENGTH, self.place_of(&raw), raw.len(), room)?
            {
                raw.ee_len.set(if raw.is_unwritten() { 1 << 15 | room } else { room });
                walk.is_changed = true;
            }
            // One that is too far off, or too long, must not cost those behind it. In a directory it is
            // brought near.
            let next = leaf_entry(node, nr + 1).filter(|_| nr + 1 < n).map(|it| lblk(&it));
            let end = lblk(&raw) + u64::from(raw.len());
            let is_stray = bounds.is_below && end > eof && !raw.is_unwritten() && !is_dir;
            let mut bounds = Bounds { start, ..bounds };
            if is_stray && next.is_some_and(|next| (start..end).contains(&next)) {
                bounds.end = Some(eof);
            }
            if let Some(last) = self.leaf(map, walk, &raw, bounds)? {
                start = last;
            }
        }
        Ok(())
    }

    /// Judges an extent. Its last logical block, when it counts: as mended, so that those behind one
    /// that was too far off are still in order.
    fn leaf(
        &mut self,
        map: &mut Map,
        walk: &mut Walk,
        raw: &RawExtent,
        bounds: Bounds,
    ) -> Result<Option<u64>> {
        let is_dir = self.kind() == FileType::Directory;
        let mut lblk = u64::from(raw.ee_block.get());
        let (len, start) = (u64::from(raw.len()), raw.start());
        let mut unwritten = raw.is_unwritten();
        let place = self.place_of(raw);
        if let Some(problem) = self.extent_fault(walk, raw, bounds) {
            if !bounds.may_mend {
                return Ok(None);
            }
            if self.fix_at(problem, place, len, "")? {
                walk.is_changed = true;
            } else {
                walk.has_left = true;
            }
            return Ok(None);
        }
        if bounds.may_mend
            && is_dir
            && unwritten
            && self.fix_at(&UNWRITTEN_DIRECTORY, place.clone(), "", "")?
        {
            unwritten = false;
            walk.is_changed = true;
        }
        if bounds.may_mend && is_dir && map.end() < lblk {
            let mask = u64::from(self.world.geo.cluster_ratio()) - 1;
            let mut down = map.end();
            if mask > 0 {
                down = (down + mask) & !mask | start.0 & mask;
            }
            if down < lblk && self.fix_at(&DIRECTORY_HOLE, place, lblk, down)? {
                lblk = down;
                walk.is_changed = true;
            }
        }
        walk.next = walk.next.max(lblk + len);
        self.claim_run(map, lblk, start.0, len, !unwritten)?;
        if self.gate.may_mend()
            && let (Ok(lblk), Ok(len)) = (u32::try_from(lblk), u32::try_from(len))
        {
            walk.extents.push(Extent { lblk: LogicalBlock(lblk), len, start, unwritten });
        }
        Ok(Some(lblk + len - 1))
    }

    fn place_of(&self, raw: &RawExtent) -> Place {
        Place::inode(self.ino).at_lblk(u64::from(raw.ee_block.get())).at_block(raw.start())
    }

    /// What is wrong with an extent.
    fn extent_fault(
        &self,
        walk: &Walk,
        raw: &RawExtent,
        bounds: Bounds,
    ) -> Option<&'static Problem> {
        let (lblk, len, start) = (u64::from(raw.ee_block.get()), u64::from(raw.len()), raw.start());
        let end = lblk + len;
        let size = self.world.geo.block_size;
        let largest_dir = 1u64 << (31 - size.bits());
        let is_small_dir = self.kind() == FileType::Directory
            && self.raw.i_size_high.get() == 0
            && !self.features.has_incompat(Incompat::LARGEDIR);
        if !self.world.is_block(start) {
            Some(&EXTENT_START)
        } else if lblk < bounds.start {
            Some(&EXTENT_ORDER)
        } else if len == 0 {
            Some(&EXTENT_EMPTY)
        } else if start.0 + len > self.world.end() {
            Some(&EXTENT_END)
        } else if bounds.end.is_some_and(|it| end > it) || end > u64::from(u32::MAX) {
            Some(&EXTENT_BOUNDS)
        } else if is_small_dir && end > largest_dir {
            Some(&DIRECTORY_TOO_BIG)
        } else if lblk < walk.next {
            Some(&EXTENT_OVERLAP)
        } else {
            None
        }
    }

    fn index_node(
        &mut self,
        map: &mut Map,
        walk: &mut Walk,
        node: &[u8],
        n: usize,
        bounds: Bounds,
    ) -> Result<()> {
        let mut least = bounds.start;
        for nr in 0..n {
            let Some(raw) = index_entry(node, nr) else { break };
            let following = (nr + 1 < n).then(|| index_entry(node, nr + 1)).flatten();
            let following = following.map(|it| u64::from(it.ei_block.get()));
            let lblk = u64::from(raw.ei_block.get());
            let end = following.filter(|it| *it > lblk).or(bounds.end);
            let bounds = Bounds { start: least, end, ..bounds };
            if let Some(first) = self.index(map, walk, &raw, bounds)? {
                least = first.min(lblk) + 1;
            }
        }
        Ok(())
    }

    /// Judges an entry of an index and walks over its child. The child's first logical block, when it
    /// counts.
    fn index(
        &mut self,
        map: &mut Map,
        walk: &mut Walk,
        raw: &RawExtentIdx,
        bounds: Bounds,
    ) -> Result<Option<u64>> {
        let (lblk, blk) = (u64::from(raw.ei_block.get()), raw.leaf());
        let place = Place::inode(self.ino).at_lblk(lblk).at_block(blk);
        let problem = if !self.world.is_block(blk) {
            Some(&EXTENT_START)
        } else if lblk < bounds.start {
            Some(&EXTENT_ORDER)
        } else if bounds.end.is_some_and(|end| lblk >= end) {
            Some(&EXTENT_BOUNDS)
        } else {
            None
        };
        if let Some(problem) = problem {
            if bounds.may_mend {
                let is_mended = self.fix_at(problem, place, "", "")?;
                walk.is_changed |= is_mended;
                walk.has_left |= !is_mended;
            }
            return Ok(None);
        }
        let is_first = walk.seen.insert(blk);
        self.spend(map, self.world.cluster(blk.0), 1)?;
        let child = if is_first { self.world.image.read(blk)? } else { Vec::new() };
        let mut may_mend = bounds.may_mend;
        if self.world.metadata.contains(blk.0) && header(&child).is_ok() {
            // To write to it would spoil what belongs there: shared blocks get a copy first.
            self.gate.doubt()?;
            self.fix_at(&MAP_ON_METADATA, place.clone(), "", "")?;
            may_mend = false;
        }
        let fault = match header(&child) {
            _ if !is_first => Some("in the tree already"),
            Err(why) => Some(why),
            Ok(header) if header.eh_depth.get() != bounds.depth - 1 => {
                let depth = header.eh_depth.get();
                let is_leaf = bounds.depth == 1 && self.are_extents(&child, &header);
                if is_leaf && may_mend && self.fix_at(&EXTENT_DEPTH, place.clone(), depth, 0)? {
                    walk.is_changed = true;
                    None
                } else {
                    Some("another depth")
                }
            }
            Ok(header) if header.eh_entries.get() == 0 => Some("empty"),
            Ok(_) => None,
        };
        if let Some(why) = fault {
            if may_mend {
                let is_mended = self.fix_at(&EXTENT_NODE, place, why, "")?;
                walk.is_changed |= is_mended;
                walk.has_left |= !is_mended;
            } else {
                // The copy that it gets is judged in the next round.
                walk.has_left = true;
                self.claim_node(map, blk);
            }
            return Ok(None);
        }
        let was_changed = walk.is_changed;
        let first = first_lblk(&child, lblk, bounds.end);
        if first != lblk && may_mend {
            if self.fix_at(&EXTENT_INDEX, place.clone(), lblk, first)? {
                walk.is_changed = true;
            } else {
                walk.has_left = true;
            }
        }
        walk.has_left |= !may_mend;
        walk.nodes.push(blk);
        let below =
            Bounds { start: first, is_below: true, depth: bounds.depth - 1, may_mend, ..bounds };
        self.node(map, walk, &child, below)?;
        self.claim_node(map, blk);
        if may_mend && walk.is_changed == was_changed {
            self.node_checksum(blk, child, place)?;
        }
        Ok(Some(first))
    }

    /// Whether all entries of a node can be extents, whatever depth it says.
    fn are_extents(&self, node: &[u8], header: &RawExtentHeader) -> bool {
        let entries = (0..header.eh_entries.get()).map(|nr| leaf_entry(node, nr.into()));
        header.eh_entries.get() > 0
            && entries.flatten().all(|it| !it.is_empty() && self.world.is_block(it.start()))
    }

    /// Compares a node's checksum, where nothing else is wrong with the node.
    fn node_checksum(&mut self, blk: BlockNr, mut node: Vec<u8>, place: Place) -> Result<()> {
        let Some(seed) = self.world.format.seed(self.ino, self.raw.i_generation.get()) else {
            return Ok(());
        };
        let max = header(&node).map_or(0, |it| it.eh_max.get());
        let found = extent::stored_checksum(&node, max);
        let expected = extent::checksum(seed, &node, max);
        if found.is_some()
            && found != expected
            && self.fix_at(
                &EXTENT_CHECKSUM,
                place,
                format_args!("{:#010x}", found.unwrap_or(0)),
                format_args!("{:#010x}", expected.unwrap_or(0)),
            )?
        {
            extent::set_checksum(seed, &mut node, max);
            self.world.image.write(blk, &node)?;
        }
        Ok(())
    }

    /// Makes the tree anew from its good extents, in the blocks it has.
    ///
    /// Those are enough: the new one is packed, and has no extent more than the old one had.
    fn rebuild(&mut self, map: &mut Map, walk: Walk) -> Result<()> {
        let Walk { mut extents, nodes, .. } = walk;
        extents.sort_by_key(|it| it.lblk);
        let seed = self.world.format.seed(self.ino, self.raw.i_generation.get());
        let (root, used) = write_tree(self.world.image, seed, &extents, &nodes)?;
        self.raw.i_block = root;
        self.is_dirty = true;
        // Nodes that are not needed any more are free.
        let free = nodes.iter().skip(used).map(|blk| self.world.cluster(blk.0)).collect();
        self.unclaim(map, free);
        Ok(())
    }

    /// Takes back one claim of each of these clusters.
    fn unclaim(&mut self, map: &mut Map, mut clusters: BTreeSet<u64>) {
        let old = std::mem::take(&mut self.found.claims);
        for (mut start, len) in old.into_iter().rev() {
            let end = start + len;
            while let Some(&cluster) = clusters.range(start..end).next() {
                clusters.remove(&cluster);
                map.clusters -= 1;
                if cluster > start {
                    self.found.claims.push((start, cluster - start));
                }
                start = cluster + 1;
            }
            if start < end {
                self.found.claims.push((start, end - start));
            }
        }
    }

    /// Whether what is mapped behind the size may be there: blocks of a Merkle tree.
    pub(super) fn may_exceed_size(&self) -> bool {
        self.has_flag(InodeFlags::VERITY)
    }
}

/// The first logical block below a node for which the index above has `lblk`: what its first entry says,
/// unless that one is too far off among those that follow it.
fn first_lblk(node: &[u8], lblk: u64, end: Option<u64>) -> u64 {
    // Entries of both kinds begin with it.
    let of = |nr: usize| index_entry(node, nr).map(|it| u64::from(it.ei_block.get()));
    let n = header(node).map_or(0, |it| usize::from(it.eh_entries.get()));
    let Some(first) = of(0) else { return lblk };
    let next = of(1).filter(|_| n > 1);
    let is_stray = end.is_some_and(|end| first >= end)
        || next.is_some_and(|next| (lblk..first).contains(&next));
    if is_stray { lblk } else { first }
}

/// How many blocks an extent may have before the next of `n` begins, in the file and on the device,
/// where it runs over all that are behind it: it is too long then, and those are right. A single one
/// could be wrong itself, but the extents of directories are short.
fn room_before_next(node: &[u8], nr: usize, n: usize, is_dir: bool) -> Option<u16> {
    if nr + if is_dir { 1 } else { 2 } >= n {
        return None;
    }
    let [this, next, last] = [nr, nr + 1, n - 1].map(|it| leaf_entry(node, it));
    let (this, next, last) = (this?, next?, last?);
    let [first, following, last] = [this, next, last].map(|it| u64::from(it.ee_block.get()));
    let is_too_long =
        first < following && following <= last && last < first + u64::from(this.len());
    let in_file = following - first.min(following);
    let apart = next.start().0.checked_sub(this.start().0).filter(|it| *it > 0);
    is_too_long.then(|| u16::try_from(in_file.min(apart.unwrap_or(in_file))).ok()).flatten()
}
