//! The attributes of an inode, as far as they can be read, and those that it has no longer.

use super::{
    Loss,
    contents::{Budget, Contents},
};
use crate::{Result, snapshot::Snapshot};
use ext4_ondisk::{
    acl, inline_data,
    inode::Inode,
    xattr::{MAGIC, MAX_VALUE, NameIndex, RawXattrEntry, RawXattrHeader, full_name},
};
use ext4_units::InodeNr;
use std::collections::BTreeMap;
use zerocopy::FromBytes as _;

/// Index and name, and the value as it is on disk.
type Attributes = BTreeMap<(u8, Vec<u8>), Vec<u8>>;

/// What the later state of an inode has no longer, or not with this value.
pub(super) fn lost(
    before: &Snapshot,
    inode: &Inode,
    after: &Snapshot,
    kept: Option<&Inode>,
    budget: &mut Budget,
    loss: &mut Loss,
) -> Result<()> {
    let old = of(before, inode, budget)?;
    let new = kept.map(|it| of(after, it, budget)).transpose()?.unwrap_or_default();
    for (key, value) in old {
        if new.get(&key) != Some(&value) && budget.take(value.len() as u64) {
            let (index, name) = key;
            let is_acl = [NameIndex::POSIX_ACL_ACCESS, NameIndex::POSIX_ACL_DEFAULT]
                .contains(&NameIndex(index));
            let value = acl::from_disk(&value).filter(|_| is_acl).unwrap_or(value);
            loss.attributes.push((full_name(index, &name), value));
        }
    }
    if let Some(blk) = inode.file_acl
        && kept.and_then(|it| it.file_acl) != Some(blk)
        && let Some(block) = before.block(blk)?
        // A block of its own with the same contents is no loss.
        && (kept.is_none_or(|it| it.file_acl.is_none()) || !loss.attributes.is_empty())
        && budget.take(block.len() as u64)
    {
        loss.attribute_block = Some(block);
    }
    Ok(())
}

/// All that can be read; those that are contents of the file are none.
fn of(snapshot: &Snapshot, inode: &Inode, budget: &mut Budget) -> Result<Attributes> {
    let mut found = Attributes::new();
    if inode.ibody.get(..4) == Some(&MAGIC.to_le_bytes()) {
        each(snapshot, &inode.ibody, 4, 4, budget, &mut found)?;
    }
    if let Some(blk) = inode.file_acl
        && let Some(block) = snapshot.block(blk)?
        && let Ok((header, _)) = RawXattrHeader::ref_from_prefix(&block)
        && header.h_magic.get() == MAGIC
    {
        each(snapshot, &block, size_of::<RawXattrHeader>(), 0, budget, &mut found)?;
    }
    found.remove(&(NameIndex::SYSTEM.0, inline_data::XATTR_NAME.to_vec()));
    Ok(found)
}

/// The entries from `first` on whose values, counted from `base`, are there. Each entry is longer than
/// nothing, so that their number is bound by the area.
fn each(
    snapshot: &Snapshot,
    area: &[u8],
    first: usize,
    base: usize,
    budget: &mut Budget,
    found: &mut Attributes,
) -> Result<()> {
    let mut at = first;
    while let Some(rest) = area.get(at..).filter(|it| it.get(..4).is_some_and(|it| it != [0; 4])) {
        let Ok((entry, behind)) = RawXattrEntry::ref_from_prefix(rest) else { break };
        let name_len = usize::from(entry.e_name_len);
        let Some(name) = behind.get(..name_len) else { break };
        at += (size_of::<RawXattrEntry>() + name_len).next_multiple_of(4);
        let len = entry.e_value_size.get();
        let value = match (InodeNr::new(entry.e_value_inum.get()), usize::try_from(len)) {
            (Some(ino), Ok(len)) if entry.e_value_size.get() <= MAX_VALUE => {
                value_inode(snapshot, ino, len, budget)?
            }
            (None, Ok(len)) => {
                let from = base + usize::from(entry.e_value_offs.get());
                area.get(from..from.saturating_add(len)).map(<[u8]>::to_vec)
            }
            _ => None,
        };
        if let Some(value) = value {
            found.entry((entry.e_name_index, name.to_vec())).or_insert(value);
        }
    }
    Ok(())
}

/// A value in an inode of its own.
fn value_inode(
    snapshot: &Snapshot,
    ino: InodeNr,
    len: usize,
    budget: &mut Budget,
) -> Result<Option<Vec<u8>>> {
    let n = (len as u64) >> snapshot.geo.block_size.bits();
    let Some(left) = budget.blocks.checked_sub(n) else {
        budget.is_spent = true;
        return Ok(None);
    };
    budget.blocks = left;
    let Some(inode) = snapshot.inode(ino)?.filter(|it| it.size == len as u64) else {
        return Ok(None);
    };
    Ok(Some(Contents::of(snapshot, ino, &inode, budget).read_all(len)?))
}
