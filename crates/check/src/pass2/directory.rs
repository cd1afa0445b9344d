//! One directory: its blocks, the entries in them, and its index.

use super::{
    entries::{Entries, Expect},
    index::Index,
    inline,
    record::Area,
    view::{Ask, Report, View},
    window::Window,
};
use crate::{
    Place, Result,
    facts::Directory,
    problem::pass2::{HOLE, LEAF_CHECKSUM, NO_TAIL},
};
use ext4_ondisk::{
    checksum::Csum,
    dir_entry::{self, TAIL_LEN, seal_tail},
    htree,
};
use ext4_units::{BlockRange, InodeNr, LogicalBlock};

/// Checks a directory that pass 1 let pass. What is to be changed is in `report`; nothing is written.
pub(crate) fn check<'a>(
    view: View<'_>,
    dir: InodeNr,
    known: &Directory,
    ask: &'a mut Ask<'a>,
    report: &mut Report,
    window: &mut Window,
) -> Result<()> {
    if known.is_inline {
        return inline::check(view, dir, ask, report, known);
    }
    let size = view.geo.block_size;
    let seed = view.format.seed(dir, known.generation);
    let mut index = Index::new(view, dir, known);
    let mut next = 0;
    for run in &known.runs {
        let mut left = *run;
        while left.blocks.len > 0 {
            let read = window.read(view.image, left.blocks)?;
            let n = (read.len() / size.len()) as u64;
            let places = (left.lblk..).zip(left.blocks.iter());
            for ((lblk, blk), bytes) in places.zip(read.chunks_exact_mut(size.len())) {
                if lblk > next {
                    hole(dir, next..lblk, ask, report)?;
                }
                next = lblk + 1;
                let place = Place::inode(dir).at_block(blk).at_lblk(lblk);
                let is_root = known.is_indexed && lblk == 0;
                let is_node = known.is_indexed && lblk > 0 && htree::is_node(bytes, size);
                let expect = if lblk == 0 { Expect::Dot } else { Expect::Name };
                if is_node {
                    index.add(lblk, bytes.to_vec());
                    continue;
                }
                let leaf = Leaf { view, dir, known, place, seed: seed.filter(|_| !is_root) };
                let is_changed = leaf.check(bytes, expect, ask, report)?;
                if is_root {
                    index.add(lblk, bytes.to_vec());
                    if is_changed {
                        // The root's own checksum covers its entries.
                        report.is_to_rebuild = true;
                    }
                } else {
                    index.add_leaf(lblk, bytes);
                }
                if is_changed {
                    report.blocks.push((blk, bytes.to_vec()));
                }
            }
            left.lblk += n;
            left.blocks = BlockRange::new(left.blocks.start.plus(n), left.blocks.len - n);
        }
    }
    // Even an empty one has a block.
    let n_blocks = size.blocks_for(known.size).max(1);
    if next < n_blocks {
        hole(dir, next..n_blocks, ask, report)?;
    }
    if known.is_indexed && !report.is_to_rebuild {
        report.is_to_rebuild = index.check(ask)?;
    }
    Ok(())
}

/// Blocks that are not there: the directory is made anew without them.
fn hole(
    dir: InodeNr,
    lblks: std::ops::Range<u64>,
    ask: &mut Ask<'_>,
    report: &mut Report,
) -> Result<()> {
    let place = Place::inode(dir).at_lblk(lblks.start);
    let n = lblks.end - lblks.start;
    let found = if n == 1 { String::new() } else { format!("{n} of them") };
    if ask(&HOLE, place, found, String::new())? {
        report.is_to_rebuild = true;
    }
    Ok(())
}

/// A block of entries.
struct Leaf<'l, 'v> {
    view: View<'v>,
    dir: InodeNr,
    known: &'l Directory,
    place: Place,
    /// The seed of its checksum; `None` without one, and for the root of an index.
    seed: Option<Csum>,
}

impl Leaf<'_, '_> {
    /// Whether the block was changed; its checksum is then renewed.
    fn check(
        &self,
        bytes: &mut [u8],
        expect: Expect,
        ask: &mut Ask<'_>,
        report: &mut Report,
    ) -> Result<bool> {
        let (size, inodes) = (self.view.geo.block_size, self.view.geo.inodes_count);
        let mut seed = self.seed;
        let mut sum_fault = None;
        if let Some(csum) = seed {
            let area = dir_entry::Area::Block { ino: self.dir, lblk: LogicalBlock(0) };
            if let Err(corrupt) = dir_entry::verify_tail(bytes, csum, area) {
                if has_tail(bytes) {
                    sum_fault = Some(corrupt);
                } else if ask(&NO_TAIL, self.place.clone(), String::new(), String::new())? {
                    // Its entries may reach to the end of the block.
                    report.is_to_rebuild = true;
                    seed = None;
                } else {
                    seed = None;
                }
            }
        }
        let len = bytes.len() - if seed.is_some() { TAIL_LEN } else { 0 };
        let mut entries = Entries {
            view: self.view,
            dir: self.dir,
            known: self.known,
            place: self.place.clone(),
            ask: &mut *ask,
            report,
            is_changed: false,
            room: Vec::new(),
        };
        let mut area = Area::new(&mut bytes[..len], size, inodes);
        entries.check(&mut area, expect)?;
        let mut is_changed = entries.is_changed;
        if let Some(corrupt) = sum_fault.filter(|_| !is_changed) {
            is_changed =
                ask(&LEAF_CHECKSUM, self.place.clone(), corrupt.fault.into_owned(), String::new())?;
        }
        if let Some(csum) = seed.filter(|_| is_changed) {
            seal_tail(bytes, csum);
        }
        Ok(is_changed)
    }
}

/// Whether the last bytes look like the tail that holds a checksum.
pub(crate) fn has_tail(bytes: &[u8]) -> bool {
    bytes
        .last_chunk::<TAIL_LEN>()
        .is_some_and(|tail| tail[..8] == [0, 0, 0, 0, 12, 0, 0, dir_entry::TAIL_FILE_TYPE])
}
