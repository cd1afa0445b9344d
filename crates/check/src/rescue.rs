//! What a repair takes away: all that could be reached before the first change, and cannot be after
//! the last one.
//!
//! No pass is asked what it removes. The filesystem before and after are compared inode by inode, so
//! that nothing can be forgotten; what a repair moves, copies or names anew is no loss. Damage makes
//! none of it longer than the device is large.

mod attributes;
mod candidates;
mod contents;

use crate::{
    Error, Outcome, Result,
    bits::Bits,
    paths,
    snapshot::{Directories, Snapshot},
};
use contents::{Budget, Contents, Layers};
use ext4_ondisk::inode::{FileType, Inode};
use ext4_units::{BlockNr, InodeNr};
use std::collections::{BTreeMap, BTreeSet};

/// What one inode loses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loss {
    /// The inode.
    pub ino: InodeNr,
    /// Its path before the repair, where it had one.
    pub path: Option<Box<[u8]>>,
    /// What it was.
    pub kind: FileType,
    /// `i_size` as it was, in bytes.
    pub size: u64,
    /// Whether all of it is lost; else only what is listed.
    pub is_gone: bool,
    /// Its bytes in the inode table, `s_inode_size` of them.
    pub inode: Vec<u8>,
    /// Contents, by their place in the file. Layers, because a damaged map can have several blocks for
    /// one place: nothing overlaps within one.
    pub contents: Vec<Vec<Extract>>,
    /// Bytes of contents beyond what the device could hold, which are not among them.
    pub not_kept: u64,
    /// Attributes: names as programs see them, and values as getxattr(2) gives them.
    pub attributes: Vec<(Vec<u8>, Vec<u8>)>,
    /// The block of attributes, when the inode has it no longer.
    pub attribute_block: Option<Vec<u8>>,
    /// Names in a directory, and the inodes they were for.
    pub names: Vec<(Vec<u8>, InodeNr)>,
}

/// A part of a file that is lost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Extract {
    /// Where it is in the file, in bytes.
    pub offset: u64,
    /// Its bytes, or where they are.
    pub source: Source,
}

/// Where bytes of a file are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// Here: they were in the inode.
    Here(Vec<u8>),
    /// On the device before the repair; the length in bytes.
    Blocks(BlockNr, u64),
}

impl Extract {
    /// How long it is, in bytes.
    pub const fn len(&self) -> u64 {
        match &self.source {
            Source::Here(bytes) => bytes.len() as u64,
            Source::Blocks(_, len) => *len,
        }
    }

    /// Whether it is nothing.
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The byte of the file behind it.
    pub const fn end(&self) -> u64 {
        self.offset.saturating_add(self.len())
    }
}

/// The losses of a check that came to its end, to be taken one by one.
#[derive(Debug)]
pub struct Rescue<'o> {
    before: &'o Snapshot,
    after: &'o Snapshot,
    /// Blocks that differ.
    changed: Bits,
    /// Inodes to be looked at.
    left: Bits,
    paths: BTreeMap<InodeNr, Box<[u8]>>,
    /// Inodes of names that were lost, which say that they are none; and those that were looked at.
    unnamed: Bits,
    unnamed_done: Bits,
    directories: [Directories<'o>; 2],
    budget: Budget,
}

impl<'o> Rescue<'o> {
    /// Compares what `outcome` is of. `None` when the check did not come to where there is anything to
    /// compare.
    ///
    /// # Errors
    /// [`Error::Device`].
    pub fn new(outcome: &'o Outcome) -> Result<Option<Self>> {
        let (Some(before), Some(after)) = (&outcome.before, &outcome.after) else {
            return Ok(None);
        };
        let changed = candidates::changed(before, after)?;
        let mut budget = Budget::of(before);
        let left = candidates::find(before, after, &changed, &mut budget)?;
        let paths = paths::of(before, left.clone())?;
        let directories = [Directories::of(before), Directories::of(after)];
        let (unnamed, unnamed_done) = (Bits::default(), Bits::default());
        Ok(Some(Self {
            before,
            after,
            changed,
            left,
            paths,
            unnamed,
            unnamed_done,
            directories,
            budget,
        }))
    }

    /// The next loss, in order of the inodes; those that only a lost name led to come last.
    ///
    /// # Errors
    /// [`Error::Device`].
    pub fn next_loss(&mut self) -> Result<Option<Loss>> {
        loop {
            let first = |bits: &Bits| bits.iter().next();
            let Some((nr, is_unnamed)) = first(&self.left)
                .map(|nr| (nr, false))
                .or_else(|| first(&self.unnamed).map(|nr| (nr, true)))
            else {
                return Ok(None);
            };
            if is_unnamed {
                self.unnamed.remove(nr);
                self.unnamed_done.insert(nr);
            } else {
                self.left.remove(nr);
            }
            let Some(ino) = u32::try_from(nr).ok().and_then(InodeNr::new) else { continue };
            let Some(mut loss) = self.look(ino, is_unnamed)? else { continue };
            loss.path = self.paths.remove(&ino);
            if is_unnamed && loss.path.is_none() {
                let mut wanted = Bits::default();
                wanted.insert(nr);
                loss.path = paths::of(self.before, wanted)?.remove(&ino);
            }
            return Ok(Some(loss));
        }
    }

