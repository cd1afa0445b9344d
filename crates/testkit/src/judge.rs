//! What must hold on a recovered image, found out by the second reader: every block and inode is
//! counted once, no orphan is left, nothing readable is stale.

use crate::{
    explore::Violation,
    model::Stamp,
    view::{EA_INODE_FL, Node, View, le32},
};
use anyhow::{Context, Result};
use ext4_blockdev::BlockDevice;
use ext4_ondisk::{checksum::Csum, orphan_file};
use ext4_units::{BlockNr, InodeNr};
use std::collections::{BTreeMap, BTreeSet};

/// Everything this file knows to ask: accounts, orphans, stale bytes.
pub fn judge(device: &dyn BlockDevice) -> Vec<Violation> {
    let view = match View::new(device) {
        Ok(view) => view,
        Err(error) => return vec![Violation::new("superblock", format!("{error:#}"))],
    };
    let mut all = accounts(&view);
    all.extend(at_rest(&view));
    all.extend(stale(&view, false));
    all
}

fn or_violation(code: &'static str, found: Result<Vec<Violation>>) -> Vec<Violation> {
    found.unwrap_or_else(|error| vec![Violation::new(code, format!("{error:#}"))])
}

/// Bitmaps, counts and links against what is reachable. Codes: `leak` (in use but reachable from
/// nowhere), `free in use`, `shared`, `count`, `links`, `walk`.
pub fn accounts(view: &View<'_>) -> Vec<Violation> {
    or_violation("walk", Accounts::new(view).and_then(Accounts::settle))
}

struct Accounts<'a> {
    view: &'a View<'a>,
    /// Cluster to its owner: an inode number, or 0 for the file system itself.
    clusters: BTreeMap<u64, u32>,
    /// Blocks of attributes, which inodes may share.
    shared: BTreeSet<u64>,
    /// Inode to the number of names it has.
    links: BTreeMap<u32, u32>,
    dirs: BTreeSet<u32>,
    found: Vec<Violation>,
}

impl<'a> Accounts<'a> {
    fn new(view: &'a View<'a>) -> Result<Self> {
        let mut it = Self {
            view,
            clusters: BTreeMap::new(),
            shared: BTreeSet::new(),
            links: BTreeMap::new(),
            dirs: BTreeSet::new(),
            found: Vec::new(),
        };
        it.own_metadata();
        it.own_tree()?;
        Ok(it)
    }

    fn say(&mut self, code: &'static str, detail: String) {
        self.found.push(Violation::new(code, detail));
    }

    /// Clusters are counted as those of a group are: from its first block.
    fn cluster(&self, blk: u64) -> u64 {
        (blk - u64::from(self.view.sb.s_first_data_block.get())) >> self.view.cluster_bits()
    }

    fn own(&mut self, blk: u64, owner: u32) {
        let first = u64::from(self.view.sb.s_first_data_block.get());
        if blk < first || blk >= self.view.n_blocks {
            self.say("walk", format!("inode {owner}: block {blk} is outside"));
            return;
        }
        let is_clustered = self.view.has_bigalloc();
        match self.clusters.insert(self.cluster(blk), owner) {
            // Within one cluster an inode, or the metadata, may use several blocks.
            Some(old) if old != owner || !is_clustered => {
                self.say("shared", format!("block {blk} is of inode {old} and of {owner}"));
            }
            _ => {}
        }
    }

    fn own_metadata(&mut self) {
        let view = self.view;
        let mut blocks = BTreeSet::new();
        for (i, group) in view.groups.iter().enumerate() {
            blocks.extend(view.base_blocks(i));
            blocks.extend([group.block_bitmap, group.inode_bitmap]);
            blocks.extend(group.inode_table..group.inode_table + view.table_len());
        }
        if view.has_incompat(0x100) {
            blocks.insert(view.sb.s_mmp_block.get());
        }
        // The reserved descriptors are the resize inode's as well; that one is not walked.
        for blk in blocks {
            self.own(blk, 0);
        }
    }

