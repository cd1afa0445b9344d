//! Carrying out a plan: contents of files, zeros, then everything but superblocks, then a superblock that nobody may
//! open, the copies, and the true superblock last, each durable before the next begins.

use crate::{
    copy::{self, Copied},
    error::{Error, Result},
    plan::Plan,
    seal::Sealer,
    settings::as_uuid,
};
use ext4_blockdev::BlockDevice;
use ext4_ondisk::superblock::RawSuperblock;
use ext4_units::{BlockNr, BlockRange, GroupNr};
use sha2::{Digest as _, Sha256};
use std::{num::NonZero, ops::Range};
use zerocopy::IntoBytes as _;

/// Most bytes handed to the device at once.
const CHUNK: usize = 4 << 20;
/// An incompatible feature without a name: every tool refuses to open what has it.
const IN_THE_MAKING: u32 = 1 << 31;
/// Neighbouring blocks are written together up to so many bytes: what still is in the processor's
/// cache.
const TOGETHER: usize = 256 << 10;
/// Descriptors as long as this are written as they are, without a copy.
const DIRECT: usize = 64 << 10;
/// `EXT2_ERROR_FS` of `s_state`.
const ERRORS: u16 = 2;
/// What is cleared at both ends, so that no other signature is left there.
const ENDS: u64 = 64 << 10;

/// How far the writing has come, and whether to go on.
pub trait Progress {
    /// So many bytes of so many are done. False stops, and leaves what is no filesystem.
    fn goes_on(&mut self, done: u64, total: u64) -> bool;
}

/// Tells nobody.
impl Progress for () {
    fn goes_on(&mut self, _done: u64, _total: u64) -> bool {
        true
    }
}

impl<F: FnMut(u64, u64) -> bool> Progress for F {
    fn goes_on(&mut self, done: u64, total: u64) -> bool {
        self(done, total)
    }
}

/// What was written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Written {
    /// Bytes handed to the device, zeros included.
    pub bytes: u64,
    /// The device took the whole range back and reads as zeros, so no zeros were written.
    pub is_sparse: bool,
    /// The filesystem's uuid, which may follow from the contents.
    pub uuid: [u8; 16],
}

/// Contents of a run of blocks, made when they are due.
#[derive(Clone, Debug)]
enum Source {
    /// Bytes of the descriptor table.
    Descriptors(Range<usize>),
    BlockBitmap(GroupNr),
    InodeBitmap(GroupNr),
    /// A block of the inode table: the group, and the block in its table.
    Inodes(GroupNr, u32),
    /// An entry of the plan's blocks.
    Block(usize),
}

/// Writes the filesystem of `plan` to `device`; contents of files are copied by so many threads, and
/// the same is written by any number of them.
///
/// # Errors
/// [`Error::Device`] when the device is shorter than the plan (nothing was written then) or fails,
/// [`Error::Source`] when a file cannot be read or is not what it was, [`Error::Stopped`] when
/// `progress` says so. What is left is not a filesystem: the superblock is
/// written last.
pub fn write(
    plan: &Plan,
    device: &dyn BlockDevice,
    threads: NonZero<usize>,
    progress: &mut dyn Progress,
) -> Result<Written> {
    let mut run = Run::new(plan, device, progress)?;
    let items = plan.items(run.descriptors_len());
    run.written.is_sparse = plan.discard && device.punch(0, plan.len())?;
    let wiped = if run.written.is_sparse { Vec::new() } else { plan.signatures() };
    run.total = run.total_bytes(&items, &wiped);
    for (from, len) in wiped {
        run.zero_bytes(from, len)?;
    }
    // Crash from here on: nothing that any tool knows is left, and nothing is there yet.
    device.flush()?;
    run.contents(threads)?;
    run.zeros()?;
    for (at, source) in items {
        run.put(at, &source)?;
    }
    run.write_pending()?;
    // Crash here: a whole filesystem without any superblock.
    device.flush()?;
    run.superblock(IN_THE_MAKING)?;
    // Crash here: a superblock with a feature that nobody knows. Without it e2fsck would look for
    // a copy, and take a filesystem for good whose copies are not all there.
    device.flush()?;
    run.copies()?;
    device.flush()?;
    let is_stopped = run.superblock(0);
    device.flush()?;
    match is_stopped {
        // Too late: it is there.
        Ok(()) | Err(Error::Stopped) => Ok(run.written),
        Err(err) => Err(err),
    }
}

