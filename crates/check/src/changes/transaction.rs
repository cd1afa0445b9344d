//! The way through the filesystem's own journal: all blocks in one transaction.
//!
//! Whoever replays it - the kernel, e2fsck, or a run of ours - reads superblock, descriptors and the
//! journal's inode from the device as a cut left it. So none of them may be what is repaired.

use super::{Changes, ordered::must_be_checked, superblock_sectors};
use crate::{Error, Result, pass0::OwnJournal};
use ext4_blockdev::BlockDevice;
use ext4_jbd2::{Clock, Journal, MetaRead as _, Options, recovery};
use ext4_ondisk::{
    features::{Compat, Incompat, RoCompat},
    geometry::Geometry,
    group_desc::{DescFormat, GroupDesc},
    superblock::{RawSuperblock, Superblock},
};
use ext4_units::{BlockNr, Tid};
use std::{collections::BTreeSet, sync::Arc, time::Duration};

/// A repair that fits into the log.
#[derive(Debug)]
pub(super) struct Transaction {
    journal: Journal,
    geo: Geometry,
    /// What is changed, the superblock's block among it.
    blocks: BTreeSet<BlockNr>,
}

/// Why a repair cannot be a transaction.
enum Unfit {
    Because(&'static str),
    Failed(Error),
}

impl From<&'static str> for Unfit {
    fn from(why: &'static str) -> Self {
        Self::Because(why)
    }
}

impl From<Error> for Unfit {
    fn from(err: Error) -> Self {
        Self::Failed(err)
    }
}

/// The superblock and the descriptors on a device.
struct Frame {
    sb: Superblock,
    geo: Geometry,
    descs: Vec<GroupDesc>,
}

impl Transaction {
    /// The transaction of `changes`, or why they cannot be one. Writes nothing.
    pub(super) fn plan(
        changes: &Changes<'_>,
        device: &Arc<dyn BlockDevice>,
        now: u64,
    ) -> Result<std::result::Result<Self, &'static str>> {
        match fit(changes, device, now) {
            Ok(it) => Ok(Ok(it)),
            Err(Unfit::Because(why)) => Ok(Err(why)),
            Err(Unfit::Failed(err)) => Err(err),
        }
    }

    /// Carries it out.
    pub(super) fn write(self, changes: &Changes<'_>, device: &Arc<dyn BlockDevice>) -> Result<()> {
        let Self { journal, geo, blocks } = self;
        // What nobody uses yet is not metadata of the image as it is: the flush before the commit
        // block makes it durable, as that of file data.
        changes.put(&**device, &changes.fresh)?;
        let (place, offset) = geo.superblock_place();
        let mut block = journal.read(place)?.to_vec();
        edit(&mut block, offset, |raw| {
            must_be_checked(raw);
            must_be_replayed(raw);
        });
        journal.write_through(place, block)?;
        journal.sync_data()?;
        // Cut here: as before, but known not to be in order, with a log in which nothing is complete.
        let mut handle = journal.start(blocks.len())?;
        for blk in blocks {
            let mut block = new_block(changes, &geo, blk)?;
            if blk == place {
                // A replay that is cut has to be made again.
                edit(&mut block, offset, must_be_replayed);
            }
            handle.write(blk, block)?;
        }
        handle.stop()?;
        // Cut in here: before the commit block is durable as before, from then on repaired, by
        // whoever replays the log.
        journal.checkpoint()?;
        // Cut here: repaired, with an empty log that is said to be in use.
        journal.write_through(place, new_block(changes, &geo, place)?)?;
        journal.sync_data()?;
        Ok(())
    }
}

fn must_be_replayed(raw: &mut RawSuperblock) {
    raw.change_features(|it| it.incompat |= Incompat::RECOVER);
}

fn edit(block: &mut [u8], offset: usize, change: impl FnOnce(&mut RawSuperblock)) {
    if let Some(raw) = block.get_mut(offset..).and_then(RawSuperblock::of_mut) {
        change(raw);
        raw.update_checksum();
    }
}

fn new_block(changes: &Changes<'_>, geo: &Geometry, blk: BlockNr) -> Result<Vec<u8>> {
    let start = blk.byte(geo.block_size);
    changes.read(&(start..start + geo.block_size.len() as u64))
}

fn fit(
    changes: &Changes<'_>,
    device: &Arc<dyn BlockDevice>,
    now: u64,
) -> std::result::Result<Transaction, Unfit> {
    let own = changes.journal.as_ref().ok_or("there is no journal inside the filesystem")?;
    let old = Frame::read(&**device)?;
    let new = Frame::read(changes.overlay)?;
    if old.sb.features.has_incompat(Incompat::RECOVER) {
        return Err("the journal could not be emptied first".into());
    }
    is_way_kept(own, &old, &new, changes, &**device)?;
    let geo = old.geo;
    let blocks = changed_blocks(changes, &geo)?;
    if blocks.iter().any(|blk| own.log.holds(*blk) || own.nodes.contains(blk)) {
        return Err("the journal is repaired too".into());
    }
    let options = Options {
        is_64bit: old.sb.features.has_incompat(Incompat::BIT64),
        metadata_csum: old.sb.metadata_csum().is_some(),
        fast_commit: old.sb.features.has_compat(Compat::FAST_COMMIT),
        max_transaction: Some(usize::MAX),
        ..Options::new(Clock::fixed(Duration::from_secs(now)))
    };
    let superblock = own.log.read_superblock(&**device, geo.block_size);
    let superblock = superblock.map_err(|_damage| "the journal is damaged")?;
    if superblock.start != 0 || superblock.errno != 0 {
        return Err("the journal is not empty".into());
    }
    let journal = Journal::open(Arc::clone(device), geo.block_size, own.log.clone(), options)
        .map_err(|_refusal| "the journal cannot be written")?;
    if blocks.len() > journal.max_credits() {
        return Err("there is more to write than one transaction of the journal takes".into());
    }
    // Blocks, descriptors, commit block, and the one after it, at which a replay ends.
    let n = u32::try_from(blocks.len()).unwrap_or(u32::MAX).saturating_mul(2).saturating_add(3);
    let tid = journal.running_tid();
    if has_leftovers(&**device, own, &superblock, n, tid)? {
        return Err("what is left in the journal would be taken for what is new".into());
    }
    Ok(Transaction { journal, geo, blocks })
}