    fn own_tree(&mut self) -> Result<()> {
        let view = self.view;
        let mut children: BTreeMap<u32, u32> = BTreeMap::new();
        let mut order = Vec::new();
        let mut parents = BTreeMap::new();
        view.walk(&mut |path, ino| {
            order.push(ino);
            let parent = path.rsplit_once('/').map_or(".", |it| it.0).to_owned();
            parents.insert(path.to_owned(), ino);
            *self.links.entry(ino).or_default() += 1;
            if view.inode(ino)?.file_type() == 0o040_000 {
                self.dirs.insert(ino);
                if let (true, Some(&above)) = (path != ".", parents.get(&parent)) {
                    *children.entry(above).or_default() += 1;
                }
            }
            Ok(())
        })?;
        let mut done = BTreeSet::new();
        let reserved = (1..view.first_ino()).filter(|it| !matches!(it, 2 | 7));
        let extra = self.hidden_inodes();
        let named = reserved.chain(extra.iter().copied()).chain(order);
        let mut todo: Vec<u32> = named.collect();
        while let Some(ino) = todo.pop() {
            if !done.insert(ino) {
                continue;
            }
            let node = view.inode(ino)?;
            self.own_node(&node).with_context(|| format!("inode {ino}"))?;
            for value in view.value_inodes(&node)? {
                self.links.entry(value).or_insert(1);
                todo.push(value);
            }
        }
        self.own_resize_inode()?;
        for &ino in &extra {
            self.links.entry(ino).or_insert(1);
        }
        for (ino, names) in self.links.clone() {
            let node = view.inode(ino)?;
            let stored = u32::from(node.raw.i_links_count.get());
            let is_dir = self.dirs.contains(&ino);
            let expected =
                if is_dir { 2 + children.get(&ino).copied().unwrap_or(0) } else { names };
            let is_odd = node.has(EA_INODE_FL) || extra.contains(&ino);
            if !is_odd && stored != expected && !(is_dir && stored == 1) {
                self.say("links", format!("inode {ino}: links {stored}, expected {expected}"));
            }
        }
        Ok(())
    }

    /// Inodes that no folder names and that are not reserved: orphan file, project quota.
    fn hidden_inodes(&self) -> Vec<u32> {
        let project = self.view.sb.s_prj_quota_inum.get();
        let project = (self.view.has_ro(0x2000) && project != 0).then_some(project);
        self.view.orphan_file().into_iter().chain(project).collect()
    }

    fn own_node(&mut self, node: &Node) -> Result<()> {
        let view = self.view;
        let mut n = 0;
        for run in view.runs(node)? {
            // A run that passes the end would take for ever to say so block by block.
            if run.start.saturating_add(run.len) > view.n_blocks {
                self.say("walk", format!("inode {}: {run:?} is outside", node.ino));
                continue;
            }
            for blk in run.start..run.start + run.len {
                self.own(blk, node.ino);
                n += 1;
            }
        }
        for blk in view.map_blocks(node)? {
            self.own(blk, node.ino);
            n += 1;
        }
        let acl = node.acl_block();
        if acl != 0 {
            n += 1;
            if self.shared.insert(acl) {
                self.own(acl, u32::MAX);
            }
        }
        let expected = n * (view.block_size as u64 / 512);
        let stored = view.sectors(node);
        // Blocks of a cluster count as one with bigalloc, and value inodes count for their owner.
        let is_plain = !view.has_bigalloc() && view.value_inodes(node)?.is_empty();
        // mke2fs leaves the indirect blocks of inode 1, bad blocks, out of its count.
        if is_plain && node.ino != 1 && !node.has(EA_INODE_FL) && stored != expected {
            let ino = node.ino;
            self.say("count", format!("inode {ino}: {stored} sectors, expected {expected}"));
        }
        Ok(())
    }

    /// The resize inode maps the reserved descriptors, already counted; its own is one block.
    fn own_resize_inode(&mut self) -> Result<()> {
        if self.view.has_compat(0x10) {
            let node = self.view.inode(7)?;
            let blk = le32(&node.raw.i_block, 13 * 4);
            if blk != 0 {
                self.own(blk.into(), 7);
            }
        }
        Ok(())
    }

    fn settle(mut self) -> Result<Vec<Violation>> {
        let view = self.view;
        let (mut free_clusters, mut free_inodes) = (0, 0);
        for i in 0..view.groups.len() {
            free_clusters += self.settle_blocks(i)?;
            free_inodes += self.settle_inodes(i)?;
        }
        let free_blocks = free_clusters << view.cluster_bits();
        let stored = view.sb.free_blocks_count();
        if stored != free_blocks {
            self.say("count", format!("superblock: {stored} free blocks, counted {free_blocks}"));
        }
        let stored = u64::from(view.sb.s_free_inodes_count.get());
        if stored != free_inodes {
            self.say("count", format!("superblock: {stored} free inodes, counted {free_inodes}"));
        }
        Ok(self.found)
    }

    /// Whether a flag of a group's descriptor is set and means something.
    fn has_flag(&self, group: usize, flag: u16) -> bool {
        let view = self.view;
        (view.has_ro(0x10) || view.has_checksums()) && view.groups[group].flags & flag != 0
    }