/// Writes superblocks and descriptors of `plan` and nothing else (`mke2fs -S`), for a filesystem
/// that has lost them all: e2fsck then finds its files by their inodes. What the descriptors say of
/// free space is a guess, and the superblock tells that there are errors.
///
/// # Errors
/// As [`write`].
pub fn write_superblocks(
    plan: &Plan,
    device: &dyn BlockDevice,
    progress: &mut dyn Progress,
) -> Result<Written> {
    use ext4_ondisk::group_desc::GroupFlags;
    let mut plan = plan.clone();
    let has_flags = plan.superblock.features.has_group_desc_csum();
    let flags = if has_flags { GroupFlags::INODE_ZEROED } else { GroupFlags::empty() };
    for state in &mut plan.groups {
        // No inode is taken for unused, nothing for empty, and nobody zeroes a table later.
        state.itable_unused = 0;
        state.flags = flags;
    }
    plan.raw.s_state.set(plan.raw.s_state.get() | ERRORS);
    // Where the journal lies is known to its inode only.
    plan.raw.s_jnl_backup_type = 0;
    plan.raw.s_jnl_blocks = Default::default();
    plan.raw.update_checksum();
    (plan.blocks, plan.data, plan.uuid_from) = (Vec::new(), Vec::new(), None);
    plan.is_zeroed = true;
    let mut run = Run::new(&plan, device, progress)?;
    let mut items = plan.items(run.descriptors_len());
    items.retain(|(_, source)| matches!(source, Source::Descriptors(_)));
    run.total = run.total_bytes(&items, &[]);
    run.contents(NonZero::<usize>::MIN)?;
    for (at, source) in items {
        run.put(at, &source)?;
    }
    run.write_pending()?;
    run.copies()?;
    device.flush()?;
    run.superblock(0)?;
    device.flush()?;
    Ok(run.written)
}

impl Plan {
    /// Everything with contents but superblocks, in the order of the device.
    fn items(&self, descriptors_len: usize) -> Vec<(BlockNr, Source)> {
        let geo = &self.geometry;
        let mut items = Vec::new();
        for group in geo.groups() {
            let layout = self.group_layout(group);
            let len = layout.descriptors.len.saturating_mul(u64::from(geo.block_size.bytes()));
            if len > 0 {
                let range = self.descriptor_range(group, len, descriptors_len);
                items.push((layout.descriptors.start, Source::Descriptors(range)));
            }
            let (tables, state) = (&self.tables[group.0 as usize], &self.groups[group.0 as usize]);
            if state.has_block_bitmap() {
                items.push((tables.block_bitmap, Source::BlockBitmap(group)));
            }
            if state.has_inode_bitmap() {
                items.push((tables.inode_bitmap, Source::InodeBitmap(group)));
            }
            let mut last = None;
            for ino in self.inodes_of(group) {
                let Some(place) = geo.inode_place(ino) else { continue };
                if last != Some(place.table_block) {
                    let at = tables.inode_table.plus(u64::from(place.table_block));
                    items.push((at, Source::Inodes(group, place.table_block)));
                    last = Some(place.table_block);
                }
            }
        }
        items.extend(self.blocks.iter().enumerate().map(|(i, it)| (it.at, Source::Block(i))));
        items.sort_by_key(|(at, _)| *at);
        items
    }

    /// Which bytes of the table a group's copy has: all, or with meta groups those of its own.
    fn descriptor_range(&self, group: GroupNr, len: u64, all: usize) -> Range<usize> {
        let len = usize::try_from(len).unwrap_or(all);
        if len >= all {
            return 0..all;
        }
        let nr = group.0 / self.geometry.descs_per_block();
        let from = nr as usize * self.geometry.block_size.len();
        from..(from + len).min(all)
    }