    /// Reads `len` bytes, at most what is left, of an extract from its byte `from` on.
    ///
    /// # Errors
    /// [`Error::Device`].
    pub fn read(&self, extract: &Extract, from: u64, len: usize) -> Result<Vec<u8>> {
        let len = usize::try_from(extract.len().saturating_sub(from)).unwrap_or(len).min(len);
        match &extract.source {
            Source::Here(bytes) => {
                let from = usize::try_from(from).unwrap_or(usize::MAX);
                Ok(bytes.get(from..from.saturating_add(len)).unwrap_or_default().to_vec())
            }
            Source::Blocks(start, _) => {
                let mut bytes = vec![0; len];
                let at = start.byte(self.before.geo.block_size).saturating_add(from);
                ext4_blockdev::BlockDevice::read_at(&**self.before.image.device(), at, &mut bytes)?;
                Ok(bytes)
            }
        }
    }

    /// Whether damage is so great that not all could be looked at.
    pub const fn is_cut(&self) -> bool {
        self.budget.is_spent
    }

    /// What an inode loses. One that only a lost name led to is not in use itself, and a loss only
    /// when it still has something.
    fn look(&mut self, ino: InodeNr, is_unnamed: bool) -> Result<Option<Loss>> {
        let Some(raw) = self.before.inode_bytes(ino)? else { return Ok(None) };
        let Some(inode) = self.before.decode(ino, &raw) else { return Ok(None) };
        let after = match self.after.inode(ino)? {
            Some(it) if is_in_use(&it) && !is_unnamed => Some(it),
            _ => None,
        };
        let mut loss = Loss {
            ino,
            path: None,
            kind: inode.file_type(),
            size: inode.size,
            is_gone: after.is_none(),
            inode: raw,
            contents: Vec::new(),
            not_kept: 0,
            attributes: Vec::new(),
            attribute_block: None,
            names: Vec::new(),
        };
        if loss.kind == FileType::Directory {
            self.directory(&inode, after.as_ref(), &mut loss)?;
        } else {
            let kept = after.as_ref().map(|it| Contents::of(self.after, ino, it, &mut self.budget));
            let old = Contents::of(self.before, ino, &inode, &mut self.budget);
            old.lost(kept.as_ref(), &self.changed, &mut self.budget, &mut loss)?;
        }
        attributes::lost(
            self.before,
            &inode,
            self.after,
            after.as_ref(),
            &mut self.budget,
            &mut loss,
        )?;
        let is_any = !loss.contents.is_empty()
            || loss.not_kept > 0
            || !loss.attributes.is_empty()
            || loss.attribute_block.is_some()
            || !loss.names.is_empty();
        Ok((is_any || loss.is_gone && !is_unnamed).then_some(loss))
    }

    /// Names that a directory loses, and those of its blocks whose records do not follow each other.
    fn directory(&mut self, inode: &Inode, after: Option<&Inode>, loss: &mut Loss) -> Result<()> {
        let (before, later) = (self.before, self.after);
        let mut kept: BTreeSet<(Vec<u8>, InodeNr)> = BTreeSet::new();
        if let Some(after) = after.filter(|it| it.file_type() == FileType::Directory) {
            self.directories[1].parts(loss.ino, after, |part| {
                later.names_in(&part, |it| {
                    kept.insert((it.name.to_vec(), it.ino));
                });
                Ok(())
            })?;
        }
        let size = u64::from(before.geo.block_size.bytes());
        let mut blocks = Layers::of(size);
        self.directories[0].parts(loss.ino, inode, |part| {
            let is_whole = before.names_in(&part, |it| {
                let name = (it.name.to_vec(), it.ino);
                if !kept.contains(&name) {
                    loss.names.push(name);
                }
            });
            let changed = |blk: BlockNr| self.changed.contains(blk.0) || loss.is_gone;
            if let Some((lblk, blk)) = part.place.filter(|(_, blk)| !is_whole && changed(*blk)) {
                let offset = lblk.saturating_mul(size);
                blocks.add(offset, blk, size, &mut self.budget);
            }
            Ok(())
        })?;
        blocks.into_loss(loss);
        for (_, ino) in &loss.names {
            let nr = u64::from(ino.get());
            let is_none = |it: Inode| it.mode != 0 && it.links_count == 0;
            if !self.unnamed_done.contains(nr) && self.before.inode(*ino)?.is_some_and(is_none) {
                self.unnamed.insert(nr);
            }
        }
        Ok(())
    }
}

/// Whether an inode says that it is one.
const fn is_in_use(inode: &Inode) -> bool {
    inode.mode != 0 && inode.links_count != 0
}

/// Ignores that there is no such block.
fn there<T: Default>(result: Result<T>) -> Result<T> {
    match result {
        Err(Error::Outside(_)) => Ok(T::default()),
        other => other,
    }
}
