//! The scan over all inode tables, by several threads.
//!
//! Threads take groups one after the other. Nothing that a thread does depends on what another one
//! finds, and what they bring is put together in a way that does not depend on who brought it: so
//! the result is the same for any number of them.

use super::{
    checksum_is_bad,
    found::{Found, Harvest},
    glance,
    inode::{Check, Verdict},
    world::{Ask, Known, Nobody, World},
};
use crate::{Error, Pass, Result, gate::Gate};
use ext4_blockdev::BlockDevice as _;
use ext4_ondisk::{features::Features, group_desc::GroupFlags, inode::RawInode};
use ext4_units::{BlockNr, GroupNr, InodeNr};
use std::{
    borrow::Cow,
    sync::atomic::{AtomicBool, AtomicU32, Ordering},
};

/// Bytes of an inode table that are read at a time.
const READ: usize = 512 << 10;

/// The largest block, of zeros: comparing with it is as fast as the memory.
static ZEROS: [u8; 64 << 10] = [0; 64 << 10];

/// What the threads share.
struct Shared<'s> {
    world: World<'s>,
    next: AtomicU32,
    is_over: AtomicBool,
}

/// Scans all inode tables.
pub(super) fn run(world: World<'_>, gate: &mut Gate<'_>, threads: usize) -> Result<Harvest> {
    let shared = Shared { world, next: AtomicU32::new(0), is_over: AtomicBool::new(false) };
    let groups = world.geo.groups_count;
    let helpers = threads.clamp(1, 64).min(groups as usize) - 1;
    std::thread::scope(|scope| {
        let handles: Vec<_> =
            (0..helpers).map(|_| scope.spawn(|| work(&shared, |_| Ok(())))).collect();
        // This thread works too, and tells how far all of them have come.
        let ours = work(&shared, |done| gate.progress(Pass::One, done.into(), groups.into()));
        if ours.is_err() {
            shared.is_over.store(true, Ordering::Relaxed);
        }
        let mut all = Vec::new();
        for handle in handles {
            all.push(handle.join().map_err(|_panic| Error::Stopped)?);
        }
        let mut harvest = ours?;
        for theirs in all {
            harvest.merge(theirs?);
        }
        harvest.suspects.sort_unstable();
        Ok(harvest)
    })
}

/// One thread.
fn work(shared: &Shared<'_>, mut tell: impl FnMut(u32) -> Result<()>) -> Result<Harvest> {
    let mut harvest = Harvest::default();
    // One of its own, away from what other threads write.
    let world = shared.world;
    let mut scan = Scan { may_glance: glance::is_possible(&world), ..Scan::default() };
    while !shared.is_over.load(Ordering::Relaxed) {
        let group = shared.next.fetch_add(1, Ordering::Relaxed);
        if group >= shared.world.geo.groups_count {
            break;
        }
        tell(group)?;
        let outcome = scan.group(&world, GroupNr(group), &mut harvest);
        if outcome.is_err() {
            shared.is_over.store(true, Ordering::Relaxed);
        }
        outcome?;
    }
    let has_paid = shared.world.budget.pay(scan.found.owed);
    if has_paid { Ok(harvest) } else { Err(Error::TooMuch) }
}

/// Room that is used again and again.
#[derive(Default)]
struct Scan {
    buffer: Vec<u8>,
    found: Found,
    /// Most inodes need no more than a glance.
    may_glance: bool,
}

/// Inodes at the start of a group's table that may be in use.
fn used_inodes(world: &World<'_>, group: GroupNr) -> u32 {
    let per_group = world.geo.inodes_per_group;
    let Some(desc) = world.descs.get(group.0 as usize) else { return 0 };
    if !world.sb.features.has_group_desc_csum() {
        return per_group;
    }
    if desc.flags.contains(GroupFlags::INODE_UNINIT) {
        return 0;
    }
    per_group.saturating_sub(desc.itable_unused)
}

/// The part of a group's table to be read: first block and bytes, all of it inside the device.
fn table(world: &World<'_>, group: GroupNr) -> Option<(BlockNr, u64)> {
    let n = used_inodes(world, group);
    let start = world.descs.get(group.0 as usize)?.inode_table;
    let size = world.geo.block_size;
    let blocks = u64::from(n.div_ceil(world.geo.inodes_per_block()));
    let end = start.0.checked_add(blocks)?;
    if n == 0 || start.0 == 0 || end > world.image.n_blocks() {
        return None;
    }
    // Inodes at the end of a table's block may be padding.
    let per_block = u64::from(world.geo.inodes_per_block());
    let whole = u64::from(n) / per_block * u64::from(size.bytes());
    let rest = u64::from(n) % per_block * u64::from(world.geo.inode_size);
    Some((start, whole + rest))
}