    /// Free clusters of a group.
    fn settle_blocks(&mut self, i: usize) -> Result<u64> {
        let view = self.view;
        let per = u64::from(view.sb.s_clusters_per_group.get()).min(view.block_size as u64 * 8);
        let per = if view.has_bigalloc() { per } else { view.sb.s_blocks_per_group.get().into() };
        let first = self.cluster(view.group_start(i));
        let n = view.group_len(i).div_ceil(1 << view.cluster_bits());
        let is_uninit = self.has_flag(i, 2);
        let bitmap = view.block(view.groups[i].block_bitmap)?;
        let mut free = 0;
        let (mut leaked, mut unmarked) = (Vec::new(), Vec::new());
        for bit in 0..n {
            let owner = self.clusters.get(&(first + bit));
            let is_marked = if is_uninit { owner == Some(&0) } else { is_set(&bitmap, bit) };
            match (owner, is_marked) {
                (None, true) => leaked.push(first + bit),
                (Some(_), false) => unmarked.push(first + bit),
                _ => {}
            }
            free += u64::from(!is_marked);
        }
        if !leaked.is_empty() {
            self.say("leak", format!("group {i}: clusters {}", some(&leaked)));
        }
        if !unmarked.is_empty() {
            self.say("free in use", format!("group {i}: clusters {}", some(&unmarked)));
        }
        let size = view.block_size as u64 * 8;
        if !is_uninit && (n..per.max(n).min(size)).any(|bit| !is_set(&bitmap, bit)) {
            self.say("count", format!("group {i}: padding of the block bitmap is not set"));
        }
        let stored = u64::from(view.groups[i].free_clusters);
        if stored != free {
            self.say("count", format!("group {i}: {stored} free clusters, counted {free}"));
        }
        Ok(free)
    }

    /// Free inodes of a group.
    fn settle_inodes(&mut self, i: usize) -> Result<u64> {
        let view = self.view;
        let per = view.sb.s_inodes_per_group.get();
        let first = u32::try_from(i)? * per + 1;
        let is_uninit = self.has_flag(i, 1);
        let bitmap = view.block(view.groups[i].inode_bitmap)?;
        let (mut free, mut dirs) = (0, 0);
        for ino in first..first + per {
            let is_used = self.links.contains_key(&ino) || ino < view.first_ino();
            let is_marked = !is_uninit && is_set(&bitmap, u64::from(ino - first));
            match (is_used, is_marked) {
                (false, true) => self.say("leak", format!("inode {ino}")),
                (true, false) => self.say("free in use", format!("inode {ino}")),
                _ => {}
            }
            free += u64::from(!is_marked);
            dirs += u32::from(self.dirs.contains(&ino));
        }
        let group = &view.groups[i];
        if u64::from(group.free_inodes) != free {
            let stored = group.free_inodes;
            self.say("count", format!("group {i}: {stored} free inodes, counted {free}"));
        }
        if group.used_dirs != dirs {
            let stored = group.used_dirs;
            self.say("count", format!("group {i}: {stored} folders, counted {dirs}"));
        }
        Ok(free)
    }
}

fn is_set(bitmap: &[u8], bit: u64) -> bool {
    let byte = usize::try_from(bit / 8).ok().and_then(|it| bitmap.get(it));
    byte.is_some_and(|it| it >> (bit % 8) & 1 == 1)
}

fn some(numbers: &[u64]) -> String {
    let n = numbers.len();
    let more = if n > 8 { format!(" and {} more", n - 8) } else { String::new() };
    format!("{:?}{more}", &numbers[..n.min(8)])
}

/// Whether nothing is left to recover: no journal to replay, no orphan. Code `at rest`.
pub fn at_rest(view: &View<'_>) -> Vec<Violation> {
    or_violation("at rest", unfinished(view))
}

fn unfinished(view: &View<'_>) -> Result<Vec<Violation>> {
    let mut all = Vec::new();
    let mut say = |detail: String| all.push(Violation::new("at rest", detail));
    if view.needs_recovery() {
        say("needs_recovery is set".into());
    }
    if view.orphan_present() {
        say("orphan_present is set".into());
    }
    let last = view.sb.s_last_orphan.get();
    if last != 0 {
        say(format!("s_last_orphan is {last}"));
    }
    if let Some(ino) = view.orphan_file() {
        let node = view.inode(ino)?;
        let seed = metadata_seed(view);
        let nr = InodeNr::new(ino).context("the orphan file has no inode")?;
        let csum = seed.map(|it| it.inode_seed(nr, node.raw.i_generation.get()));
        for run in view.runs(&node)? {
            for blk in run.start..run.start.saturating_add(run.len) {
                let block = view.block(blk)?;
                if let Err(error) = orphan_file::verify(&block, BlockNr(blk), csum) {
                    say(error.to_string());
                }
                for (slot, ino) in orphan_file::entries(&block) {
                    say(format!("orphan file block {blk}, slot {slot}: inode {ino}"));
                }
            }
        }
    }
    if let Some(jsb) = journal_superblock(view)? {
        let start = jsb.get(0x1C..0x20).context("a journal superblock")?;
        if start != [0; 4] {
            say(format!("journal superblock: s_start is {start:?}"));
        }
    }
    Ok(all)
}

