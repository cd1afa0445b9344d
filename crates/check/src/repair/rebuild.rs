//! A directory made anew from its names: in as many blocks as they need, without holes, with an index
//! where it has more than one block.

use super::File;
use crate::{
    Error, Result,
    facts::{Directory, Runs, add_run},
    session::Session,
};
use ext4_dir::{Built, Fill, Member};
use ext4_ondisk::{
    dir_entry::Records,
    inode::{FileType, InodeFlags},
};
use ext4_units::{BlockNr, BlockRange, InodeNr, LogicalBlock};
use std::collections::{HashMap, HashSet};

/// What came of making a directory anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rebuilt {
    /// It has new blocks.
    Anew,
    /// Its blocks are already what they would be.
    Same,
    /// The hash of its names cannot be worked out: it stays what it is.
    Left,
}

/// One name that was read.
struct Name {
    bytes: Vec<u8>,
    ino: InodeNr,
    file_type: FileType,
}

fn members(names: &[Name]) -> Vec<Member<'_>> {
    names
        .iter()
        .map(|it| Member { name: &it.bytes, ino: it.ino, file_type: it.file_type })
        .collect()
}

/// Gives a name of its own to each that has the name of one before it: `name~0`.
fn rename_twins(names: &mut [Name]) {
    let mut seen = HashSet::with_capacity(names.len());
    let with_numbers = (0_usize..).zip(names.iter());
    let twins: Vec<_> =
        with_numbers.filter(|it| !seen.insert(it.1.bytes.as_slice())).map(|it| it.0).collect();
    if twins.is_empty() {
        return;
    }
    let mut taken: HashSet<Vec<u8>> = names.iter().map(|it| it.bytes.clone()).collect();
    // Numbers that were tried for the same name are not tried again.
    let mut tried = HashMap::new();
    for nr in twins {
        let old = std::mem::take(&mut names[nr].bytes);
        let next = tried.entry(old.clone()).or_insert(0_u32);
        names[nr].bytes = loop {
            let tail = format!("~{next}");
            let mut new = old[..old.len().min(255 - tail.len())].to_vec();
            new.extend(tail.as_bytes());
            *next += 1;
            if taken.insert(new.clone()) {
                break new;
            }
        };
    }
}

impl Session<'_, '_> {
    /// Makes a directory anew from the names that its blocks hold. What pass 2 knows of it is brought
    /// up to date; names that were there twice are renamed.
    pub(crate) fn rebuild_directory(&mut self, dir: InodeNr) -> Result<()> {
        let Some(known) = self.facts.directories.get(dir).cloned() else { return Ok(()) };
        if known.is_inline {
            return Ok(());
        }
        let names = self.read_names(dir, &known)?;
        let parent = known.dotdot.unwrap_or(InodeNr::ROOT);
        let members = members(&names);
        let file = File::open(self, dir)?;
        let mut context = file.dir_context();
        let built = ext4_dir::build(&context, parent, &members, Fill::Roomy).or_else(|_| {
            // Without an index: names that compare folded, or a hash that is not known.
            context.has_dir_index = false;
            context.is_casefolded = false;
            ext4_dir::build(&context, parent, &members, Fill::Full)
        })?;
        file.close_with(&known, &built)
    }

    /// Makes a sound directory anew, where that changes anything.
    pub(crate) fn optimize_directory(&mut self, dir: InodeNr) -> Result<Rebuilt> {
        let Some(known) = self.facts.directories.get(dir).cloned() else {
            return Ok(Rebuilt::Same);
        };
        if known.is_inline {
            return Ok(Rebuilt::Same);
        }
        let mut names = self.read_names(dir, &known)?;
        // Where no index sorts them: in the order of the inodes, as they are read one by one.
        names.sort_by_key(|it| it.ino);
        let parent = known.dotdot.unwrap_or(InodeNr::ROOT);
        let members = members(&names);
        let file = File::open(self, dir)?;
        let Ok(built) = ext4_dir::build(&file.dir_context(), parent, &members, Fill::Roomy) else {
            return Ok(Rebuilt::Left);
        };
        if built.is_indexed == known.is_indexed && file.holds(&known, &built)? {
            return Ok(Rebuilt::Same);
        }
        file.close_with(&known, &built)?;
        Ok(Rebuilt::Anew)
    }

