//! Attribute blocks, and values in inodes of their own.

use super::{found::Attributes, inode::Check};
use crate::{
    Place, Problem, Result,
    problem::pass1::{
        ATTRIBUTE_HASH, ATTRIBUTE_NAME, ATTRIBUTE_VALUE, ATTRIBUTES_BLOCKS, ATTRIBUTES_CHECKSUM,
        ATTRIBUTES_MAGIC, ATTRIBUTES_OVERLAP, ATTRIBUTES_REFCOUNT, VALUE_FLAG, VALUE_INODE,
        VALUE_NO_FLAG, VALUE_SIZE,
    },
    session::Session,
};
use ext4_ondisk::{
    features::Compat,
    inode::{InodeFlags, RawInode},
    xattr::{
        self, MAX_VALUE, NameIndex, RawXattrEntry, RawXattrHeader, entry_hash, entry_hash_signed,
    },
};
use ext4_units::{BlockNr, InodeNr};
use zerocopy::FromBytes as _;

/// The name of the encryption context, behind its index.
const CONTEXT_NAME: &[u8] = b"c";

/// What is wrong with an attribute, and the number that shows it.
pub(super) type Fault = (&'static Problem, u64);

/// Which bytes are taken (`region_allocate`).
pub(super) struct Regions {
    end: usize,
    taken: Vec<(usize, usize)>,
}

impl Regions {
    pub(super) fn new(end: usize) -> Self {
        Self { end, taken: Vec::new() }
    }

    /// Takes bytes; false when some are taken already or are none.
    pub(super) fn take(&mut self, start: usize, len: usize) -> bool {
        let Some(end) = start.checked_add(len).filter(|end| *end <= self.end) else { return false };
        // Entries come in order, and so do most values the other way round: look from the end.
        if self.taken.iter().rev().any(|(a, b)| start < *b && *a < end) {
            return false;
        }
        self.taken.push((start, end));
        true
    }
}

/// The entries of a list from byte `first`, with their names, as far as they are inside it.
fn listed(area: &[u8], first: usize) -> impl Iterator<Item = (&RawXattrEntry, &[u8])> {
    let mut at = first;
    std::iter::from_fn(move || {
        let rest = area.get(at..)?;
        if rest.get(..4)? == [0; 4] {
            return None;
        }
        let (entry, behind) = RawXattrEntry::ref_from_prefix(rest).ok()?;
        let name_len = usize::from(entry.e_name_len);
        at += (size_of::<RawXattrEntry>() + name_len).next_multiple_of(4);
        Some((entry, behind.get(..name_len)?))
    })
}

/// The encryption context among attributes that were found good: the entries from `first` on, whose values
/// are counted from `base`.
pub(crate) fn context(area: &[u8], first: usize, base: usize) -> Option<Vec<u8>> {
    let (entry, _) = listed(area, first).find(|(entry, name)| {
        entry.e_name_index == NameIndex::ENCRYPTION.0
            && *name == CONTEXT_NAME
            && entry.e_value_inum.get() == 0
    })?;
    let from = base + usize::from(entry.e_value_offs.get());
    let len = usize::try_from(entry.e_value_size.get()).ok()?;
    Some(area.get(from..from.checked_add(len)?)?.to_vec())
}

/// Whether all values in an inode's body end inside it, also those without bytes, of which only e2fsck
/// asks that (`read_xattrs_from_buffer`).
pub(super) fn values_are_inside(body: &[u8]) -> bool {
    listed(body, 4).all(|(entry, _)| {
        let end = u64::from(entry.e_value_offs.get()) + u64::from(entry.e_value_size.get());
        entry.e_value_inum.get() != 0 || end + 4 <= body.len() as u64
    })
}

impl Check<'_> {
    /// Checks the attribute block, and claims it. What it adds to the inode's space and to its
    /// owner's inodes; `None` without one (`check_ext_attr`).
    pub(super) fn attribute_block(&mut self) -> Result<Option<(u64, u64)>> {
        let nr = self.file_acl();
        if nr == 0 {
            return Ok(None);
        }
        let blk = BlockNr(nr);
        if !self.features.has_compat(Compat::EXT_ATTR) || !self.world.is_block(blk) {
            self.found.is_odd = true;
            return Ok(None);
        }
        if let Some(known) = self.known.get(&blk) {
            let counts = (known.clusters, known.inodes);
            self.found.xattr_block = Some((blk, Attributes::default()));
            return Ok(Some(counts));
        }
        let mut block = self.world.image.read(blk)?;
        let place = Place::inode(self.ino).at_block(blk);
        let Some(attributes) = self.block_attributes(blk, &mut block)? else {
            self.raw.set_file_acl(0);
            self.is_dirty = true;
            return Ok(None);
        };
        if let Some(seed) = self.world.sb.metadata_csum() {
            let mut renewed = block.clone();
            xattr::update_checksum(&mut renewed, blk, Some(seed));
            if renewed != block && self.fix_at(&ATTRIBUTES_CHECKSUM, place, "", "")? {
                self.world.image.write(blk, &renewed)?;
            }
        }
        let counts = (attributes.clusters, attributes.inodes);
        self.found.xattr_block = Some((blk, attributes));
        Ok(Some(counts))
    }

    /// Checks the contents of an attribute block. `None` when it is to go.
    fn block_attributes(&mut self, blk: BlockNr, block: &mut [u8]) -> Result<Option<Attributes>> {
        let place = Place::inode(self.ino).at_block(blk);
        let Ok((raw, _)) = RawXattrHeader::read_from_prefix(block) else { return Ok(None) };
        let magic = raw.h_magic.get();
        let blocks = raw.h_blocks.get();
        if magic != xattr::MAGIC
            && self.fix_at(
                &ATTRIBUTES_MAGIC,
                place.clone(),
                format_args!("{magic:#010x}"),
                format_args!("{:#010x}", xattr::MAGIC),
            )?
        {
            return Ok(None);
        }
        if blocks != 1 && self.fix_at(&ATTRIBUTES_BLOCKS, place.clone(), blocks, 1)? {
            return Ok(None);
        }
        let mut attributes =
            Attributes { refcount: raw.h_refcount.get(), clusters: 1, ..Attributes::default() };
        let first = size_of::<RawXattrHeader>();
        let mut regions = Regions::new(block.len());
        regions.take(0, first);
        let mut at = first;
        loop {
            let rest = block.get(at..).unwrap_or_default();
            match rest.get(..4) {
                None | Some([0, 0, 0, 0]) => break,
                Some(_) => {}
            }
            let Ok((entry, behind)) = RawXattrEntry::read_from_prefix(rest) else { break };
            let name_len = usize::from(entry.e_name_len);
            let len = (size_of::<RawXattrEntry>() + name_len).next_multiple_of(4);
            let place = place.clone().at_offset(at);
            if !regions.take(at, len) {
                if self.fix_at(&ATTRIBUTES_OVERLAP, place, "", "")? {
                    return Ok(None);
                }
                break;
            }
            if entry.e_name_index == 0 {
                if self.fix_at(&ATTRIBUTE_NAME, place, "", "")? {
                    return Ok(None);
                }
                break;
            }
            let name = behind.get(..name_len).unwrap_or_default().to_vec();
            let fault = self.block_entry(block, &entry, &name, &mut regions, &mut attributes)?;
            if let Some((problem, found)) = fault
                && self.fix_at(problem, place, found, "")?
            {
                return Ok(None);
            }
            at += len;
        }
        if !regions.take(at, 4) && self.fix_at(&ATTRIBUTES_OVERLAP, place, "", "")? {
            return Ok(None);
        }
        attributes.has_context = context(block, first, 0).is_some();
        Ok(Some(attributes))
    }

    /// What is wrong with the value of an entry of a block.
    fn block_entry(
        &mut self,
        block: &[u8],
        entry: &RawXattrEntry,
        name: &[u8],
        regions: &mut Regions,
        attributes: &mut Attributes,
    ) -> Result<Option<Fault>> {
        let (size, hash) = (entry.e_value_size.get(), entry.e_hash.get());
        if let Some(ino) = InodeNr::new(entry.e_value_inum.get()) {
            self.value_feature()?;
            match self.value_inode(ino, name, size, hash)? {
                Ok(clusters) => attributes.clusters += clusters,
                Err(fault) => return Ok(Some(fault)),
            }
            attributes.inodes += 1;
            attributes.ea_refs.push(ino);
            return Ok(None);
        }
        let from = usize::from(entry.e_value_offs.get());
        let len = usize::try_from(size).unwrap_or(usize::MAX);
        if size > MAX_VALUE || from.checked_add(len).is_none_or(|end| end > block.len()) {
            return Ok(Some((&ATTRIBUTE_VALUE, size.into())));
        }
        let padded = len.next_multiple_of(4);
        if len > 0 && !regions.take(from, padded) {
            return Ok(Some((&ATTRIBUTES_OVERLAP, from as u64)));
        }
        let value = if len > 0 { block.get(from..from + padded).unwrap_or_default() } else { &[] };
        let is_good = hash == entry_hash(name, value) || hash == entry_hash_signed(name, value);
        Ok((!is_good).then_some((&ATTRIBUTE_HASH, hash.into())))
    }

    /// Checks the inode of a value (`check_large_ea_inode`). The clusters it counts for, or what is
    /// wrong.
    pub(super) fn value_inode(
        &mut self,
        ino: InodeNr,
        name: &[u8],
        size: u32,
        hash: u32,
    ) -> Result<std::result::Result<u64, Fault>> {
        let nr = u64::from(ino.get());
        if ino.get() < self.world.geo.first_ino || ino.get() > self.world.geo.inodes_count {
            return Ok(Err((&VALUE_INODE, nr)));
        }
        let Some(mut bytes) = self.world.read_inode(ino)? else {
            return Ok(Err((&VALUE_INODE, nr)));
        };
        let mut raw = RawInode::read(&bytes);
        if size == 0 || size > MAX_VALUE || u64::from(size) != raw.size() {
            return Ok(Err((&VALUE_SIZE, size.into())));
        }
        let flags = InodeFlags::from_bits_retain(raw.i_flags.get());
        let has_flag = flags.contains(InodeFlags::EA_INODE);
        let value = raw.i_atime.get().to_le_bytes();
        let clusters =
            if hash == entry_hash(name, &value) || hash == entry_hash_signed(name, &value) {
                u64::from(size).div_ceil(self.world.sb.cluster_bytes())
            } else if raw.i_mtime.get() == self.ino.get()
                && raw.i_generation.get() == self.raw.i_generation.get()
            {
                // Of Lustre: one inode has it, by its number, and its space is not counted here.
                0
            } else if has_flag {
                return Ok(Err((&ATTRIBUTE_HASH, hash.into())));
            } else {
                return Ok(Err((&VALUE_INODE, nr)));
            };
        if !has_flag {
            if !self.fix(&VALUE_FLAG, nr, "")? {
                return Ok(Err((&VALUE_NO_FLAG, nr)));
            }
            raw.i_flags.set(raw.i_flags.get() | InodeFlags::EA_INODE.bits());
            raw.write_to(&mut bytes);
            self.world.write_inode(ino, &bytes)?;
        }
        Ok(Ok(clusters))
    }
}

/// Compares the counts of references in attribute blocks with those that were found
/// (`adjust_extattr_refcount`).
pub(super) fn settle(session: &mut Session<'_, '_>) -> Result<()> {
    let wrong: Vec<_> = session
        .facts
        .xattr_blocks
        .iter()
        .filter(|(_, known)| u64::from(known.refcount) != known.found)
        .map(|(blk, known)| (*blk, *known))
        .collect();
    for (blk, known) in wrong {
        let place = Place::block(blk);
        if !session.fix(&ATTRIBUTES_REFCOUNT, place, known.refcount, known.found)? {
            continue;
        }
        let mut block = session.image.read(blk)?;
        let refcount = u32::try_from(known.found).unwrap_or(u32::MAX);
        if let Ok((raw, _)) = RawXattrHeader::mut_from_prefix(&mut block) {
            raw.h_refcount.set(refcount);
        }
        xattr::update_checksum(&mut block, blk, session.sb.metadata_csum());
        session.image.write(blk, &block)?;
        if let Some(known) = session.facts.xattr_blocks.get_mut(&blk) {
            known.refcount = refcount;
        }
    }
    Ok(())
}