/// The seed of all checksums; `None` without `metadata_csum`.
fn metadata_seed(view: &View<'_>) -> Option<Csum> {
    let seed = if view.has_incompat(0x2000) {
        Csum(view.sb.s_checksum_seed.get())
    } else {
        Csum::of_uuid(&view.sb.s_uuid)
    };
    view.has_checksums().then_some(seed)
}

/// The first block of the journal's inode.
fn journal_superblock(view: &View<'_>) -> Result<Option<Vec<u8>>> {
    let ino = view.sb.s_journal_inum.get();
    if !view.has_compat(4) || ino == 0 {
        return Ok(None);
    }
    let runs = view.runs(&view.inode(ino)?)?;
    let first = runs.iter().find(|it| it.lblk == 0).context("the journal has no first block")?;
    view.block(first.start).map(Some)
}

/// The journal superblock's `s_sequence` and `s_start`; `None` without a journal.
pub fn journal_position(view: &View<'_>) -> Result<Option<(u32, u32)>> {
    let be = |bytes: &[u8], at: usize| le32(bytes, at).swap_bytes();
    Ok(journal_superblock(view)?.map(|it| (be(&it, 0x18), be(&it, 0x1C))))
}

/// Free blocks and free inodes, summed over the group descriptors.
pub fn free_counts(view: &View<'_>) -> (u64, u64) {
    let sum = |of: fn(&crate::view::Group) -> u32| -> u64 {
        view.groups.iter().map(|it| u64::from(of(it))).sum()
    };
    (sum(|it| it.free_clusters) << view.cluster_bits(), sum(|it| it.free_inodes))
}

/// Bytes in files that nobody wrote there: poison, and sectors whose [`Stamp`] is another file's or
/// another place's (not looked at when `may_shift`, for files whose sectors were moved). Code
/// `stale`.
pub fn stale(view: &View<'_>, may_shift: bool) -> Vec<Violation> {
    let mut all = Vec::new();
    let mut seen = BTreeSet::new();
    let walked = view.walk(&mut |path, ino| {
        let node = view.inode(ino)?;
        if !seen.insert(ino) {
            return Ok(());
        }
        if node.file_type() == 0o120_000 && has_poison(&view.target(&node)?) {
            all.push(Violation::new("stale", format!("{path}: poison")));
        }
        if node.file_type() == 0o100_000 {
            let fault = stale_bytes(view, &node, may_shift)?;
            all.extend(fault.map(|it| Violation::new("stale", format!("{path}: {it}"))));
        }
        Ok(())
    });
    if let Err(error) = walked {
        all.push(Violation::new("walk", format!("{error:#}")));
    }
    all
}

fn has_poison(bytes: &[u8]) -> bool {
    const HEAD: &[u8] = b"POISON!S";
    bytes.windows(HEAD.len()).any(|it| it == HEAD)
}

fn stale_bytes(view: &View<'_>, node: &Node, may_shift: bool) -> Result<Option<String>> {
    let (mut poisoned, mut misplaced) = (Vec::new(), Vec::new());
    let mut ids = BTreeSet::new();
    view.pieces(node, &mut |at, bytes| {
        for (i, sector) in bytes.chunks(512).enumerate() {
            let nr = at / 512 + i as u64;
            if sector.first() == Some(&b'I')
                && let Some(stamp) = Stamp::of(sector)
            {
                ids.insert(stamp.id);
                if stamp.sector != nr && !may_shift {
                    misplaced.push(nr);
                }
            } else if has_poison(sector) {
                poisoned.push(nr);
            }
        }
        Ok(())
    })?;
    if poisoned.is_empty() && misplaced.is_empty() && ids.len() < 2 {
        return Ok(None);
    }
    let (poisoned, misplaced) = (some(&poisoned), some(&misplaced));
    Ok(Some(format!("poisoned sectors {poisoned}, misplaced {misplaced}, of files {ids:?}")))
}