    /// The groups with copies of the superblock.
    fn copies(&self) -> impl Iterator<Item = (GroupNr, BlockNr)> + '_ {
        let geo = &self.geometry;
        geo.groups()
            .skip(1)
            .filter(|&group| geo.has_super(group))
            .map(|group| (group, geo.group_blocks(group).start))
    }

    /// What tools look at, as first byte and length: both ends and the places of superblocks, old
    /// ones of other block sizes too.
    fn signatures(&self) -> Vec<(u64, u64)> {
        let (len, size) = (self.len(), self.geometry.block_size);
        let block = u64::from(size.bytes());
        let end = len.saturating_sub(ENDS).max(ENDS.min(len));
        let ours = self.copies().map(|(_, blk)| blk.byte(size));
        // Where e2fsck looks by itself: group 1 of each block size.
        let usual = [1024u64, 2048, 4096, 8192]
            .map(|size| if size == 1024 { 8193 * size } else { size * 8 * size });
        let places = ours.chain(usual).map(|at| (at, block));
        let inside = |(at, block): &(u64, u64)| at.checked_add(*block).is_some_and(|it| it <= len);
        [(0, ENDS.min(len)), (end, len - end)].into_iter().chain(places.filter(inside)).collect()
    }

    /// The parts of the inode tables that must read as zeros.
    fn itable_zeros(&self) -> impl Iterator<Item = BlockRange> + '_ {
        let geo = &self.geometry;
        let per_block = geo.inodes_per_block();
        self.tables.iter().zip(&self.groups).map(move |(tables, state)| {
            use ext4_ondisk::group_desc::GroupFlags;
            let has_flags = self.superblock.features.has_group_desc_csum();
            let blocks = if !has_flags || state.flags.contains(GroupFlags::INODE_ZEROED) {
                geo.itable_blocks()
            } else {
                (geo.inodes_per_group - state.itable_unused).div_ceil(per_block)
            };
            BlockRange::new(tables.inode_table, u64::from(blocks))
        })
    }
}

struct Run<'a> {
    plan: &'a Plan,
    sealer: Sealer,
    copied: Copied,
    device: &'a dyn BlockDevice,
    progress: &'a mut dyn Progress,
    descriptors: Vec<u8>,
    written: Written,
    /// Bytes there will be.
    total: u64,
    /// Neighbouring blocks that wait to be written together.
    pending: Vec<u8>,
    pending_at: u64,
}

impl<'a> Run<'a> {
    fn new(
        plan: &'a Plan,
        device: &'a dyn BlockDevice,
        progress: &'a mut dyn Progress,
    ) -> Result<Self> {
        if device.len() < plan.len() {
            return Err(Error::TooSmall {
                found: device.len(),
                expected: plan.len(),
                what: "the filesystem as planned".to_owned(),
            });
        }
        Ok(Self {
            plan,
            sealer: Sealer::new(&plan.raw, plan.raw.s_uuid)?,
            device,
            progress,
            copied: Copied::default(),
            descriptors: Vec::new(),
            written: Written::default(),
            total: 0,
            pending: Vec::with_capacity(TOGETHER + DIRECT),
            pending_at: 0,
        })
    }

    fn descriptors_len(&self) -> usize {
        let geo = &self.plan.geometry;
        geo.desc_blocks() as usize * geo.block_size.len()
    }

    fn block(&self) -> u64 {
        u64::from(self.plan.geometry.block_size.bytes())
    }

    /// All bytes that will be written: `items`, what is wiped first, contents, zeros, superblocks.
    fn total_bytes(&self, items: &[(BlockNr, Source)], wiped: &[(u64, u64)]) -> u64 {
        let len = |source: &Source| match source {
            Source::Descriptors(range) => range.len() as u64,
            _ => self.block(),
        };
        let items: u64 = items.iter().map(|(_, source)| len(source)).sum();
        let wiped: u64 = wiped.iter().map(|(_, len)| len).sum();
        let zeros: u64 = self.zero_runs().map(|it| it.len).sum::<u64>() * self.block();
        let superblocks = (2 + self.plan.copies().count()) * RawSuperblock::SIZE;
        items + wiped + self.plan.contents_len() + zeros + superblocks as u64
    }