impl Scan {
    fn group(&mut self, world: &World<'_>, group: GroupNr, harvest: &mut Harvest) -> Result<()> {
        // What comes next is read by the device while this group is looked at.
        if let Some((start, len)) = table(world, GroupNr(group.0.saturating_add(1))) {
            let (device, from) = (world.image.device(), start.byte(world.geo.block_size));
            let data = device.next_data(from, from + len);
            device.prefetch(data, from + len - data);
        }
        let Some((start, len)) = table(world, group) else { return Ok(()) };
        let size = world.geo.block_size;
        let mut done = 0;
        let mut index = 0;
        while done < len {
            // What the host never stored are inodes that were never used.
            if group.0 > 0 {
                let from = start.byte(size);
                let data = world.image.device().next_data(from + done, from + len) - from;
                let blocks = (data - done) >> size.bits();
                index += u32::try_from(blocks).unwrap_or(u32::MAX) * world.geo.inodes_per_block();
                done += blocks << size.bits();
                if data == len {
                    break;
                }
            }
            let n = (len - done).min(READ as u64);
            let n = usize::try_from(n).map_err(|_far| Error::Outside(start))?;
            self.buffer.resize(n, 0);
            world.image.device().read_at(start.byte(size) + done, &mut self.buffer)?;
            let buffer = std::mem::take(&mut self.buffer);
            for block in buffer.chunks(size.len()) {
                // Most blocks of a table that has room hold no inode that was ever used.
                let is_ordinary = group.0 > 0 || index >= world.geo.first_ino;
                if is_ordinary && ZEROS.get(..block.len()) == Some(block) {
                    index += world.geo.inodes_per_block();
                    continue;
                }
                for bytes in block.chunks_exact(usize::from(world.geo.inode_size)) {
                    if let Some(ino) = world.geo.inode_at(group, index) {
                        self.inode(world, ino, bytes, harvest)?;
                    }
                    index += 1;
                }
            }
            self.buffer = buffer;
            done += n as u64;
        }
        Ok(())
    }

    fn inode(
        &mut self,
        world: &World<'_>,
        ino: InodeNr,
        bytes: &[u8],
        harvest: &mut Harvest,
    ) -> Result<()> {
        // Most inodes that are not in use never were.
        let is_ordinary = ino.get() >= world.geo.first_ino;
        if is_ordinary && bytes.iter().all(|it| *it == 0) {
            return Ok(());
        }
        let found = &mut self.found;
        found.clear();
        if self.may_glance && glance::is_plain(world, ino, bytes, found)? {
            debug_assert!(glance::brings_the_same(world, ino, bytes, found), "inode {ino}");
            harvest.take(ino, found);
            return Ok(());
        }
        match check(world, &mut Nobody, &harvest.attributes, ino, Cow::Borrowed(bytes), found) {
            Ok(_) => harvest.take(ino, found),
            Err(Error::Suspect) => harvest.suspects.push(ino),
            Err(other) => return Err(other),
        }
        Ok(())
    }
}

/// Checks an inode, and gives the features as they are after it; what it brings is in `found`.
pub(super) fn check(
    world: &World<'_>,
    gate: &mut dyn Ask,
    known: &Known,
    ino: InodeNr,
    bytes: Cow<'_, [u8]>,
    found: &mut Found,
) -> Result<Features> {
    found.clear();
    let has_bad_checksum = checksum_is_bad(world, ino, &bytes);
    let mut check = Check {
        gate,
        known,
        ino,
        raw: RawInode::read(&bytes),
        bytes,
        is_dirty: false,
        features: world.sb.features,
        has_bad_checksum,
        body_values: (0, 0),
        context: None,
        found,
        world,
    };
    let verdict = check.run()?;
    let (is_special, features) = (check.is_special(), check.features);
    if verdict == Verdict::Cleared && is_special {
        // The first inodes are in use whether they are or not.
        found.is_used = true;
    }
    Ok(features)
}