impl Frame {
    /// As the kernel reads it at a mount, before it replays the log.
    fn read(device: &dyn BlockDevice) -> std::result::Result<Self, Unfit> {
        let sectors = superblock_sectors();
        let mut bytes = vec![0; RawSuperblock::SIZE];
        let is_read = device.read_at(sectors.start, &mut bytes).is_ok();
        let sb = RawSuperblock::of(&bytes).and_then(|raw| Superblock::decode(raw).ok());
        let sb = sb.filter(|_| is_read);
        let sb = sb.ok_or("the superblock on the device is damaged")?;
        let (geo, format) = (Geometry::new(&sb), DescFormat::new(&sb));
        let damaged = "the group descriptors on the device are damaged";
        let mut descs = Vec::new();
        let mut table = (BlockNr(0), Vec::new());
        for group in geo.groups() {
            let (blk, offset) = geo.desc_place(group);
            if table.0 != blk || table.1.is_empty() {
                table = (blk, vec![0; geo.block_size.len()]);
                let at = blk.checked_byte(geo.block_size).ok_or(damaged)?;
                device.read_at(at, &mut table.1).map_err(|_outside| damaged)?;
            }
            let desc = table.1.get(offset..offset + format.desc_size());
            let desc = desc.and_then(|it| GroupDesc::decode(it, group, &format).ok());
            let desc = desc.filter(|it| geo.check_group_desc(group, it).is_ok());
            descs.push(desc.ok_or(damaged)?);
        }
        Ok(Self { sb, geo, descs })
    }

    /// The bytes of the journal's inode.
    fn inode(&self, own: &OwnJournal, device: &dyn BlockDevice) -> Result<Option<Vec<u8>>> {
        let Some(place) = self.geo.inode_place(own.inode) else { return Ok(None) };
        let Some(desc) = self.descs.get(place.group.0 as usize) else { return Ok(None) };
        let blk = desc.inode_table.plus(place.table_block.into());
        let mut bytes = vec![0; self.geo.inode_size.into()];
        let at = blk.byte(self.geo.block_size) + place.offset as u64;
        device.read_at(at, &mut bytes)?;
        Ok(Some(bytes))
    }
}

/// Whether the log is found in the same way before the repair and after it, and so also between.
fn is_way_kept(
    own: &OwnJournal,
    old: &Frame,
    new: &Frame,
    changes: &Changes<'_>,
    device: &dyn BlockDevice,
) -> std::result::Result<(), Unfit> {
    let what_counts = |it: &Superblock| {
        let checksums = RoCompat::METADATA_CSUM.union(RoCompat::GDT_CSUM).bits();
        (
            (it.block_size, it.blocks_count, it.first_data_block, it.first_meta_bg),
            (it.blocks_per_group, it.inodes_per_group, it.inode_size, it.desc_size),
            (it.features.incompat.bits(), it.features.ro_compat.bits() & checksums),
            (it.uuid, it.csum_seed, it.journal, it.reserved_gdt_blocks),
        )
    };
    if what_counts(&old.sb) != what_counts(&new.sb) {
        return Err("what leads to the journal is repaired too".into());
    }
    let inode = old.inode(own, device)?;
    if inode.is_none() || inode != new.inode(own, changes.overlay)? {
        return Err("the journal's inode is repaired too".into());
    }
    Ok(())
}

/// The blocks that are changed and in use, and that of the superblock.
fn changed_blocks(
    changes: &Changes<'_>,
    geo: &Geometry,
) -> std::result::Result<BTreeSet<BlockNr>, Unfit> {
    let mut blocks = BTreeSet::from([geo.superblock_place().0]);
    let bits = geo.block_size.bits();
    for run in changes.others.iter().chain(&changes.sources) {
        let (first, last) = (run.start >> bits, run.end.saturating_sub(1) >> bits);
        if last >= geo.blocks_count {
            return Err("there are changes behind the end of the filesystem".into());
        }
        blocks.extend((first..=last).map(BlockNr));
    }
    Ok(blocks)
}

/// Whether one of the next `n` blocks of the log holds something of the transaction `tid` or of the
/// one after it: left by a log whose numbers were damaged since.
fn has_leftovers(
    device: &dyn BlockDevice,
    own: &OwnJournal,
    superblock: &ext4_ondisk::jbd2::JournalSuperblock,
    n: u32,
    tid: Tid,
) -> Result<bool> {
    for record in recovery::survey(device, &own.log, superblock).first(n) {
        let found = record?.tid;
        if found == tid || found == tid.next() {
            return Ok(true);
        }
    }
    Ok(false)
}