    /// What has to read as zeros and may not: inode tables and an unused log.
    fn zero_runs(&self) -> impl Iterator<Item = BlockRange> + use<'_> {
        let reads_as_zeros = self.plan.is_zeroed || self.written.is_sparse;
        let runs = self.plan.itable_zeros().chain(self.plan.zeros.iter().copied());
        runs.filter(move |_| !reads_as_zeros)
    }

    /// Copies the contents of files. Then it is known which filesystem this is, and all that says so
    /// can be made.
    fn contents(&mut self, threads: NonZero<usize>) -> Result<()> {
        let (plan, device) = (self.plan, self.device);
        self.copied = copy::copy(plan, device, threads, &mut |bytes| self.tell(bytes))?;
        if let Some(from) = plan.uuid_from {
            let mut hash = Sha256::new_with_prefix(from);
            for sum in &self.copied.sums {
                hash.update(sum.to_le_bytes());
            }
            self.sealer = Sealer::new(&plan.raw, as_uuid(&hash.finalize().into()))?;
        }
        self.written.uuid = self.sealer.superblock.uuid;
        self.descriptors = plan.descriptors(&self.sealer.superblock);
        Ok(())
    }

    fn zeros(&mut self) -> Result<()> {
        let size = self.plan.geometry.block_size;
        let runs: Vec<_> = self.zero_runs().collect();
        for range in runs {
            self.zero_bytes(range.start.byte(size), range.len * self.block())?;
        }
        Ok(())
    }

    fn zero_bytes(&mut self, from: u64, len: u64) -> Result<()> {
        let zeros = vec![0; usize::try_from(len).unwrap_or(CHUNK).min(CHUNK)];
        let mut done = 0;
        while done < len {
            let n = zeros.len().min(usize::try_from(len - done).unwrap_or(CHUNK));
            self.device.write_at(from + done, &zeros[..n])?;
            done += n as u64;
            self.tell(n as u64)?;
        }
        Ok(())
    }

    /// Lines a piece up behind the one before, or writes that one and begins anew.
    fn put(&mut self, at: BlockNr, source: &Source) -> Result<()> {
        let offset = at.byte(self.plan.geometry.block_size);
        if let Source::Descriptors(range) = source
            && range.len() >= DIRECT
        {
            self.write_pending()?;
            self.device.write_at(offset, &self.descriptors[range.clone()])?;
            return self.tell(range.len() as u64);
        }
        let follows = self.pending_at + self.pending.len() as u64 == offset;
        if !follows || self.pending.len() >= TOGETHER {
            self.write_pending()?;
            self.pending_at = offset;
        }
        match source {
            Source::Descriptors(range) => {
                self.pending.extend_from_slice(&self.descriptors[range.clone()]);
            }
            Source::BlockBitmap(group) => self.pending.extend(self.plan.block_bitmap(*group)),
            Source::InodeBitmap(group) => self.pending.extend(self.plan.inode_bitmap(*group)),
            Source::Inodes(group, table_block) => {
                let from = self.pending.len();
                self.pending.resize(from + self.plan.geometry.block_size.len(), 0);
                self.fill_inodes(*group, *table_block, from);
            }
            Source::Block(idx) => {
                let block = &self.plan.blocks[*idx];
                let from = self.pending.len();
                self.pending.extend_from_slice(&block.bytes);
                self.pending.resize(from + self.plan.geometry.block_size.len(), 0);
                self.sealer.block(block.at, block.seal, &mut self.pending[from..]);
            }
        }
        Ok(())
    }

    fn fill_inodes(&mut self, group: GroupNr, table_block: u32, from: usize) {
        let geo = &self.plan.geometry;
        let first = table_block * geo.inodes_per_block();
        for (ino, bytes) in (first..first + geo.inodes_per_block())
            .filter_map(|index| geo.inode_at(group, index))
            .filter_map(|ino| Some((ino, self.plan.inode(ino)?)))
        {
            let Some(place) = geo.inode_place(ino) else { continue };
            let at = from + place.offset;
            let room = &mut self.pending[at..at + bytes.len()];
            room.copy_from_slice(&bytes);
            if let Some(inline) = self.copied.inline.get(&ino) {
                inline.put(room);
            }
            self.sealer.inode(ino, room);
        }
    }

    fn write_pending(&mut self) -> Result<()> {
        if self.pending.is_empty() {
            return Ok(());
        }
        self.device.write_at(self.pending_at, &self.pending)?;
        let len = self.pending.len() as u64;
        self.pending.clear();
        self.tell(len)
    }

    fn copies(&mut self) -> Result<()> {
        let size = self.plan.geometry.block_size;
        for (group, blk) in self.plan.copies() {
            let mut raw = self.sealer.raw.clone();
            raw.s_block_group_nr.set(u16::try_from(group.0).unwrap_or(0));
            // Not clean: whoever has to use a copy looks at everything.
            raw.s_state.set(0);
            raw.update_checksum();
            self.device.write_at(blk.byte(size), raw.as_bytes())?;
            self.tell(RawSuperblock::SIZE as u64)?;
        }
        Ok(())
    }

    /// The first superblock, with these incompatible features more.
    fn superblock(&mut self, incompat: u32) -> Result<()> {
        let mut raw = self.sealer.raw.clone();
        raw.s_feature_incompat.set(raw.s_feature_incompat.get() | incompat);
        raw.update_checksum();
        self.device.write_at(RawSuperblock::OFFSET, raw.as_bytes())?;
        self.tell(RawSuperblock::SIZE as u64)
    }

    fn tell(&mut self, bytes: u64) -> Result<()> {
        self.written.bytes += bytes;
        if self.progress.goes_on(self.written.bytes, self.total) {
            Ok(())
        } else {
            Err(Error::Stopped)
        }
    }
}