    /// The names of a directory, without `.` and `..`; what does not hold together is left out.
    fn read_names(&self, dir: InodeNr, known: &Directory) -> Result<Vec<Name>> {
        let size = self.geo.block_size;
        let mut names: Vec<Name> = Vec::new();
        for run in &known.runs {
            for (lblk, blk) in (run.lblk..).zip(run.blocks.iter()) {
                let bytes = self.image.read(blk)?;
                if lblk > 0 && known.is_indexed && ext4_ondisk::htree::is_node(&bytes, size) {
                    continue;
                }
                let place = ext4_ondisk::dir_entry::Area::Block { ino: dir, lblk: LogicalBlock(0) };
                let records = Records::new(&bytes, place, size, self.geo.inodes_count);
                for record in records {
                    let Ok(record) = record else { break };
                    let Some(ino) = record.ino else { continue };
                    if matches!(record.name, b"." | b".." | b"") {
                        continue;
                    }
                    let file_type = FileType::from_raw(record.file_type);
                    names.push(Name { bytes: record.name.to_vec(), ino, file_type });
                }
            }
        }
        rename_twins(&mut names);
        Ok(names)
    }
}

impl File<'_, '_, '_> {
    /// Whether these are the blocks that it has.
    fn holds(&self, known: &Directory, built: &Built) -> Result<bool> {
        let mut blocks = known.runs.iter().flat_map(|run| run.blocks.iter());
        for block in &built.blocks {
            let Some(blk) = blocks.next() else { return Ok(false) };
            if self.session.image.read(blk)? != block.bytes {
                return Ok(false);
            }
        }
        Ok(blocks.next().is_none())
    }

    /// Writes the inode, with these blocks instead of those it has.
    fn close_with(mut self, known: &Directory, built: &Built) -> Result<()> {
        let needed = built.blocks.len() as u64;
        let mut free = if known.runs.is_empty() {
            let is_extents = self.inode.flags.contains(InodeFlags::EXTENTS);
            self.begin_map_as(is_extents);
            Vec::new()
        } else {
            self.drop_map()?
        };
        free.sort_unstable_by_key(|it| it.start);
        let mut blocks = free.iter().flat_map(|run| run.iter());
        let mut runs = Runs::new();
        let mut kept = HashSet::new();
        // Into other blocks, so that a cut while they are written leaves the old ones; into the same
        // when there is one only, or when no others are free.
        let is_same = needed == 1 && free.len() == 1 && free[0].len == 1;
        for (lblk, block) in (0_u32..).zip(&built.blocks) {
            let lblock = LogicalBlock(lblk);
            let is_plain = self.session.geo.cluster_ratio_bits == 0;
            let added = if is_same && is_plain {
                None
            } else {
                match self.add_block(lblock) {
                    Err(Error::NoSpace(_)) => None,
                    other => Some(other?),
                }
            };
            let blk = if let Some(blk) = added {
                blk
            } else {
                let blk = blocks.next().filter(|_| is_plain).ok_or(Error::NoSpace("block"))?;
                self.put_block(lblock, blk)?;
                blk
            };
            kept.insert(blk);
            add_run(&mut runs, lblk.into(), BlockRange::new(blk, 1));
            self.session.image.write(blk, &block.bytes)?;
        }
        let rest: Vec<BlockNr> =
            free.iter().flat_map(|run| run.iter()).filter(|it| !kept.contains(it)).collect();
        for blk in rest {
            self.give_block(blk);
        }
        self.inode.size = needed * u64::from(self.session.geo.block_size.bytes());
        self.inode.flags.set(InodeFlags::INDEX, built.is_indexed);
        let size = self.inode.size;
        let (ino, is_indexed) = (self.ino, built.is_indexed);
        if let Some(known) = self.session.facts.directories.get_mut(ino) {
            (known.size, known.runs, known.is_indexed) = (size, runs, is_indexed);
        }
        self.close()
    }

    /// Unmaps all blocks and gives those of the map itself back; the blocks of data stay taken.
    fn drop_map(&mut self) -> Result<Vec<BlockRange>> {
        let mut freed = Vec::new();
        loop {
            let removed = self.remove_step(LogicalBlock(0), u32::MAX)?;
            // A block of pointers that was empty before is given back in a step of its own.
            let is_none =
                removed.freed.is_empty() && self.inode.flags.contains(InodeFlags::EXTENTS);
            freed.extend(removed.freed.into_iter().map(|it| it.1));
            if removed.done {
                break;
            }
            if is_none {
                return Err(Error::Damaged(format!("inode {}: its map does not empty", self.ino)));
            }
        }
        Ok(freed)
    }
}
